# SPDX-License-Identifier: Apache-2.0
"""Virtual time's devices tell what the twin's wires tell: the same physics, decoded by the hub's own dialects."""

import asyncio
import hashlib
import time
from collections.abc import Generator
from typing import Any

import pytest

from hub.app.virtual_time import VirtualLoop, run
from kernel.clock import Clock, loop_clock
from kernel.errors import TransportError
from kernel.reading import Absence, Missing, Reading
from kernel.receipt import Accepted, Refused, Unknown, Unreachable, Unsupported
from miner_control.dialect import DIALECTS
from miner_control.fleet.command import InstallFirmware, PowerTarget, Reboot, Sleep, Wake
from miner_control.fleet.driver import Access, Answer, Http, Rpc
from telemetry.collect.source import Tier
from tests.builders.firmware_image import make_image
from twin.antminer import Antminer
from twin.in_memory import SimulatedMiner, SimulatedSite
from twin.spec import TwinSpec
from twin.whatsminer import Whatsminer

BEGAN_MS = 1_700_000_000_000
MODELS = {"antminer-s21": 1, "antminer-s19-pro": 1, "whatsminer-m50s": 1}


class Hand:
    """A clock moved by hand."""

    def __init__(self) -> None:
        self.now_ms = BEGAN_MS
        self.clock = Clock(lambda: self.now_ms, lambda: self.now_ms / 1000.0)

    def site(self, **wanted: Any) -> SimulatedSite:
        return SimulatedSite(
            TwinSpec(**({"miners": 12, "models": MODELS, "faults": {}, "feeders": 2} | wanted)), self.clock
        )


def read(source: Any, tier: Tier = Tier.FAST) -> Reading:
    found: Reading = asyncio.run(source.read(tier))
    return found


def over_the_wire(simulated: SimulatedSite, miner: SimulatedMiner, now_ms: int) -> dict[str, Any]:
    """What the hub's dialect makes of the twin's bytes for the same unit at the same instant."""
    site = simulated.site
    site.machines.advance(now_ms)
    unit = site.by_device[miner.device]
    dialect = DIALECTS[unit.model.dialect]
    stock, whats = Antminer(site), Whatsminer(site)
    access = Access("root", unit.password, {"rpc": 4028, "http": 80})
    talk: Generator[Any, Answer, Any] = dialect.read(access, Tier.FAST, now_ms)
    try:
        request = next(talk)
        while True:
            if isinstance(request, Rpc):
                answer = Answer((stock if unit.model.make == "Bitmain" else whats).rpc(unit, request.payload, now_ms))
            else:
                assert isinstance(request, Http)
                page = request.path.removeprefix("/cgi-bin/").removesuffix(".cgi")
                answer = Answer(stock._read(unit, page).body, 200)
            request = talk.send(answer)
    except StopIteration as end:
        return dict(end.value)


def same(simulated: SimulatedSite, miner: SimulatedMiner, now_ms: int) -> None:
    seen, reported = read(miner), over_the_wire(simulated, miner, now_ms)
    for metric in ("hashrate_hs", "power_w"):
        mine, wire = seen.get(metric), reported[metric]
        if isinstance(mine, Missing) or isinstance(wire, Missing):
            assert isinstance(mine, Missing) == isinstance(wire, Missing), (metric, mine, wire)
        else:
            assert mine == pytest.approx(wire, rel=0.06, abs=1.0), metric
    assert seen.get("state") == reported["state"]


def test_what_is_read_is_what_the_wire_would_tell() -> None:
    hand = Hand()
    simulated = hand.site()
    for miner in simulated.miners:
        same(simulated, miner, hand.now_ms)
    for miner in simulated.miners[:6]:
        assert isinstance(asyncio.run(miner.carry_out(Sleep(), 10.0)), Accepted)
    hand.now_ms += 300_000
    for miner in simulated.miners:
        same(simulated, miner, hand.now_ms)
    assert {read(miner).get("state") for miner in simulated.miners[:6]} == {"asleep"}
    for miner in simulated.miners[:6]:
        assert isinstance(asyncio.run(miner.carry_out(Wake(), 10.0)), Accepted)
    hand.now_ms += 200_000
    assert {read(miner).get("state") for miner in simulated.miners[:6]} == {"ramping"}
    hand.now_ms += 1_500_000
    for miner in simulated.miners:
        same(simulated, miner, hand.now_ms)


def test_a_hashless_unit_is_a_fault_and_a_dead_one_unreachable() -> None:
    hand = Hand()
    simulated = hand.site()
    site = simulated.site
    site.set_faults(site.units[0], {"hashless"}, hand.now_ms)
    site.set_faults(site.units[1], {"dead"}, hand.now_ms)
    faulty = read(simulated.miners[0])
    assert faulty.get("state") == "fault" and faulty.number("hashrate_hs") == 0.0
    with pytest.raises(TransportError) as caught:
        read(simulated.miners[1])
    assert caught.value.reason is Absence.UNREACHABLE
    assert isinstance(asyncio.run(simulated.miners[1].carry_out(Sleep(), 5.0)), Unreachable)


@pytest.mark.parametrize(
    ("fault", "kind"), [("refuses_writes", Refused), ("lost_reply", Unknown), ("reboots_on_write", Unknown)]
)
def test_receipts_of_faulty_units(fault: str, kind: type) -> None:
    hand = Hand()
    simulated = hand.site()
    site = simulated.site
    site.set_faults(site.units[2], {fault}, hand.now_ms)
    assert isinstance(asyncio.run(simulated.miners[2].carry_out(Sleep(), 5.0)), kind)
    assert bool(site.machines.asleep[2]) is (fault == "lost_reply")


def test_a_command_is_seen_by_the_next_reading_within_the_same_grid_step() -> None:
    hand = Hand()
    simulated = hand.site(models={"whatsminer-m50s": 1})
    miner = simulated.miners[0]
    before = read(miner).number("power_w") or 0.0
    asyncio.run(miner.carry_out(Sleep(), 5.0))
    hand.now_ms += 7_000
    after = read(miner)
    assert (after.number("power_w") or 0.0) < 0.02 * before
    assert after.get("state") == "asleep"


@pytest.mark.parametrize(
    ("fault", "kind", "runs"),
    [("", Accepted, "9.9.9"), ("image_refused", Refused, None), ("image_ignored", Accepted, None),
     ("image_bricks", Accepted, "gone")],
)  # fmt: skip
def test_firmware_in_virtual_time(fault: str, kind: type, runs: str | None) -> None:
    hand = Hand()
    simulated = hand.site()
    miner = simulated.miners[0]
    old = read(miner, Tier.DAILY).get("firmware")
    simulated.site.set_faults(simulated.site.units[0], {fault} - {""}, hand.now_ms)
    data = make_image(simulated.site.units[0].model.dialect, "9.9.9")
    intent = InstallFirmware("9.9.9", hashlib.sha256(data).hexdigest(), data)
    assert isinstance(asyncio.run(miner.carry_out(intent, 60.0)), kind)
    hand.now_ms += 3_600_000
    if runs == "gone":
        with pytest.raises(TransportError):
            read(miner, Tier.DAILY)
        assert simulated.site.machines.one(0)[0] < 100.0, "it draws standby, and hashes nothing"
    else:
        assert read(miner, Tier.DAILY).get("firmware") == (runs or old)


def test_a_stock_antminer_has_no_power_target() -> None:
    hand = Hand()
    simulated = hand.site(models={"antminer-s21": 1})
    assert isinstance(asyncio.run(simulated.miners[0].carry_out(PowerTarget(2000.0), 5.0)), Unsupported)
    assert isinstance(asyncio.run(simulated.miners[0].carry_out(Reboot(), 5.0)), Accepted)
    with pytest.raises(TransportError):
        read(simulated.miners[0])


def test_meters_agree_with_miners_and_their_losses() -> None:
    hand = Hand()
    simulated = hand.site(miners=40, feeders=3)
    start = [read(meter).number("energy_import_wh") or 0.0 for meter in simulated.meters]
    hand.now_ms += 3_600_000
    counted = [
        (read(meter).number("energy_import_wh") or 0.0) - was
        for meter, was in zip(simulated.meters, start, strict=True)
    ]
    drawn = float(simulated.site.machines.energy_wh().sum())
    losses = simulated.spec.losses
    assert sum(counted[1:]) == pytest.approx(drawn * losses.feeder_factor, rel=1e-9)
    expected = sum(counted[1:]) * (1 + losses.transformer_share) + losses.transformer_fixed_w
    assert counted[0] == pytest.approx(expected, rel=1e-9)


def day(seed: int) -> list[tuple[object, ...]]:
    """An hour of polls and commands in virtual time, as plain values."""
    loop = VirtualLoop()
    clock = loop_clock(BEGAN_MS, loop.time)
    simulated = SimulatedSite(TwinSpec(miners=30, seed=seed, pace=1.0), clock)
    seen: list[tuple[object, ...]] = []

    async def main() -> None:
        for minute in range(60):
            await asyncio.sleep(60.0)
            for at, miner in enumerate(simulated.miners):
                if (at + minute) % 17 == 0:
                    receipt = await miner.carry_out(Sleep() if minute % 2 else Wake(), 5.0)
                    seen.append((miner.device, type(receipt).__name__))
                try:
                    reading = await miner.read(Tier.FAST)
                except TransportError as error:
                    seen.append((miner.device, error.reason.name))
                else:
                    seen.append((reading.device, reading.at_ms, *reading.values.values()))
            for meter in simulated.meters:
                reported = await meter.read(Tier.FAST)
                seen.append((meter.device, *reported.values.values()))

    run(main(), loop)
    return seen


def test_the_same_seed_gives_the_same_hour_and_another_seed_another() -> None:
    first = day(7)
    assert first == day(7)
    assert first != day(8)


def test_a_poll_is_cheap() -> None:
    """The bound of a simulated day of 1.44 M polls: 12 us each, with a margin for a busy machine (best of three)."""
    hand = Hand()
    simulated = hand.site(miners=1000)

    async def minutes(count: int) -> float:
        begun = time.process_time()
        for _ in range(count):
            for miner in simulated.miners:
                hand.now_ms += 60
                await miner.read(Tier.FAST)
        return (time.process_time() - begun) / (count * len(simulated.miners))

    assert min(asyncio.run(minutes(5)) for _ in range(3)) < 12e-6
