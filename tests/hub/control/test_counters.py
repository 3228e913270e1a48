# SPDX-License-Identifier: Apache-2.0
"""Each counter has a reader: `/metrics` for all, and for those that count a loss an event, a line of the page and `/health`."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hub import wiring
from hub.api.order_messages import OrderMessages
from hub.app.demo_site import write_simulated_site
from hub.app.simulate import simulated
from hub.app.virtual_time import VirtualLoop, run
from hub.config import load
from hub.control.order_desk import OrderDesk
from hub.journal import recorder
from hub.query.event_text import line
from hub.query.health import HealthReads
from hub.query.orders import OrderReads
from hub.query.schema import Feed
from hub.query.status import duty_feeds
from hub.wiring import Assembly, live
from kernel.clock import from_iso, loop_clock, system_clock
from twin.site import Site
from twin.spec import TwinSpec

EPOCH_MS = from_iso("2026-03-02T00:00:00+05:00")

EVERY_WIRE = """
[hub]
name = "hub"
port = 1
[[sites]]
name = "site"
operator = "North Mining LLP"
zone = "Asia/Almaty"
import_cap_w = 4e6
[[sites.feeders]]
name = "f1"
cap_w = 2e6
[[sites.meters]]
name = "main"
role = "main"
profile = "sparkplug_meter"
sparkplug = { group = "plant", node = "edge1", device = "meter1" }
[[sites.meters]]
name = "m1"
role = "feeder"
feeder = "f1"
profile = "eastron_sdm630"
host = "127.0.0.1"
[[sites.containers]]
name = "c1"
profile = "bitdeer_d40"
topic = "c1"
[[sinks]]
name = "metrics"
kind = "victoria"
url = "http://127.0.0.1:1"
[[dispatchers]]
name = "grid"
public_key = "0000000000000000000000000000000000000000000000000000000000000001"
"""


def view_of(wired: Assembly) -> HealthReads:
    return HealthReads(wired.hub.components, "test")


def shown(text: str) -> dict[str, float]:
    """The samples of an exposition by name with labels."""
    rows = [row.rpartition(" ") for row in text.splitlines() if not row.startswith("#")]
    return {name.removeprefix("mining_hub_"): float(value) for name, _, value in rows}


def test_readings_that_were_lost_are_on_the_record_the_page_and_in_health(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A journal that is down for longer than the queue lasts."""
    monkeypatch.setattr(recorder, "MOST_WAITING_READINGS", 60)
    loop = VirtualLoop()
    clock = loop_clock(EPOCH_MS, loop.time)
    spec = TwinSpec(miners=12, rack_size=6, seed=3, hub="alatau", site="north", feeders=1, faults={})
    config = load(write_simulated_site(tmp_path, Site(spec, EPOCH_MS), spec, EPOCH_MS), environment={})

    def down(*_: Any) -> int:
        raise OSError("No space left on device")

    def losses(wired: Assembly) -> list[Feed]:
        return [feed for feed in duty_feeds(wired.hub.components, clock.now_ms()) if feed["name"] == "readings_lost"]

    async def main() -> None:
        wired = await simulated(config, tmp_path, tmp_path / config.hub.data, spec, clock)
        components, view = wired.hub.components, view_of(wired)
        running = asyncio.create_task(wired.hub.run())
        await asyncio.sleep(600.0)
        assert shown(view.exposition())["readings_lost"] == 0.0
        assert not losses(wired) and view.health()["ok"]
        append = components.recorder.journal.append
        monkeypatch.setattr(components.recorder.journal, "append", down)
        ticks = wired.hub.ticks
        await asyncio.sleep(1800.0)
        assert wired.hub.ticks == ticks, "nothing is decided meanwhile"
        monkeypatch.setattr(components.recorder.journal, "append", append)
        await asyncio.sleep(600.0)
        lost = components.recorder.readings_lost
        assert lost > 0 and components.recorder.fault is None
        assert shown(view.exposition())["readings_lost"] == lost
        (feed,) = losses(wired)
        assert feed["state"] == "stale" and f"{lost} since the start" in feed["text"]
        assert view.health()["faults"] == [f"readings lost: {feed['text']}"]
        reported = [event for _, event in components.recorder.journal.events(["data.lost"])]
        assert sum(event.body["grown"]["readings_lost"] for event in reported) == lost
        assert line(reported[0])["level"] == "alarm" and "readings_lost +" in line(reported[0])["text"]
        ended = [event for _, event in components.recorder.journal.events(["tick.decided"])]
        assert len(ended) < ticks + 15, "a failed tick does not try again at once, nor pile up"
        await asyncio.sleep(3700.0)
        assert not losses(wired) and view.health()["ok"], "an hour after the last loss it is history"
        wired.hub.stop()
        await running

    run(main(), loop)


def test_metrics_show_the_counters_of_every_wire(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text(EVERY_WIRE)

    async def main() -> None:
        config = load(tmp_path / "hub.toml", environment={})
        wired = await live(config, tmp_path, tmp_path / "data")
        components = wired.hub.components
        desk = OrderMessages(OrderDesk(wired.hub), OrderReads(components))
        wiring.orders_by_mqtt(config, tmp_path, desk, system_clock(), components.counters, wired.hub.supervisor)
        components.subscriptions[0].topics.hear("nobody's", b"{}", False, 0)  # type: ignore[attr-defined]
        components.subscriptions[0].topics.hear("c1MainData", b"\xff", False, 0)  # type: ignore[attr-defined]
        components.subscriptions[1].host.hear("spBv1.0/plant/NDATA/edge9", b"", 0)  # type: ignore[attr-defined]
        found = shown(view_of(wired).exposition())
        for close in components.closers:
            close()
        assert found["mqtt_unknown_topic"] >= 1.0 and found["sparkplug_strangers"] == 1.0
        expected = {
            "mqtt_messages", "mqtt_malformed", "mqtt_retained_passed_over", "sparkplug_messages", "sparkplug_malformed",
            "sparkplug_gaps", "sparkplug_late_deaths", "sparkplug_rebirths_asked", "readings_lost", "polls_ok",
            "polls_failed", "polls_late", "orders_mqtt_taken", "orders_mqtt_refused", 'sink_set_aside{sink="metrics"}',
            'modbus_frames_skipped{line="tcp://127.0.0.1:502"}', 'modbus_frames_broken{line="tcp://127.0.0.1:502"}',
        }  # fmt: skip
        assert expected <= set(found), expected - set(found)

    asyncio.run(main())
