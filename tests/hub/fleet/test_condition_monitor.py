# SPDX-License-Identifier: Apache-2.0
"""Sick miners become tickets once, and close; a hand that undoes us twice is named and left alone until a person releases it."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hub.api.access import Role
from hub.config import load
from hub.control.interlock import bar
from hub.control.runtime import Hub as RunningHub
from hub.fleet.condition_monitor import ConditionDuty
from hub.fleet.wake_recovery import WakeRecoveryDuty
from hub.journal.recorder import Recorder, at_once
from hub.query.missing_miners import missing
from hub.state.fold import HubState
from hub.state.situation import Freshness, SiteSituation, Situations, situation_at
from hub.wiring.state import catalogue, empty_state, folded
from kernel.clock import Clock
from kernel.errors import ConfigError
from kernel.reading import MISSING, Absence, Reading
from miner_control.fleet.command import InstallFirmware, Intent, Sleep, Wake, command, command_json
from miner_control.fleet.envelope import Provenance
from miner_control.health.health import PoolRule
from miner_control.learning.batch import identification_text
from miner_control.learning.dynamics import Dynamics, Estimate
from telemetry.collect.source import Tier
from telemetry.io.journal_sqlite import SqliteJournal, open_journal
from telemetry.store.journal import JournalState, JournalUnwritable
from tests.builders.api import Hub
from tests.telemetry.store.journal_cases import T0_MS

SITE = """
[hub]
name = "hub"
[[sites]]
name = "site"
operator = "North Mining LLP"
zone = "Asia/Almaty"
import_cap_w = 4e6
inventory = "inventory.csv"
[[sites.feeders]]
name = "f1"
cap_w = 2e6
"""
INVENTORY = """device,model,dialect,host,ports,feeder
m1,Whatsminer M50S,whatsminer,127.0.0.1,rpc=4028,f1
m2,Whatsminer M50S,whatsminer,127.0.0.2,rpc=4028,f1
"""


class World:
    """A hub's state and recorder on a clock moved by hand, and the watch over it."""

    def __init__(self, folder: Path, inventory: str = INVENTORY, site: str = SITE) -> None:
        (folder / "hub.toml").write_text(site)
        (folder / "inventory.csv").write_text(inventory)
        self.now_ms = T0_MS
        self.clock = Clock(lambda: self.now_ms, lambda: self.now_ms / 1000)
        self.journal: SqliteJournal = open_journal(folder / "data")
        self.state: HubState = empty_state(load(folder / "hub.toml", environment={}), catalogue())
        self.recorder = Recorder(self.journal, self.clock, self.state.apply, at_once())
        self.watch = ConditionDuty(self.state, self.recorder, self.clock, at_once(), 60.0, 600.0)
        self.site = self.state.sites["hub/site"]
        self.situations = Situations(self.state, Freshness(60.0))

    def at(self, now_ms: int, stale_s: float) -> SiteSituation:
        return situation_at(self.state, self.site, now_ms, Freshness(stale_s))

    def heard(self, device: str, **values: Any) -> None:
        reported = {"state": "hashing", "mode": "normal", "power_w": 3200.0, "hashrate_hs": 126e12, **values}
        self.recorder.enqueue([Reading(f"hub/site/{device}", "miner", self.now_ms, reported)])

    def round(self, after_s: float = 60.0) -> None:
        asyncio.run(self.recorder.flush())
        self.now_ms += 1000
        asyncio.run(self.watch.do())
        asyncio.run(self.recorder.flush())
        self.now_ms += round(after_s * 1000)

    def verified(self, device: str, intent: Intent = Sleep(), outcome: str = "verified") -> None:
        made = command(self.now_ms, f"hub/site/{device}", intent, "plan")
        self.recorder.emit("hub/site", "command.issued", command_json(made))
        self.now_ms += 5000
        receipt = {**command_json(made), "outcome": outcome, "took_s": 5.0, "sampled_ms": self.now_ms}
        self.recorder.emit("hub/site", "command.receipt", receipt)
        asyncio.run(self.recorder.flush())
        self.now_ms += 5000

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        return [dict(event.body) for _, event in self.journal.events(list(kinds))]


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


def test_undone_twice_is_a_foreign_system_and_is_not_fought(world: World, tmp_path: Path) -> None:
    for turn in range(2):
        world.verified("m1")
        world.heard("m1", state="asleep", hashrate_hs=0.0, power_w=20.0)
        world.round(30.0)
        world.heard("m1")
        world.round()
        assert len(world.events("owner.changed")) == turn, "once may be a brown-out"
    (reported,) = world.events("owner.changed")
    assert reported["hands_off"] and reported["owner"] == "another manager" and "undone" in reported["words"]
    unit = world.site.roster.index["hub/site/m1"]
    assert world.site.standing.commanded(world.now_ms).excluded[unit], "left alone"
    assert list(world.site.third_parties) == ["hub/site/m1"]
    world.round()
    assert len(world.events("owner.changed")) == 1, "said once"
    world.recorder.emit("hub/site", "owner.changed", {"device": "hub/site/m1", "hands_off": False, "owner": "the hub"})
    asyncio.run(world.recorder.flush())
    assert not world.site.standing.commanded(world.now_ms + 10_000_000).excluded[unit] and not world.site.third_parties


def test_what_we_ask_ourselves_is_no_foreign_system(world: World) -> None:
    for _ in range(3):
        world.verified("m1")
        waking = command(world.now_ms, "hub/site/m1", Sleep(), "plan")
        world.recorder.emit("hub/site", "command.issued", command_json(waking))
        world.heard("m1")
        world.round()
        world.recorder.emit("hub/site", "command.receipt", {**command_json(waking), "outcome": "unknown", "text": "x"})
        world.heard("m1")
        world.round()
    assert world.events("owner.changed") == []


def test_a_firmwares_own_schedule_is_named_once_until_it_is_off_also_over_a_restart(
    world: World, tmp_path: Path
) -> None:
    def says(reported: Any) -> None:
        world.heard("m1", schedules_json=reported)
        world.heard("m2", schedules_json=MISSING[Absence.UNSUPPORTED])
        world.round()

    says('{"atm":true}')
    says('{"atm":true}')
    (seen,) = world.events("third_party.detected")
    assert (seen["scope"], seen["who"]) == ("hub/site/m1", "LuxOS advanced thermal management")
    assert seen["evidence"] == {"atm": True} and list(world.site.third_parties) == ["hub/site/m1"]
    again = folded(load(tmp_path / "hub.toml", environment={}), world.journal)
    assert ConditionDuty(again, world.recorder, world.clock, at_once(), 60.0, 600.0).look(world.now_ms) == []
    says(MISSING[Absence.NOT_REPORTED])
    assert world.site.third_parties and not world.events("third_party.cleared"), (
        "who does not say has not switched it off"
    )
    says('{"atm":true,"dps":{"enabled":true}}')
    assert len(world.events("third_party.detected")) == 2, "another wording"
    says('{"atm":false,"dps":{"enabled":false}}')
    says("{}")
    (gone,) = world.events("third_party.cleared")
    assert gone["scope"] == "hub/site/m1" and not world.site.third_parties
    says('{"preset_switcher":{"enabled":true}}')
    assert world.events("third_party.detected")[-1]["who"] == "VNish preset switcher", "on again is said again"


def test_release_needs_a_system_a_reason_and_the_right(tmp_path: Path) -> None:
    hub = Hub(tmp_path)
    path = "/api/v1/sites/alma/miners/m1/release"
    assert hub.client(Role.REGULATOR).post(path, json={"why": "x"}).status_code == 403
    assert hub.client(Role.OPERATOR).post(path, json={}).status_code == 422
    assert hub.client(Role.OPERATOR).post(path, json={"why": "ours again"}).status_code == 404


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


def test_who_answers_as_another_miner_is_left_alone_until_it_is_itself_again(tmp_path: Path) -> None:
    """Addresses were given anew: m1's is m2's now, and a board that nobody knows answers for m3."""
    inventory = INVENTORY.splitlines()
    named = [
        f"{inventory[0]},serial,mac",
        *(f"{row},SN{at},02:00:00:00:00:0{at}" for at, row in enumerate(inventory[1:], 1)),
    ]
    world = World(tmp_path, inventory="\n".join(named) + "\n")
    asked: list[tuple[str, Tier]] = []
    world.watch = ConditionDuty(
        world.state, world.recorder, world.clock, at_once(), 60.0, 600.0, ask_soon=lambda *what: asked.append(what)
    )
    for _ in range(2):
        world.heard("m1", serial="SN2", mac="02:00:00:00:00:02")
        world.heard("m2", serial="SN2", mac="02:00:00:00:00:02")
        world.round()
    (ticket,) = world.events("ticket.opened")
    assert ticket["what"] == "another machine" and "m2 answers at its address" in ticket["words"]
    (held,) = world.events("owner.changed")
    assert held["device"] == "hub/site/m1" and held["hands_off"]
    assert bar(world.state, world.site, "hub/site/m1").startswith("m2 answers") and not bar(
        world.state, world.site, "hub/site/m2"
    )
    assert asked == [("hub/site/m1", Tier.DAILY)] * 2, "its name is asked for again before the day is over"
    for _ in range(2):
        world.heard("m1", serial="SN1", mac="02:00:00:00:00:01")
        world.heard("m2", serial="SN9", mac="02-00-00-00-00-02")
        world.round()
    assert [body["hands_off"] for body in world.events("owner.changed")] == [True, False]
    assert [body["device"] for body in world.events("ticket.closed")] == ["hub/site/m1"]
    assert not bar(world.state, world.site, "hub/site/m1"), "a MAC that fits is enough"
    for _ in range(2):
        world.heard("m1", serial="SN7", mac="02:00:00:00:00:77")
        world.heard("m2", serial="SN1", mac="02:00:00:00:00:02")
        world.round()
    words = {body["device"][-2:]: body["words"] for body in world.events("ticket.opened")[1:]}
    assert words["m1"].startswith(
        "answers with serial number SN7 and MAC 02:00:00:00:00:77, the register says serial number SN1"
    )
    assert words["m2"] == "its MAC is its own, its serial number SN1 is that of m1"
    assert not bar(world.state, world.site, "hub/site/m1"), "a new control board is no reason to leave it running"


def test_another_party_s_miner_may_hash_where_its_owner_likes(tmp_path: Path) -> None:
    inventory = INVENTORY.replace("feeder\n", "feeder,owner\n").replace(",f1\n", ",f1,acme\n", 1)
    world = World(
        tmp_path, inventory, SITE.replace("[[sites.feeders]]", 'third_party_owners = ["acme"]\n[[sites.feeders]]')
    )
    rule = PoolRule(frozenset({"ours.example:3333"}))
    world.watch = ConditionDuty(world.state, world.recorder, world.clock, at_once(), 60.0, 600.0, lambda site: rule)
    for _ in range(2):
        for device in ("m1", "m2"):
            world.heard(device, pool_url="stratum+tcp://theirs.example:3333", pool_user="x")
        world.round()
    assert [(body["device"], body["what"]) for body in world.events("ticket.opened")] == [("hub/site/m2", "wrong pool")]


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
    config = SimpleNamespace(control=control, polling=SimpleNamespace(meter_s=1.0))
    components = SimpleNamespace(
        config=config,
        clock=world.clock,
        state=world.state,
        situations=world.situations,
        recorder=world.recorder,
        actuators={"hub/site": hands},
        tariff=None,
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


def test_who_was_away_is_asked_at_once_who_it_is(world: World) -> None:
    asked: list[tuple[str, Tier]] = []
    world.watch = ConditionDuty(
        world.state, world.recorder, world.clock, at_once(), 60.0, 600.0, ask_soon=lambda *what: asked.append(what)
    )
    reported = {"device": "hub/site/m2", "reason": "unreachable", "detail": ""}
    world.recorder.emit("hub/site", "source.silent", reported)
    world.round()
    assert asked == [], "who is away is not asked"
    world.recorder.emit("hub/site", "source.returned", reported)
    world.round()
    world.round()
    assert asked == [("hub/site/m2", Tier.DAILY)]
