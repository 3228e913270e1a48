# SPDX-License-Identifier: Apache-2.0
"""A firmware image on its way to a miner: held against its hash before a byte leaves, and wrapped without being copied.

What ten firmwares offer, by their makers' own descriptions: an upload (stock Antminer, Braiins OS, VNish, ePIC, Whatsminer
v2 and v3, AxeOS), a fetch by the miner itself that nobody can hold to a hash (LuxOS, Auradine), or nothing described
(Avalon). None gives the release before back; Braiins OS and VNish can only be taken off for the maker's own firmware.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache

from kernel.receipt import Refused
from miner_control.fleet.command import InstallFirmware
from miner_control.fleet.driver import Parts

KEEPS_NONE = "keeps no earlier release: install the image of that release instead"
FETCHES_ITSELF = "fetches releases by itself: it takes no image, and none can be held to a hash"


@lru_cache(maxsize=2)
def _sha256(data: bytes) -> str:
    """Reckoned once for all the miners of a campaign: a large image takes a good part of a second."""
    return hashlib.sha256(data).hexdigest()


def mismatch(intent: InstallFirmware) -> Refused | None:
    """Why this image must not leave: it is not there, or is not the one that was agreed on. None where it may."""
    if not intent.data:
        return Refused("image", f"the image of {intent.version} is not at hand: read it from its file again")
    found = _sha256(intent.data)
    if found != intent.sha256.lower():
        return Refused("sha256", f"the image has sha256 {found}, and {intent.sha256.lower() or 'none'} was agreed on")
    return None


def file_name(data: bytes) -> str:
    """A name with the ending that its first bytes call for: what miners' upload pages look at."""
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
    """(headers, body) of a form (RFC 7578): `fields` first, then the image as `name`. A field that is a JSON object says so."""
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
