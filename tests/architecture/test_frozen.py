# SPDX-License-Identifier: Apache-2.0
"""Strings and steps that never change: what is hashed into ids, stored, signed or known to other programs.

`frozen.json` holds them and only grows: `python -m tests.architecture.frozen` adds what is new.
"""

import json
from typing import Any

import pytest

from kernel.event import ALIASES, EventKind
from tests.architecture.frozen import FROZEN, SECTIONS, WHY, changes, literals, present

NO_KINDS = {"hub.console", "hub.port", "hub.trace", "order.until"}
"""Texts that look like event kinds and are modules, keys of a configuration, or places of a fault."""


@pytest.fixture(scope="module")
def frozen() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FROZEN.read_text())
    return found


@pytest.mark.parametrize("section", sorted(WHY))
def test_what_is_frozen_stays_as_it_is(section: str, frozen: dict[str, Any]) -> None:
    lines = changes(present(section), frozen[section], section)
    assert not lines, f"{WHY[section]}\n" + "\n".join(lines)


@pytest.mark.parametrize("section", sorted(WHY))
def test_what_is_new_is_frozen_too(section: str, frozen: dict[str, Any]) -> None:
    lines = changes(frozen[section], present(section), section)
    assert not lines, (
        "run `python -m tests.architecture.frozen`, and see that each of these may stay for ever:\n" + "\n".join(lines)
    )


def test_every_event_kind_of_the_source_is_known(frozen: dict[str, Any]) -> None:
    transfers = {line.split()[0] for line in frozen["money"]["settled"]["transfers"]}
    strange = literals() - set(EventKind) - set(ALIASES) - transfers - NO_KINDS
    assert not strange, f"{sorted(strange)}: add each to the kinds with its writer, and to frozen.json"


def test_every_section_has_its_reason(frozen: dict[str, Any]) -> None:
    assert set(SECTIONS) == set(frozen) == set(WHY)
    assert all(frozen.values())


def test_a_change_a_loss_and_something_new_are_distinguished() -> None:
    before = {"a": {"id": "1", "names": ["x", "y"]}}
    assert changes({"a": {"id": "1", "names": ["y", "x", "z"], "more": 1}}, before) == []
    assert changes({"a": {"id": "2", "names": ["x", "y"]}}, before) == ["/a/id: was '1', is '2'"]
    assert changes({"a": {"id": "1", "names": ["x"]}}, before) == ["/a/names: 'y' is gone"]
    assert changes({"a": {"names": ["x", "y"]}}, before) == ["/a/id is gone"]
