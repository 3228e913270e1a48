# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miner_control.control.allocate import allocate
from miner_control.control.cold_protection import Loop, dew_point_c, heat_floor_w, hold_wakes, staged_sleep, wake_fault
from miner_control.fleet.fleet import ASLEEP
from tests.miner_control.fleets import envelope, fleet, roster, seen

WARM = Loop("c1", np.arange(10), 30.0, 20.0, 50.0, True, 20.0, 50.0, True, loss_w_per_k=500.0)


@pytest.mark.parametrize(
    ("temp_c", "humidity_pct", "dew_c"), [(20.0, 100.0, 20.0), (20.0, 50.0, 9.3), (30.0, 70.0, 23.9), (0.0, 80.0, -3.0)]
)
def test_dew_point(temp_c: float, humidity_pct: float, dew_c: float):
    assert dew_point_c(temp_c, humidity_pct) == pytest.approx(dew_c, abs=0.15)


def test_a_dew_point_of_no_air_is_refused():
    with pytest.raises(ValueError, match="humidity"):
        dew_point_c(20.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"supply_c": 12.0}, "pre-warm"),
        ({"supply_c": 55.0}, "above"),
        ({"supply_c": None}, "unknown"),
        ({"flow_ok": False}, "flow"),
        ({"flow_ok": None}, "flow"),
        ({"supply_c": 24.0, "ambient_c": 30.0, "humidity_pct": 75.0}, "dew point"),
        ({"supply_c": 24.0, "ambient_c": 30.0, "humidity_pct": 75.0, "dew_c": 15.0}, ""),
        ({"supply_c": 24.0, "dew_c": 23.5}, "dew point of 24 C"),
        ({"supply_c": 24.0, "ambient_c": -20.0, "room_c": 30.0, "humidity_pct": 75.0}, "dew point"),
        ({"return_c": 71.0, "return_high_c": 70.0}, "return 71 C is above 70 C"),
        ({"return_c": None, "return_high_c": 70.0}, ""),
        ({"pressure_bar": 0.4, "pressure_low_bar": 1.0}, "pressure 0.4 bar, at least 1.0 bar"),
        ({"pressure_bar": None, "pressure_low_bar": 1.0}, "pressure unknown"),
        ({"pressure_bar": 1.0, "pressure_low_bar": 1.0}, ""),
        ({"liquid": False, "supply_c": None, "flow_ok": None}, ""),
    ],
)
def test_wake_interlock_reasons(changes: dict[str, object], why: str):
    fault = wake_fault(replace(WARM, **changes))  # type: ignore[arg-type]
    assert (why in fault) if why else fault == ""


def test_frost_asks_for_heat_and_the_unknown_is_taken_for_frost():
    assert heat_floor_w(WARM) == 0.0
    assert heat_floor_w(replace(WARM, ambient_c=-20.0)) == 12_500.0
    assert heat_floor_w(replace(WARM, ambient_c=None)) == 17_500.0
    assert heat_floor_w(replace(WARM, ambient_c=-20.0, liquid=False)) == 0.0


@settings(max_examples=60, deadline=None)
@given(st.floats(0.0, 1.2), st.floats(5.0, 60.0), st.booleans())
def test_the_cold_guard_only_takes_wakes_away(share: float, supply_c: float, flow_ok: bool):
    who = roster([envelope("a")], 10, 2)
    half = np.where(np.arange(10) < 5, ASLEEP, 1)
    said = seen(who)
    asleep = seen(who, mode=ASLEEP)
    mixed = {name: np.where(half == ASLEEP, getattr(asleep, name), getattr(said, name)) for name in said.__slots__}
    found = fleet(
        who, replace(said, **{name: value.astype(getattr(said, name).dtype) for name, value in mixed.items()})
    )
    proposed = allocate(found, share * 30_000.0)
    held = hold_wakes(found, proposed, [replace(WARM, supply_c=supply_c, flow_ok=flow_ok)])
    kept = set(held.allocation.units.tolist())
    gone = set(proposed.units.tolist()) - kept
    assert kept <= set(proposed.units.tolist())
    assert all(found.wanted[unit] == ASLEEP for unit in gone)
    assert held.allocation.power_w <= proposed.power_w + 1e-6
    if not flow_ok:
        assert all(found.wanted[unit] != ASLEEP for unit in kept)
    assert bool(gone) == bool(held.restraints)


def test_a_shed_in_frost_is_staged_and_the_most_efficient_stay():
    who = roster([envelope("old", rate_ths=80.0), envelope("new", rate_ths=200.0)], 5)
    found = fleet(who)
    loop = replace(WARM, units=np.arange(10), ambient_c=-8.0)
    assert heat_floor_w(loop) == 6500.0
    leaving, staying = staged_sleep(found, loop, np.arange(10))
    assert len(staying) == 3 and len(leaving) == 7
    assert {who.groups[int(who.group[unit])].envelope.model for unit in staying} == {"new"}
    nobody_needed = staged_sleep(found, replace(loop, ambient_c=20.0), np.arange(10))
    assert len(nobody_needed[1]) == 0
