# SPDX-License-Identifier: Apache-2.0
"""Racks proven by pulse through the hub: a rack written on the wrong feeder is found by the meters, in virtual time with an
order in between, and on real sockets with the command line; a replay gives the same commands."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from grid.order import read_order
from grid.order_book import Authority
from hub.app.demo_site import write_simulated_site
from hub.app.live import start
from hub.app.replay import replay_folder
from hub.app.simulate import simulated
from hub.app.virtual_time import VirtualLoop, run
from hub.cli.app import app
from hub.config import load
from hub.fleet.asset_desk import AssetDesk
from hub.fleet.feeder_mapping import FeederMappingRequest
from hub.fleet.feeder_mapping_desk import FeederMappingDesk
from hub.wiring import Assembly
from kernel.actor import Actor, Channel
from kernel.clock import from_iso, iso, loop_clock
from kernel.errors import ConfigError
from miner_control.inventory.feeder_mapping import FeederMappingRun, Judged, Rack, judge
from tests.builders.requests import read
from tests.hub_site import World, until, world
from twin.site import Site
from twin.spec import TwinSpec

EPOCH_MS = from_iso("2026-03-02T00:00:00+05:00")
SPEC: dict[str, Any] = {"hub": "alatau", "site": "north", "feeders": 2, "faults": {}}

ANNA, BORIS = (Actor(name, "operator", Channel.REST) for name in ("anna", "boris"))


def on_the_wrong_feeder(inventory: Path, rack: str, wrong: str) -> None:
    """Write a rack on a feeder that it does not hang on."""
    lines = inventory.read_text().splitlines(keepends=True)
    right = rack.partition("-")[0]
    inventory.write_text("".join(ln.replace(f",{right},", f",{wrong},", 1) if rack in ln else ln for ln in lines))


def virtual(folder: Path, live: Callable[[Assembly, FeederMappingDesk], Any]) -> None:
    """An hour's hub of 24 miners in virtual time, with meters read each 15 s; rack f2-r02 is written on f1."""
    loop = VirtualLoop()
    clock = loop_clock(EPOCH_MS, loop.time)
    spec = TwinSpec(miners=24, rack_size=6, seed=3, **SPEC)
    path = write_simulated_site(folder, Site(spec, EPOCH_MS), spec, EPOCH_MS)
    path.write_text(
        path.read_text().replace("meter_s = 30.0", "meter_s = 15.0").replace("tick_s = 120.0", "tick_s = 30.0")
    )
    on_the_wrong_feeder(folder / "inventory.csv", "f2-r02", "f1")
    config = load(path, environment={})

    async def main() -> None:
        wired = await simulated(config, folder, folder / config.hub.data, spec, clock)
        running = asyncio.create_task(wired.hub.run())
        await asyncio.sleep(1800.0)
        await live(wired, FeederMappingDesk(wired.hub.components, AssetDesk(wired.hub.components)))
        wired.hub.stop()
        await running

    run(main(), loop)
    replayed = replay_folder(folder)
    assert replayed.difference is None and replayed.ticks > 50


async def over(desk: FeederMappingDesk) -> dict[str, Any]:
    for _ in range(240):
        await asyncio.sleep(60.0)
        if (reported := desk.status("north"))["running"] is None:
            return reported
    pytest.fail(f"still under way: {reported}")


def test_a_rack_on_the_wrong_feeder_is_found_by_the_meters(tmp_path: Path) -> None:
    async def live(wired: Assembly, desk: FeederMappingDesk) -> None:
        site = wired.hub.components.state.sites["alatau/north"]
        with pytest.raises(ConfigError) as caught:
            await desk.start(
                "north",
                read(FeederMappingRequest, {"racks": ["f1-r01", "f1-r01", "r99"], "off_s": 1, "why": "x"}),
                ANNA,
            )
        assert [fault.place for fault in caught.value.faults] == ["racks", "off_s", "why"]
        begun = await desk.start(
            "north", read(FeederMappingRequest, {"racks": ["f1-r01", "f2-r02"], "off_s": 240.0}), ANNA
        )
        assert begun["running"]["racks"] == ["f1-r01", "f2-r02"]
        with pytest.raises(ConfigError, match="proves other racks already"):
            await desk.start("north", read(FeederMappingRequest, {"racks": ["f1-r02"]}), BORIS)
        reported = await over(desk)
        right, wrong = reported["racks"]
        assert right["agrees"] is True and right["result"]["feeder"] == "f1" and len(right["devices"]) == 6
        assert wrong["agrees"] is False and (wrong["result"]["declared"], wrong["result"]["feeder"]) == ("f1", "f2")
        assert 0.8 < wrong["result"]["moved_w"] / wrong["result"]["expected_w"] < 1.2
        (mismatch,) = reported["mismatches"]
        assert mismatch["rack"] == "f2-r02" and "is on f2, the register has f1" in mismatch["problem"]
        assert not site.pulses.held() and len([r for r in site.receipts if r["intent"] == "Sleep"]) == 12
        dry = await desk.apply("north", ANNA, True)
        learnt = await desk.apply("north", ANNA, False)
        assert dry["recorded"] == learnt["recorded"] and len(learnt["recorded"]) == 12
        assert {m.feeder for m in site.register.miners if m.rack == "f2-r02"} == {"f2"}
        assert {fact.source for fact in site.register.facts} == {"rack pulse"}
        await asyncio.sleep(900.0)

    virtual(tmp_path, live)


def test_an_order_goes_before_a_pulse_and_a_person_may_stop_it(tmp_path: Path) -> None:
    async def live(wired: Assembly, desk: FeederMappingDesk) -> None:
        components = wired.hub.components
        site = components.state.sites["alatau/north"]
        await desk.start(
            "north", read(FeederMappingRequest, {"racks": ["f1-r01", "f1-r02", "f2-r01"], "off_s": 300.0}), ANNA
        )
        while site.pulses.running is None or site.pulses.running.now is None or not site.pulses.running.now.slept:
            await asyncio.sleep(10.0)
        now_ms = components.clock.now_ms()
        body = {"scope": site.key, "power_w": 40_000, "until": iso(now_ms + 1_200_000)}
        order, by = read_order(body, "room", "test", now_ms), Authority("room", (site.key,))
        await wired.hub.take(components.state.book.receive(order, by, now_ms, body)[1], site.key)
        with pytest.raises(ConfigError, match="limited by an order"):
            await desk.start("north", read(FeederMappingRequest, {"racks": ["f1-r01"]}), BORIS)
        await asyncio.sleep(240.0)
        assert site.pulses.running is not None and not site.pulses.held()
        (first,) = site.pulses.running.done
        assert (first.outcome, first.rack) == ("disturbed", "f1-r01") and first.result is None
        assert first.why == "an order limits the site"
        await asyncio.sleep(960.0)
        assert site.pulses.running.now is None, "no further rack while the order holds"
        while site.pulses.running.now is None or not site.pulses.running.now.slept:
            await asyncio.sleep(10.0)
        await desk.stop("north", ANNA, "enough")
        reported = await over(desk)
        assert [one["outcome"] for one in reported["racks"]] == ["disturbed", "disturbed"] and not reported[
            "mismatches"
        ]
        assert "stopped by anna: enough" in reported["racks"][1]["why"]
        await asyncio.sleep(2400.0)
        state = {wired.hub.components.state.snapshot.kind("miner").reading(d).get("state") for d in site.roster.devices}
        assert "hashing" in state and "asleep" not in state, "nobody stays asleep for a pulse"

    virtual(tmp_path, live)


def words(reported: Judged) -> tuple[str, str]:
    return reported.outcome, reported.why


def test_what_a_pulse_cannot_prove() -> None:
    rng = np.random.default_rng(1)
    devices = tuple(f"h/s/m{at}" for at in range(4))

    def asked(**more: Any) -> Rack:
        rack = Rack("r1", "f1", devices, {"begun": 0}, 12_000.0, commanded=devices, slept=set(devices))
        for name, value in more.items():
            setattr(rack, name, value)
        return rack

    def level(*watts: float) -> list[Any]:
        return [one + rng.normal(0, 50, 30 + at) for at, one in enumerate(watts)]

    calm, fell = level(50_000, 60_000), level(50_000, 48_000)
    found = judge(asked(), ["f1", "f2"], calm, fell, calm, 9)
    assert found.outcome == "judged" and found.result is not None and found.result.feeder == "f2"
    assert Judged.from_json(json.loads(json.dumps(found.to_json())), 9) == found
    assert words(judge(asked(spoilt="an order"), ["f1", "f2"], calm, fell, calm, 9)) == ("disturbed", "an order")
    few = judge(asked(slept={"h/s/m1"}), ["f1", "f2"], calm, fell, calm, 9)
    assert words(few) == ("skipped", "only 1 of 4 slept")
    moved = judge(asked(), ["f1", "f2"], calm, fell, level(50_000, 48_000), 9)
    assert moved.outcome == "disturbed" and "f2 changed by" in moved.why
    silent = [calm[0], calm[1][:1]]
    assert words(judge(asked(), ["f1", "f2"], silent, fell, calm, 9)) == (
        "disturbed", "no feeder moved, and f2 reported too little",
    )  # fmt: skip
    assert words(judge(asked(), ["f1"], [calm[0][:1]], [fell[0]], [calm[0]], 9)) == (
        "skipped", "no feeder's meter reported enough samples",
    )  # fmt: skip


def test_a_proof_is_a_fold_of_its_events() -> None:
    proof = FeederMappingRun({"id": "p", "by": "anna", "racks": ["r1", "r2"], "off_s": 60.0}, 0)
    assert proof.next_rack == "r1"
    proof.apply("feeder_mapping.step", {"step": "begun", "rack": "r1", "declared": "f1", "devices": ["a", "b"]}, 10)
    sleeps = {"step": "asleep", "commands": {"c1": "a", "c2": "b"}, "expected_w": 6000.0}
    proof.apply("feeder_mapping.step", sleeps, 20)
    rack = proof.now
    assert rack is not None and rack.step == "asleep" and set(rack.waiting) == {"c1", "c2"}
    proof.received("c1", "verified", 40)
    proof.received("c2", "unknown", 50)
    proof.received("c9", "verified", 60)
    assert rack.slept == {"a"} and rack.received_ms == 50 and not rack.waiting
    proof.apply("feeder_mapping.step", {"step": "stopped", "by": "anna", "why": ""}, 70)
    assert rack.spoilt == "stopped by anna" and proof.next_rack is None
    proof.apply("feeder_mapping.judged", judge(rack, [], [], [], [], 80).to_json(), 80)
    assert proof.now is None and proof.done[0].outcome == "disturbed"


@pytest.mark.timeout(240)
def test_a_wrong_rack_on_real_sockets(tmp_path: Path) -> None:
    async def main(site: World) -> None:
        on_the_wrong_feeder(tmp_path / "inventory.csv", "f2-r02", "f1")
        config = load(site.config, environment={})
        door = ["--url", f"http://127.0.0.1:{site.port}", "--key", site.key, "--json"]

        def cli(code: int, *said: str) -> Any:
            done = CliRunner().invoke(app, ["miners", *said, *door])
            assert done.exit_code == code, (done.output, done.exception)
            return json.loads(done.stdout)

        async with start(config, tmp_path) as hub:
            here = hub.wired.hub.components.state.sites["alatau/north"]
            await until("they hash", lambda: hub.ports.sites.status("north")["counts"]["hashing"] == 12, 60)

            async def proven() -> bool:
                await asyncio.to_thread(cli, 0, "map-feeders", "north", "f2-r02", "--off-s", "5")
                assert here.pulses.running is not None
                await until("it is held", here.pulses.held)
                await until("the meters spoke", lambda: here.pulses.running is None, 120)
                return str(hub.ports.feeder_mapping.status("north")["racks"][0]["outcome"]) == "judged"

            # On a machine that stands still for seconds its meters tell too little, and it says so: once more, then.
            assert await proven() or await proven()
            reported = await asyncio.to_thread(cli, 1, "feeder-mapping", "north")
            (rack,) = reported["racks"]
            assert rack["outcome"] == "judged" and rack["result"]["feeder"] == "f2", reported
            assert "is on f2, the register has f1" in reported["mismatches"][0]["problem"]
            learnt = await asyncio.to_thread(cli, 0, "feeder-mapping", "north", "--apply")
            assert {(one["what"], one["value"]) for one in learnt["recorded"]} == {("feeder", "f2")}
            placed = {m.feeder for m in here.register.miners if m.device in rack["devices"]}
            assert placed == {"f2"} and len(rack["devices"]) >= 2
        replayed = await asyncio.to_thread(replay_folder, tmp_path)
        assert replayed.difference is None and replayed.ticks > 3

    polls = {"miner_fast_s": 1.0, "meter_s": 0.5}
    with world(
        tmp_path, miners=12, polling=polls, rack_size=3, miner_host="127.78.32.1", feeders=2, pace=160.0
    ) as site:
        asyncio.run(main(site))
