# SPDX-License-Identifier: Apache-2.0
"""Is who answers at an address the miner that the register means? Leases end, control boards are swapped, images are cloned.

Serial number and MAC are held against the register's. One of them that fits is enough: a swapped board brings another MAC, a
cloned image another serial number. Where neither fits, and one of them is that of another miner of the register, that other
one answers here: what is asked of this one would be done by it. Where nobody knows them, it is a new board or a new machine.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from miner_control.fleet.miner import Miner

_NO_MAC: Final = frozenset({"", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"})


@dataclass(frozen=True, slots=True)
class Names:
    """Whose each serial number and each MAC is by the register, as device keys; what several claim is nobody's."""

    by_serial: Mapping[str, str]
    by_mac: Mapping[str, str]


def names_of(miners: Iterable[Miner]) -> Names:
    """The names of a register's miners."""
    serials, macs = dict[str, str](), dict[str, str]()
    for miner in miners:
        for found, name in ((serials, miner.serial), (macs, _mac(miner.mac))):
            if name:
                found[name] = "" if name in found else miner.device
    return Names({k: v for k, v in serials.items() if v}, {k: v for k, v in macs.items() if v})


@dataclass(frozen=True, slots=True)
class Stranger:
    """Not quite the one that the register means. `device` is the key of the other miner that answers, "" where it is none of
    the register; `words` for people."""

    device: str
    words: str


def stranger(miner: Miner, serial: str | None, mac: str | None, names: Names) -> Stranger | None:
    """Who answers in the place of a miner, by the serial number and MAC told there (None: not told); None where it is the
    one that the register means, or where too little is known to say that it is not."""
    mine, reported_mac = _mac(miner.mac), _mac(mac or "")
    if serial and serial == miner.serial:
        return None
    if reported_mac and reported_mac == mine:
        clone = names.by_serial.get(serial or "", miner.device)
        words = f"its MAC is its own, its serial number {serial} is that of {clone.rpartition('/')[2]}"
        return None if clone == miner.device else Stranger("", words)
    other = names.by_serial.get(serial or "") or names.by_mac.get(reported_mac)
    reported = " and ".join(
        f"{what} {name}" for what, name in (("serial number", serial), ("MAC", reported_mac)) if name
    )
    if other is not None and other != miner.device:
        return Stranger(other, f"{other.rpartition('/')[2]} answers at its address, with {reported}")
    known = (serial and miner.serial, reported_mac and mine)
    if not any(known):
        return None
    before = " and ".join(f"{what} {name}" for what, name in (("serial number", miner.serial), ("MAC", mine)) if name)
    return Stranger("", f"answers with {reported}, the register says {before}")


def _mac(text: str) -> str:
    plain = text.strip().lower().replace("-", ":")
    return "" if plain in _NO_MAC else plain
