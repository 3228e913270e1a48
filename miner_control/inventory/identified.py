# SPDX-License-Identifier: Apache-2.0
"""Identity of a device by what each of its ports answered, and by all of them together."""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

_MOST_CHARACTERS: Final = 200
_NO_NUMBER: Final = frozenset("0-:. ")
_NO_MAC: Final = frozenset({"00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"})
_STOCK: Final = frozenset({"antminer", "whatsminer"})
"""Dialects that an aftermarket firmware or a newer interface of the same device answers too: they yield to any other."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A device by its answers: `dialect` ("" for a miner of unknown family), and its own texts of make, model and firmware,
    each on one line; a serial number or MAC of zeros is none. `reported_text`: its answer where no dialect was recognised."""

    dialect: str
    make: str = ""
    model: str = ""
    firmware: str = ""
    ports: tuple[tuple[str, int], ...] = ()
    serial: str = ""
    mac: str = ""
    reported_text: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)


def one_line(text: str) -> str:
    """A text of a device as one line without control and invisible characters, of at most 200 characters."""
    shown = "".join(" " if unicodedata.category(each)[0] in "CZ" else each for each in text)
    return " ".join(shown.split())[:_MOST_CHARACTERS].rstrip()


def cleaned(found: Identity) -> Identity:
    """The same with texts on one line, and without a serial number or MAC that names no device."""
    serial, mac = one_line(found.serial), one_line(found.mac).lower()
    return replace(
        found,
        model=one_line(found.model),
        firmware=one_line(found.firmware),
        reported_text=one_line(found.reported_text),
        serial="" if set(serial) <= _NO_NUMBER else serial,
        mac="" if mac in _NO_MAC else mac,
    )


def together(answers: Sequence[Identity]) -> Identity | None:
    """The device by the identities that its ports gave, in order of preference; None where there is none.

    A dialect stands before none, and one that only its own firmware answers before a maker's. What the chosen one leaves
    open is taken from the others of the same dialect or make; without a dialect every text is kept.
    """
    if not answers:
        return None
    best = min(answers, key=_rank)
    if not best.dialect:
        return replace(best, reported_text=one_line("; ".join(dict.fromkeys(one.reported_text for one in answers))))
    for other in answers:
        if other is best or not other.dialect or (other.dialect != best.dialect and other.make != best.make):
            continue
        best = replace(
            best,
            model=best.model or other.model,
            firmware=best.firmware or (other.firmware if other.dialect == best.dialect else ""),
            serial=best.serial or other.serial,
            mac=best.mac or other.mac,
            ports=best.ports + tuple(
                port for port in other.ports
                if other.dialect == best.dialect and port[0] not in dict(best.ports)
            ),
        )  # fmt: skip
    return best


def _rank(found: Identity) -> int:
    return 2 if not found.dialect else int(found.dialect in _STOCK)
