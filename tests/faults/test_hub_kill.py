# SPDX-License-Identifier: Apache-2.0
"""kill -9 of a whole hub at random moments, on the same folder each time: what it had acknowledged is there, once."""

import random
import time
from pathlib import Path

import pytest

from hub.wiring import reading, reading_ledger
from kernel.clock import iso, system_clock
from kernel.event import Event
from kernel.reading import ReadingBatch
from tests.hub_site import World, hub_process, world
from tests.servers import count
from treasury.checks import check
from treasury.transfer import Transfer

KILLS = count(4, 20)


def contents(folder: Path, until: int) -> list[tuple[object, ...]]:
    """The journal up to a position, as what each record says."""
    found: list[tuple[object, ...]] = []
    for record in reading(folder / "data").records(until=until):
        if isinstance(record.content, Event):
            found.append((record.position, record.content.key, record.content.kind, dict(record.content.body)))
        else:
            assert isinstance(record.content, ReadingBatch)
            rows = [(r.device, r.at_ms, dict(r.values)) for r in record.content.readings()]
            found.append((record.position, record.content.kind, rows))
    return found


def booked_in(folder: Path) -> list[Transfer]:
    return [entry.body for entry in reading_ledger(folder / "data").entries() if isinstance(entry.body, Transfer)]


def transfers(folder: Path) -> list[str]:
    return [str(transfer.id) for transfer in booked_in(folder)]


def paid(folder: Path) -> None:
    """Until the pool has paid: on a slow machine a hub's life may be over before its first settlement."""
    end = time.monotonic() + 60
    while not any(transfer.kind == "payout.received" for transfer in booked_in(folder)):
        assert time.monotonic() < end, "the hub lives, and the pool does not pay"
        time.sleep(0.2)


def order(site: World, seconds: float) -> str:
    body = {
        "power_w": 40_000.0,
        "until": iso(system_clock().now_ms() + round(seconds * 1000)),
        "reference": f"kill-{time.monotonic_ns()}",
    }
    return str(site.api("POST", "/sites/north/orders", body)["id"])


@pytest.mark.timeout(900)
def test_nothing_acknowledged_is_lost_or_doubled_and_the_limit_still_holds(tmp_path: Path) -> None:
    rng = random.Random(20)
    with world(tmp_path, miners=40) as site:
        orders: list[str] = []
        before: list[tuple[object, ...]] = []
        booked: list[str] = []
        for turn in range(KILLS):
            with hub_process(site) as process:
                held = {line["id"]: line["phase"] for line in site.api("GET", "/sites/north/orders")}
                assert set(orders) <= set(held), "an order that was acknowledged is gone"
                if orders:
                    assert held[orders[-1]] in ("accepted", "acting", "holding")
                    assert site.api("GET", "/sites/north/status")["cap_w"] == 40_000.0
                # What was on disk before the kill stands unchanged, and what was booked is booked once.
                assert contents(tmp_path, len(before)) == before
                assert transfers(tmp_path)[: len(booked)] == booked
                if turn % 2 == 0:
                    orders.append(order(site, 3600.0))
                time.sleep(rng.uniform(0.5, 6.0))
                if turn == KILLS - 1:
                    paid(tmp_path)
                acknowledged = int(site.api("GET", "/health")["position"])
                before, booked = contents(tmp_path, acknowledged), transfers(tmp_path)
                process.kill()
                process.wait()
        with hub_process(site) as process:
            site.api("GET", "/health")
            process.terminate()
            process.wait()
        journal, ledger = reading(tmp_path / "data"), reading_ledger(tmp_path / "data")
        assert contents(tmp_path, len(before)) == before
        positions = [record.position for record in journal.records()]
        assert positions == list(range(1, len(positions) + 1))
        events = [
            event for _, event in journal.events(["order.received", "payout.posted", "command.issued", "hub.started"])
        ]
        assert len({event.key for event in events}) == len(events)
        received = [event.body["order"]["id"] for event in events if event.kind == "order.received"]
        assert sorted(received) == sorted(orders), "each order once"
        assert sum(event.kind == "hub.started" for event in events) == KILLS + 1
        ids = [event.body["id"] for event in events if event.kind == "command.issued"]
        assert len(set(ids)) == len(ids)
        answered = [event.body["id"] for _, event in journal.events(["command.receipt"])]
        assert sorted(answered) == sorted(ids), "each command has one receipt, whatever was killed in between"
        assert check(ledger) == []
        all_ids = transfers(tmp_path)
        assert len(set(all_ids)) == len(all_ids)
        reported = [event.body["id"] for event in events if event.kind == "payout.posted"]
        assert len(set(reported)) == len(reported)
