# SPDX-License-Identifier: Apache-2.0
"""Power path for given units on: a small linear programme over the fleet's merit curve.

The steps above the lowest modes, limited by the feeders, are sorted into bins of like value around the slot's price; the
site's own rows (`site_rows`) cover battery, peak, ramp, reserve and take-or-pay.
"""

from dataclasses import dataclass

import numpy as np

from scheduling.problem.problem import Floats, Ints, Problem
from scheduling.solve.mode_steps import ModeSteps
from scheduling.solve.program import Program, WarmProgramme
from scheduling.solve.shares import SortedSteps
from scheduling.solve.site_rows import SiteRows, scales

NEAR = 0.06
BINS = 8
OPTIONS = {"solver": "simplex", "presolve": "off", "simplex_scale_strategy": 0}


@dataclass(frozen=True, slots=True)
class PowerPath:
    """Flexible power per slot, with battery and spilled generation."""

    flexible_w: Floats
    charge_w: Floats | None
    discharge_w: Floats | None
    spill_w: Floats | None


def power_path(
    problem: Problem,
    on: Ints,
    price: Floats,
    mode_sets: dict[int, ModeSteps],
    sorted_sets: dict[int, SortedSteps],
    margin_w: float,
    kept: WarmProgramme,
) -> PowerPath | None:
    """The best path for `on[g, t]` units on; None where the site's rows cannot be kept with these units.

    `price[t]` is money per W around which the merit curve has fine bins; `kept` is a programme loaded with `OPTIONS`, warm
    where the last path had the same rows.
    """
    low_w = on.T.astype(np.float64) @ problem.step_w()[:, 0]
    width, worth = merit(problem, on, price, mode_sets, sorted_sets)
    program = Program()
    scale_w, scale_money = scales(problem)
    site = SiteRows(program, problem, scale_w, scale_money, elastic=False, margin_w=margin_w)
    bins = program.add_columns("bin", width.shape, high=width / scale_w, worth=worth * (scale_w / scale_money))
    merit_row = program.add_rows("merit", low_w.shape, low=low_w / scale_w, high=low_w / scale_w)
    program.add_terms(merit_row, site.flexible, 1.0)
    program.add_terms(merit_row[None, :], bins, -1.0)
    found = kept.solve(program.arrays())
    if not found.found or found.status != "Optimal":
        return None

    def watts(name: str) -> Floats | None:
        at = program.columns.get(name)
        return None if at is None else np.clip(found.x[at], 0.0, None) * scale_w

    return PowerPath(found.x[site.flexible] * scale_w, watts("ch"), watts("dis"), watts("spill"))


def merit(
    problem: Problem, on: Ints, price: Floats, mode_sets: dict[int, ModeSteps], sorted_sets: dict[int, SortedSteps]
) -> tuple[Floats, Floats]:
    """(width in W, money per W) of each bin, falling in value, shape [bin, slot]."""
    slots_n, feeders_n = len(problem.slots), len(problem.site.feeder_names)
    room = problem.feeder_room_w()
    value = problem.slot_value()
    edges = np.linspace(1 + NEAR, 1 - NEAR, BINS + 1)
    width, earned = np.zeros((BINS + 2, slots_n)), np.zeros((BINS + 2, slots_n))
    base = problem.step_w()[:, 0]
    widest = np.bincount(
        problem.groups.feeder, problem.groups.units * problem.step_w().max(axis=1), minlength=feeders_n
    )
    tight = widest > room.min(axis=1)
    for mode_max, mode_steps in mode_sets.items():
        at = np.flatnonzero(problem.site.mode_max == mode_max)
        if not len(at) or not bool((mode_steps.watts > 0).any()):
            continue
        here = on[:, at].astype(np.float64)
        left = room[:, at].copy()
        np.subtract.at(left, problem.groups.feeder, here * base[:, None])
        steps = sorted_sets[mode_max]
        units = here[steps.group]
        power = units * steps.watts[:, None]
        cut = np.flatnonzero(tight[steps.feeder])
        if len(cut):
            part = steps.only(cut)
            whole = np.floor(part.fits(units[cut], np.maximum(left, 0.0)) * units[cut] + 1e-9)
            power[cut] = whole * part.watts[:, None]
        ratio = steps.worth[:, None] * value[None, at] / np.maximum(price[None, at], 1e-18)
        bins = _bins(ratio, edges)
        flat = (bins * len(at) + np.arange(len(at))[None, :]).ravel()
        size = (BINS + 2) * len(at)
        width[:, at] = np.bincount(flat, power.ravel(), minlength=size).reshape(-1, len(at))
        money = power * (steps.worth[:, None] * value[None, at])
        earned[:, at] = np.bincount(flat, money.ravel(), minlength=size).reshape(-1, len(at))
    return width, np.divide(earned, width, out=np.zeros_like(earned), where=width > 0)


def _bins(ratio: Floats, edges: Floats) -> Ints:
    """Number of edges above each ratio; edges fall."""
    scaled = np.ceil((edges[0] - ratio) / (edges[0] - edges[1]))
    found: Ints = np.clip(scaled, 0, len(edges)).astype(np.int64)
    return found
