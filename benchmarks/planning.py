# SPDX-License-Identifier: Apache-2.0
"""Planning benchmark, speed and quality: `python -m benchmarks.planning --json [--seeds N] [--stress] [--small] [--replan]
[--scenarios]`.

Times are CPU seconds of one thread (`seconds_*`), with wall time as well (`wall_*`); memory is the growth of the process's
peak resident size, each measured in a process of its own. The direct method is the full linear programme of the same facts
in HiGHS, in the same run; linopy and Pyomo write it too where `--others` names an interpreter that has them. `scenarios` in
the answer is the day-ahead choice over 50 scenarios x 96 slots against its one large programme.
"""

import argparse
import json
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.instances import anything, at_slot, day_price, scenario_market, standard, with_order
from scheduling.offer.scenario import decide
from scheduling.plan import Plan
from scheduling.planner import make
from scheduling.problem.problem import Battery, Order, Problem, Take
from scheduling.solve.check import judge
from scheduling.solve.exact import Effort, branch, relax
from scheduling.solve.lagrangian import DecompositionSettings, WarmStart, certified
from scheduling.solve.model import build
from tests.oracles.one_programme import one_programme


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """(result, CPU seconds, wall seconds)."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = work()
    return result, time.process_time() - cpu, time.perf_counter() - wall


def alone(work: Callable[..., Any], *args: Any) -> Any:
    """Run in a fresh process, so that memory and caches are its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, args)


def warm_up() -> None:
    """Exclude imports and first calls from the measurement."""
    certified(standard(99, groups=20, slots=24))


def plan_row(problem: Problem, settings: DecompositionSettings = DecompositionSettings()) -> dict[str, Any]:
    """One cold plan: gap in percent, violations by the independent checker, seconds."""
    plan, cpu, wall = timed(lambda: certified(problem, settings=settings))
    if plan is None:
        return {"gap": None, "violations": None, "seconds": cpu, "wall": wall}
    return {
        "gap": 100 * gap_of(plan),
        "violations": len(judge(plan)),
        "seconds": cpu,
        "wall": wall,
        "value": plan.value,
    }


def gap_of(plan: Plan) -> float:
    return float("inf") if plan.gap is None else plan.gap


def cold(seeds: range) -> dict[str, Any]:
    """Every seed cold, in one process; the memory is the growth over the first plans."""
    warm_up()
    before = peak_mb()
    rows = [plan_row(standard(seed)) for seed in seeds]
    return {
        **summary(rows),
        "values": {str(s): r.get("value") for s, r in zip(seeds, rows, strict=True)},
        "memory_mb": peak_mb() - before,
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    gaps = [row["gap"] if row["gap"] is not None else float("inf") for row in rows]
    cpu = [row["seconds"] for row in rows]
    return {
        "cases": len(rows),
        "gap_max": max(gaps),
        "gap_mean": float(np.mean(gaps)),
        "violations": sum(row["violations"] or 0 for row in rows),
        "unplanned": sum(row["gap"] is None for row in rows),
        "seconds_p50": float(np.median(cpu)),
        "seconds_max": max(cpu),
        "wall_p50": float(np.median([row["wall"] for row in rows])),
    }


def direct(seed: int) -> dict[str, Any]:
    """The full linear programme of one seed in HiGHS: build, solve, memory."""
    problem = standard(seed)
    before = peak_mb()
    arrays, build_cpu, _ = timed(lambda: (model := build(problem), model.program.arrays()))
    model, parts = arrays
    found, cpu, wall = timed(lambda: relax(parts, Effort(simplex_iterations=10**9)))
    return {
        "seed": seed,
        "build_s": build_cpu,
        "seconds": build_cpu + cpu,
        "wall": wall,
        "optimum": found.objective * model.scale_money if found.found else None,
        "columns": len(parts.low),
        "nonzeros": len(parts.value),
        "memory_mb": peak_mb() - before,
    }


def numbers(problem: Problem) -> dict[str, Any]:
    """The standard instance as plain arrays, with money and slot lengths multiplied in, for a programme written elsewhere."""
    groups, site, (starts, _) = problem.groups, problem.site, (problem.slots.starts_ms, problem.slots.hours)
    down, up = site.reserve_down, site.reserve_up
    if down is None or up is None or site.battery or site.takes or np.any(groups.sleep_w) or np.any(site.heat_w):
        raise ValueError("only the standard instance is exported")
    return {
        "units": groups.units,
        "power": groups.mode_power_w,
        "rate": groups.mode_hashrate_hs,
        "value": problem.slot_value(),
        "price": problem.money_per_w(),
        "start": problem.start_money(),
        "hold": round(float(groups.min_on_s[0]) * 1000 / int(starts[1] - starts[0])),
        "feeder": groups.feeder,
        "feeder_cap": site.feeder_cap_w,
        "cap": problem.cap_w(),
        "ramp": site.ramp_w,
        "power_now": site.power_now_w,
        "peak_price": site.peak_price_per_w,
        "peak_so_far": site.peak_so_far_w,
        "mode_max": site.mode_max,
        "block": down.block_of,
        "down": down.price_per_w,
        "up": up.price_per_w,
        "down_max": down.max_w,
        "up_max": up.max_w,
    }


def written_in(tool: str, python: str, groups: int, seconds: float) -> dict[str, Any] | str:
    """Seed 0 as a programme of `tool`, in the interpreter `python`, its solver given `seconds` of wall time."""
    asked = f"import importlib.util as u, sys; sys.exit(u.find_spec({tool!r}) is None)"
    if subprocess.run([python, "-c", asked], check=False).returncode:
        return "not installed"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instance.npz"
        np.savez(path, **numbers(standard(0, groups=groups)))
        script = str(Path(__file__).with_name("planning_others.py"))
        done = subprocess.run(
            [python, script, tool, str(path), str(seconds)], check=False, capture_output=True, text=True
        )
    if done.returncode:
        return f"failed: {done.stderr.strip().splitlines()[-1]}"
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return {"groups": groups, **found}


def replans(seed: int, count: int) -> dict[str, Any]:
    """Orders arriving in mid-day on the true states of all units, just after the slots with most switching (so that many are
    bound by minimum times): warm start from the plan of the running slot."""
    warm_up()
    problem = standard(seed)
    morning = certified(problem)
    assert morning is not None
    switched = np.convolve((morning.starts + morning.stops).sum(axis=0), np.ones(2), mode="full")[:288]
    slot = 96 + int(np.argmax(switched[96:270])) + 1
    midday = at_slot(problem, morning.on(), morning.power_w, slot, 6)
    memory = WarmStart()
    certified(midday, warm_start=memory)
    rng = np.random.default_rng(seed)
    total_w = float(midday.groups.units @ midday.groups.mode_power_w[:, 1])
    rows = []
    for _ in range(count):
        first, length = int(rng.integers(1, 250)), int(rng.integers(3, 37))
        order = Order(
            "new", first, min(first + length, len(midday.slots)) - 1, float(rng.uniform(0.30, 0.85)) * total_w
        )
        asked = with_order(midday, order)
        plan, cpu, wall = timed(lambda asked=asked: certified(asked, warm_start=memory))
        row = {"seconds": cpu, "wall": wall, "gap": None, "violations": None}
        rows.append(row if plan is None else {**row, "gap": 100 * gap_of(plan), "violations": len(judge(plan))})
    cpu_s = [row["seconds"] for row in rows]
    return {
        **summary(rows),
        "seconds_p99": float(np.quantile(cpu_s, 0.99)),
        "slot": slot,
        "locked_on": int(midday.groups.locked_on[:, 0].sum()),
        "locked_off": int(midday.groups.locked_off[:, 0].sum()),
    }


def stress_cases() -> dict[str, Callable[[int], Problem]]:
    """Difficult cases, each with its own goal in percent (see `GOALS`)."""

    def all_four(seed: int) -> Problem:
        problem = standard(seed)
        total_w = float(problem.groups.units @ problem.groups.mode_power_w[:, 1])
        coincident = np.zeros(288)
        coincident[np.random.default_rng(seed).choice(288, 12, replace=False)] = 25e-6 / 12
        battery = Battery(30e6, 30e6, 60e6, 30e6, 30e6, 0.95, 0.95, 4e-6)
        take = Take(0, 287, 1.05 * 0.75 * total_w * 24, 20e-6)
        site = replace(problem.site, battery=battery, takes=(take,), coincident_price_per_w=coincident)
        groups = replace(problem.groups, starts_left=problem.groups.units // 4)
        return replace(problem, site=site, groups=groups)

    def three_days(seed: int) -> Problem:
        problem = standard(seed, slots=864)
        price = day_price(np.random.default_rng(seed + 1000), problem.slots) / 1e6
        return replace(problem, site=replace(problem.site, energy_price_per_wh=price))

    return {
        "feeders_75_100": lambda seed: standard(seed, feeder_low=0.75, feeder_high=1.0),
        "feeders_62": lambda seed: standard(seed, feeder_low=0.62),
        "one_hour_minimum_times": lambda seed: standard(seed, min_s=3600.0),
        "battery_take_peak_cycles": all_four,
        "steps_864": three_days,
        "few_units": lambda seed: standard(seed, units=2_000),
    }


GOALS = {
    "feeders_75_100": 0.3,
    "feeders_62": 1.0,
    "one_hour_minimum_times": 0.15,
    "battery_take_peak_cycles": 0.4,
    "steps_864": 0.1,
    "few_units": None,
}


def stress(name: str, seeds: range) -> dict[str, Any]:
    warm_up()
    rows = [plan_row(stress_cases()[name](seed)) for seed in seeds]
    return {**summary(rows), "goal": GOALS[name]}


def small(seed: int, seconds: float) -> dict[str, Any]:
    """One random small instance, planned as in the product, against the full integer programme with `seconds` of wall
    time."""
    problem = anything(seed)
    plan, cpu, wall = timed(lambda: make(problem, why_now="benchmark"))
    row = {"gap": 100 * gap_of(plan), "violations": len(judge(plan)), "seconds": cpu, "wall": wall, "value": plan.value}
    limit = plan.bound
    model = build(problem)
    arrays = model.program.arrays()
    found = branch(arrays, Effort(nodes=10**9, gap=1e-6, seconds=seconds), None)
    value = found.objective * model.scale_money if found.found else None
    milp_gap = None if value is None else 100 * (found.bound * model.scale_money - value) / max(abs(value), 1e-9)
    ours = row.get("value")
    holds = value is None or limit is None or value <= limit + 1e-6 * abs(limit)
    behind = None if value is None or ours is None else 100 * (value - ours) / max(abs(value), 1e-9)
    near = behind is None or behind <= max(0.1, milp_gap or 0.0) + 1e-9
    return {
        **row,
        "seed": seed,
        "milp": value,
        "milp_gap": milp_gap,
        "bound_holds": bool(holds),
        "behind": behind,
        "near": bool(near),
    }


def scenarios(seeds: range) -> dict[str, Any]:
    """50 scenarios x 96 slots, mean and CVaR, against the one large programme."""
    decide(scenario_market(99, 5, 24))
    rows = []
    for seed in seeds:
        market = scenario_market(seed)
        fast, cpu, wall = timed(lambda market=market: decide(market))
        whole, whole_cpu, _ = timed(lambda market=market: one_programme(market))
        rows.append((cpu, wall, whole_cpu, abs(fast.objective / whole.objective - 1)))
    cpu_s, wall_s, whole_s, off = (list(column) for column in zip(*rows, strict=True))
    return {
        "cases": len(rows),
        "seconds_p50": float(np.median(cpu_s)),
        "seconds_max": max(cpu_s),
        "wall_p50": float(np.median(wall_s)),
        "one_programme_s": float(np.median(whole_s)),
        "difference_max": max(off),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--direct", type=int, default=2, help="seeds solved by the full programme as well")
    parser.add_argument("--stress", action="store_true")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--replan", action="store_true")
    parser.add_argument("--scenarios", action="store_true")
    parser.add_argument("--others", default=sys.executable, help="interpreter that has linopy and Pyomo")
    parser.add_argument("--others-groups", type=int, default=400, help="size of the instance handed to them")
    parser.add_argument("--others-seconds", type=float, default=300.0, help="wall time of their solver")
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--milp-seconds", type=float, default=20.0)
    options = parser.parse_args()
    report: dict[str, Any] = {}
    if options.stress:
        report = {name: alone(stress, name, range(min(options.seeds, 9))) for name in GOALS}
    elif options.small:
        rows = [small(seed, options.milp_seconds) for seed in range(min(options.seeds, 50))]
        report = {
            **summary(rows),
            "bound_broken": sum(not row["bound_holds"] for row in rows),
            "not_near": [row for row in rows if not row["near"]],
        }
    elif options.scenarios:
        report = alone(scenarios, range(min(options.seeds, 20)))
    elif options.replan:
        report = {str(seed): alone(replans, seed, options.orders // 2) for seed in (0, 3)}
        report["gap_max"] = max(report[seed]["gap_max"] for seed in ("0", "3"))
        report["seconds_p99"] = max(report[seed]["seconds_p99"] for seed in ("0", "3"))
    else:
        ours = alone(cold, range(options.seeds))
        values = ours.pop("values")
        full = [alone(direct, seed) for seed in range(options.direct)]
        for row in full:
            if row["optimum"] is not None:
                row["plan_below_optimum_pct"] = 100 * (row["optimum"] - values[str(row["seed"])]) / abs(row["optimum"])
        report = {**ours, "direct": full}
        if full:
            report["ratio_to_direct"] = float(np.mean([row["seconds"] for row in full])) / ours["seconds_p50"]
        for tool in ("linopy", "pyomo"):
            report[tool] = other = written_in(tool, options.others, options.others_groups, options.others_seconds)
            if isinstance(other, dict) and options.others_groups == 400:
                other["ratio"] = other["seconds"] / ours["seconds_p50"]
        report["scenarios"] = alone(scenarios, range(5))
    json.dump(report, sys.stdout, indent=None if options.json else 2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
