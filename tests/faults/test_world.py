# SPDX-License-Identifier: Apache-2.0
"""What the world does to a hub: dead pool, meter, prices, broker, half the miners. It says so, keeps its limits, recovers."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
import structlog

from grid.order_book import Authority
from hub.app.live import Running, start
from hub.config import load
from kernel.clock import iso, system_clock
from tests.hub_site import World, until, world
from tests.servers import free_port, need, running

DISPATCHER = Authority("control-room", ("alatau/north",))


def feed(hub: Running, name: str) -> Any:
    return next((line for line in hub.ports.sites.status("north")["feeds"] if line["name"] == name), None)


def is_state(hub: Running, name: str, *states: str) -> Any:
    line = feed(hub, name)
    return line if line is not None and line["state"] in states else None


async def limit(hub: Running, power_w: float = 60_000.0) -> None:
    body = {"scope": "alatau/north", "power_w": power_w, "until": iso(system_clock().now_ms() + 3_600_000)}
    line = await hub.messages.submit_order(body, DISPATCHER)
    assert line["phase"] != "refused", line


def cap(hub: Running) -> float | None:
    return hub.ports.sites.status("north")["cap_w"]


def meter_w(hub: Running) -> float | None:
    return hub.ports.sites.status("north")["power"]["main"]["value"]


@pytest.fixture
def said() -> Any:
    """What the hub logs, as dicts."""
    with structlog.testing.capture_logs() as lines:
        yield lines


def times(said: list[Any], event: str, what: str) -> int:
    return sum(line.get("event") == event and line.get("what") == what for line in said)


async def planned(hub: Running) -> Any:
    return await until("a plan", lambda: hub.ports.plans.plan("north"))


@pytest.mark.timeout(300)
def test_a_dead_pool_is_reported_once_and_the_treasury_recovers(tmp_path: Path, said: list[Any]) -> None:
    async def main(site: World) -> None:
        async with start(load(site.config, environment={}), tmp_path) as hub:
            settling = hub.wired.settling
            assert settling is not None
            await until("a payout", lambda: settling.last and settling.last.posted_sat > 0, 90)
            await asyncio.to_thread(site.control, "/fault", {"service": True, "faults": ["pool_dead"]})
            await until("pool down on the page", lambda: is_state(hub, "settlement", "dead"))
            await asyncio.sleep(8)
            before = settling.last.posted_sat
            assert sum("pool" in str(line.get("why", "")) for line in said if line.get("event") == "down") == 1
            await asyncio.to_thread(site.control, "/fault", {"service": True, "faults": []})
            await until("the next payout", lambda: settling.last.posted_sat > before, 90)
            await until("pool well on the page", lambda: is_state(hub, "settlement", "ok"))

    with world(tmp_path, miners=12, miner_host="127.78.0.1", payout_every_s=5.0) as site:
        asyncio.run(main(site))


@pytest.mark.timeout(300)
def test_a_dead_meter_and_half_the_miners_silent(tmp_path: Path, said: list[Any]) -> None:
    async def main(site: World) -> None:
        async with start(load(site.config, environment={}), tmp_path) as hub:
            await until(
                "meter and miners", lambda: meter_w(hub) and hub.ports.sites.status("north")["counts"]["hashing"] >= 22
            )
            await limit(hub)
            await until("obeyed", lambda: (meter_w(hub) or 1e9) <= 60_000.0, 60)

            meters = [str(meter["device"]).rpartition("/")[2] for meter in site.ready["meters"]]
            main_meter = next(name for name in meters if "main" in name)
            await asyncio.to_thread(site.control, "/fault", {"meter": main_meter, "faults": ["dead"]})
            line = await until("meter dead on the page", lambda: is_state(hub, "meters", "dead"))
            assert main_meter in line["text"]
            await until("no stale value shown as live", lambda: meter_w(hub) is None)
            status = hub.ports.sites.status("north")
            assert status["power"]["main"]["value"] is None and status["power"]["main"]["why"]
            assert status["power"]["best"]["source"] != "main meter"
            assert cap(hub) == 60_000.0
            truth = await asyncio.to_thread(site.control, "/truth")
            assert truth["miners_power_w"] <= 60_000.0, "the limit is held without the meter"
            await asyncio.to_thread(site.control, "/fault", {"meter": main_meter, "faults": []})
            await until("the meter again", lambda: is_state(hub, "meters", "ok") and meter_w(hub))
            log = [event.kind for event in next(iter(hub.hub.components.state.sites.values())).log]
            assert log.count("source.silent") == log.count("source.returned") == 1

            half = [miner["device"] for miner in site.ready["miners"]][::2]
            await asyncio.to_thread(site.control, "/fault", {"devices": half, "faults": ["hung"]})
            await until(
                "half silent on the page", lambda: hub.ports.sites.status("north")["counts"]["unreachable"] >= 11, 90
            )
            counts = hub.ports.sites.status("north")["counts"]
            assert counts["asleep"] + counts["unreachable"] + counts["hashing"] <= counts["total"]
            line = feed(hub, "miners")
            assert line["state"] in ("stale", "dead"), (line, counts)
            assert cap(hub) == 60_000.0
            await asyncio.sleep(3)
            truth = await asyncio.to_thread(site.control, "/truth")
            assert truth["miners_power_w"] <= 60_000.0
            await asyncio.to_thread(site.control, "/fault", {"devices": half, "faults": []})
            await until("all heard again", lambda: hub.ports.sites.status("north")["counts"]["unreachable"] == 0, 150)

    with world(tmp_path, miners=24, miner_host="127.79.0.1") as site:
        asyncio.run(main(site))


@pytest.mark.timeout(300)
def test_the_price_feed_dies_and_comes_back(tmp_path: Path, said: list[Any]) -> None:
    async def main(site: World) -> None:
        async with start(load(site.config, environment={}), tmp_path) as hub:
            await planned(hub)
            assert is_state(hub, "price", "ok")
            file = tmp_path / "feeds" / "day_ahead.csv"
            good = file.read_text()
            file.write_text(
                good.replace("known_at: ", "known_at: 2026-01-01T00:00:00Z # ").replace("end,value", "end,valu")
            )
            line = await until("a spoilt file is refused", lambda: is_state(hub, "price", "refused"))
            assert "last good curve holds" in line["text"]
            plan = hub.ports.plans.plan("north")
            assert plan is not None
            await limit(hub)
            await until("planned again on what it knows", lambda: hub.ports.plans.plan("north")["id"] != plan["id"])
            assert cap(hub) == 60_000.0
            file.write_text(good.replace("# source: make-believe", "# source: make-believe again"))
            await until("a good file is taken", lambda: is_state(hub, "price", "ok"))

    with world(tmp_path, miners=12, miner_host="127.80.0.1") as site:
        asyncio.run(main(site))


@pytest.mark.timeout(300)
def test_no_price_at_all_still_obeys(tmp_path: Path, said: list[Any]) -> None:
    async def main(site: World) -> None:
        for file in (tmp_path / "feeds").glob("*.csv"):
            file.unlink()
        async with start(load(site.config, environment={}), tmp_path) as hub:
            await until("miners", lambda: meter_w(hub) and hub.ports.sites.status("north")["counts"]["hashing"] >= 11)
            assert is_state(hub, "price", "dead")
            await limit(hub, 25_000.0)
            await until("obeyed without a plan", lambda: (meter_w(hub) or 1e9) <= 25_000.0, 60)
            assert hub.ports.plans.plan("north") is None

    with world(tmp_path, miners=12, miner_host="127.81.0.1") as site:
        asyncio.run(main(site))


@pytest.mark.timeout(300)
def test_the_broker_restarts(tmp_path: Path, said: list[Any]) -> None:
    logging.getLogger("paho").setLevel(logging.CRITICAL)
    port = free_port()

    def container_ms(hub: Running) -> int:
        table = hub.hub.components.state.snapshot.kind("container")
        return table.reading(table.devices[0]).at_ms if table.devices else 0

    async def story(site: World) -> None:
        program = need("mosquitto")
        conf = tmp_path / "broker.conf"
        conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
        async with start(load(site.config, environment={}), tmp_path) as hub:
            with running([program, "-c", str(conf)], port=port):
                await until("the container speaks", lambda: container_ms(hub))
                assert is_state(hub, "broker", "ok")
                await limit(hub)
            await until("broker down on the page", lambda: is_state(hub, "broker", "dead"))
            await asyncio.sleep(3)
            assert times(said, "down", "broker") <= 2 and cap(hub) == 60_000.0
            silent_ms = container_ms(hub)
            with running([program, "-c", str(conf)], port=port):
                await until("the container again", lambda: container_ms(hub) > silent_ms, 90)
                assert is_state(hub, "broker", "ok") and cap(hub) == 60_000.0

    with world(tmp_path, miners=8, broker_port=port, miner_host="127.82.0.1") as site:
        asyncio.run(story(site))
