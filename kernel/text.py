# SPDX-License-Identifier: Apache-2.0
"""Texts from outside: what a person or a machine wrote, before it becomes part of an event, a report or a page."""

import unicodedata
from typing import Final

from kernel.errors import ConfigError, Fault

_DIRECTION: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")
"""Characters that change the direction of what follows them: they make a text read otherwise than it is."""


def _storable(char: str) -> bool:
    return unicodedata.category(char) not in ("Cc", "Cs", "Zl", "Zp") and char not in _DIRECTION


def entered(text: str) -> str:
    """The text in NFC, so that what looks the same is the same. Raises ValueError for one that cannot be stored or shown:
    control characters and line ends, lone surrogates, characters of direction, unassigned ones."""
    for char in text:
        if not _storable(char):
            raise ValueError(f"holds the character U+{ord(char):04X}, which is no text of one line")
    return unicodedata.normalize("NFC", text)


def entered_field(text: str, place: str, most: int = 500) -> str:
    """As `entered`, with ConfigError at a place, also for one of more than `most` characters."""
    remedy = f"Write at most {most} characters without control characters"
    if len(text) > most:
        raise ConfigError([Fault(place, f"holds {len(text)} characters", remedy)])
    try:
        return entered(text)
    except ValueError as error:
        raise ConfigError([Fault(place, str(error), remedy)]) from None


def entered_or_not(text: str) -> str:
    """As `entered`, for a text that has to be kept whatever it holds: what cannot be stored is replaced."""
    return unicodedata.normalize("NFC", "".join(char if _storable(char) else "\ufffd" for char in text))
