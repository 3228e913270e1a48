# SPDX-License-Identifier: Apache-2.0
"""Condition monitor: who else commands a miner, and a miner that answers as another one."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hub.api.access import Role
from hub.config import load
from hub.control.interlock import bar
from hub.fleet.condition_monitor import ConditionDuty
from hub.journal.recorder import at_once
from hub.wiring.state import folded
from kernel.reading import MISSING, Absence
from miner_control.fleet.command import Sleep, command, command_json
from miner_control.health.health import PoolRule
from telemetry.collect.source import Tier
from tests.builders.api import Hub
from tests.builders.condition_world import INVENTORY, SITE, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


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
