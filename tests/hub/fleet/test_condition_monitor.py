# SPDX-License-Identifier: Apache-2.0
"""Sick miners become tickets once, and close; a hand that undoes us twice is named and left alone until a person releases it."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hub.config import load
from hub.control.runtime import Hub as RunningHub
from hub.fleet.wake_recovery import WakeRecoveryDuty
from hub.query.missing_miners import missing
from hub.wiring.state import catalogue, empty_state
from kernel.errors import ConfigError
from miner_control.fleet.command import InstallFirmware, Sleep, Wake, command
from miner_control.fleet.envelope import Provenance
from miner_control.learning.batch import identification_text
from miner_control.learning.dynamics import Dynamics, Estimate
from telemetry.store.journal import JournalState, JournalUnwritable
from tests.builders.condition_world import INVENTORY, SITE, World
from tests.telemetry.store.journal_cases import T0_MS


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_faulty_miner_is_one_ticket_until_it_is_well_and_again_on_relapse(world: World) -> None:
    for _ in range(5):
        world.heard("m1", hashrate_hs=0.0)
        world.heard("m2")
        world.round()
    opened = world.events("ticket.opened")
    assert [body["device"] for body in opened] == ["hub/site/m1"], "once, and nothing of the one that is well"
    assert opened[0]["evidence"] and opened[0]["loss_hs"] > 0 and opened[0]["remedy"]
    world.now_ms += 3_600_000
    world.round()
    world.round()
    assert world.site.tickets.tickets(), "a miner that says nothing is not cured"
    for _ in range(2):
        world.heard("m1")
        world.round()
    assert world.site.tickets.tickets() == [] and len(world.events("ticket.closed")) == 1
    for _ in range(2):
        world.heard("m1", hashrate_hs=0.0)
        world.round()
    (again,) = world.site.tickets.tickets()
    assert again.times == 2


def test_a_single_odd_answer_sends_nobody_out(world: World) -> None:
    world.heard("m1", hashrate_hs=0.0)
    world.round()
    world.heard("m1")
    world.round()
    assert world.events("ticket.opened") == []


def test_who_was_woken_and_did_not_come_back_is_reported_costliest_first(world: World) -> None:
    world.verified("m1", Wake(), "unknown")
    world.verified("m2", Wake())
    world.heard("m1", state="stopped", hashrate_hs=0.0)
    world.heard("m2")
    asyncio.run(world.recorder.flush())
    late_ms = world.now_ms + 600_000
    assert missing(world.site, world.at(late_ms, 3600.0), 1200.0) == [], "not yet late"
    (one,) = missing(world.site, world.at(late_ms, 3600.0), 300.0)
    assert (one["device"], one["state"], one["outcome"]) == ("hub/site/m1", "stopped", "unknown")
    assert one["lost_hs"] > 1e14
    silent = missing(world.site, world.at(late_ms, 60.0), 300.0)
    assert [one["state"] for one in silent] == ["unreachable", "unreachable"], "whoever is silent is not back"
    world.verified("m1", Sleep())
    assert missing(world.site, world.at(late_ms + 600_000, 36_000.0), 300.0) == [], "a later shed is no absence"


def test_a_ticket_of_who_did_not_come_back_is_closed_by_its_hashing_alone(world: World) -> None:
    ladder = WakeRecoveryDuty(world.situations, world.recorder, world.clock, {}, 5.0)

    def look() -> list[str]:
        asyncio.run(world.recorder.flush())
        asyncio.run(ladder.do())
        asyncio.run(world.recorder.flush())
        return [ticket.what for ticket in world.site.tickets.tickets()]

    world.verified("m1", Wake())
    world.now_ms += 3_600_000
    assert look() == ["did not come back"], "it says nothing: no rung but a person"
    assert world.events("wake_recovery.step")[0]["rung"] == "ticket"
    for _ in range(3):
        world.heard("m1", state="asleep", hashrate_hs=0.0)
        world.round()
    assert look() == ["did not come back"], "speaking is not hashing"
    world.heard("m1")
    assert look() == []


def test_what_was_learnt_takes_the_place_of_what_is_assumed(tmp_path: Path) -> None:
    world = World(tmp_path)
    assumed = world.site.roster.groups[0].envelope
    learnt = Dynamics(ramp_up_s=Estimate(123.0, 1.0, 50), mode_power_w={"normal": Estimate(3333.0, 5.0, 50)})
    (tmp_path / "learnt.json").write_text(identification_text({("Whatsminer M50S", "whatsminer"): learnt}))
    (tmp_path / "hub.toml").write_text(
        SITE.replace('inventory = "inventory.csv"', 'inventory = "inventory.csv"\nidentification = "learnt.json"')
    )
    state = empty_state(load(tmp_path / "hub.toml", environment={}), catalogue())
    roster = state.sites["hub/site"].roster
    envelope = roster.groups[0].envelope
    assert assumed.provenance is not Provenance.LEARNT and envelope.provenance is Provenance.LEARNT
    assert envelope.ramp_up_s == 123.0 and roster.mode_power_w[0, envelope.names.index("normal")] == 3333.0
    (tmp_path / "learnt.json").write_text("{}")
    with pytest.raises(ConfigError, match="cannot be read"):
        empty_state(load(tmp_path / "hub.toml", environment={}), catalogue())


def test_boards_seen_while_they_started_send_nobody_out(world: World) -> None:
    """Boards are asked seldom: what they told in the ramp stands in the snapshot for minutes after it hashes."""
    boards = {"boards_hashing": 0.0, "boards_expected": 3.0}
    world.heard("m1", state="ramping", hashrate_hs=0.0, uptime_s=30.0, **boards)
    world.round()
    for turn in range(4):
        world.heard("m1", uptime_s=90.0 + 60.0 * turn)
        world.round()
    assert world.events("ticket.opened") == []
    for turn in range(2):
        world.heard("m1", uptime_s=330.0 + 60.0 * turn, boards_hashing=2.0, boards_expected=3.0)
        world.round()
    assert [body["what"] for body in world.events("ticket.opened")] == ["dead board"], "two of three is told now"
    for turn in range(3):
        # It restarted between two rounds, and nobody has asked for its boards since.
        world.heard("m1", uptime_s=20.0 + 60.0 * turn)
        world.round()
    assert world.events("ticket.closed") == [], "what is not told is not cured"
    for turn in range(2):
        world.heard("m1", uptime_s=200.0 + 60.0 * turn, boards_hashing=3.0, boards_expected=3.0)
        world.round()
    assert [body["what"] for body in world.events("ticket.closed")] == ["dead board"]


def test_a_mean_from_before_it_hashed_makes_no_weak_miner(world: World) -> None:
    world.heard("m1", state="ramping", hashrate_hs=0.0)
    world.round()
    for _ in range(5):
        world.heard("m1", hashrate_hs=40e12, hashrate_window_s=300.0)
        world.round()
    assert world.events("ticket.opened") == [], "a mean over five minutes of which it slept a part"
    for _ in range(2):
        world.heard("m1", hashrate_hs=40e12, hashrate_window_s=300.0)
        world.round()
    assert [body["what"] for body in world.events("ticket.opened")] == ["low hashrate"]


@pytest.mark.parametrize("hindrance", ["", "an order", "observe only", "another hand", "another owner"])
def test_the_ladder_climbs_only_where_the_hub_may_command(
    hindrance: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = SITE.replace('name = "site"', 'name = "site"\nobserve_only = true') if hindrance == "observe only" else SITE
    inventory = INVENTORY
    if hindrance == "another owner":
        site = site.replace("[[sites.feeders]]", 'third_party_owners = ["acme"]\n[[sites.feeders]]')
        inventory = INVENTORY.replace("feeder\n", "feeder,owner\n").replace(",f1\n", ",f1,acme\n", 1)
    world = World(tmp_path, inventory, site)
    if hindrance == "an order":
        monkeypatch.setattr("hub.state.situation.ordered", lambda *asked: True)
    world.verified("m1", Wake())
    if hindrance == "another hand":
        world.recorder.emit(
            "hub/site", "owner.changed", {"device": "hub/site/m1", "hands_off": True, "by": "anna", "words": ""}
        )
    world.now_ms += 3_600_000
    world.heard("m1", state="asleep", hashrate_hs=0.0)
    asyncio.run(world.recorder.flush())
    sent: list[Any] = []

    class Hands:
        @staticmethod
        def start(issued: Any) -> None:
            sent.extend(issued.commands)

    asyncio.run(WakeRecoveryDuty(world.situations, world.recorder, world.clock, {"hub/site": Hands()}, 5.0).do())  # type: ignore[dict-item]
    asyncio.run(world.recorder.flush())
    steps = len(world.events("wake_recovery.step"))
    assert (steps, len(sent)) == ((1, 1) if not hindrance else (0, 0))


def test_what_was_usual_of_the_old_firmware_says_nothing_of_the_new(world: World) -> None:
    unit = world.site.roster.index["hub/site/m1"]
    body = {"day_ms": T0_MS, "devices": ["hub/site/m1"], "hashrate_hs": [126e12], "j_per_th": [26.0], "chip_c": [70.0]}
    world.recorder.emit("hub/site", "performance.updated", body)
    asyncio.run(world.recorder.flush())
    assert world.site.usual.of(unit)[1] == 1
    world.verified("m1", InstallFirmware("2.0", "ab" * 32), "unknown")
    assert world.site.usual.of(unit)[1] == 1
    world.verified("m1", InstallFirmware("2.0", "ab" * 32))
    assert world.site.usual.of(unit)[1] == 0


def test_no_command_leaves_before_the_journal_holds_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    made = command(T0_MS, "hub/site/m1", Sleep(), "plan")
    monkeypatch.setattr(
        "hub.control.runtime.decide", lambda *asked: SimpleNamespace(body={}, commands=(made,), fleet=None)
    )
    full = pytest.raises(JournalUnwritable)

    async def refuse(*, required: bool = False) -> None:
        if required:
            raise JournalUnwritable(JournalState.FULL, "no space left on the device")

    hands = SimpleNamespace(start=lambda issued: sent.extend(issued.commands))
    control = SimpleNamespace(stale_after_s=60.0, command_deadline_s=60.0)
    hub = SimpleNamespace(name="hub")
    config = SimpleNamespace(hub=hub, control=control, polling=SimpleNamespace(meter_s=1.0))
    components = SimpleNamespace(
        config=config,
        clock=world.clock,
        state=world.state,
        situations=world.situations,
        recorder=world.recorder,
        actuators={"hub/site": hands},
        tariff=None,
        health={},
    )
    monkeypatch.setattr(world.recorder, "emit", lambda *_: None)
    monkeypatch.setattr(world.recorder, "flush", refuse)
    with full:
        asyncio.run(RunningHub(components).tick(world.site))  # type: ignore[arg-type]
    assert sent == []


def test_a_restore_is_reported_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = SimpleNamespace(order=SimpleNamespace(id="o1", scope="hub/site"), ended_ms=T0_MS, accepted_ms=T0_MS - 1)
    monkeypatch.setattr(world.state, "book", SimpleNamespace(entries=lambda: [ended], limits=lambda now_ms: []))
    ladder = WakeRecoveryDuty(world.situations, world.recorder, world.clock, {}, 5.0)
    world.verified("m1", Wake())
    after_s = world.site.config.wake_recovery.report_after_s
    for late_s, count in ((-30.0, 0), (1.0, 1), (60.0, 1)):
        world.now_ms = T0_MS + round((after_s + late_s) * 1000)
        asyncio.run(ladder.do())
        asyncio.run(world.recorder.flush())
        assert len(world.events("wake_recovery.reported")) == count
    (reported,) = world.events("wake_recovery.reported")
    assert (reported["order"], reported["woken"], reported["back"]) == ("o1", 1, 0) and reported["missing"][0][
        "device"
    ] == "hub/site/m1"
