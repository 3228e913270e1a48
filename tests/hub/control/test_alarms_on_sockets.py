# SPDX-License-Identifier: Apache-2.0
"""What the hub commands is no alarm, over real protocols at real pace: a shed and a restart in the midst of it; with
MINING_HUB_SOAK=1 an hour of shed, wakes and lower modes. The whole of it in virtual time is `test_alarms_of_commands.py`."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from grid.order_book import Authority
from hub.app.live import Running, start
from hub.config import load
from kernel.clock import iso, system_clock
from tests.hub_site import World, until, world
from tests.servers import SOAK

BY = Authority("control-room", ("alatau/north",))
MINERS = 10


def counts(hub: Running) -> dict[str, int]:
    return hub.ports.sites.status("north")["counts"]  # type: ignore[no-any-return]


async def limited(hub: Running, power_w: float, for_s: float) -> str:
    body = {"scope": "alatau/north", "power_w": power_w, "until": iso(system_clock().now_ms() + round(for_s * 1000))}
    return str((await hub.messages.submit_order(body, BY))["id"])


def onto_the_list(hub: Running) -> list[dict[str, Any]]:
    """Changes by which an alarm came onto the operator's list."""
    journal = hub.wired.hub.components.recorder.journal
    changes = [dict(event.body) for _, event in journal.events(["alarm.changed"])]
    return [
        body for body in changes
        if body["what"] == "unsuppressed" or (body["what"] == "raised" and not body.get("suppressed"))
    ]  # fmt: skip


def quiet(hub: Running) -> None:
    """No alarm came onto the list; what is suppressed by design (a board of a sleeping miner) stands on none."""
    assert onto_the_list(hub) == []
    assert [line for line in hub.ports.alarms.alarms("north") if line["state"] != "suppressed"] == []


@pytest.mark.timeout(240)
def test_a_shed_at_real_pace_raises_no_alarm(tmp_path: Path) -> None:
    """In steps, so that whatever is measured over a window is measured from each miner's fall on."""

    async def main(site: World) -> None:
        config = load(site.config, environment={})
        async with start(config, tmp_path) as hub:
            await until("all hash", lambda: counts(hub)["hashing"] == MINERS, 60)
            for left in (24_000.0, 16_000.0, 8_000.0, 2_000.0):
                await limited(hub, left, 600.0)
                await asyncio.sleep(5.0)
            await until("all sleep", lambda: counts(hub)["asleep"] == MINERS, 30)
            await asyncio.sleep(17.0)
            quiet(hub)
        async with start(config, tmp_path) as hub:
            await until("heard again", lambda: counts(hub)["asleep"] == MINERS, 30)
            await asyncio.sleep(6.0)
            quiet(hub)

    with world(
        tmp_path, MINERS, miner_host="127.78.31.1", models={"whatsminer-m50s": 1}, feeders=2, pace=1.0,
        polling={"miner_fast_s": 2.5},
    ) as site:  # fmt: skip
        asyncio.run(main(site))


@pytest.mark.skipif(not SOAK, reason="fifty minutes: MINING_HUB_SOAK=1")
@pytest.mark.timeout(9000)
def test_shed_wakes_and_lower_modes_at_real_pace_raise_no_alarm(tmp_path: Path) -> None:
    async def main(site: World) -> None:
        config = load(site.config, environment={})
        async with start(config, tmp_path) as hub:
            # At real pace a change of mode takes minutes, and the plan's changes come in turns: some always ramp.
            await until("all run", lambda: sum(counts(hub)[s] for s in ("hashing", "ramping", "tuning")) == 24, 120)
            await asyncio.sleep(120.0)
            await limited(hub, 4_000.0, 700.0)
            await asyncio.sleep(45.0)
        async with start(config, tmp_path) as hub:
            await until("all sleep", lambda: counts(hub)["asleep"] >= 23, 180)
            await asyncio.sleep(550.0)
            quiet(hub)
        async with start(config, tmp_path) as hub:
            await asyncio.sleep(1500.0)
            assert counts(hub)["asleep"] == 0
            quiet(hub)
            drawn_w = hub.ports.sites.status("north")["power"]["best"]["value"]
            await limited(hub, 0.85 * drawn_w, 600.0)
            await asyncio.sleep(700.0)
            quiet(hub)

    models = {"whatsminer-m50s": 1, "antminer-s19k-pro": 1, "antminer-s21": 1, "avalon-a1466": 1, "vnish-s21-pro": 1}
    polling = {"miner_fast_s": 5.0, "miner_slow_s": 300.0, "spread_s": 10.0}
    with world(
        tmp_path, 24, miner_host="127.78.32.1", models=models, feeders=2, pace=1.0, polling=polling
    ) as site:  # fmt: skip
        asyncio.run(main(site))
