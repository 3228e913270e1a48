# SPDX-License-Identifier: Apache-2.0
"""Store of firmware images: a folder of the hub, one manifest per image, keyed by the SHA-256 of its bytes.

An image is accepted only with the hash that its maker publishes, and is hashed again at each use.
"""

import json
import os
from collections import OrderedDict
from dataclasses import asdict, dataclass
from pathlib import Path

from kernel.errors import ConfigError, Fault
from kernel.ids import sha256_hex

LARGEST_BYTES = 512 << 20
KEPT = 4


@dataclass(frozen=True, slots=True)
class Image:
    """One firmware image: the version a miner reports once it runs it, and the firmware and models (patterns) it fits."""

    version: str
    sha256: str
    dialect: str
    model: str
    size_bytes: int
    source: str
    added_ms: int


class FirmwareStore:
    """Images of a data folder. Bytes of the few images used last stay in memory and are shared by all uploads of a wave."""

    def __init__(self, data: Path) -> None:
        self._folder = data / "firmware"
        self._taken: OrderedDict[str, bytes] = OrderedDict()

    def add(
        self, file: Path, sha256: str, *, version: str, dialect: str, model: str, source: str, added_ms: int
    ) -> Image:
        """Add a file. Raises ConfigError: unreadable, too large, or its hash differs from the one given."""
        try:
            size = file.stat().st_size
            content = file.read_bytes() if size <= LARGEST_BYTES else b""
        except OSError as error:
            raise ConfigError([Fault(str(file), error.strerror or str(error), "Give a readable file")]) from None
        found = sha256_hex(content)
        if not content:
            raise ConfigError([Fault(str(file), f"has {size} bytes", f"An image has 1 to {LARGEST_BYTES} bytes")])
        if found != sha256.strip().lower():
            text = f"hashes to {found}, not to {sha256}"
            raise ConfigError([Fault(str(file), text, "Fetch the image anew and compare with the maker's page")])
        if any(one.version == version and one.dialect == dialect and one.model == model for one in self.images()):
            raise ConfigError([Fault(version, "stands on the shelf already for these miners", "Give its own version")])
        image = Image(version, found, dialect, model, size, source, added_ms)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _written(self._folder / f"{found}.bin", content)
        _written(self._folder / f"{found}.json", json.dumps(asdict(image), indent=1).encode())
        return image

    def images(self) -> list[Image]:
        """All images, newest first."""
        found = [Image(**json.loads(path.read_text(encoding="utf-8"))) for path in self._folder.glob("*.json")]
        return sorted(found, key=lambda image: (-image.added_ms, image.version))

    def named(self, version: str) -> Image:
        """Image by version or by the beginning of its hash. Raises ConfigError: none, or several, match."""
        found = [one for one in self.images() if one.version == version or one.sha256.startswith(version.lower())]
        if len(found) == 1:
            return found[0]
        problem = "stands not on the shelf" if not found else f"is the version of {len(found)} images"
        raise ConfigError([Fault(f"firmware {version}", problem, "See `mining-hub firmware list`; name its hash")])

    def take(self, sha256: str) -> bytes:
        """Bytes of an image. Raises ConfigError: the file is missing or its hash has changed."""
        if sha256 in self._taken:
            self._taken.move_to_end(sha256)
            return self._taken[sha256]
        path = self._folder / f"{sha256}.bin"
        content = path.read_bytes() if path.is_file() else b""
        if sha256_hex(content) != sha256:
            raise ConfigError([Fault(str(path), "is gone or was changed", "Add the image again")])
        self._taken[sha256] = content
        while len(self._taken) > KEPT:
            self._taken.popitem(last=False)
        return content


def _written(path: Path, content: bytes) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(content)
    with part.open("rb") as held:
        os.fsync(held.fileno())
    part.replace(path)
