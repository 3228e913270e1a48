# SPDX-License-Identifier: Apache-2.0
"""Firmware images of the simulated miners: generation, check on arrival, installation over a restart, by the faults.

An image begins with its own mark, its dialect, version and size; the rest is filler. Real images of the makers are never
needed.
"""

import hashlib

from twin.exchange import Request
from twin.site import Site, Unit

MARK = b"TWIN FIRMWARE\n"
TAKES_IMAGES = frozenset({"antminer", "bitaxe", "braiins", "epic", "vnish", "whatsminer", "whatsminer_v3"})
KEEPS_STOCK = frozenset({"braiins", "vnish"})
STOCK_VERSION = "Fri Aug 30 15:22:11 CST 2024"


def take(site: Site, unit: Unit, data: bytes, now_ms: int, sha256: str | None = None) -> str:
    """Check an image and install it; "" where accepted, else the reason. `sha256`: the hash sent with it, if any."""
    lines = data[:256].split(b"\n", 4)
    whole = data.startswith(MARK) and len(lines) == 5 and lines[3] == str(len(data)).encode()
    if "image_corrupt" in unit.faults or (sha256 is not None and hashlib.sha256(data).hexdigest() != sha256):
        return "checksum mismatch"
    if not whole:
        return "not a whole firmware image"
    if "image_refused" in unit.faults:
        return "signature check failed"
    if lines[1].decode() != unit.model.dialect:
        return f"image is for {lines[1].decode()}"
    if site.obeys(unit, now_ms):
        _restart(site, unit, lines[2].decode(), now_ms)
    return ""


def back_to_stock(site: Site, unit: Unit, now_ms: int) -> None:
    """Remove an aftermarket firmware: from the restart on the unit answers as its maker's."""
    if site.obeys(unit, now_ms):
        unit.memory["stock"] = "image_ignored" not in unit.faults
        _restart(site, unit, STOCK_VERSION, now_ms)


def _restart(site: Site, unit: Unit, version: str, now_ms: int) -> None:
    if "image_ignored" not in unit.faults:
        unit.installed = version
    if "image_bricks" in unit.faults:
        site.machines.brick(unit.index, now_ms)
    else:
        site.machines.reboot(unit.index, now_ms)


def form(ask: Request) -> dict[str, bytes]:
    """The fields of a multipart form (RFC 7578), in order of arrival; empty for any other body."""
    kind, _, mark = ask.headers.get("content-type", "").partition("boundary=")
    found: dict[str, bytes] = {}
    if not kind.startswith("multipart/form-data") or not mark:
        return found
    edge = b"--" + mark.strip('"').encode()
    for part in (b"\r\n" + ask.body).split(b"\r\n" + edge)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        name = head.partition(b'name="')[2].partition(b'"')[0].decode()
        found[name] = content
    return found
