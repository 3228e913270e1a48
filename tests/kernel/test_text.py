# SPDX-License-Identifier: Apache-2.0
"""Texts from outside."""

import pytest

from kernel.errors import ConfigError
from kernel.text import entered, entered_field, entered_or_not


@pytest.mark.parametrize("text", ["a\nb", "a\x00", "\ud800", "\u202ea", "\u2028", "a\u2066b", "\x7f", "\x85"])
def test_what_cannot_be_stored_or_reads_otherwise_than_it_is_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"U\+"):
        entered(text)
    kept = entered_or_not(text)
    assert entered(kept) == kept and "\ufffd" in kept


def test_what_looks_the_same_is_the_same() -> None:
    assert entered("e\u0301") == entered("\u00e9") == "\u00e9"
    assert entered("Қазақ тілі, a < b & c") == "Қазақ тілі, a < b & c"
    with pytest.raises(ConfigError, match="why: holds 501"):
        entered_field("x" * 501, "why")
