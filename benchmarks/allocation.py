# SPDX-License-Identifier: Apache-2.0
"""Allocation benchmark: time, accuracy and switching of successive set-points for 100,000 units.

`python -m benchmarks.allocation --json`. Each set-point is applied to the fleet before the next one, with feeder caps in half
of the cases and phase caps in a quarter, so that the fleet is in many modes at once. A switching is needless where a lower
mode of others would have sufficed (checked against all units at their lowest mode), or where a unit could be kept on within
the target. `all_change`: the whole control step, from an order to a set-point with reason for each unit, where every unit
changes.
"""

import argparse
import json
import time
from dataclasses import replace
from typing import Any

import numpy as np

from grid.limit import Limit, Priority
from kernel.span import Span
from miner_control.control.allocate import Allocation, Policy, allocate, per_phase
from miner_control.fleet.envelope import Envelope, Mode
from miner_control.fleet.fleet import (
    ASLEEP,
    STATE_CODE,
    Fleet,
    fleet_of,
    never_commanded,
    never_observed,
    per_feeder,
    roster_of,
)
from miner_control.fleet.miner import Miner, State
from scheduling.control import Terms, step

NOW_MS = 1_800_000_000_000


def fleet_at_random(units: int, models: int, feeders: int, seed: int) -> Fleet:
    """All hashing in normal mode, each a few per cent off its nameplate."""
    rng = np.random.default_rng(seed)
    envelopes = {}
    for at in range(models):
        power_w, j_per_th = float(rng.uniform(1500, 5500)), float(rng.uniform(13, 36))
        rate_hs = power_w / j_per_th * 1e12
        envelopes[f"m{at}", "antminer"] = Envelope(
            f"m{at}", "antminer",
            (
                Mode("low", 0.6 * power_w, 0.69 * rate_hs),
                Mode("normal", power_w, rate_hs),
                Mode("high", 1.18 * power_w, 1.115 * rate_hs),
            ),
            "normal", 20.0, 300.0, 60.0, 200.0, 1800.0, 900.0,
        )  # fmt: skip
    model, feeder = rng.integers(0, models, units), rng.integers(0, feeders, units)
    miners = [
        Miner(f"h/s/m{at}", f"m{model[at]}", "antminer", "127.0.0.1", (), f"f{feeder[at]}") for at in range(units)
    ]
    roster = roster_of(miners, envelopes, phases={miner.device: at % 3 for at, miner in enumerate(miners)})
    seen = replace(
        never_observed(roster),
        at_ms=np.full(units, NOW_MS - 1000),
        state=np.full(units, STATE_CODE[State.HASHING], dtype=np.int8),
        mode=np.ones(units, dtype=np.int8),
        power_w=roster.mode_power_w[roster.group, 1] * rng.normal(1.0, 0.02, units),
        has_power=np.ones(units, dtype=np.bool_),
    )
    asked = replace(never_commanded(roster), starts_used=rng.integers(0, 4, units))
    return fleet_of(roster, seen, asked, NOW_MS)


def applied(fleet: Fleet, done: Allocation) -> Fleet:
    """The fleet after everything took effect."""
    level, settled = fleet.wanted.copy(), fleet.settled_w.copy()
    settled[done.units] = fleet.option_w()[done.units, done.modes + 1]
    level[done.units] = done.modes
    return replace(fleet, mode=level, wanted=level, power_w=settled, settled_w=settled)


def needless(fleet: Fleet, done: Allocation, target_w: float, caps: Any) -> int:
    """Units switched off needlessly by the policy itself: modes before switching."""
    slept = done.units[(done.modes == ASLEEP) & (fleet.wanted[done.units] >= 0)]
    if not len(slept) or caps is not None:
        return 0
    option = fleet.option_w()
    lowest = np.where(fleet.wanted >= 0, np.minimum(option[:, 1], fleet.settled_w), fleet.settled_w)
    if lowest.sum() <= target_w:
        return len(slept)
    return int(np.count_nonzero(option[slept, 1] - option[slept, 0] <= target_w - done.power_w - 1e-6))


def measure(units: int, models: int, feeders: int, set_points: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed + 1)
    took_ms, cpu_ms, errors_pct, wasted, over, changed = [], [], [], 0, 0, []
    for policy in Policy:
        fleet = fleet_at_random(units, models, feeders, seed)
        full_w = float(fleet.settled_w.sum())
        for turn in range(set_points):
            target_w = float(rng.uniform(0.05, 1.1)) * full_w
            caps = phase_caps = None
            if turn % 4 == 3:
                phase_caps = per_phase(fleet.roster, fleet.option_w()[:, 2]) * rng.uniform(0.6, 1.2, (feeders, 3))
            if turn % 2:
                caps = np.array(per_feeder(fleet.roster, fleet.option_w()[:, 2]) * rng.uniform(0.6, 1.2, feeders))
            start_s, start_cpu_s = time.perf_counter(), time.process_time()
            done = allocate(fleet, target_w, feeder_cap_w=caps, phase_cap_w=phase_caps, policy=policy)
            took_ms.append((time.perf_counter() - start_s) * 1e3)
            cpu_ms.append((time.process_time() - start_cpu_s) * 1e3)
            most_w = float(fleet.option_w()[:, 3].sum())
            if caps is None and target_w <= most_w and done.over_w == 0:
                errors_pct.append(100.0 * (target_w - done.power_w) / target_w)
            phase_over = done.phase_over_w is not None and bool(np.any(done.phase_over_w > 1.0))
            over += int(done.over_w > 1.0 or bool(np.any(done.feeder_over_w > 1.0)) or phase_over)
            wasted += needless(fleet, done, target_w, caps) if policy is Policy.MODES_FIRST else 0
            changed.append(len(done))
            fleet = applied(fleet, done)
    return {
        "units": units,
        "models": models,
        "feeders": feeders,
        "set_points": len(took_ms),
        "p50_ms": round(float(np.percentile(took_ms, 50)), 2),
        "p99_ms": round(float(np.percentile(took_ms, 99)), 2),
        "cpu_p99_ms": round(float(np.percentile(cpu_ms, 99)), 2),
        "error_pct": round(max(errors_pct), 6),
        "over_target_or_cap": over,
        "needlessly_switched": wasted,
        "changed_mean": round(float(np.mean(changed))),
    }


def all_change(units: int, models: int, feeders: int, seed: int, turns: int = 20) -> dict[str, Any]:
    """Orders that change the mode of every unit: half an hour (modes), eight hours (sleep)."""
    fleet = fleet_at_random(units, models, feeders, seed)
    full_w = float(fleet.settled_w.sum())
    cpu_ms, least = [], units
    for turn in range(turns):
        share, hours = ((0.6, 0.5), (0.0001, 8.0))[turn % 2]
        span = Span(NOW_MS - 1, NOW_MS + round(hours * 3_600_000))
        order = Limit("h/s", full_w * share, span, Priority.DISPATCHER, "order", "benchmark")
        start_cpu_s = time.process_time()
        decision = step(NOW_MS, fleet, None, [order], Terms("h/s"))
        cpu_ms.append((time.process_time() - start_cpu_s) * 1e3)
        least = min(least, len(decision.set_points))
    return {"all_change_units": least, "all_change_cpu_max_ms": round(max(cpu_ms), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on the last line")
    parser.add_argument("--units", type=int, default=100_000)
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--feeders", type=int, default=40)
    parser.add_argument("--set-points", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    found = measure(options.units, options.models, options.feeders, options.set_points, options.seed)
    found |= all_change(options.units, options.models, options.feeders, options.seed)
    if options.json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{name:20} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
