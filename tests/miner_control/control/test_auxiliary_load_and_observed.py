# SPDX-License-Identifier: Apache-2.0
import numpy as np

from hub.app.virtual_time import VirtualLoop
from kernel.reading import MISSING, Absence, Reading
from kernel.receipt import Receipt, Unknown, Unsupported, Verified
from miner_control.control.actuator import Actuator
from miner_control.control.auxiliary_load import (
    Load,
    LoadKind,
    SwitchPort,
    after_shed,
    before_wake,
    check_loads,
    switch,
)
from miner_control.fleet.command import SwitchLoad, command
from miner_control.fleet.fleet import ASLEEP, STATE_CODE, UNSURE, fleet_of, never_commanded
from miner_control.fleet.miner import State
from miner_control.fleet.observed import observed_of
from telemetry.collect.snapshot import Snapshot
from tests.builders.commands import carry_out, journalled
from tests.miner_control.fleets import NOW_MS, envelope, roster
from tests.miner_control.miners import clock_of, in_virtual_time

LOADS = [
    Load("pump-1", LoadKind.PUMP, "h/s/plc", 1, "f1", 2000.0, frozenset({"a", "b"})),
    Load("fan-1", LoadKind.FAN, "h/s/plc", 2, "f1", 500.0, frozenset({"c"})),
    Load("socket-7", LoadKind.SOCKET, "h/s/pdu", 7, "f1", 0.0, frozenset({"a"})),
]


def test_cooling_comes_on_before_miners_and_goes_off_after_them():
    on = {"pump-1": False, "fan-1": False, "socket-7": False}
    assert [load.name for load in before_wake(LOADS, frozenset({"a"}), on)] == ["socket-7", "pump-1"]
    unknown = {"pump-1": None, "socket-7": True}
    assert [load.name for load in before_wake(LOADS, frozenset({"a"}), unknown)] == ["pump-1"]
    all_on = {load.name: True for load in LOADS}
    assert after_shed(LOADS, frozenset({"a", "b"}), all_on, cooled=False) == []
    assert [load.name for load in after_shed(LOADS, frozenset({"a", "b"}), all_on, cooled=True)] == ["pump-1"]
    assert after_shed(LOADS, frozenset({"a"}), all_on, cooled=True) == []


def test_a_load_is_commanded_under_a_key_of_its_own():
    assert "SwitchLoad" in LOADS[0].envelope().commands
    assert switch(1, LOADS[0], True, "wake").device == LOADS[0].key == "h/s/pump-1"


def test_contradictions_are_all_named():
    twice = [*LOADS, Load("fan-2", LoadKind.FAN, "h/s/plc", 2, "f1", 1.0)]
    assert len(check_loads(twice)) == 2 and check_loads(LOADS) == []


def test_from_snapshot_to_fleet():
    who = roster([envelope()], 5)
    snapshot = Snapshot()

    def say(device: int, at_ms: int, **values: float | str) -> None:
        snapshot.hear(Reading(f"h/s/m{device:05d}", "miner", at_ms, values))

    say(3, NOW_MS - 900, state="asleep", mode="sleep", power_w=18.0, hashrate_hs=0.0)
    say(1, NOW_MS - 900, state="hashing", mode="low", power_w=1810.0, hashrate_hs=7e13)
    say(0, NOW_MS - 9000, state="hashing", mode="normal", power_w=3010.0)
    snapshot.hear(
        Reading("h/s/m00000", "miner", NOW_MS - 500, {"state": "unreachable", "power_w": MISSING[Absence.UNREACHABLE]})
    )
    say(2, NOW_MS - 9000, state="hashing", mode="mystery", power_w=2000.0)
    faulty = {"state": "fault", "power_w": MISSING[Absence.NOT_REPORTED], "hashrate_hs": 0.0}
    snapshot.hear(Reading("h/s/m00002", "miner", NOW_MS - 500, faulty))
    say(99, NOW_MS, state="hashing", power_w=1.0)

    said = observed_of(who, snapshot.kind("miner"), NOW_MS)
    codes = [STATE_CODE[s] for s in (State.UNREACHABLE, State.HASHING, State.FAULT, State.ASLEEP, State.UNKNOWN)]
    assert said.state.tolist() == codes
    assert said.mode.tolist() == [1, 0, UNSURE, ASLEEP, UNSURE]
    assert said.has_power.tolist() == [True, True, False, True, False]
    found = fleet_of(who, said, never_commanded(who), NOW_MS)
    assert found.power_w.tolist() == [3010.0, 1810.0, 3000.0, 18.0, 3000.0]
    assert found.fresh.tolist() == [True, True, True, True, False]
    np.testing.assert_array_equal(found.counts()[0], [1, 1, 3, 0])


def test_an_empty_snapshot_is_a_silent_fleet():
    who = roster([envelope()], 2)
    found = fleet_of(who, observed_of(who, Snapshot().kind("miner"), NOW_MS), never_commanded(who), NOW_MS)
    assert not found.can_command.any() and found.power_w.sum() == 6000.0


def test_outputs_of_one_pdu_are_commanded_apart_and_proven_by_their_own_read_back():
    class Pdu:
        """Sockets behind the port; socket 3 sticks."""

        def __init__(self) -> None:
            self.on = {1: True, 2: True, 3: True}

        async def switch(self, name: str, index: int, on: bool, *, deadline_s: float) -> Receipt:
            assert name == "socket"
            if index == 3:
                return Unknown("reads back on")
            self.on[index] = on
            return Verified(Reading("h/s/pdu", "container", NOW_MS, {}), 0.1)

    loop, pdu = VirtualLoop(), Pdu()
    loads = [Load(f"socket-{at}", LoadKind.SOCKET, "h/s/pdu", at, "f1", 3000.0, frozenset({"m"})) for at in (1, 2, 3)]
    ports = {load.key: SwitchPort(load, pdu) for load in loads}
    envelopes = {load.key: load.envelope() for load in loads}
    reported: list[str] = []

    async def main() -> dict[str, Receipt]:
        hands = Actuator(
            ports, clock_of(loop), envelopes.__getitem__, lambda asked, receipt, at_ms: reported.append(asked.device)
        )
        asked = [switch(NOW_MS, load, False, "shed") for load in loads]
        found = await carry_out(
            hands, journalled([*asked, command(NOW_MS, loads[0].key, SwitchLoad(1, False), "shed")])
        )
        wrong = await ports[loads[0].key].carry_out(SwitchLoad(2, False), 1.0)
        assert isinstance(wrong, Unsupported)
        return {one.device: found[one.id] for one in asked}

    receipts = in_virtual_time(main(), loop)
    assert [type(receipts[load.key]) for load in loads] == [Verified, Verified, Unknown]
    assert pdu.on == {1: False, 2: False, 3: True} and sorted(reported) == sorted(receipts)
