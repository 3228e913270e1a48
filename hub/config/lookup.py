# SPDX-License-Identifier: Apache-2.0
"""Data files by name: the site's own folder (that of its `hub.toml`) first, then `configs/` as shipped.

Holds for device profiles, miner models, firmware files, alarm rules, tariffs, contracts, jurisdictions and layouts. A file
of the site's folder takes the place of a shipped file of the same path.
"""

from pathlib import Path

from kernel.errors import ConfigError, Fault

CONFIGS = Path(__file__).resolve().parent.parent.parent / "configs"


def places(folder: Path | None, name: str | Path) -> tuple[Path, ...]:
    """Where a file or subfolder of a name may stand, in order of precedence. `folder` None: only as shipped."""
    return (CONFIGS / name,) if folder is None else (folder / name, CONFIGS / name)


def look_up(folder: Path | None, name: str | Path, remedy: str = "Put the file into one of the two") -> Path:
    """The file or folder of a name such as `tariffs/market.toml`. Raises ConfigError naming both places looked at."""
    looked = places(folder, name)
    for place in looked:
        if place.exists():
            return place.resolve()
    raise ConfigError([Fault(str(name), not_found(folder, name), remedy)])


def not_found(folder: Path | None, name: str | Path) -> str:
    """The text of a fault: no such file, and the places looked at."""
    return "no such file: looked for " + " and ".join(str(place) for place in places(folder, name))


def listed(folder: Path | None, kind: str) -> list[Path]:
    """All TOML files of a kind such as `profiles/meters` or `alarms`, each name once, sorted by name."""
    found: dict[str, Path] = {}
    for place in places(folder, kind):
        for path in place.glob("*.toml"):
            found.setdefault(path.name, path.resolve())
    return [found[name] for name in sorted(found)]


def data_files(folder: Path | None) -> list[Path]:
    """All files that a lookup may find: those shipped, and those in folders of the same names next to `hub.toml`."""
    own = [] if folder is None else [folder / place.name for place in CONFIGS.iterdir() if place.is_dir()]
    return sorted(path for place in (*own, CONFIGS) for path in place.rglob("*") if path.is_file())
