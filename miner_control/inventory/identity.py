# SPDX-License-Identifier: Apache-2.0
"""Identity check: whether the device at an address matches the asset register, by serial number and MAC.

Leases end, control boards are swapped, images are cloned. One matching name is enough: a swapped board brings another MAC, a
cloned image another serial number. Where neither matches, and one of them is that of another miner of the register, that
miner answers here, and would carry out the commands meant for this one. Where they are in no register, it is a new board or
a new machine.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from miner_control.fleet.miner import Miner

_NO_MAC: Final = frozenset({"", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"})


@dataclass(frozen=True, slots=True)
class Names:
    """Device key of each serial number and of each MAC of the register; those with several claimants are left out."""

    by_serial: Mapping[str, str]
    by_mac: Mapping[str, str]


def names_of(miners: Iterable[Miner]) -> Names:
    """The serial numbers and MACs of a register's miners."""
    serials, macs = dict[str, str](), dict[str, str]()
    for miner in miners:
        for found, name in ((serials, miner.serial), (macs, _mac(miner.mac))):
            if name:
                found[name] = "" if name in found else miner.device
    return Names({k: v for k, v in serials.items() if v}, {k: v for k, v in macs.items() if v})


@dataclass(frozen=True, slots=True)
class IdentityMismatch:
    """Identity that differs from the register. `device` is the key of the other miner that answers, "" for one outside the
    register; `text` for people."""

    device: str
    text: str


def identity_mismatch(miner: Miner, serial: str | None, mac: str | None, names: Names) -> IdentityMismatch | None:
    """Mismatch between a miner and the serial number and MAC reported at its address (None: not reported); None where it is
    the miner of the register, or where too little is known to exclude that."""
    mine, reported_mac = _mac(miner.mac), _mac(mac or "")
    if serial and serial == miner.serial:
        return None
    if reported_mac and reported_mac == mine:
        clone = names.by_serial.get(serial or "", miner.device)
        text = f"its MAC is its own, its serial number {serial} is that of {clone.rpartition('/')[2]}"
        return None if clone == miner.device else IdentityMismatch("", text)
    other = names.by_serial.get(serial or "") or names.by_mac.get(reported_mac)
    reported = " and ".join(
        f"{what} {name}" for what, name in (("serial number", serial), ("MAC", reported_mac)) if name
    )
    if other is not None and other != miner.device:
        return IdentityMismatch(other, f"{other.rpartition('/')[2]} answers at its address, with {reported}")
    known = (serial and miner.serial, reported_mac and mine)
    if not any(known):
        return None
    before = " and ".join(f"{what} {name}" for what, name in (("serial number", miner.serial), ("MAC", mine)) if name)
    return IdentityMismatch("", f"answers with {reported}, the register says {before}")


def _mac(text: str) -> str:
    plain = text.strip().lower().replace("-", ":")
    return "" if plain in _NO_MAC else plain
