# SPDX-License-Identifier: Apache-2.0
"""Firmware image for upload: checked against its hash before sending, and wrapped without being copied.

Methods of the ten firmwares, by their makers' own descriptions: upload (stock Antminer, Braiins OS, VNish, ePIC, Whatsminer
v2 and v3, AxeOS), a fetch by the miner itself that cannot be checked against a hash (LuxOS, Auradine), or none described
(Avalon). None restores the previous release; Braiins OS and VNish can only be replaced by the maker's own firmware.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache

from kernel.receipt import Refused
from miner_control.fleet.command import InstallFirmware
from miner_control.fleet.driver import Parts

KEEPS_NONE = "keeps no earlier release: install the image of that release instead"
FETCHES_ITSELF = "fetches releases by itself: it takes no image, and none can be checked against a hash"


@lru_cache(maxsize=2)
def _sha256(data: bytes) -> str:
    """Computed once for all the miners of a job: a large image takes a good part of a second."""
    return hashlib.sha256(data).hexdigest()


def mismatch(intent: InstallFirmware) -> Refused | None:
    """The refusal of an image that must not be sent: its bytes are missing, or are not those approved. None where it may."""
    if not intent.data:
        return Refused("image", f"the image of {intent.version} is missing: read it from its file again")
    found = _sha256(intent.data)
    if found != intent.sha256.lower():
        return Refused("sha256", f"the image has sha256 {found}, and {intent.sha256.lower() or 'none'} was agreed on")
    return None


def file_name(data: bytes) -> str:
    """A file name with the ending for its first bytes, as miners' upload pages require."""
    if data.startswith(b"\xab\xab\xab\xab"):
        return "firmware.bmu"
    if data.startswith(b"\x1f\x8b"):
        return "firmware.tar.gz"
    return "firmware.zip" if data.startswith(b"PK") else "firmware.bin"


def multipart(
    fields: Iterable[tuple[str, str]],
    name: str,
    file: str,
    intent: InstallFirmware,
    kind: str = "application/octet-stream",
) -> tuple[dict[str, str], Parts]:
    """(headers, body) of a form (RFC 7578): `fields` first, then the image as `name`. JSON fields get their content type."""
    mark = f"----{intent.sha256.lower()[:32]}"
    head = ""
    for key, value in fields:
        head += f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n'
        head += ("Content-Type: application/json\r\n" if value.startswith("{") else "") + f"\r\n{value}\r\n"
    head += (
        f'--{mark}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\nContent-Type: {kind}\r\n\r\n'
    )
    body = (head.encode(), intent.data, f"\r\n--{mark}--\r\n".encode())
    return {"Content-Type": f"multipart/form-data; boundary={mark}"}, body
