# SPDX-License-Identifier: Apache-2.0
"""Available flexibility of a site: power down and up, ramps, notice, exclusions with reasons.

- Input are arrays of envelope figures, one row per unit; this module knows no miners and no meters.
- Units without fresh data are counted separately: their last known load is offered neither as a reduction nor as headroom.
- No increase is offered for which the site, a feeder or a phase has no headroom.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

STEPS_S = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0)
"""Horizons of the reachable power, in seconds from now."""


@dataclass(frozen=True, slots=True)
class Units:
    """Columns of one length, shape [unit].

    - `power_w`: power drawn now (of a unit that does not report, its last known or commanded load); `low_w`, `high_w`: the
      lowest and highest power that it can be set to.
    - `down_s`, `up_s`: duration of that change; `locked_down_s`, `locked_up_s`: rest of the minimum times before it may go
      down or up.
    - `known`: fresh data; `commandable`: accepts commands; `faulty`; `protected`: must not be commanded.
    """

    power_w: Floats
    low_w: Floats
    high_w: Floats
    down_s: Floats
    up_s: Floats
    locked_down_s: Floats
    locked_up_s: Floats
    known: Flags
    commandable: Flags
    faulty: Flags
    protected: Flags


@dataclass(frozen=True, slots=True)
class Headroom:
    """Possible increase of the load above the power drawn now, W at the meter: of the site, each feeder, each of its phases.

    - `site_why` names what limits the site.
    - `feeder[unit]` indexes `feeder_w[feeder]` and `feeder_names`; `phase[unit]` the columns of `phase_w[feeder, 3]`; -1: a
      unit on all three phases, a third on each.
    - Infinite where there is no limit. Negative where a limit is exceeded already; such a part may not increase at all.
    """

    site_w: float
    site_why: str
    feeder: Ints
    feeder_w: Floats
    feeder_names: tuple[str, ...]
    phase: Ints
    phase_w: Floats

    @classmethod
    def of_site(cls, units: int, site_w: float, site_why: str = "") -> "Headroom":
        """Headroom of a number of units that only the connection limits."""
        one = np.zeros(units, dtype=np.int64)
        return cls(site_w, site_why, one, np.array([np.inf]), ("",), one - 1, np.full((1, 3), np.inf))

    def by_feeder_w(self, rise_w: Floats) -> Floats:
        """Part of the units' increases that phases and feeders allow, shape [feeder]."""
        count, single = len(self.feeder_w), self.phase >= 0
        lane = self.feeder * 3 + np.maximum(self.phase, 0)
        own = np.bincount(lane, weights=np.where(single, rise_w, 0.0), minlength=3 * count).reshape(count, 3)
        shared = np.bincount(self.feeder, weights=np.where(single, 0.0, rise_w), minlength=count)
        spare_w = np.maximum(self.phase_w, 0.0)
        shared = np.minimum(shared, 3.0 * spare_w.min(axis=1))
        own = np.minimum(own, np.maximum(spare_w - shared[:, None] / 3.0, 0.0))
        found: Floats = np.minimum(own.sum(axis=1) + shared, np.maximum(self.feeder_w, 0.0))
        return found

    def allowed_w(self, rise_w: Floats) -> float:
        """Part of the units' increases that phases, feeders and site allow in total."""
        return float(min(self.by_feeder_w(rise_w).sum(), max(self.site_w, 0.0)))

    def limits(self, rise_w: Floats) -> tuple[str, ...]:
        """Names of the limits that reduce the units' increases."""
        wanted_w = np.bincount(self.feeder, weights=rise_w, minlength=len(self.feeder_w))
        allowed_w = self.by_feeder_w(rise_w)
        full = np.flatnonzero(allowed_w < wanted_w * (1.0 - 1e-9))
        bound = self.site_w <= 0.0 or allowed_w.sum() > self.site_w
        return (*((self.site_why,) if bound else ()), *(f"feeder {self.feeder_names[at]}" for at in full))


@dataclass(frozen=True, slots=True)
class Excluded:
    """Units excluded from the offer for one reason, and the power that they draw now."""

    reason: str
    units: int
    power_w: float


@dataclass(frozen=True, slots=True)
class Availability:
    """Flexibility at an instant.

    - `down_w`, `up_w`: reachable now; `*_in_w[i]`: within `STEPS_S[i]`; `locked_*_w`: in addition, after the minimum times.
    - `notice_s`: until the power begins to change; `down_s`, `up_s`: until the whole change is done.
    - Excluded units are in neither `up_w` nor `down_w`.
    - `up_w`, each `up_in_w` and `up_w + locked_up_w` are within the headroom; `up_limited_by` names the limits that reduce
      them.
    """

    at_ms: int
    power_w: float
    down_w: float
    up_w: float
    down_in_w: tuple[float, ...]
    up_in_w: tuple[float, ...]
    down_s: float
    up_s: float
    ramp_down_w_per_s: float
    ramp_up_w_per_s: float
    notice_s: float
    locked_down_w: float
    locked_up_w: float
    excluded: tuple[Excluded, ...]
    units: int
    unknown_units: int
    unknown_w: float
    up_limited_by: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "at_ms": self.at_ms,
            "power_w": self.power_w,
            "down_w": self.down_w,
            "up_w": self.up_w,
            "steps_s": list(STEPS_S),
            "down_in_w": list(self.down_in_w),
            "up_in_w": list(self.up_in_w),
            "down_s": self.down_s,
            "up_s": self.up_s,
            "ramp_down_w_per_s": self.ramp_down_w_per_s,
            "ramp_up_w_per_s": self.ramp_up_w_per_s,
            "notice_s": self.notice_s,
            "locked_down_w": self.locked_down_w,
            "locked_up_w": self.locked_up_w,
            "excluded": [{"reason": e.reason, "units": e.units, "power_w": e.power_w} for e in self.excluded],
            "units": self.units,
            "unknown_units": self.unknown_units,
            "unknown_w": self.unknown_w,
            "up_limited_by": list(self.up_limited_by),
        }


def available(
    units: Units,
    now_ms: int,
    *,
    notice_s: float,
    headroom: Headroom | None = None,
    rate: float | None = None,
    barred: str = "",
) -> Availability:
    """Flexibility of the units now. Ramps are taken as linear.

    - `notice_s`: delay of the hub itself (poll, tick, transmission).
    - `headroom`: possible increase above the power drawn now (None: no limit); `rate`: inrush limit in W/s, where there is
      one.
    - `barred`: reason why no unit may be commanded at all; then nothing is available, and every unit is excluded for that
      reason.
    """
    excluded, free = _exclusions(units, barred)
    room = headroom or Headroom.of_site(len(units.power_w), np.inf)
    down_w = np.where(free, np.maximum(units.power_w - units.low_w, 0.0), 0.0)
    up_w = np.where(free, np.maximum(units.high_w - units.power_w, 0.0), 0.0)
    can_down, can_up = units.locked_down_s <= 0, units.locked_up_s <= 0
    now_down, now_up = np.where(can_down, down_w, 0.0), np.where(can_up, up_w, 0.0)
    down_in = tuple(float((now_down * _shares(units.down_s, notice_s, step_s)).sum()) for step_s in STEPS_S)
    up_in = [room.allowed_w(now_up * _shares(units.up_s, notice_s, step_s)) for step_s in STEPS_S]
    if rate is not None:
        up_in = [min(watts, rate * max(step_s - notice_s, 0.0)) for watts, step_s in zip(up_in, STEPS_S, strict=True)]
    total_down, total_up = float(now_down.sum()), room.allowed_w(now_up)
    down_s = notice_s + float(units.down_s[now_down > 0].max(initial=0.0)) if total_down else 0.0
    up_s = notice_s + float(units.up_s[now_up > 0].max(initial=0.0)) if total_up else 0.0
    if rate and total_up:
        up_s = max(up_s, notice_s + total_up / rate)
    return Availability(
        at_ms=now_ms,
        power_w=float(units.power_w.sum()),
        down_w=total_down,
        up_w=total_up,
        down_in_w=down_in,
        up_in_w=tuple(up_in),
        down_s=down_s,
        up_s=up_s,
        ramp_down_w_per_s=total_down / max(down_s - notice_s, 1.0) if total_down else 0.0,
        ramp_up_w_per_s=total_up / max(up_s - notice_s, 1.0) if total_up else 0.0,
        notice_s=notice_s,
        locked_down_w=float(down_w.sum()) - total_down,
        locked_up_w=max(room.allowed_w(up_w) - total_up, 0.0),
        excluded=excluded,
        units=len(units.power_w),
        unknown_units=int((~units.known).sum()),
        unknown_w=float(units.power_w[~units.known].sum()),
        up_limited_by=() if barred else room.limits(up_w),
    )


def _exclusions(units: Units, barred: str) -> tuple[tuple[Excluded, ...], Flags]:
    """(exclusions, units available). Each unit is excluded for the first reason that applies, so that the numbers add up."""
    free = np.full(len(units.power_w), not barred)
    found = [Excluded(barred, len(free), float(units.power_w.sum()))] if barred else []
    for reason, mask in (
        ("unknown: no fresh answer", ~units.known),
        ("faulty", units.faulty),
        ("protected", units.protected),
        ("takes no commands", ~units.commandable),
    ):
        here = free & mask
        if bool(here.any()):
            found.append(Excluded(reason, int(here.sum()), float(units.power_w[here].sum())))
        free &= ~mask
    return tuple(found), free


def _shares(ramp_s: Floats, notice_s: float, step_s: float) -> Floats:
    """Share of each unit's ramp completed by then, shape [unit]."""
    found: Floats = np.clip((step_s - notice_s) / np.maximum(ramp_s, 1e-9), 0.0, 1.0)
    return found
