# SPDX-License-Identifier: Apache-2.0
"""Standard instance's linear programme in linopy or Pyomo, for an interpreter that has them.

`python planning_others.py linopy|pyomo instance.npz SECONDS`. Needs only the numbers in the file. Prints one JSON object:
version, seconds of building and of solving (with transfer), optimum, growth of peak memory.
"""

import importlib.metadata
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


def with_linopy(data: Mapping[str, Any], seconds: float) -> tuple[float, Callable[[], tuple[str, float]]]:
    """(CPU seconds of building, function that solves it: status and optimum)."""
    import warnings

    import linopy
    import pandas as pd
    import xarray as xr

    warnings.simplefilter("ignore")
    begun = time.process_time()
    groups, modes, slots = data["power"].shape[0], data["power"].shape[1], len(data["price"])
    g, m, t, b = (
        pd.RangeIndex(n, name=name) for n, name in zip((groups, modes, slots, len(data["down"])), "gmtb", strict=True)
    )
    power, rate = (xr.DataArray(data[key], coords=[g, m]) for key in ("power", "rate"))
    units, value = xr.DataArray(data["units"], coords=[g]), xr.DataArray(data["value"], coords=[t])
    cap, price = xr.DataArray(data["cap"], coords=[t]), xr.DataArray(data["price"], coords=[t])
    model = linopy.Model()
    most = np.where(np.arange(modes)[None, :, None] <= data["mode_max"][None, None, :], data["units"][:, None, None], 0)
    x = model.add_variables(0, xr.DataArray(most.astype(float), coords=[g, m, t]), name="x")
    s, d = (model.add_variables(0, coords=[g, t], name=name) for name in ("s", "d"))
    site = model.add_variables(0, cap, name="site")
    peak = model.add_variables(float(data["peak_so_far"]), name="peak")
    down = model.add_variables(0, float(data["down_max"]), coords=[b], name="down")
    up = model.add_variables(0, float(data["up_max"]), coords=[b], name="up")
    on = x.sum("m")
    first = xr.DataArray(np.where(np.arange(slots) == 0, data["units"][:, None], 0.0), coords=[g, t])
    model.add_constraints(on - on.shift(t=1) - s + d == first, name="balance")
    hold = int(data["hold"])
    model.add_constraints(s.rolling(t=hold).sum() - on <= 0, name="min on")
    model.add_constraints(d.rolling(t=hold).sum() + on <= units, name="min off")
    model.add_constraints(site - (power * x).sum(["g", "m"]) == 0, name="power")
    feeder = xr.DataArray(data["feeder"], coords=[g], name="f")
    drawn = (power * x).sum("m").groupby(feeder).sum()
    f = pd.RangeIndex(len(data["feeder_cap"]), name="f")
    model.add_constraints(drawn <= xr.DataArray(data["feeder_cap"], coords=[f, t]), name="feeder")
    was = xr.DataArray(np.where(np.arange(slots) == 0, float(data["power_now"]), 0.0), coords=[t])
    ramp = xr.DataArray(data["ramp"], coords=[t])
    model.add_constraints(site - site.shift(t=1) <= ramp + was, name="ramp up")
    model.add_constraints(site - site.shift(t=1) >= was - ramp, name="ramp down")
    model.add_constraints(peak - site >= 0, name="peak")
    block = xr.DataArray(data["block"], coords=[t], name="b")
    model.add_constraints(down.sel(b=block) - site <= 0, name="down")
    model.add_constraints(up.sel(b=block) + site <= cap, name="up")
    start = xr.DataArray(data["start"], coords=[g, t])
    worth = (rate * value * x).sum() - (price * site).sum() - (start * s).sum() - float(data["peak_price"]) * peak
    worth += (xr.DataArray(data["down"], coords=[b]) * down).sum() + (xr.DataArray(data["up"], coords=[b]) * up).sum()
    model.add_objective(worth, sense="max")

    def solve() -> tuple[str, float]:
        status, condition = model.solve("highs", io_api="direct", threads=1, time_limit=seconds, output_flag=False)
        return f"{status}: {condition}", float(model.objective.value if model.objective.value is not None else np.nan)

    return time.process_time() - begun, solve


def with_pyomo(data: Mapping[str, Any], seconds: float) -> tuple[float, Callable[[], tuple[str, float]]]:
    """(CPU seconds of building, function that solves it: status and optimum)."""
    import pyomo.environ as pyo
    from pyomo.contrib.appsi.solvers import Highs

    begun = time.process_time()
    groups, modes, slots = data["power"].shape[0], data["power"].shape[1], len(data["price"])
    lists = {key: data[key].tolist() for key in data if getattr(data[key], "ndim", 0)}
    power, rate, units, hold = lists["power"], lists["rate"], lists["units"], int(data["hold"])
    model = pyo.ConcreteModel()
    model.g, model.m, model.t = pyo.RangeSet(0, groups - 1), pyo.RangeSet(0, modes - 1), pyo.RangeSet(0, slots - 1)
    model.b, model.f = pyo.RangeSet(0, len(lists["down"]) - 1), pyo.RangeSet(0, len(lists["feeder_cap"]) - 1)
    on_feeder = [[g for g in range(groups) if lists["feeder"][g] == f] for f in model.f]
    inside = range(modes)

    def most(_: Any, g: int, m: int, t: int) -> tuple[float, float]:
        return 0.0, float(units[g]) if m <= lists["mode_max"][t] else 0.0

    model.x = pyo.Var(model.g, model.m, model.t, bounds=most)
    model.s = pyo.Var(model.g, model.t, bounds=(0, None))
    model.d = pyo.Var(model.g, model.t, bounds=(0, None))
    model.site = pyo.Var(model.t, bounds=lambda _, t: (0, lists["cap"][t]))
    model.peak = pyo.Var(bounds=(float(data["peak_so_far"]), None))
    model.down = pyo.Var(model.b, bounds=(0, float(data["down_max"])))
    model.up = pyo.Var(model.b, bounds=(0, float(data["up_max"])))

    def on(v: Any, g: int, t: int) -> Any:
        return sum(v.x[g, m, t] for m in inside) if t >= 0 else units[g]

    def before(v: Any, t: int) -> Any:
        return v.site[t - 1] if t else float(data["power_now"])

    model.balance = pyo.Constraint(
        model.g, model.t, rule=lambda v, g, t: on(v, g, t) - on(v, g, t - 1) == v.s[g, t] - v.d[g, t]
    )
    model.min_on = pyo.Constraint(
        model.g, model.t, rule=lambda v, g, t: sum(v.s[g, k] for k in range(max(0, t - hold + 1), t + 1)) <= on(v, g, t)
    )
    model.min_off = pyo.Constraint(
        model.g,
        model.t,
        rule=lambda v, g, t: sum(v.d[g, k] for k in range(max(0, t - hold + 1), t + 1)) <= units[g] - on(v, g, t),
    )
    model.power = pyo.Constraint(
        model.t, rule=lambda v, t: v.site[t] == sum(power[g][m] * v.x[g, m, t] for g in v.g for m in inside)
    )
    model.feeder = pyo.Constraint(
        model.f,
        model.t,
        rule=lambda v, f, t: (
            sum(power[g][m] * v.x[g, m, t] for g in on_feeder[f] for m in inside) <= lists["feeder_cap"][f][t]
        ),
    )
    model.ramp = pyo.Constraint(
        model.t, rule=lambda v, t: (-lists["ramp"][t], v.site[t] - before(v, t), lists["ramp"][t])
    )
    model.highest = pyo.Constraint(model.t, rule=lambda v, t: v.site[t] <= v.peak)
    model.deliver_down = pyo.Constraint(model.t, rule=lambda v, t: v.down[lists["block"][t]] <= v.site[t])
    model.deliver_up = pyo.Constraint(model.t, rule=lambda v, t: v.up[lists["block"][t]] + v.site[t] <= lists["cap"][t])
    model.worth = pyo.Objective(
        expr=sum(rate[g][m] * lists["value"][t] * model.x[g, m, t] for g in model.g for m in inside for t in model.t)
        - sum(lists["price"][t] * model.site[t] for t in model.t)
        - sum(lists["start"][g][t] * model.s[g, t] for g in model.g for t in model.t)
        - float(data["peak_price"]) * model.peak
        + sum(lists["down"][b] * model.down[b] + lists["up"][b] * model.up[b] for b in model.b),
        sense=pyo.maximize,
    )

    def solve() -> tuple[str, float]:
        solver = Highs()
        solver.config.load_solution = False
        solver.config.time_limit = seconds
        solver.highs_options = {"threads": 1}
        found = solver.solve(model)
        best = found.best_feasible_objective
        return str(found.termination_condition), float("nan") if best is None else float(best)

    return time.process_time() - begun, solve


def main() -> None:
    tool, path, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    with np.load(path) as file:
        data = {key: file[key] for key in file.files}
    write = {"linopy": with_linopy, "pyomo": with_pyomo}[tool]
    version = importlib.metadata.version(tool)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    built, solve = write(data, seconds)
    begun, wall = time.process_time(), time.perf_counter()
    status, optimum = solve()
    solved = time.process_time() - begun
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    worth = optimum + float(data["peak_price"]) * float(data["peak_so_far"])
    answer = {
        "version": version,
        "build_s": built,
        "seconds": built + solved,
        "wall": built + time.perf_counter() - wall,
        "status": status,
        "optimum": worth if np.isfinite(worth) else None,
        "memory_mb": grown,
    }
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
