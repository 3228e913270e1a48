# SPDX-License-Identifier: Apache-2.0
"""Operating point after an order: a site without prices comes back to where it was, over real sockets."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from grid.order_book import Authority
from hub.app.live import Running, start
from hub.app.replay import replay_folder
from hub.config import load
from kernel.clock import iso, system_clock
from tests.hub_site import World, hub_process, until, world

BY = Authority("control-room", ("alatau/north",))
ALL_ASLEEP_W = 300.0
MIN_OFF_S = 900.0 / 160.0
"""Minimum off-time at the pace of this site: until then no unit may be planned to wake."""


@contextmanager
def three(folder: Path, host: str, *, prices: bool = False) -> Iterator[World]:
    with world(folder, miners=3, miner_host=host, models={"antminer-s21": 1}, feeders=1, pace=160.0) as site:
        if not prices:
            (site.folder / "feeds" / "day_ahead.csv").unlink()
        yield site


def order(power_w: float, for_s: float = 3_600.0) -> dict[str, Any]:
    until_ms = system_clock().now_ms() + round(for_s * 1000)
    return {"scope": "alatau/north", "power_w": power_w, "until": iso(until_ms)}


def counts(hub: Running) -> Any:
    return hub.ports.sites.status("north")["counts"]


def modes(hub: Running) -> list[Any]:
    table = hub.hub.components.state.snapshot.kind("miner")
    return [table.reading(device).values.get("mode") for device in sorted(table.index)]


def why(hub: Running) -> str:
    return hub.ports.sites.status("north")["why"]["text"]


def rested_s(hub: Running) -> float:
    """Seconds since the unit that was switched last went to sleep."""
    components = hub.hub.components
    now_ms = components.clock.now_ms()
    asked = components.state.sites["alatau/north"].standing.commanded(now_ms)
    return float((now_ms - asked.since_ms).min()) / 1000.0


async def all_hash(hub: Running) -> None:
    await until("all hash", lambda: counts(hub)["hashing"] == 3, 60)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("prices", [False, True], ids=["no prices", "the feed dies"])
def test_a_site_comes_back_after_an_order(tmp_path: Path, prices: bool) -> None:
    async def main(site: World) -> None:
        async with start(load(site.config, environment={}), tmp_path) as hub:
            await all_hash(hub)
            before = modes(hub)
            if prices:
                await until("a plan", lambda: hub.ports.plans.plan("north"), 30)
            made = await hub.messages.submit_order(order(ALL_ASLEEP_W), BY)
            await until("all sleep", lambda: counts(hub)["asleep"] == 3, 60)
            await until("no unit is within its minimum off-time", lambda: rested_s(hub) > MIN_OFF_S + 0.5, 40)
            if prices:
                for feed in (site.folder / "feeds").iterdir():
                    feed.write_text("the feed has died")
            await hub.messages.end_order(made["id"], BY, "")
            await all_hash(hub)
            await until("each in the mode it had", lambda: modes(hub) == before, 40)
            standing = hub.hub.components.state.sites["alatau/north"].standing
            await until("nothing left to restore", lambda: (standing.commanded(0).restore < 0).all(), 20)
            issued = [body for _, body in events(hub, "command.issued")]
            assert all(body["restore_mode"] == "normal" for body in issued if body["intent"] == "Sleep")
        replayed = await asyncio.to_thread(replay_folder, tmp_path)
        assert replayed.difference is None and replayed.commands >= 6

    with three(tmp_path, f"127.78.3{int(prices)}.1", prices=prices) as site:
        asyncio.run(main(site))


def events(hub: Running, kind: str) -> list[tuple[int, Any]]:
    return [(position, event.body) for position, event in hub.hub.components.recorder.journal.events([kind])]


@pytest.mark.timeout(240)
def test_a_kill_in_the_middle_of_an_order_changes_nothing_of_that(tmp_path: Path) -> None:
    def status(site: World) -> Any:
        return site.api("GET", "/sites/north/status")["counts"]

    async def main(site: World) -> None:
        with hub_process(site):
            await until("all hash", lambda: status(site)["hashing"] == 3, 60)
            made = site.api("POST", "/sites/north/orders", order(ALL_ASLEEP_W))
            await until("all sleep", lambda: status(site)["asleep"] == 3, 60)
        with hub_process(site):
            assert site.api("GET", "/sites/north/orders")[0]["phase"] in ("acting", "holding")
            await asyncio.sleep(3)
            assert status(site)["asleep"] == 3
            site.api("DELETE", f"/sites/north/orders/{made['id']}")
            await until("all hash again", lambda: status(site)["hashing"] == 3, 60)

    with three(tmp_path, "127.78.32.1") as site:
        asyncio.run(main(site))


@pytest.mark.timeout(240)
def test_who_is_held_back_is_named(tmp_path: Path) -> None:
    async def main(site: World) -> None:
        async with start(load(site.config, environment={}), tmp_path) as hub:
            await all_hash(hub)
            made = await hub.messages.submit_order(order(ALL_ASLEEP_W), BY)
            await until("all sleep", lambda: counts(hub)["asleep"] == 3, 60)
            taken = {
                "device": "alatau/north/miner-00002",
                "owner": "repair",
                "hands_off": True,
                "words": "on the bench",
                "by": "aida",
            }
            await hub.ports.journal.record("owner.changed", taken, "north")
            await hub.messages.end_order(made["id"], BY, "")
            await until("the others hash", lambda: counts(hub)["hashing"] == 2, 60)
            await until("it is named", lambda: "1 held back (miner-00002): a person" in why(hub), 20)
            await hub.ports.journal.record("owner.changed", {**taken, "owner": "hub", "hands_off": False}, "north")
            await all_hash(hub)

    with three(tmp_path, "127.78.33.1") as site:
        asyncio.run(main(site))


@pytest.mark.timeout(240)
def test_a_site_that_only_observes_has_nothing_to_come_back_from(tmp_path: Path) -> None:
    async def main(site: World) -> None:
        text = site.config.read_text()
        site.config.write_text(
            text.replace('inventory = "inventory.csv"', 'inventory = "inventory.csv"\nobserve_only = true', 1)
        )
        async with start(load(site.config, environment={}), tmp_path) as hub:
            await all_hash(hub)
            answer = await hub.messages.submit_order(order(ALL_ASLEEP_W), BY)
            assert answer["phase"] == "refused" and "only observes" in answer["refused"] and answer["observe_only"]
            free = hub.ports.plans.availability("north")
            assert (free["down_w"], free["up_w"], free["excluded"][0]["reason"]) == (0.0, 0.0, "the site only observes")
            await asyncio.sleep(5)
            assert counts(hub)["hashing"] == 3 and not events(hub, "command.issued")

    with three(tmp_path, "127.78.34.1") as site:
        asyncio.run(main(site))
