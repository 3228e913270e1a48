# SPDX-License-Identifier: Apache-2.0
"""Plan of a site: counts per group, mode and slot, power, value, proven bound and reasons."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from kernel.clock import iso
from scheduling.explain import Limiting
from scheduling.problem.problem import Floats, Ints, Problem


def gap_floor(problem: Problem) -> float:
    """Least money as base of a gap: a thousandth of the fleet's possible gross. A day on which nothing pays has a value
    near zero, and a share of zero has no meaning."""
    rate = float(problem.groups.units @ problem.groups.mode_hashrate_hs.max(axis=1, initial=0.0))
    return max(1e-3 * rate * float(np.abs(problem.slot_value()).sum()), 1e-9)


class Urgency(IntEnum):
    """Rank of rules when not all can be kept: power limits are broken last."""

    SITE_LIMIT = 0
    ORDER = 1
    FEEDER = 2
    PROCESS = 3
    OTHER = 4


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule: name, slot, amount (canonical unit of the rule), cause, and urgency."""

    rule: str
    slot: int
    amount: float
    unit: str
    why: str = ""
    urgency: Urgency = Urgency.OTHER


@dataclass(frozen=True, slots=True)
class Plan:
    """Result of planning.

    - `counts[g, m, t]`: units in a mode; `starts[g, t]`, `stops[g, t]`; `power_w[t]`: site power at the meter.
    - `value`: money over the horizon by the problem's own formula; `bound`: proven maximum of any plan's value (None where
      the method gives none); `gap = (bound - value) / |bound|` (see `gap_floor`).
    - `status`: optimal (gap closed), feasible, greedy, least_violation, last_good.
    - `reasons[t]`: binding reason of a slot as text; `site_price_per_wh[t]`: shadow price.
    - `seconds`: solve time for people and metrics, never in stored bytes.
    """

    method: str
    status: str
    problem: Problem
    counts: Ints
    starts: Ints
    stops: Ints
    power_w: Floats
    value: float
    bound: float | None
    violations: tuple[Violation, ...]
    reasons: tuple[str, ...]
    site_price_per_wh: Floats
    made_ms: int
    why_now: str
    seconds: float = 0.0
    charge_w: Floats | None = None
    discharge_w: Floats | None = None
    spill_w: Floats | None = None
    reserve_down_w: Floats | None = None
    reserve_up_w: Floats | None = None
    notes: tuple[str, ...] = field(default=())
    parts: Mapping[str, float] = field(default_factory=dict)
    """The signed sums that make up `value`: see `Valuation.parts`."""
    limited_by: tuple[Limiting, ...] = ()
    """The limiting orders by slot: once such an order has ended, the plan no longer applies to that slot."""

    @property
    def gap(self) -> float | None:
        if self.bound is None:
            return None
        return max(0.0, self.bound - self.value) / max(abs(self.bound), gap_floor(self.problem))

    @property
    def id(self) -> str:
        """Stable name of a plan within its site: time and method."""
        return f"{iso(self.made_ms)}/{self.method}"

    def on(self) -> Ints:
        """Units on per group and slot, shape [group, slot]."""
        on: NDArray[np.int64] = self.counts.sum(axis=1)
        return on

    def generation_used_w(self) -> Floats | None:
        """On-site generation less spillage, shape [slot]; None where the site has none."""
        made_w = self.problem.site.generation_w
        if not bool(np.any(made_w > 0)):
            return None
        return made_w if self.spill_w is None else made_w - self.spill_w

    def battery_w(self) -> Floats | None:
        """Discharge less charge, shape [slot]; None where there is no battery."""
        if self.charge_w is None or self.discharge_w is None:
            return None
        return self.discharge_w - self.charge_w

    def to_json(self) -> "PlanMade":
        """The plan as JSON values, without solve time, for the journal and the API."""
        edges = self.problem.slots.edges_ms
        body: PlanMade = {
            "id": self.id,
            "method": self.method,
            "status": self.status,
            "made_ms": self.made_ms,
            "why_now": self.why_now,
            "currency": self.problem.currency,
            "value": self.value,
            "parts": {name: float(money) for name, money in self.parts.items()},
            "bound": self.bound,
            "gap": self.gap,
            "edges_ms": [int(edge) for edge in edges],
            "power_w": [float(power) for power in self.power_w],
            "reasons": list(self.reasons),
            "limited_by": [list(one) for one in self.limited_by],
            "site_price_per_wh": [float(price) for price in self.site_price_per_wh],
            "energy_price_per_wh": [float(price) for price in self.problem.site.energy_price_per_wh],
            "cap_w": [float(cap) if np.isfinite(cap) else None for cap in self.problem.cap_w()],
            "groups": list(self.problem.groups.names),
            "modes": list(self.problem.groups.mode_names),
            "counts": self.counts.tolist(),
            "violations": [
                {"rule": v.rule, "slot": v.slot, "amount": float(v.amount), "unit": v.unit, "why": v.why}
                for v in self.violations
            ],
            "facts": dict(self.problem.facts),
            "notes": list(self.notes),
        }
        if (generation_w := self.generation_used_w()) is not None:
            body["generation_w"] = [float(value) for value in generation_w]
        if (battery_w := self.battery_w()) is not None:
            body["battery_w"] = [float(value) for value in battery_w]
        return body


class PlanMade(TypedDict):
    """Payload of `plan.made`: `Plan.to_json`. Powers at the meter in W, prices per Wh, one value a slot of `edges_ms`."""

    id: str
    method: str
    status: str
    made_ms: int
    why_now: str
    currency: str
    value: float
    parts: dict[str, float]
    bound: float | None
    gap: float | None
    edges_ms: list[int]
    power_w: list[float]
    reasons: list[str]
    limited_by: list[list[Any]]
    site_price_per_wh: list[float]
    energy_price_per_wh: list[float]
    cap_w: list[float | None]
    groups: list[str]
    modes: list[str]
    counts: list[list[list[int]]]
    generation_w: NotRequired[list[float]]
    battery_w: NotRequired[list[float]]
    violations: list[dict[str, Any]]
    facts: dict[str, str]
    notes: list[str]
    tomorrow: NotRequired[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The part of a plan that the control step needs, per slot: power at the meter, reason, limiting orders, and the planned
    difference between meter and demand.

    `generation_w` is generation used, `battery_w` discharge less charge; None (and absent in older journals): none planned.
    """

    id: str
    edges_ms: Ints
    power_w: Floats
    reasons: tuple[str, ...]
    limited_by: tuple[Limiting, ...] = ()
    generation_w: Floats | None = None
    battery_w: Floats | None = None

    @classmethod
    def of(cls, plan: Plan) -> "Schedule":
        edges_ms, power_w, reasons = plan.problem.slots.edges_ms, plan.power_w, plan.reasons
        between_w = plan.generation_used_w(), plan.battery_w()
        return cls(plan.id, edges_ms, power_w, reasons, plan.limited_by, *between_w)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Schedule":
        """From the body of a `plan.made` event, as written by `Plan.to_json`. Raises KeyError for a missing key."""
        return cls(
            str(body["id"]),
            np.array(body["edges_ms"], dtype=np.int64),
            np.array(body["power_w"], dtype=np.float64),
            tuple(str(reason) for reason in body["reasons"]),
            tuple(Limiting(*one) for one in body.get("limited_by", ())),
            *(np.array(body[key], dtype=np.float64) if key in body else None for key in ("generation_w", "battery_w")),
        )

    def at(self, now_ms: int) -> tuple[float, str] | None:
        """(site power at the meter in W, reason) at an instant, or None outside the plan."""
        index = self._slot(now_ms)
        return None if index is None else (float(self.power_w[index]), self.reasons[index])

    def behind_meter_w(self, now_ms: int) -> float:
        """Generation used and battery discharge (less charge) planned at an instant: demand less power at the meter."""
        index = self._slot(now_ms)
        planned = () if index is None else (self.generation_w, self.battery_w)
        return sum((float(watts[index]) for watts in planned if watts is not None), 0.0)

    def limiting(self, now_ms: int) -> list[Limiting]:
        """The orders that limit the plan at an instant."""
        index = self._slot(now_ms)
        return [] if index is None else [one for one in self.limited_by if one.slot == index]

    def _slot(self, now_ms: int) -> int | None:
        index = int(np.searchsorted(self.edges_ms, now_ms, side="right")) - 1
        return index if 0 <= index < len(self.power_w) else None
