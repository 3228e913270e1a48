# SPDX-License-Identifier: Apache-2.0
"""Laws of what is offered: no rise above limit less meter, of the site, of a feeder, of a phase, at any horizon."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grid.availability import Availability, Headroom, Units, available
from grid.limit import PHASES, Limit, Priority
from hub.app.demo_site import write_simulated_site
from hub.config import load
from hub.query.flexibility import STALE, headroom_at
from hub.query.status import units_of
from hub.state.fold import HubState
from hub.state.site import FOREVER, SiteState
from hub.state.situation import Freshness, situation_at
from hub.wiring.state import catalogue, empty_state
from kernel.clock import from_iso
from miner_control.control.allocate import per_phase
from miner_control.fleet.fleet import ASLEEP, STATE_CODE, Fleet, fleet_of, never_commanded, never_observed
from miner_control.fleet.miner import State
from tests.servers import count
from twin.site import Site
from twin.spec import TwinSpec

NOW_MS = from_iso("2026-03-02T10:00:00+05:00")
MINERS = 12
WATTS = st.floats(0.0, 90_000.0)
NEAR_W = 1e-6


@dataclass(frozen=True)
class Case:
    """A site at an instant: its fleet, limits and fresh meters by scope."""

    state: HubState
    site: SiteState
    fleet: Fleet
    limits: list[Limit]
    meters: dict[str, float]

    def offered(self, free: np.ndarray | None = None) -> tuple[Availability, Headroom]:
        units = units_of(self.fleet, self.fleet.since_ms, self.site)
        overhead_w = situation_at(self.state, self.site, NOW_MS, Freshness(60.0)).overhead.site_fixed_w
        believed_w = float(self.fleet.power_w.sum()) * self.site.overhead_factor + overhead_w
        room = headroom_at(self.site, self.fleet, self.limits, self.meters, believed_w)
        if free is not None:
            units = replace(units, commandable=units.commandable & free)
        return available(units, NOW_MS, notice_s=3.0, headroom=room, rate=20_000.0), room

    def cap_w(self, scope: str) -> float:
        return min((limit.power_w for limit in self.limits if limit.scope == scope), default=float("inf"))


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubState]:
    folder = tmp_path_factory.mktemp("offer")
    spec = TwinSpec(hub="h", site="s", miners=MINERS, feeders=2, seed=3, faults={})
    path: Path = write_simulated_site(folder, Site(spec, NOW_MS), spec, NOW_MS)
    yield empty_state(load(path, environment={}), catalogue())


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, ...]:
    """Modes, freshness, scales, caps, fresh meters, overhead, phases and ages of the last switch."""
    scopes = ["h/s", "h/s/f1", "h/s/f2"]
    return (
        draw(st.lists(st.integers(-1, 2), min_size=MINERS, max_size=MINERS)),
        draw(st.lists(st.sampled_from([True, True, True, False]), min_size=MINERS, max_size=MINERS)),
        draw(st.lists(st.floats(0.8, 1.2), min_size=MINERS, max_size=MINERS)),
        draw(st.dictionaries(st.sampled_from([*scopes, *(f"h/s/f1/{one}" for one in PHASES)]), WATTS, min_size=1)),
        draw(st.dictionaries(st.sampled_from(scopes), WATTS)),
        draw(st.floats(1.0, 1.6)),
        draw(st.lists(st.integers(-1, 2), min_size=MINERS, max_size=MINERS)),
        draw(st.lists(st.integers(0, 7_200), min_size=MINERS, max_size=MINERS)),
    )


def case_of(state: HubState, drawn: tuple[Any, ...]) -> Case:
    modes, fresh, scales, caps, meters, factor, phases, ages = drawn
    site = state.sites["h/s"]
    site.overhead_factor = factor
    roster = replace(site.roster, phase=np.array(phases, dtype=np.int8))
    mode = np.minimum(np.array(modes), roster.mode_count[roster.group] - 1)
    power = np.where(
        mode >= 0, roster.mode_power_w[roster.group, mode] * np.array(scales), roster.sleep_w[roster.group]
    )
    said = replace(
        never_observed(roster),
        at_ms=np.where(np.array(fresh), NOW_MS - 1000, NOW_MS - 900_000),
        state=np.where(mode == ASLEEP, STATE_CODE[State.ASLEEP], STATE_CODE[State.HASHING]).astype(np.int8),
        mode=mode.astype(np.int8),
        power_w=power,
        has_power=np.ones(MINERS, dtype=np.bool_),
    )
    limits = [Limit(scope, watts, FOREVER, Priority.DISPATCHER, "order", "law") for scope, watts in caps.items()]
    asked = replace(never_commanded(roster), since_ms=NOW_MS - 1000 * np.array(ages, dtype=np.int64))
    return Case(state, site, fleet_of(roster, said, asked, NOW_MS), limits, meters)


@settings(max_examples=count(150, 3000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=cases())
def test_no_rise_is_offered_above_limit_less_meter(state: HubState, drawn: tuple[Any, ...]) -> None:
    case = case_of(state, drawn)
    found, _ = case.offered()
    assert case.site.main is not None
    if "h/s" not in case.meters:
        assert found.up_w == found.locked_up_w == 0.0 and not any(found.up_in_w) and STALE in found.up_limited_by
    room_w = max(0.0, case.cap_w("h/s") - case.meters.get("h/s", 0.0))
    assert max(found.up_w + found.locked_up_w, *found.up_in_w) <= room_w + NEAR_W
    assert list(found.up_in_w) == sorted(found.up_in_w) and found.up_in_w[-1] <= found.up_w + NEAR_W
    for at, name in enumerate(case.fleet.roster.feeder_names):
        scope = f"h/s/{name}"
        alone, _ = case.offered(case.fleet.roster.feeder == at)
        room_w = max(0.0, case.cap_w(scope) - case.meters.get(scope, 0.0))
        assert max(alone.up_w + alone.locked_up_w, *alone.up_in_w) <= room_w + NEAR_W
        for lane, phase in enumerate(PHASES):
            one, _ = case.offered((case.fleet.roster.feeder == at) & (case.fleet.roster.phase == lane))
            own_w = per_phase(case.fleet.roster, case.fleet.power_w)[at, lane]
            assert one.up_w <= max(0.0, case.cap_w(f"{scope}/{phase}") - own_w) + NEAR_W


@settings(max_examples=count(100, 2000), deadline=None)
@given(
    rises=st.lists(st.floats(0.0, 5_000.0), min_size=6, max_size=6),
    more=st.lists(st.floats(0.0, 5_000.0), min_size=6, max_size=6),
    phase=st.lists(st.integers(-1, 2), min_size=6, max_size=6),
    site_w=st.floats(-5_000.0, 30_000.0),
    feeder_w=st.lists(st.floats(-2_000.0, 12_000.0), min_size=2, max_size=2),
    phase_w=st.lists(st.floats(-2_000.0, 6_000.0) | st.just(float("inf")), min_size=6, max_size=6),
)
def test_what_is_allowed_keeps_every_phase_feeder_and_the_site_and_grows_with_what_is_wanted(
    rises: list[float], more: list[float], phase: list[int], site_w: float, feeder_w: list[float], phase_w: list[float]
) -> None:
    feeder = np.array([0, 0, 0, 1, 1, 1])
    room = Headroom(
        site_w, "cap", feeder, np.array(feeder_w), ("a", "b"), np.array(phase), np.array(phase_w).reshape(2, 3)
    )
    rise = np.array(rises)
    by_feeder_w = room.by_feeder_w(rise)
    assert np.all(by_feeder_w <= np.maximum(feeder_w, 0.0) + NEAR_W) and np.all(by_feeder_w >= 0.0)
    assert np.all(by_feeder_w <= np.bincount(feeder, rise) + NEAR_W)
    assert np.all(by_feeder_w <= np.maximum(room.phase_w, 0.0).sum(axis=1) + NEAR_W)
    assert room.allowed_w(rise) <= max(site_w, 0.0)
    assert room.allowed_w(rise + np.array(more)) >= room.allowed_w(rise) - NEAR_W
    held = room.allowed_w(rise) < rise.sum() - 1e-3
    assert not held or room.limits(rise), "what is held back is told why"


def test_three_phase_units_load_each_phase_by_a_third_by_hand() -> None:
    room = Headroom(
        np.inf,
        "",
        np.zeros(3, dtype=np.int64),
        np.array([np.inf]),
        ("f",),
        np.array([-1, 0, 1]),
        np.array([[500.0, 800.0, 400.0]]),
    )
    # The three-phase unit is held to 3 x 400 W; that leaves 100 W on l1 and 400 W on l2.
    assert room.allowed_w(np.array([1_500.0, 300.0, 1_000.0])) == pytest.approx(1_200.0 + 100.0 + 400.0)


def test_a_unit_whose_starts_are_spent_is_promised_up_only_for_the_next_day(state: HubState) -> None:
    site = state.sites["h/s"]
    roster, asked = site.roster, never_commanded(site.roster)
    said = replace(
        never_observed(roster),
        at_ms=np.full(MINERS, NOW_MS - 1000),
        state=np.full(MINERS, STATE_CODE[State.ASLEEP], dtype=np.int8),
        mode=np.full(MINERS, ASLEEP, dtype=np.int8),
    )
    spent = replace(asked, starts_used=np.where(np.arange(MINERS) < 4, 2, 0))
    fleet = fleet_of(roster, said, spent, NOW_MS, starts_cap=2)
    waits_s = units_of(fleet, spent.since_ms, site).locked_up_s
    assert waits_s[:4].tolist() == [19 * 3600.0] * 4 and not waits_s[4:].any(), "05:00 UTC: 19 h are left of its day"


def units(count_of: int) -> Units:
    ones, on = np.ones(count_of), np.ones(count_of, dtype=bool)
    return Units(1_000 * ones, 20 * ones, 3_000 * ones, ones, ones, 0 * ones, 0 * ones, on, on, ~on, ~on)


def test_what_limits_is_named() -> None:
    feeder = np.array([0, 1])
    room = Headroom(
        1_500.0, "order D-1", feeder, np.array([np.inf, 500.0]), ("f1", "f2"), feeder * 0 - 1, np.full((2, 3), np.inf)
    )
    found = available(units(2), NOW_MS, notice_s=1.0, headroom=room)
    assert found.up_w == 1_500.0 and found.up_limited_by == ("order D-1", "feeder f2")
    assert available(units(2), NOW_MS, notice_s=1.0).up_limited_by == ()
    barred = available(units(2), NOW_MS, notice_s=1.0, headroom=room, barred="the site only observes")
    assert barred.up_w == barred.down_w == barred.locked_up_w == 0.0 and barred.up_limited_by == ()
    assert [(one.reason, one.units, one.power_w) for one in barred.excluded] == [("the site only observes", 2, 2_000.0)]
