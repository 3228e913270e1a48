# SPDX-License-Identifier: Apache-2.0
"""Writer of model profiles from catalogue tables: `python -m miner_control.inventory.catalogue_csv MODELS.csv CURVES.csv FOLDER`.

One TOML per model, each number with its source and tier; figures that a table marks assumed stay marked. Files edited by a
person (`[checked]` with `by`) are left unchanged. The tables' columns are those of the published catalogue:
make, model, variant_ths, power_w, cooling, tier, certainty, source... and make, model, firmware, profile, power_w, ths.
"""

import csv
import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from kernel.toml_model import read_toml

Row = Mapping[str, str]
_TIERS: Final = "ABC"
_MODE_NAMES: Final = {"normal energy": "normal", "high energy": "high", "low power": "low", "high performance": "high"}
_FIRMWARES: Final = (
    ("vnish", "vnish"),
    ("luxos", "luxos"),
    ("braiins", "braiins"),
    ("bixbit", "bixbit"),
    ("stock", "stock"),
)


def slug(model: str) -> str:
    """The file name of a model: `Antminer S19j Pro+` -> `antminer-s19j-pro-plus`."""
    return re.sub(r"[^a-z0-9]+", "-", model.lower().replace("+", " plus")).strip("-")


def _text(value: str) -> str:
    plain = re.sub(r" \((?:index )?file id \d+\)| (?:via )?(?:index )?file id \d+", "", value)
    return json.dumps(" ".join(plain.split()), ensure_ascii=False)


def _number(value: str) -> float | None:
    found = re.fullmatch(r"-?\d+(\.\d+)?", value.strip())
    return float(value) if found else None


def _whole(value: str) -> int | None:
    found = _number(value)
    return int(found) if found is not None and found == int(found) else None


def dialect_of(firmware: str, make: str = "") -> str | None:
    """The dialect of a curve's firmware; None for tables that are reconstructions or mix several firmwares."""
    if firmware == "stock" and make == "Canaan":
        return "avalon"
    low = firmware.lower()
    if "/" in low or "chip step" in low or "generic" in low or "third-party" in low:
        return None
    return next((dialect for key, dialect in _FIRMWARES if key in low), None)


def preset_name(row: Row, dialect: str) -> str:
    """The firmware's name of an operating point: LuxOS by frequency, VNish by watts, else the profile's own."""
    if dialect == "luxos":
        return "default" if "default" in row["profile"] else f"{row['freq_mhz']}MHz"
    if dialect == "vnish":
        return str(round(float(row["power_w"])))
    return row["profile"]


def variant_modes(row: Row) -> list[tuple[str, float, float]]:
    """(name, TH/s, W) of the modes that the table gives with both figures; empty with fewer than two."""
    found = []
    for part in row["modes"].split(";"):
        fields = part.split(":")
        if len(fields) == 3 and _number(fields[1]) and _number(fields[2]):
            name = fields[0].strip()
            found.append((_MODE_NAMES.get(name, name), float(fields[1]), float(fields[2])))
    return found if len(found) > 1 else []


def _best(rows: Sequence[Row]) -> Row:
    """The variant that represents the model: best tier, then highest hashrate."""
    return min(rows, key=lambda row: (_TIERS.index(row["tier"][:1] or "C"), -float(row["variant_ths"])))


def profile_text(rows: Sequence[Row], curves: Sequence[Row]) -> str:
    """The TOML of one model."""
    head = _best(rows)
    lines = [
        "# SPDX-License-Identifier: Apache-2.0",
        f"make = {_text(head['make'])}",
        f"model = {_text(head['model'])}",
        f"cooling = {_text(head['cooling'] or 'unknown')}",
        'unit = "W at the wall at 25 C inlet, TH/s"',
        f"source_url = {_text(head['source'].split(' | ')[0] or 'catalogue')}",
        f"default = {_text(_name(head))}",
    ]
    geometry = {
        "boards": _whole(head["boards"]),
        "chips_per_board": _whole(head["chips_per_board"]),
        "fans": _whole(head["fans"]),
        "year": _whole(head["release_year"]),
    }
    inlet = {"low_c": _number(head["inlet_temp_min_c"]), "high_c": _number(head["inlet_temp_max_c"])}
    for name, table in (("geometry", geometry), ("inlet", inlet)):
        known = {key: value for key, value in table.items() if value is not None}
        if known:
            lines += ["", f"[{name}]", *(f"{key} = {value}" for key, value in known.items())]
    lines += [
        "",
        "[checked]",
        'against = "published figures only: no device measured"',
        f"tier = {_text(head['tier'])}",
    ]
    for row in sorted(rows, key=lambda row: float(row["variant_ths"])):
        lines += _variant(row)
    for firmware, points in _by_firmware(curves):
        lines += _curve(firmware, points)
    return "\n".join(lines) + "\n"


def _name(row: Row) -> str:
    return f"{float(row['variant_ths']):g}"


def _variant(row: Row) -> list[str]:
    lines = [
        "",
        "[[variants]]",
        f"name = {_text(_name(row))}",
        f"hashrate_ths = {float(row['variant_ths'])}",
        f"power_w = {float(row['power_w'])}",
        f"tier = {_text(row['tier'])}",
        f"certainty = {_text(row['certainty'])}",
        f"source = {_text(row['source'])}",
    ]
    for name, rate, power in variant_modes(row):
        lines += ["", "[[variants.modes]]", f"name = {_text(name)}", f"hashrate_ths = {rate}", f"power_w = {power}"]
    return lines


def _by_firmware(curves: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    found: dict[str, list[Row]] = defaultdict(list)
    for row in curves:
        if dialect_of(row["firmware"], row["make"]) and _number(row["power_w"]) and _number(row["ths"]):
            found[row["firmware"]].append(row)
    return [(firmware, points) for firmware, points in sorted(found.items()) if len(points) > 1]


def _curve(firmware: str, points: Sequence[Row]) -> list[str]:
    dialect = dialect_of(firmware, points[0]["make"]) or ""
    certainty = sorted({row["certainty"] for row in points})
    lines = [
        "",
        "[[curves]]",
        f"dialect = {_text(dialect)}",
        f"firmware = {_text(firmware)}",
        f"certainty = {_text('; '.join(certainty))}",
        f"source = {_text(points[0]['source'])}",
        "points = [",
    ]
    for row in sorted(points, key=lambda row: float(row["power_w"])):
        name = _text(preset_name(row, dialect))
        lines.append(f"  {{name = {name}, power_w = {float(row['power_w'])}, hashrate_ths = {float(row['ths'])}}},")
    return [*lines, "]"]


def write(models: Path, curves: Path, folder: Path) -> int:
    """Write all profiles; returns the number of models. Rows without watts or hashrate give no profile."""
    by_model: dict[str, list[Row]] = defaultdict(list)
    with models.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            if _number(row["variant_ths"]) and _number(row["power_w"]):
                by_model[row["model"]].append(row)
    points: dict[str, list[Row]] = defaultdict(list)
    with curves.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            points[row["model"]].append(row)
    for model, rows in by_model.items():
        path = folder / f"{slug(model)}.toml"
        if path.exists() and "by" in read_toml(path).get("checked", {}):
            continue
        path.write_text(profile_text(_distinct(rows), points[model]), encoding="utf-8")
    return len(by_model)


def _distinct(rows: Sequence[Row]) -> list[Row]:
    """One row per variant name: the better tier stays."""
    kept: dict[str, Row] = {}
    for row in rows:
        other = kept.get(_name(row))
        kept[_name(row)] = row if other is None else _best([other, row])
    return list(kept.values())


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python -m miner_control.inventory.catalogue_csv MODELS.csv CURVES.csv FOLDER")
    print(write(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])))
