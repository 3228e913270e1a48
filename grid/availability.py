# SPDX-License-Identifier: Apache-2.0
"""What the site can do now: watts down and up, how fast, with how much notice, and what is left out and why.

It is handed arrays of envelope numbers, one row a unit; it knows no miners. Unknown units are counted honestly: their
last known load is neither promised as shed nor as room to rise.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

STEPS_S = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0)
"""Horizons at which what can be reached is told, in seconds from now."""


@dataclass(frozen=True, slots=True)
class Units:
    """Columns of one length, shape [unit].

    `power_w` drawn now (for a silent unit its last known or commanded load); `low_w` and `high_w` the lowest and highest
    it can be brought to; `down_s`, `up_s` how long that takes; `locked_down_s`, `locked_up_s` what is left of minimum times
    before it may go down or up. `known`: fresh evidence; `commandable`: it takes commands; `faulty`;
    `protected`: not to be touched.
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
class Excluded:
    """Units that a promise leaves out, and the power they draw now."""

    reason: str
    units: int
    power_w: float


@dataclass(frozen=True, slots=True)
class Availability:
    """`down_w`, `up_w` can be reached now; `*_in_w[i]` within `STEPS_S[i]`.

    `locked_*_w` comes on top once minimum times are over. `notice_s`: until the first
    watt moves; `down_s`, `up_s` until all of it has. Excluded units are neither up nor down.
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
        }


def available(
    units: Units,
    now_ms: int,
    *,
    notice_s: float,
    room_w: float = float("inf"),
    rate: float | None = None,
    barred: str = "",
) -> Availability:
    """What the units can do now.

    `notice_s` is the hub's own delay (poll, tick, wire); `room_w` what connection and limits leave above the present
    power; `rate` the inrush limit in W/s where one is set; `barred` why no unit may be commanded at all: then nothing can
    be had, and every unit is excluded for that reason. Ramps are taken as straight lines.
    """
    excluded, free = _exclusions(units, barred)
    down_w = np.where(free, np.maximum(units.power_w - units.low_w, 0.0), 0.0)
    up_w = np.where(free, np.maximum(units.high_w - units.power_w, 0.0), 0.0)
    can_down, can_up = units.locked_down_s <= 0, units.locked_up_s <= 0
    now_down, now_up = np.where(can_down, down_w, 0.0), np.where(can_up, up_w, 0.0)
    down_in = tuple(_reached(now_down, units.down_s, notice_s, step_s) for step_s in STEPS_S)
    up_in = tuple(min(_reached(now_up, units.up_s, notice_s, step_s, rate), room_w) for step_s in STEPS_S)
    total_down, total_up = float(now_down.sum()), float(min(now_up.sum(), max(room_w, 0.0)))
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
        up_in_w=tuple(max(value, 0.0) for value in up_in),
        down_s=down_s,
        up_s=up_s,
        ramp_down_w_per_s=total_down / max(down_s - notice_s, 1.0) if total_down else 0.0,
        ramp_up_w_per_s=total_up / max(up_s - notice_s, 1.0) if total_up else 0.0,
        notice_s=notice_s,
        locked_down_w=float(down_w.sum()) - total_down,
        locked_up_w=float(np.where(can_up, 0.0, up_w).sum()),
        excluded=excluded,
        units=len(units.power_w),
        unknown_units=int((~units.known).sum()),
        unknown_w=float(units.power_w[~units.known].sum()),
    )


def _exclusions(units: Units, barred: str) -> tuple[tuple[Excluded, ...], Flags]:
    """Each unit is left out for the first reason that fits, so that the reasons add up."""
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


def _reached(power_w: Floats, ramp_s: Floats, notice_s: float, step_s: float, rate: float | None = None) -> float:
    share = np.clip((step_s - notice_s) / np.maximum(ramp_s, 1e-9), 0.0, 1.0)
    total = float((power_w * share).sum())
    return total if rate is None else min(total, rate * max(step_s - notice_s, 0.0))
