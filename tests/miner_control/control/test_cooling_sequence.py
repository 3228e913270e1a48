# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import replace

import numpy as np
import pytest

from kernel.reading import Reading
from miner_control.control.allocate import Allocation
from miner_control.control.auxiliary_load import Load, LoadBook, LoadKind, output_state, running_w, shares_w
from miner_control.control.cold_protection import Loop
from miner_control.control.cooling_sequence import CoolingResult, sequence_cooling
from miner_control.fleet.fleet import ASLEEP, Fleet, Ints
from tests.miner_control.fleets import NOW_MS, envelope, fleet, roster, seen

WHO = roster([envelope("a")], 6)
ALL = frozenset(WHO.devices)
PUMP = Load("pump-1", LoadKind.PUMP, "h/s/c1", 1, "f1", 2000.0, ALL)
HEATER = Load("heater-1", LoadKind.HEATER, "h/s/c1", 1, "f1", 9000.0, ALL)
LOOP = Loop("c1", np.arange(6), 30.0, 20.0, 40.0, True, 20.0, 50.0, True, loss_w_per_k=300.0)


def standing(asleep: int) -> Fleet:
    mode = np.where(np.arange(6) < asleep, ASLEEP, 1).astype(np.int8)
    state = seen(WHO, mode=ASLEEP).state
    said = seen(WHO)
    found = fleet(WHO, replace(said, mode=mode, state=np.where(mode == ASLEEP, state, said.state)))
    return replace(found, since_ms=np.full(6, NOW_MS - 400_000, dtype=np.int64))


def asked(found: Fleet, units: list[int], mode: int) -> Allocation:
    chosen: Ints = np.array(units, dtype=np.int64)
    power_w = float(found.settled_w.sum())
    return Allocation(chosen, np.full(len(units), mode, dtype=np.int64), power_w, 0.0, np.zeros(1))


def tended(
    found: Fleet, proposed: Allocation, on: bool | None, loop: Loop = LOOP, by_plan: bool = True
) -> CoolingResult:
    marks = np.full(len(proposed.units), by_plan, dtype=np.bool_)
    states = {"pump-1": on, "heater-1": False}
    return sequence_cooling(found, proposed, [PUMP, HEATER], states, [loop], by_plan=marks)


@pytest.mark.parametrize("on", [False, None])
def test_wakes_wait_for_their_cooling_which_is_switched_on(on: bool | None):
    found = standing(3)
    reported = tended(found, asked(found, [0, 1], 1), on)
    assert len(reported.allocation.units) == 0
    assert [(one.load.name, one.on) for one in reported.switchings] == [("pump-1", True)]
    assert reported.restraints[0].rule == "cooling first" and reported.restraints[0].units.tolist() == [0, 1]
    free = tended(found, asked(found, [0, 1], 1), True)
    assert free.allocation.units.tolist() == [0, 1] and free.switchings == () and free.restraints == ()


def test_cooling_goes_off_only_when_all_sleep_for_long_enough():
    off = [(one.load.name, one.on) for one in tended(standing(6), asked(standing(6), [], 1), True).switchings]
    assert off == [("pump-1", False)]
    assert tended(standing(5), asked(standing(5), [], 1), True).switchings == ()
    fresh = replace(standing(6), since_ms=np.full(6, NOW_MS - 100_000, dtype=np.int64))
    assert tended(fresh, asked(fresh, [], 1), True).switchings == ()


@pytest.mark.parametrize("ambient_c", [-20.0, None])
def test_in_frost_a_liquid_loop_keeps_its_pump(ambient_c: float | None):
    cold = replace(LOOP, ambient_c=ambient_c)
    assert tended(standing(6), asked(standing(6), [], 1), True, cold).switchings == ()


def test_the_plan_keeps_units_on_for_loop_heat_and_an_order_does_not():
    found, cold = standing(0), replace(LOOP, ambient_c=-15.0)
    proposed = asked(found, [0, 1, 2, 3, 4, 5], ASLEEP)
    plan = tended(found, proposed, True, cold)
    kept = 6 - len(plan.allocation.units)
    assert kept == 2, "6 kW of heat are two miners of 3 kW"
    assert plan.restraints[0].rule == "cold guard"
    assert len(tended(found, proposed, True, cold, by_plan=False).allocation.units) == 6


def test_a_cold_loop_is_warmed_before_anybody_wakes():
    found, cold = standing(6), replace(LOOP, supply_c=8.0)
    reported = tended(found, asked(found, [0], 1), True, cold)
    assert len(reported.allocation.units) == 0 and "pre-warm" in reported.restraints[0].reason
    assert ("heater-1", True) in [(one.load.name, one.on) for one in reported.switchings]
    warm = sequence_cooling(
        found,
        asked(found, [0], 1),
        [PUMP, HEATER],
        {"pump-1": True, "heater-1": True},
        [LOOP],
        by_plan=np.ones(1, bool),
    )
    assert ("heater-1", False) in [(one.load.name, one.on) for one in warm.switchings]
    assert warm.allocation.units.tolist() == [0]


def test_a_load_that_is_being_switched_gets_no_second_command():
    found = standing(3)
    reported = sequence_cooling(
        found, asked(found, [0], 1), [PUMP], {"pump-1": None}, [], by_plan=np.ones(1, bool), busy=frozenset({"pump-1"})
    )
    assert reported.switchings == () and len(reported.allocation.units) == 0


def test_what_came_of_a_switching_is_remembered():
    book = LoadBook(["h/s/pump-1"])
    body = {
        "device": "h/s/pump-1",
        "intent": "SwitchLoad",
        "index": 1,
        "on": True,
        "id": "c1",
        "issued_ms": 1000,
        "deadline_s": 30.0,
    }
    assert book.on("h/s/pump-1") == (None, 0)
    book.apply("command.issued", body, 1000)
    assert book.pending("h/s/pump-1", 2000) and not book.pending("h/s/pump-1", 62_000)
    book.apply("command.receipt", {**body, "outcome": "verified", "sampled_ms": 1500}, 1600)
    assert book.on("h/s/pump-1") == (True, 1500) and not book.pending("h/s/pump-1", 2000)
    book.apply("command.receipt", {**body, "id": "c2", "outcome": "unknown"}, 9000)
    assert book.on("h/s/pump-1") == (None, 9000)


def test_outputs_in_makers_formats():
    sockets = [{"PDUIndex": "0", "SocketStatus": ["1", "0"]}, {"PDUIndex": "1", "SocketStatus": ["0"]}]
    reported = Reading("h/s/c1", "container", NOW_MS, {"pump_state": "on", "sockets_json": json.dumps(sockets)})
    assert output_state(reported, "pump", 1) is True and output_state(reported, "pump", 2) is None
    assert output_state(reported, "fan", 1) is None
    assert [output_state(reported, "pdu01", at) for at in (1, 2, 3)] == [True, False, None]
    assert output_state(reported, "pdu02", 1) is False and output_state(reported, "pdu03", 1) is None


def test_a_pump_that_must_start_first_is_not_free():
    """Six miners of 3 kW and a pump of 2 kW: under a cap of 11.5 kW three wake, under one of 2 kW nobody and no pump."""
    found = replace(standing(6), settled_w=np.full(6, 20.0))
    proposed = replace(asked(found, [0, 1, 2, 3, 4, 5], 1), power_w=6 * 3000.0)

    def under(most_w: float, on: bool | None) -> CoolingResult:
        marks, states = np.ones(6, dtype=np.bool_), {"pump-1": on, "heater-1": False}
        return sequence_cooling(found, proposed, [PUMP, HEATER], states, [LOOP], by_plan=marks, most_w=most_w)

    reported = under(11_500.0, False)
    assert [(one.rule, len(one.units)) for one in reported.restraints] == [
        ("room for cooling", 3),
        ("cooling first", 3),
    ]
    assert [one.load.name for one in reported.switchings] == ["pump-1"]
    assert reported.allocation.power_w <= 11_500.0 - 2000.0
    none = under(2_000.0, False)
    assert none.switchings == () and len(none.allocation.units) == 0 and none.restraints[0].rule == "room for cooling"
    assert [one.rule for one in under(20_500.0, False).restraints] == ["cooling first"], "room for both"
    assert under(18_500.0, True).restraints == () and len(under(18_500.0, True).allocation.units) == 6, (
        "it runs already"
    )


def test_auxiliary_loads_are_counted_once():
    socket = Load("plug", LoadKind.SOCKET, "h/s/c1", 3, "f1", 3000.0, frozenset({WHO.devices[0]}))
    fan = Load("fan-1", LoadKind.FAN, "h/s/c1", 2, "f1", 900.0, frozenset(list(WHO.devices)[:3]))
    loads = [PUMP, fan, HEATER, socket]
    assert running_w(loads, {"pump-1": True, "fan-1": False, "heater-1": None, "plug": True}) == 2000.0 + 9000.0
    shares = shares_w(loads, WHO.index)
    assert shares.sum() == pytest.approx(2900.0), "a socket's power is its miner's, a heater runs when it is cold"
    assert shares.tolist() == pytest.approx([2000 / 6 + 300] * 3 + [2000 / 6] * 3)
