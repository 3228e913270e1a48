# SPDX-License-Identifier: Apache-2.0
"""What a live site offers up, by its meter: a load that no miner explains takes its room, and without the meter there is none."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from grid.order_book import Authority
from hub.app.live import Running, start
from hub.config import load
from hub.query.flexibility import STALE
from kernel.clock import iso, system_clock
from tests.hub_site import World, until, world
from twin.spec import Losses

SITE = "alatau/north"
LIMIT_W = 24_000.0


def at_once(hub: Running) -> tuple[dict[str, Any], Any]:
    """Availability and status of one instant."""
    return hub.ports.plans.availability("north"), hub.ports.sites.status("north")


@pytest.mark.timeout(300)
def test_up_is_never_offered_above_limit_less_meter(tmp_path: Path) -> None:
    """20 kW that no miner draws: by what the hub believes of its miners there would be room for several of them."""

    async def main(site: World) -> None:
        text = re.sub(r"other_load_share = [\d.]+", "other_load_share = 0.05", site.config.read_text())
        site.config.write_text(text)
        async with start(load(site.config, environment={}), tmp_path) as hub:
            components = hub.hub.components
            await until("all hash", lambda: hub.ports.sites.status("north")["counts"]["hashing"] == 6, 90)
            until_text = iso(system_clock().now_ms() + 3_600_000)
            body = {"scope": SITE, "power_w": LIMIT_W, "until": until_text, "reference": "D-9", "reason": "line out"}
            await hub.messages.submit_order(body, Authority("control-room", (SITE,)))
            await until(
                "obeyed", lambda: (hub.ports.sites.status("north")["power"]["main"]["value"] or 1e9) <= LIMIT_W, 60
            )
            await asyncio.sleep(6)  # The miners' minimum off-time at this pace.
            here = components.state.sites[SITE]
            looks = 0
            for _ in range(20):
                free, status = at_once(hub)
                meter_w = status["power"]["main"]["value"]
                assert meter_w is not None
                room_w = max(0.0, LIMIT_W - meter_w)
                assert max(free["up_w"] + free["locked_up_w"], *free["up_in_w"]) <= room_w
                assert free["up_w"] == status["available_up_w"]["value"]
                looks += LIMIT_W - components.situations.at(here, components.clock.now_ms()).drawn_w > room_w + 3_000.0
                assert free["up_limited_by"] == ["order D-9: line out"]
                assert status["available_up_w"]["why"] == "order D-9: line out"
                await asyncio.sleep(0.2)
            assert looks, "what the hub believes would have been offered"
            reported = await asyncio.to_thread(site.api, "GET", "/sites/north/availability")
            assert reported["up_limited_by"] == ["order D-9: line out"]
            offers = await hub.ports.plans.offers("north", None)
            slot, (_, status) = offers["availability"][0], at_once(hub)
            assert slot["up_w"] <= max(0.0, LIMIT_W - (status["power"]["main"]["value"] or 0.0)) + 100.0

            meter = next(one["name"] for one in site.control("/truth")["meters"] if "main" in one["name"])
            await asyncio.to_thread(site.control, "/fault", {"meter": meter, "faults": ["dead"]})
            await until("the meter is stale", lambda: at_once(hub)[1]["power"]["main"]["value"] is None, 60)
            free, status = at_once(hub)
            assert free["up_w"] == free["locked_up_w"] == 0.0 and not any(free["up_in_w"])
            assert STALE in free["up_limited_by"] and STALE in status["available_up_w"]["why"]
            assert free["down_w"] + free["locked_down_w"] > 0.0 or status["counts"]["hashing"] == 0
            slot = (await hub.ports.plans.offers("north", None))["availability"][0]
            assert slot["up_w"] == 0.0 and STALE in slot["why_not_more"]

    losses = Losses(transformer_fixed_w=20_000.0)
    with world(
        tmp_path, miners=6, miner_host="127.78.44.1", feeders=1, models={"antminer-s21": 1}, pace=160.0, losses=losses
    ) as site:
        asyncio.run(main(site))
