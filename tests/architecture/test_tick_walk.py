# SPDX-License-Identifier: Apache-2.0
"""One tick makes the situation once and enters no more modules than it needs."""

import asyncio

import pytest

from kernel.clock import iso
from tests.architecture.tick_walk import Walk, walked, walks

MOST_MODULES = 46
"""Of the whole project, from the running hub to the actuator. One more is a reason to look at what the tick now leans on."""


@pytest.fixture(scope="module")
def seen() -> dict[str, Walk]:
    return walks()


@pytest.mark.parametrize("name", ["quiet", "order"])
def test_a_tick_makes_the_situation_once(seen: dict[str, Walk], name: str) -> None:
    assert seen[name].situations == 1


def test_a_tick_enters_few_modules(seen: dict[str, Walk]) -> None:
    quiet, order = set(seen["quiet"].modules), set(seen["order"].modules)
    assert len(quiet) < len(order) <= MOST_MODULES, sorted(order)
    assert {"hub.control.runtime", "hub.control.tick", "miner_control.control.guard", "scheduling.control"} <= quiet
    assert seen["order"].commands > 0 and "miner_control.control.actuator" in order - quiet


def test_a_tick_reads_no_console_and_no_query(seen: dict[str, Walk]) -> None:
    above = ("hub.console", "hub.api", "hub.query", "hub.fleet", "hub.reports", "hub.settlement", "treasury")
    assert not [name for name in seen["order"].modules if name.startswith(above)]


def test_the_walk_counts_what_is_called() -> None:
    async def call() -> None:
        iso(0), iso(1)

    modules, calls = asyncio.run(walked(call))
    assert modules == ("kernel.clock",) and calls["iso"] == 2
