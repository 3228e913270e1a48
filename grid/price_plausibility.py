# SPDX-License-Identifier: Apache-2.0
"""Plausibility and freshness of price curves (and other external curves), with the reason of a refusal.

A refused curve is never used for planning: the planner takes the newest accepted curve, and the plan reports this.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from kernel.clock import MS_PER_S, iso
from kernel.curve import Curve
from kernel.errors import Fault


@dataclass(frozen=True, slots=True)
class PriceRules:
    """Plausible values: `low` and `high` in the unit; `step_max`: largest plausible change between two pieces.

    `stale_s`: a curve known longer ago than this is stale, whatever it covers. `ahead_s`: it must reach this far past now.
    `skew_s`: tolerated difference of clocks.
    """

    unit: str
    low: float
    high: float
    step_max: float = float("inf")
    stale_s: float = 36 * 3600.0
    ahead_s: float = 0.0
    skew_s: float = 120.0


def check(curve: Curve, rules: PriceRules, now_ms: int) -> list[Fault]:
    """All faults of a curve on arrival; empty where it is plausible."""
    place = f"{curve.name} from {curve.source}"
    faults = []
    if curve.unit != rules.unit:
        faults.append(
            Fault(place, f"its unit is {curve.unit}, not {rules.unit}", "Set the unit in the file or the site")
        )
        return faults
    for what, bad in (
        (f"below {rules.low:.12g}", curve.values < rules.low),
        (f"above {rules.high:.12g}", curve.values > rules.high),
    ):
        if bool(bad.any()):
            at = int(np.argmax(bad))
            found = f"{curve.values[at]:.12g} {curve.unit} at {iso(int(curve.starts_ms[at]))} is {what}"
            more = f" ({int(bad.sum())} pieces)" if bad.sum() > 1 else ""
            faults.append(Fault(place, found + more, "Check the source; widen low/high only if the value is correct"))
    jump = np.abs(np.diff(curve.values)) > rules.step_max
    if bool(jump.any()):
        at = int(np.argmax(jump)) + 1
        text = f"it jumps by {abs(curve.values[at] - curve.values[at - 1]):g} at {iso(int(curve.starts_ms[at]))}"
        faults.append(Fault(place, text, f"More than {rules.step_max:g} between neighbours is not plausible"))
    if curve.known_at_ms > now_ms + rules.skew_s * MS_PER_S:
        faults.append(Fault(place, f"it is known only at {iso(curve.known_at_ms)}, in the future", "Check the clocks"))
    return faults


@dataclass(frozen=True, slots=True)
class Chosen:
    """Curve to plan with now, or None; `stale` where it is old or ends too soon; `why`: the reason as text for the page."""

    curve: Curve | None
    stale: bool
    why: str


def choose(curves: Iterable[Curve], name: str, rules: PriceRules, now_ms: int) -> Chosen:
    """The newest plausible curve of a name that was known at `now_ms`."""
    refused = ""
    newest_first = sorted(
        (curve for curve in curves if curve.name == name and curve.known_at_ms <= now_ms),
        key=lambda curve: curve.known_at_ms,
        reverse=True,
    )
    for curve in newest_first:
        faults = check(curve, rules, now_ms)
        if faults:
            refused = refused or f"refused: {faults[0].problem}"
            continue
        age_s = (now_ms - curve.known_at_ms) / MS_PER_S
        left_s = (curve.span.end_ms - now_ms) / MS_PER_S
        why = []
        if age_s > rules.stale_s:
            why.append(f"last known {age_s / 3600:.1f} h ago")
        if left_s <= rules.ahead_s:
            why.append(f"ends at {iso(curve.span.end_ms)}")
        if refused:
            why.append(f"a newer one was {refused}")
        return Chosen(curve, bool(why), "; ".join(why))
    return Chosen(None, True, refused or "none was ever received")
