# SPDX-License-Identifier: Apache-2.0
"""The end of a demonstration on real sockets while the billing meter is silent: it waits, settles, or names what is open."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hub.app.demo import close_period
from hub.app.live import Running, start
from hub.app.run_figures import run_figures
from hub.config import load
from kernel.clock import iso, system_clock
from kernel.span import Span
from tests.hub_site import World, until, world

CLOCK = system_clock()


def main_meter(site: World) -> str:
    return next(str(one["device"]) for one in site.ready["meters"] if one["role"] == "main")


async def silence(site: World, silent: bool) -> None:
    body = {"meter": main_meter(site).rpartition("/")[2], "faults": ["dead"] if silent else []}
    await asyncio.to_thread(site.control, "/fault", body)


async def with_an_undivided_payout(site: World, hub: Running) -> None:
    """One payout is settled; then the meter falls silent, and a further payout is received that cannot be divided."""
    settling = hub.wired.settling
    assert settling is not None
    await until("a payout settled", lambda: settling.last and settling.last.posted_sat > 0 and settling.closed, 90)
    await silence(site, True)
    await until("a payout open", lambda: settling.last is not None and settling.last.residual_sat > 0, 90)


@pytest.mark.timeout(300)
def test_what_the_silent_meter_leaves_open_stands_in_the_figures_and_in_the_api(tmp_path: Path) -> None:
    async def story(site: World) -> None:
        async with start(load(site.config, environment={}), tmp_path) as hub:
            await with_an_undivided_payout(site, hub)
            said, polls = list[str](), hub.hub.components.collector.counts.ok
            from_ms, end_ms = CLOCK.now_ms() - 30_000, await close_period(hub, CLOCK, said.append, patience_s=5.0)
            assert hub.hub.components.collector.counts.ok > polls, "polling goes on"
            figures = run_figures(hub.wired, hub.hub.components.config, Span(from_ms, end_ms), 12)
            ledger, payout = figures["ledger"], figures["payout"]
            assert payout["residual_sat"] > 0
            assert sum(item["amount_sat"] for item in ledger["waiting"]) == payout["residual_sat"]
            for item in ledger["waiting"]:
                assert item["step"] == "division" and item["payout"] and end_ms - 90_000 < item["since_ms"] < end_ms
                assert f"billing meter {main_meter(site)}" in item["reason"] and "is awaited" in item["reason"]
                line = f"open: {item['amount_sat']} sat of payout {item['payout']}, division open since {iso(item['since_ms'])}"
                assert any(text.startswith(line) for text in said)
            shown: Any = await asyncio.to_thread(site.api, "GET", "/ledger")
            assert shown["waiting"] == ledger["waiting"]
            booked = hub.wired.report_store.ledger.head().size
            await asyncio.sleep(12)
            assert hub.wired.report_store.ledger.head().size == booked, "later payouts are the next period's"

    with world(tmp_path, miners=12, miner_host="127.83.0.1", payout_every_s=5.0) as site:
        asyncio.run(story(site))


@pytest.mark.timeout(300)
def test_the_demo_waits_for_the_meter_that_comes_back_and_ends_with_nothing_open(tmp_path: Path) -> None:
    async def story(site: World) -> None:
        async with start(load(site.config, environment={}), tmp_path) as hub:
            await with_an_undivided_payout(site, hub)
            said = list[str]()
            closing = asyncio.create_task(close_period(hub, CLOCK, said.append, patience_s=120.0))
            await asyncio.sleep(20)
            assert not closing.done()
            await silence(site, False)
            end_ms = await closing
            figures = run_figures(hub.wired, hub.hub.components.config, Span(end_ms - 60_000, end_ms), 12)
            assert said == []
            assert figures["payout"]["residual_sat"] == 0 and figures["payout"]["received_sat"] > 0
            assert figures["ledger"]["waiting"] == [] and figures["ledger"]["held"] == []
            last = hub.wired.report_store.ledger.last("payout.received", CLOCK.now_ms() + 1)
            assert last is not None and last.body.effective_ms < end_ms  # type: ignore[union-attr]

    with world(tmp_path, miners=12, miner_host="127.84.0.1", payout_every_s=5.0) as site:
        asyncio.run(story(site))
