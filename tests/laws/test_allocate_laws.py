# SPDX-License-Identifier: Apache-2.0
"""Laws of allocation and guard: whatever the fleet, the target and the caps."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from miner_control.control.allocate import Allocation, Policy, allocate, per_phase
from miner_control.control.guard import Heat, guard
from miner_control.fleet.fleet import ASLEEP, STATE_CODE, Fleet, never_commanded, never_observed, per_feeder
from miner_control.fleet.miner import State
from tests.miner_control.fleets import NOW_MS, envelope, fleet, roster
from tests.servers import count

STATES = [STATE_CODE[s] for s in (State.HASHING, State.HASHING, State.RAMPING, State.ASLEEP, State.ASLEEP, State.FAULT)]


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    """Up to 60 units of up to 4 models on up to 3 feeders: asleep, hashing, sick, silent, young, worn, foreign-held."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    models = [
        envelope(
            f"m{k}",
            power_w=float(rng.uniform(1500, 6000)),
            rate_ths=float(rng.uniform(60, 300)),
            modes=int(rng.integers(1, 4)),
            wakes_into_any_mode=bool(rng.integers(2)),
            can_sleep=bool(rng.random() < 0.9),
        )
        for k in range(draw(st.integers(1, 4)))
    ]
    who = roster(models, draw(st.integers(1, 15)), draw(st.integers(1, 3)))
    n = len(who)
    state = rng.choice(STATES, n).astype(np.int8)
    top = who.mode_count[who.group] - 1
    mode = np.where(state == STATE_CODE[State.ASLEEP], ASLEEP, rng.integers(0, top + 1)).astype(np.int8)
    power = np.where(
        mode == ASLEEP,
        who.sleep_w[who.group],
        who.mode_power_w[who.group, np.maximum(mode, 0)] * rng.normal(1, 0.03, n),
    )
    said = replace(
        never_observed(who),
        at_ms=np.where(rng.random(n) < 0.9, NOW_MS - 1000, NOW_MS - 10**6),
        state=state,
        mode=mode,
        power_w=power,
        has_power=rng.random(n) < 0.9,
    )
    asked = replace(
        never_commanded(who),
        since_ms=np.where(rng.random(n) < 0.2, NOW_MS - 60_000, 0),
        starts_used=rng.integers(0, 5, n),
        excluded=rng.random(n) < 0.1,
        mode_ceiling=np.where(rng.random(n) < 0.1, 0, 127).astype(np.int8),
    )
    return fleet(who, said, asked)


def after(found: Fleet, done: Allocation) -> tuple[np.ndarray, np.ndarray]:
    level = found.wanted.astype(np.int64)
    level[done.units] = done.modes
    settled = found.settled_w.copy()
    settled[done.units] = found.option_w()[done.units, done.modes + 1]
    return level, settled


def switched(found: Fleet, done: Allocation) -> np.ndarray:
    return done.units[(found.wanted[done.units] == ASLEEP) != (done.modes == ASLEEP)]


@settings(max_examples=count(150, 5000), deadline=None)
@given(fleets(), st.floats(0, 1.3), st.sampled_from(Policy), st.floats(0.3, 2.0))
def test_allocation(found: Fleet, share: float, policy: Policy, cap_share: float):
    target_w = share * float(found.settled_w.sum())
    caps = cap_share * per_feeder(found.roster, found.settled_w)
    done = allocate(found, target_w, feeder_cap_w=caps, policy=policy)
    level, settled = after(found, done)

    assert len(set(done.units.tolist())) == len(done.units)
    assert np.all(done.modes != found.wanted[done.units]), "only differences"
    assert np.all(found.can_command[done.units])
    assert np.all(level[done.units] <= found.ceiling[done.units]) and np.all(level >= ASLEEP)
    slept = done.units[done.modes == ASLEEP]
    assert np.all(found.may_sleep[slept])
    woken = done.units[found.wanted[done.units] == ASLEEP]
    assert np.all(found.may_wake[woken]) and np.all(level[woken] >= found.wake_mode[woken])
    np.testing.assert_allclose(done.power_w, settled.sum(), rtol=1e-9)

    able = found.can_command
    if done.over_w > 1e-6:
        # Whatever may be lowered is at the bottom already.
        low = np.where(found.may_sleep, ASLEEP, 0)
        assert np.all(level[able] <= np.maximum(low[able], ASLEEP)), "power was left that could be lowered"
    for feeder in np.flatnonzero(done.feeder_over_w > 1e-6):
        inside = able & (found.roster.feeder == feeder)
        assert np.all(level[inside] <= np.where(found.may_sleep[inside], ASLEEP, 0))


@settings(max_examples=count(150, 5000), deadline=None)
@given(fleets(), st.floats(0, 1.3), st.sampled_from(Policy), st.floats(0.1, 1.5), st.integers(0, 2**32))
def test_phases_keep_their_caps(found: Fleet, share: float, policy: Policy, cap_share: float, seed: int):
    rng = np.random.default_rng(seed)
    phased = replace(found.roster, phase=rng.integers(-1, 3, len(found)).astype(np.int8))
    found = replace(found, roster=phased)
    before = per_phase(phased, found.settled_w)
    np.testing.assert_allclose(before.sum(axis=1), per_feeder(phased, found.settled_w))
    caps = np.where(rng.random(before.shape) < 0.3, np.inf, cap_share * before.mean(axis=1, keepdims=True) + 1.0)
    done = allocate(found, share * float(found.settled_w.sum()), phase_cap_w=caps, policy=policy)
    level, settled = after(found, done)
    over = per_phase(phased, settled) - caps
    assert done.phase_over_w is not None
    np.testing.assert_allclose(np.maximum(over, 0.0), done.phase_over_w, atol=1e-6)
    for feeder, lane in np.argwhere(over > 1e-6):
        assert over[feeder, lane] <= max(0.0, before[feeder, lane] - caps[feeder, lane]) + 1e-6, (
            "a full phase was loaded more"
        )
        inside = found.can_command & (phased.feeder == feeder) & (phased.phase == lane)
        assert np.all(level[inside] <= np.where(found.may_sleep[inside], ASLEEP, 0)), (
            "power was left that could be lowered"
        )


@settings(max_examples=count(150, 5000), deadline=None)
@given(fleets(), st.floats(0.05, 1.2), st.sampled_from(Policy))
def test_the_error_is_less_than_one_rung(found: Fleet, share: float, policy: Policy):
    """What is left of the target, up to a unit's rung, could not have been used by any single unit."""
    target_w = share * float(found.settled_w.sum())
    done = allocate(found, target_w, policy=policy)
    if done.over_w > 0:
        return
    level, settled = after(found, done)
    room = target_w - float(settled.sum())
    option = found.option_w()
    for unit in np.flatnonzero(found.can_command & (level >= 0) & (level < found.ceiling)):
        rise = option[unit, level[unit] + 2] - settled[unit]
        assert rise <= 0 or rise > room - 1e-6, "a mode that still fits was left unused"


@settings(max_examples=count(100, 3000), deadline=None)
@given(fleets(), st.floats(0.0, 1.2))
def test_no_unit_is_switched_where_modes_could_do(found: Fleet, share: float):
    target_w = share * float(found.settled_w.sum())
    done = allocate(found, target_w, policy=Policy.MODES_FIRST)
    slept = done.units[(done.modes == ASLEEP) & (found.wanted[done.units] >= 0)]
    woken = done.units[found.wanted[done.units] == ASLEEP]
    assert not (len(slept) and len(woken)), "one slept, another woken"
    option = found.option_w()
    if len(slept):
        lowest = found.settled_w.copy()
        able = found.can_command & (found.wanted >= 0)
        lowest[able] = np.minimum(lowest[able], option[able, 1])
        assert lowest.sum() > target_w - 1e-6, "the lowest modes would have been enough"
        assert not np.any(option[slept, 1] - option[slept, 0] <= target_w - done.power_w - 1e-6) or done.over_w > 0, (
            "a unit was switched off that need not be"
        )


@settings(max_examples=count(150, 5000), deadline=None)
@given(fleets(), st.floats(0.0, 1.3), st.booleans(), st.integers(0, 2**32))
def test_the_guard_may_lower_and_never_raise(found: Fleet, share: float, fresh: bool, seed: int):
    rng = np.random.default_rng(seed)
    proposed = allocate(found, share * float(found.settled_w.sum()))
    heat = Heat(rng.uniform(40, 110, len(found)), rng.random(len(found)) < 0.7)
    guarded = guard(found, proposed, meter_fresh=fresh, heat=heat)
    before, _ = after(found, proposed)
    level, settled = after(found, guarded.allocation)
    # Never above what was proposed, nor above what is there already.
    assert np.all(level <= np.maximum(before, found.wanted))
    assert np.all(level[before <= found.wanted] <= before[before <= found.wanted]), "a lowering was held back"
    if not fresh:
        assert np.all(level <= found.wanted), "nothing rises blind"
    raised = level > found.wanted
    assert np.isclose(guarded.allocation.power_w, float(settled.sum()))
    assert np.all(guarded.allocation.feeder_over_w <= proposed.feeder_over_w)
    hot = heat.known & (heat.chip_c >= heat.hot_c)
    assert not np.any(raised & hot)
    burning = heat.known & (heat.chip_c >= heat.stop_c) & found.fresh & found.roster.can_sleep[found.roster.group]
    assert np.all(level[burning] == ASLEEP)
    named = {int(unit) for restraint in guarded.restraints for unit in restraint.units}
    assert set(np.flatnonzero(level != before).tolist()) <= named, "every lowering has its reason"
