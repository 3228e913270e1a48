# SPDX-License-Identifier: Apache-2.0
"""A good plan of a site with every feature, broken a little at a random place in each rule: the checker names the rule.

Breaks are small (one unit, a few watts, one slot), so that a rule judged with too much slack is seen; and the last test reads
the checker's own source, so that a rule without a break here cannot be added in silence.
"""

import ast
import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.instances import standard
from scheduling.plan import Plan
from scheduling.problem.problem import Battery, Floats, Order, Problem, Take
from scheduling.solve import check
from scheduling.solve.check import judge
from scheduling.solve.exact import Effort, exact

SEEDS = range(12)
SLOTS = 48
Rng = np.random.Generator


def site_of_everything() -> Problem:
    base = standard(11, groups=5, slots=SLOTS, units=400, step_s=900.0, min_s=1800.0)
    total_w = float(base.groups.units @ base.groups.mode_power_w[:, 1])
    coincident = np.zeros(SLOTS)
    coincident[30] = 5e-6
    site = replace(
        base.site,
        battery=Battery(0.1 * total_w, 0.1 * total_w, 0.2 * total_w, 0.1 * total_w, 0.05 * total_w, 0.95, 0.95, 4e-6),
        takes=(Take(0, SLOTS - 1, 0.8 * total_w * 12, 30e-6),),
        coincident_price_per_w=coincident,
        generation_w=0.2 * total_w * np.clip(np.sin(np.arange(SLOTS) / SLOTS * np.pi), 0, None),
        heat_w=np.full(SLOTS, 0.15 * total_w),
    )
    groups = replace(
        base.groups,
        sleep_w=np.full(5, 20.0),
        starts_left=base.groups.units.copy(),
        on_now=(base.groups.units * 9 // 10).astype(np.int64),
    )
    return replace(base, site=site, groups=groups)


@pytest.fixture(scope="module")
def good() -> Plan:
    plan = exact(site_of_everything(), effort=Effort(nodes=30, gap=1e-2))
    assert plan is not None and judge(plan) == ()
    assert int(plan.starts.sum()) and int(plan.stops.sum()) and float(np.asarray(plan.discharge_w).max()) > 0
    return plan


def at(rng: Rng, where: Any) -> tuple[int, ...]:
    """One place, drawn among those where the condition holds."""
    places = np.argwhere(where)
    assert len(places), "the plan has no place for this break"
    return tuple(int(i) for i in places[rng.integers(len(places))])


def sited(plan: Plan, **changes: object) -> Plan:
    return replace(plan, problem=replace(plan.problem, site=replace(plan.problem.site, **changes)))


def grouped(plan: Plan, **changes: object) -> Plan:
    return replace(plan, problem=replace(plan.problem, groups=replace(plan.problem.groups, **changes)))


def moved(values: Any, place: tuple[int, ...], by: float) -> Any:
    found = np.array(values)
    found[place] += by
    return found


def slot(rng: Rng) -> tuple[int]:
    return (int(rng.integers(SLOTS)),)


def meter_w(plan: Plan) -> Floats:
    return plan.power_w


def drawn_w(plan: Plan) -> Floats:
    groups = plan.problem.groups
    on = np.einsum("gm,gmt->t", groups.mode_power_w, plan.counts.astype(np.float64))
    return on + groups.sleep_w @ (groups.units[:, None] - plan.on()).astype(np.float64)


def one_too_many(plan: Plan, rng: Rng) -> Plan:
    group, mode, when = at(rng, plan.counts >= 0)
    spare = int(plan.problem.groups.units[group] - plan.on()[group, when])
    return replace(plan, counts=moved(plan.counts, (group, mode, when), spare + 1))


def cap_under(plan: Plan, rng: Rng) -> Plan:
    (when,) = at(rng, meter_w(plan) > 1e3)
    cap = np.full(SLOTS, 1e12)
    cap[when] = meter_w(plan)[when] - 5.0
    return sited(plan, import_cap_w=cap)


def ramp_under(plan: Plan, rng: Rng) -> Plan:
    change = np.abs(np.diff(meter_w(plan), prepend=plan.problem.site.power_now_w))
    (when,) = at(rng, change > 1e3)
    ramp = np.full(SLOTS, np.inf)
    ramp[when] = change[when] - 5.0
    return sited(plan, ramp_w=ramp)


def feeder_under(plan: Plan, rng: Rng) -> Plan:
    groups = plan.problem.groups
    drawn = np.zeros(plan.problem.site.feeder_cap_w.shape)
    each = np.einsum("gm,gmt->gt", groups.mode_power_w, plan.counts.astype(np.float64))
    np.add.at(drawn, groups.feeder, each + (groups.units[:, None] - plan.on()) * groups.sleep_w[:, None])
    feeder, when = at(rng, drawn > 1e3)
    cap = plan.problem.site.feeder_cap_w.copy()
    cap[feeder, when] = drawn[feeder, when] - 5.0
    return sited(plan, feeder_cap_w=cap)


def heat_over(plan: Plan, rng: Rng) -> Plan:
    (when,) = slot(rng)
    return sited(plan, heat_w=moved(plan.problem.site.heat_w, (when,), drawn_w(plan)[when] + 5.0))


def order_under(plan: Plan, rng: Rng) -> Plan:
    (when,) = at(rng, meter_w(plan) > 1e3)
    order = Order("sudden", when, when, float(meter_w(plan)[when]) - 5.0)
    return replace(plan, problem=replace(plan.problem, orders=(order,)))


def sun_over(plan: Plan, rng: Rng) -> Plan:
    (when,) = slot(rng)
    by = float(meter_w(plan)[when]) + 50.0
    return sited(plan, generation_w=moved(plan.problem.site.generation_w, (when,), by))


def bounced(plan: Plan, rng: Rng) -> Plan:
    """A unit that stopped starts again one slot later."""
    spare = plan.stops[:, :-2] > 0
    group, when = at(rng, spare)
    counts, starts, stops = plan.counts.copy(), plan.starts.copy(), plan.stops.copy()
    every = int(plan.problem.groups.units[group] - plan.on()[group, when])
    counts[group, 0, when + 1] += every
    starts[group, when + 1] += every
    stops[group, when + 2] += every
    return replace(plan, counts=counts, starts=starts, stops=stops)


def locked_on(plan: Plan, rng: Rng) -> Plan:
    group, when = at(rng, plan.stops > 0)
    held = np.zeros((5, SLOTS), dtype=np.int64)
    held[group, : when + 1] = plan.problem.groups.units[group]
    return grouped(plan, locked_on=held)


def barred(plan: Plan, rng: Rng) -> Plan:
    mode, when = at(rng, plan.counts[:, 1:].sum(axis=0) > 0)
    top = np.full(SLOTS, 2, dtype=np.int64)
    top[when] = mode
    return sited(plan, mode_max=top)


def held(plan: Plan, rng: Rng, name: str, room: Floats, *, offer: bool) -> Plan:
    """A promise of a few watts too much: more than its slots allow, or more than the product takes."""
    product = getattr(plan.problem.site, name)
    block = int(rng.integers(len(product.price_per_w)))
    least = float(room[product.block_of == block].min())
    promise = np.array(getattr(plan, f"{name}_w"))
    promise[block] = (product.max_w if offer else max(least, 0.0)) + 5.0
    return replace(plan, **{f"{name}_w": promise})


def flexible_w(plan: Plan) -> Floats:
    return drawn_w(plan) - float(plan.problem.groups.units @ plan.problem.groups.sleep_w)


BREAKS: list[tuple[str, Callable[[Plan, Rng], Plan]]] = [
    ("units of a group", one_too_many),
    ("balance of starts and stops", lambda p, r: replace(p, starts=moved(p.starts, at(r, p.starts >= 0), 1))),
    ("balance of starts and stops", lambda p, r: replace(p, stops=moved(p.stops, at(r, p.stops >= 0), 1))),
    ("counts >= 0", lambda p, r: replace(p, counts=moved(p.counts, at(r, p.counts == 0), -1))),
    ("starts >= 0", lambda p, r: replace(p, starts=moved(p.starts, at(r, p.starts == 0), -1))),
    ("stops >= 0", lambda p, r: replace(p, stops=moved(p.stops, at(r, p.stops == 0), -1))),
    ("counts are whole", lambda p, r: replace(p, counts=moved(p.counts.astype(float), at(r, p.counts > 0), -0.5))),
    ("starts are whole", lambda p, r: replace(p, starts=p.starts.astype(float))),
    ("stops are whole", lambda p, r: replace(p, stops=p.stops.astype(float))),
    ("hot hours bar a mode", barred),
    ("start budget", lambda p, r: grouped(p, starts_left=_spent(p, r))),
    ("minimum on-time", locked_on),
    ("minimum off-time", bounced),
    ("power as stated", lambda p, r: replace(p, power_w=moved(p.power_w, slot(r), 25.0))),
    ("import cap", cap_under),
    ("no export", sun_over),
    ("heat duty", heat_over),
    ("ramp", ramp_under),
    ("order sudden", order_under),
    ("feeder cap", feeder_under),
    ("no battery here", lambda p, r: sited(p, battery=None)),
    ("battery power", lambda p, r: replace(p, charge_w=moved(p.charge_w, slot(r), p.problem.site.battery.charge_max_w + 5))),
    ("battery power", lambda p, r: replace(p, discharge_w=moved(p.discharge_w, at(r, np.asarray(p.discharge_w) < 1), -5))),
    ("battery energy", lambda p, r: sited(p, battery=replace(p.problem.site.battery, energy_wh=_fullest(p) - 50.0))),
    ("battery energy at the end", lambda p, r: sited(p, battery=_wanting(p))),
    ("reserve down can be delivered", lambda p, r: held(p, r, "reserve_down", flexible_w(p), offer=False)),
    ("reserve up can be delivered", lambda p, r: held(p, r, "reserve_up", p.problem.cap_w() - p.power_w, offer=False)),
    ("reserve down within its offer", lambda p, r: held(p, r, "reserve_down", flexible_w(p), offer=True)),
    ("reserve up within its offer", lambda p, r: held(p, r, "reserve_up", flexible_w(p), offer=True)),
    ("value as stated", lambda p, r: replace(p, value=p.value * (1 + float(r.choice([-1, 1])) * 1e-5))),
    ("shape of counts", lambda p, r: replace(p, counts=p.counts[:, :, 1:])),
    ("shape of starts", lambda p, r: replace(p, starts=p.starts[1:])),
    ("shape of stops", lambda p, r: replace(p, stops=p.stops[:, 1:])),
    ("shape of power_w", lambda p, r: replace(p, power_w=p.power_w[1:])),
]  # fmt: skip


def _spent(plan: Plan, rng: Rng) -> Any:
    used = plan.starts.sum(axis=1)
    left = used.copy()
    left[at(rng, used > 0)] -= 1
    return left


def _soc_wh(plan: Plan) -> Floats:
    battery, hours = plan.problem.site.battery, plan.problem.slots.hours
    assert battery is not None
    into = np.asarray(plan.charge_w) * battery.efficiency_charge
    out = np.asarray(plan.discharge_w) / battery.efficiency_discharge
    return battery.soc_now_wh + np.cumsum(hours * (into - out))


def _fullest(plan: Plan) -> float:
    return float(_soc_wh(plan).max())


def _wanting(plan: Plan) -> Battery:
    battery = plan.problem.site.battery
    assert battery is not None
    return replace(battery, soc_end_wh=float(_soc_wh(plan)[-1]) + 50.0)


@pytest.mark.parametrize(("rule", "spoil"), BREAKS, ids=[f"{i} {row[0]}" for i, row in enumerate(BREAKS)])
def test_a_small_break_at_a_random_place_is_named(good: Plan, rule: str, spoil: Callable[[Plan, Rng], Plan]) -> None:
    for seed in SEEDS:
        broken = spoil(good, np.random.default_rng(seed))
        assert rule in {violation.rule for violation in judge(broken)}, f"{rule}, seed {seed}"


def test_every_rule_of_the_checker_has_a_break_here() -> None:
    calls = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(check)))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Violation"
    ]
    named = {re.sub(r"\{.*?\}", "", ast.unparse(call.args[0]).strip("f'\"")).strip() for call in calls} - {"rule"}
    tested = {rule for rule, _ in BREAKS}
    assert len(named) > 15
    assert {word for word in named if not any(word in rule for rule in tested)} == set()


def test_the_checker_shares_no_code_with_the_planners() -> None:
    tree = ast.parse(inspect.getsource(check))
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= {"scheduling.plan", "scheduling.problem.problem"}
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for a in node.names}
    assert names <= {"Plan", "Urgency", "Violation", "Battery", "Floats", "Ints", "Reserve"}
