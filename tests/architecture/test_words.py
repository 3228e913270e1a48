# SPDX-License-Identifier: Apache-2.0
"""The vocabulary that is kept out: no use in the product, its documentation or the names of tests."""

from tests.architecture.words import ROOT, files, found, found_in_names, uses


def test_no_term_that_is_kept_out_is_used() -> None:
    lines = [line for path in files() for line in found(path)]
    lines += [line for path in sorted((ROOT / "tests").rglob("*.py")) for line in found_in_names(path)]
    assert lines == []


def test_whole_terms_are_found_and_standard_phrases_are_not() -> None:
    text = "The meter told a word.\nSaid by hand-over; word order; a handle."
    assert [word for _, word in uses(text)] == ["told", "word", "said"]
    assert list(uses('body["words"] and `hand.seen` are stored names')) == []
