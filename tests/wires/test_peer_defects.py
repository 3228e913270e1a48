# SPDX-License-Identifier: Apache-2.0
"""What other systems of this kind get wrong at the miner, each shown on real sockets not to happen here."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.actuation import Bench
from kernel.clock import system_clock
from kernel.metric import SCHEMAS
from kernel.reading import Absence, Missing, Reading
from kernel.receipt import Receipt, Unknown, Unreachable, Verified
from miner_control.control.actuator import Actuator
from miner_control.fleet.command import Intent, Reboot, Sleep, Wake, command
from miner_control.fleet.fleet import STATE_CODE, Fleet, fleet_of, never_commanded, roster_of
from miner_control.fleet.miner import State
from miner_control.fleet.observed import observed_of
from telemetry.collect.collector import Collector
from telemetry.collect.snapshot import Snapshot
from telemetry.collect.source import Tier
from tests.builders.commands import carry_out, journalled
from tests.hub_site import until
from tests.miner_control.fleets import envelope
from tests.twins import Twin, running_twin
from tests.wires.miner_peer import peer, port_of, says

MODELS = {"whatsminer-m50s": 1.0, "luxos-s19k-pro": 1.0, "braiins-s21-pro": 1.0}


@pytest.fixture
def twin(tmp_path: Path):
    with running_twin(tmp_path, miners=3, models=MODELS, containers=0, feeders=1, pace=300.0) as found:
        yield found


def ordered(twin: Twin, intent: Sleep | Wake, deadline_s: float) -> dict[str, Receipt]:
    async def main() -> dict[str, Receipt]:
        bench = Bench(twin.ready, 1e9, 100)
        receipts = await bench.order(intent, sorted(bench.ports), deadline_s, 0)
        await bench.actuator.close()
        bench.exchanges.close()
        return receipts

    return asyncio.run(main())


def test_a_confirmed_sleeper_that_falls_silent_counts_as_load_again(twin: Twin) -> None:
    """Elsewhere it stays "curtailed", observed now."""
    devices = sorted(miner["device"] for miner in twin.miners)

    async def main() -> tuple[Fleet, Fleet, Snapshot, int]:
        bench, snapshot, clock = Bench(twin.ready, 1e9, 100), Snapshot(), system_clock()

        def hear(rows: list[Reading]) -> None:
            for row in rows:
                snapshot.hear(row)

        receipts = await bench.order(Sleep(), devices, 20.0, 0)
        assert all(isinstance(receipt, Verified) for receipt in receipts.values()), receipts
        periods = {"miner": {Tier.FAST: 0.2, Tier.SLOW: 60.0, Tier.DAILY: 600.0}}
        collector = Collector(
            bench.ports.values(), hear, lambda *reported: None, clock, np.random.default_rng(1), periods,
            time_out_s=1.0, most_back_off_s=0.3,
        )  # fmt: skip
        task = asyncio.create_task(collector.run())
        miners = [bench.ports[device].miner for device in devices]
        roster = roster_of(miners, {(m.model, m.dialect): bench.envelopes[m.device] for m in miners})
        nobody = never_commanded(roster)
        asked = replace(nobody, put_to_sleep=np.ones(3, dtype=np.bool_))

        def fleet() -> Fleet:
            now_ms = clock.now_ms()
            return fleet_of(roster, observed_of(roster, snapshot.kind("miner"), now_ms), asked, now_ms, stale_s=2.0)

        def drawing(least_w: float, most_w: float) -> Fleet | None:
            found = fleet()
            return found if least_w <= float(found.settled_w.sum()) < most_w else None

        before = await until("all three are heard to sleep", lambda: drawing(1.0, 500.0))
        await asyncio.to_thread(twin.fault, {"devices": devices, "faults": ["hung"]})
        after = await until("silence counts as load", lambda: drawing(8_000.0, 1e6))
        now_ms = clock.now_ms()
        task.cancel()
        await bench.actuator.close()
        bench.exchanges.close()
        return before, after, snapshot, now_ms

    before, after, snapshot, now_ms = asyncio.run(main())
    assert before.tally()["asleep"] == 3
    assert (after.state == STATE_CODE[State.UNREACHABLE]).all()
    for device in devices:
        found = snapshot.field(device, "hashrate_hs", now_ms, 60.0)
        assert isinstance(found, Missing) and found.reason in (Absence.TIMED_OUT, Absence.UNREACHABLE), "never 0 TH/s"


def test_frozen_telemetry_confirms_nothing(twin: Twin) -> None:
    """Elsewhere a sample from before the order is taken for its proof."""
    devices = [miner["device"] for miner in twin.miners]
    for miner in twin.miners:
        assert twin.truth(miner["device"])["asleep"] is False
    twin.fault({"devices": devices, "faults": ["frozen"]})
    receipts = ordered(twin, Sleep(), 4.0)
    assert all(isinstance(receipt, Unknown) for receipt in receipts.values()), receipts


def test_half_a_shed_is_no_shed(twin: Twin) -> None:
    """Elsewhere a drop by half is enough."""
    twin.fault({"devices": [miner["device"] for miner in twin.miners], "faults": ["half_shed"]})
    receipts = ordered(twin, Sleep(), 6.0)
    assert all(isinstance(receipt, Unknown) for receipt in receipts.values()), receipts


def test_a_device_that_was_down_gets_the_command_once_when_it_is_back(twin: Twin) -> None:
    """Elsewhere an order for one that cannot be reached is queued again and never sent, or marked as failed."""
    devices = sorted(miner["device"] for miner in twin.miners)
    twin.fault({"devices": devices, "faults": ["refused"]})

    async def main() -> dict[str, Receipt]:
        bench = Bench(twin.ready, 1e9, 100)

        async def mend() -> None:
            await asyncio.sleep(2.5)
            await asyncio.to_thread(twin.fault, {"devices": devices, "faults": []})

        mending = asyncio.create_task(mend())
        receipts = await bench.order(Sleep(), devices, 30.0, 0)
        await mending
        await bench.actuator.close()
        bench.exchanges.close()
        return receipts

    receipts = asyncio.run(main())
    assert all(isinstance(receipt, Verified) for receipt in receipts.values()), receipts
    assert all(twin.truth(device)["asleep"] for device in devices)


def test_the_limit_of_commands_in_flight_is_kept() -> None:
    """Elsewhere it is configured and has no effect."""
    open_now, open_most = 0, 0

    async def busy(data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, open_most
        open_now += 1
        open_most = max(open_most, open_now)
        await asyncio.sleep(0.1)
        open_now -= 1
        await says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")(data, reader, writer)

    async def main() -> int:
        async with peer(busy) as where:
            ports = {f"h/s/m{at}": port_of(where, "bitaxe", http=where.port) for at in range(12)}
            ended: list[Receipt] = []
            actuator = Actuator(
                ports, system_clock(), lambda device: envelope(), lambda asked, receipt, at_ms: ended.append(receipt),
                in_flight=3, watch_in_flight=1,
            )  # fmt: skip
            asked = [command(1, device, Wake(), "test", deadline_s=20.0) for device in ports]
            actuator.start(journalled(asked))
            await until("each was sent its write", lambda: sum(b"GET" not in data[:3] for data in where.heard) == 12)
            await actuator.close()
            return len(where.heard)

    heard = asyncio.run(main())
    assert 2 <= open_most <= 3 + 1, "three writes, and one read-back on its own lane"
    assert heard >= 12


@pytest.mark.parametrize("intent", [Reboot(), Sleep()])
def test_a_lost_reply_sends_nothing_twice(intent: Intent) -> None:
    """Elsewhere lost replies sent a reboot four times."""
    writes = 0

    async def main() -> Receipt:
        async def speak(data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal writes
            writes += b"POST" in data or b"PATCH" in data
            if data.startswith(b"GET"):
                await says(b"HTTP/1.1 500 Busy\r\nContent-Length: 0\r\n\r\n")(data, reader, writer)

        async with peer(speak) as where:
            receipts: list[Receipt] = []
            port = port_of(where, "bitaxe", http=where.port)
            actuator = Actuator(
                {"h/s/m1": port}, system_clock(), lambda device: envelope(),
                lambda asked, receipt, at_ms: receipts.append(receipt),
            )  # fmt: skip
            await carry_out(actuator, journalled([command(1, "h/s/m1", intent, "test", deadline_s=3.0)]))
            return receipts[0]

    receipt = asyncio.run(main())
    assert isinstance(receipt, Unknown), receipt
    assert writes == 1


def test_a_silent_device_is_not_reported_as_failed(twin: Twin) -> None:
    """Elsewhere an unknown outcome becomes FAILED, and its load is forgotten: here it is Unknown, or Unreachable unsent."""
    twin.fault({"devices": [miner["device"] for miner in twin.miners], "faults": ["hung"]})
    receipts = ordered(twin, Sleep(), 3.0)
    assert all(isinstance(receipt, Unknown | Unreachable) for receipt in receipts.values()), receipts


def test_every_metric_of_a_failed_poll_has_a_reason() -> None:
    async def main() -> list[Missing]:
        rows: list[Reading] = []

        async def mute(data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(9)

        async with peer(mute) as where:
            port = port_of(where)
            periods = {"miner": {Tier.FAST: 0.1, Tier.SLOW: 60.0, Tier.DAILY: 600.0}}
            collector = Collector(
                [port], rows.extend, lambda *reported: None, system_clock(), np.random.default_rng(1), periods,
                time_out_s=0.4, most_back_off_s=0.2,
            )  # fmt: skip
            task = asyncio.create_task(collector.run())
            await until("three silent polls", lambda: len(rows) >= 3)
            task.cancel()
        assert rows and all(row.get("state") == "unreachable" for row in rows)
        return [row.get(metric) for row in rows for metric in SCHEMAS["miner"] if metric != "state"]  # type: ignore[misc]

    reported = asyncio.run(main())
    assert all(isinstance(field, Missing) for field in reported)
    assert {field.reason for field in reported} <= {Absence.TIMED_OUT, Absence.UNREACHABLE, Absence.NOT_ASKED}
