# SPDX-License-Identifier: Apache-2.0
"""What is as it is because the hub wanted it: by its commands from their issue on, by what miners report, and by nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hub.app.demo_site import write_simulated_site
from hub.config import load
from hub.control.designed import LOAD_SETTLES_S, designed_at
from hub.state.fold import HubState
from hub.wiring.state import catalogue, empty_state
from kernel.event import Event
from kernel.reading import Reading
from kernel.receipt import Unknown, Verified
from miner_control.fleet.command import (
    Intent,
    PowerTarget,
    SetMode,
    Sleep,
    SwitchLoad,
    Wake,
    command,
    command_json,
    receipt_json,
)
from telemetry.store.journal import Record
from tests.hub.control.commanded_site import AROUND, EPOCH_MS, KEY
from twin.site import Site
from twin.spec import TwinSpec

SPEC = TwinSpec(hub="alatau", site="north", miners=8, seed=1, models={"whatsminer-m50s": 1}, faults={}, feeders=2)
SOCKET = '\n  { name = "socket-1", kind = "socket", device = "container-1", group = "pdu01", index = 1, serves = { miners = ["miner-00001"] } },'  # noqa: E501
M1, METERS = f"{KEY}/miner-00001", {f"{KEY}/meter-main", f"{KEY}/meter-f1", f"{KEY}/meter-f2", KEY}


class Story:
    """A state, and what it is told: readings and commands at seconds since the epoch."""

    def __init__(self, folder: Path, spec: TwinSpec = SPEC) -> None:
        path = write_simulated_site(folder, Site(spec, EPOCH_MS), spec, EPOCH_MS)
        around = AROUND.replace("loads = [", f"loads = [{SOCKET}")
        path.write_text(
            path.read_text().replace('inventory = "inventory.csv"', f'inventory = "inventory.csv"{around}', 1)
        )
        self.state: HubState = empty_state(load(path, environment={}), catalogue())
        self.devices = self.state.sites[KEY].roster.devices
        self.seq = 0

    def tell(self, kind: str, body: dict[str, Any], at_s: float) -> None:
        self.seq += 1
        event = Event(kind, 1, KEY, "hub", self.seq, EPOCH_MS + round(at_s * 1000), body)
        self.state.apply(Record(self.seq, event))

    def hear(self, at_s: float, state: str = "hashing", mode: str = "normal", *devices: str) -> None:
        for device in devices or self.devices:
            values = {"state": state, "mode": mode, "power_w": 12.0 if state == "asleep" else 3276.0}
            self.state.snapshot.hear(Reading(device, "miner", EPOCH_MS + round(at_s * 1000), values))

    def ask(self, intent: Intent, at_s: float, *devices: str) -> Callable[..., None]:
        """Ask devices (all miners where none is named); the answer is given by calling what is returned."""
        asked = [
            command_json(command(EPOCH_MS + round(at_s * 1000), device, intent, "test"))
            for device in devices or self.devices
        ]
        for body in asked:
            self.tell("command.issued", body, at_s)

        def answer(at_s: float, receipt: Any = None) -> None:
            for body in asked:
                reported = receipt or Verified(Reading(body["device"], "miner", EPOCH_MS + round(at_s * 1000), {}), 1.0)
                self.tell("command.receipt", {**body, **receipt_json(reported)}, at_s)

        return answer

    def of(self, at_s: float, device: str = M1) -> set[str]:
        found = designed_at(self.state, EPOCH_MS + round(at_s * 1000))
        return {name for name, keys in found.items() if device in keys}


@pytest.fixture
def story(tmp_path: Path) -> Story:
    made = Story(tmp_path)
    made.hear(0)
    return made


def test_who_was_never_commanded_is_in_no_designed_state(story: Story) -> None:
    found = designed_at(story.state, EPOCH_MS + 1000)
    assert found == {"curtailed": set(), "asleep": set(), "starting": set(), "changing": set()}


def test_a_sleep_and_a_wake_through_all_their_states(story: Story) -> None:
    slept = story.ask(Sleep(), 10)
    assert story.of(10) == {"curtailed", "changing"}, "before any poll could show it"
    story.hear(20, "asleep")
    slept(20)
    assert story.of(21) == {"curtailed", "asleep", "changing"}
    assert story.of(600) == {"curtailed", "asleep"}
    woken = story.ask(Wake(), 700)
    assert story.of(1300) == {"curtailed", "asleep", "changing", "starting"}, "it waits its turn under the inrush limit"
    story.hear(1310, "ramping")
    woken(1310)
    story.hear(1900)
    assert story.of(2400) == {"changing", "starting"}
    assert story.of(2500) == set()


def test_a_mode_below_the_normal_one_is_curtailed_for_as_long_as_it_is_ours(story: Story) -> None:
    lowered = story.ask(SetMode("low"), 10)
    assert story.of(11) == {"curtailed", "changing", "starting"}, "it may restart for it"
    story.hear(200, "hashing", "low")
    lowered(200)
    assert story.of(1400) == {"curtailed"}
    story.hear(1500, "hashing", "normal")
    assert story.of(1501) == set(), "somebody else raised it: what it lacks now is no will of ours"
    raised = story.ask(SetMode("high"), 1600)
    assert story.of(1601) == {"changing", "starting"}
    raised(1700)
    story.hear(1800, "hashing", "high")
    assert story.of(3000) == set()


def test_a_mode_asked_for_in_watts_is_reported_by_no_name(tmp_path: Path) -> None:
    story = Story(tmp_path, SPEC.model_copy(update={"models": {"epic-s19-xp": 1}}))
    story.hear(0)
    story.ask(PowerTarget(1800.0), 10)(20, Unknown("the hub stopped before there was proof"))
    story.hear(1000)
    assert story.of(1001) == {"curtailed"}, "it may have been taken, and it still calls its mode normal"


def test_a_miner_that_another_system_woke_is_no_sleeper_of_ours(story: Story) -> None:
    story.ask(Sleep(), 10)(20)
    story.hear(21, "asleep")
    story.hear(700, "hashing")
    assert story.of(701) == set()


def test_a_sleeper_that_falls_silent_is_asleep_by_our_command_alone(story: Story) -> None:
    story.ask(Sleep(), 10)(20)
    story.hear(30, "asleep")
    story.hear(300, "unreachable")
    assert story.of(301) == {"curtailed", "asleep"}
    others = Reading(f"{KEY}/miner-00002", "miner", EPOCH_MS + 301_000, {"state": "asleep"})
    story.state.snapshot.hear(others)
    assert "asleep" in story.of(302, f"{KEY}/miner-00002"), "whoever put it to sleep"


def test_meters_and_the_site_are_curtailed_once_most_of_their_load_is_off(story: Story) -> None:
    feeder = [device for device, at in zip(story.devices, story.state.sites[KEY].roster.feeder, strict=True) if at == 0]
    story.ask(Sleep(), 10, *feeder)
    found = designed_at(story.state, EPOCH_MS + 11_000)["curtailed"]
    assert found & METERS == {f"{KEY}/meter-f1"}, "half a site is judged as a whole one"
    story.ask(Sleep(), 12)
    assert designed_at(story.state, EPOCH_MS + 13_000)["curtailed"] & METERS == METERS
    story.ask(SetMode("low"), 20)
    assert designed_at(story.state, EPOCH_MS + 21_000)["curtailed"] & METERS == set()


def test_a_container_is_asleep_once_the_hub_has_stopped_its_pump(story: Story) -> None:
    box, pump, fan = f"{KEY}/container-1", f"{KEY}/oil-pump", f"{KEY}/dry-cooler"
    stopped = story.ask(SwitchLoad(1, False), 10, pump)
    assert story.of(11, box) == {"changing"}
    stopped(15)
    assert story.of(16, box) == {"asleep", "changing"} and story.of(16 + LOAD_SETTLES_S, box) == {"asleep"}
    story.ask(SwitchLoad(1, True), 300, pump)(305)
    assert story.of(306, box) == {"changing"} and story.of(306 + LOAD_SETTLES_S, box) == set()
    story.ask(SwitchLoad(1, False), 600, fan)(605)
    assert story.of(606 + LOAD_SETTLES_S, box) == set(), "a fan moves no coolant"


def test_a_miner_behind_an_open_socket_of_ours_is_silent_by_design(story: Story) -> None:
    opened = story.ask(SwitchLoad(1, False), 10, f"{KEY}/socket-1")
    opened(15)
    assert "changing" in story.of(5000), "until it is closed again"
    story.ask(SwitchLoad(1, True), 5000, f"{KEY}/socket-1")(5010)
    assert {"changing", "starting"} <= story.of(5100) and story.of(7000) == set()
