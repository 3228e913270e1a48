# SPDX-License-Identifier: Apache-2.0
"""The recorded folder as a few small files, and back: texts as they are, what is binary in one compressed archive.

`before_rooms/` holds `folder/` (configuration and what it names), `configs/` (device profiles, alarm rules and dated data as
they shipped then), `data.tar.zst` (journal, ledger, billed energy, archive, reports, images) and `expected.json.zst`.
"""

import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import zstandard

RECORDED = Path(__file__).parent / "before_rooms"
LEVEL = 22


def unpack(target: Path) -> Path:
    """A copy of the recorded folder below `target`, as a hub left it. Returns its path."""
    folder = target / "hub"
    shutil.copytree(RECORDED / "folder", folder)
    packed = (RECORDED / "data.tar.zst").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(zstandard.ZstdDecompressor().decompress(packed, 1 << 27))) as held:
        held.extractall(folder, filter="data")
    return folder


def expected() -> dict[str, Any]:
    """What the code of then made of it: state, replay, exports."""
    packed = (RECORDED / "expected.json.zst").read_bytes()
    found: dict[str, Any] = json.loads(zstandard.ZstdDecompressor().decompress(packed, 1 << 27))
    return found


def pack(folder: Path, configs: Path, found: dict[str, Any], target: Path) -> None:
    """Write the recording. `folder` is a hub's, with its databases copied to `folder/copy`."""
    if target.exists():
        shutil.rmtree(target)
    binary = shutil.ignore_patterns("data", "copy", "image.bin")
    shutil.copytree(folder, target / "folder", ignore=binary)
    shutil.copytree(configs, target / "configs")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as held:
        for path in sorted((folder / "copy").iterdir()):
            _add(held, path, f"data/{path.name}")
        for part in ("archive", "reports", "firmware"):
            for path in sorted((folder / "data" / part).rglob("*")):
                if path.is_file():
                    _add(held, path, f"data/{path.relative_to(folder / 'data')}")
        _add(held, folder / "data" / "keys" / "report.pub", "data/keys/report.pub")
    press = zstandard.ZstdCompressor(level=LEVEL)
    (target / "data.tar.zst").write_bytes(press.compress(out.getvalue()))
    text = json.dumps(found, sort_keys=True, separators=(",", ":")).encode()
    (target / "expected.json.zst").write_bytes(press.compress(text))


def _add(held: tarfile.TarFile, path: Path, name: str) -> None:
    """A file without owner and date: the same bytes give the same archive."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = path.stat().st_size, 0o644
    with path.open("rb") as file:
        held.addfile(entry, file)
