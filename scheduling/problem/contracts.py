# SPDX-License-Identifier: Apache-2.0
"""Contracts over time spans, mapped to slots: take-or-pay blocks, demand charge, reserve products."""

from collections.abc import Iterable
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np

from kernel.clock import to_datetime
from kernel.span import Slots, Span, local_month
from kernel.units import MS_PER_HOUR
from scheduling.problem.problem import Ints, Reserve, Take


@dataclass(frozen=True, slots=True)
class TakeBlock:
    """Take-or-pay energy of a span: `energy_wh` in total, `used_wh` of it up to now; each Wh missing at the end costs
    `penalty_per_wh`."""

    span: Span
    energy_wh: float
    penalty_per_wh: float
    used_wh: float = 0.0
    rule: str = "take-or-pay"


def takes_of(blocks: Iterable[TakeBlock], slots: Slots, now_ms: int) -> tuple[Take, ...]:
    """The blocks that touch the horizon. A block that continues beyond it is due in proportion to time, so that a plan cannot
    defer all of it."""
    found = []
    for block in blocks:
        inside = np.flatnonzero((slots.starts_ms >= block.span.start_ms) & (slots.edges_ms[1:] <= block.span.end_ms))
        left_wh = block.energy_wh - block.used_wh
        if not len(inside) or left_wh <= 0:
            continue
        begin_ms = max(block.span.start_ms, min(now_ms, int(slots.starts_ms[inside[0]])))
        covered_ms = int(slots.edges_ms[inside[-1] + 1]) - begin_ms
        share = min(1.0, covered_ms / (block.span.end_ms - begin_ms))
        found.append(Take(int(inside[0]), int(inside[-1]), left_wh * share, block.penalty_per_wh, block.rule))
    return tuple(found)


def demand_share(slots: Slots, now_ms: int, zone: ZoneInfo) -> float:
    """Share of the charge on the month's highest power borne by this horizon, 0 to 1: its part of the remaining month.

    A new peak is paid once and used until the month ends; if a horizon of days bore all of it, a fleet would sleep through a
    month that pays. Near the end of the month the share is 1, since no time is left to use the peak."""
    local = to_datetime(now_ms).astimezone(zone)
    end_ms = local_month(local.year, local.month, zone).end_ms
    return (min(slots.span.end_ms, end_ms) - now_ms) / (end_ms - now_ms)


@dataclass(frozen=True, slots=True)
class Held:
    """A reserve product by contract: money per W and hour held, highest power held, hours of a block (of the UTC day)."""

    price_per_wh: float
    max_w: float
    block_h: int = 4

    def on(self, slots: Slots) -> Reserve:
        """The product on slots; a block cut by the horizon counts with its part inside."""
        number = slots.starts_ms // (self.block_h * MS_PER_HOUR)
        block_of: Ints = (number - number[0]).astype(np.int64)
        kinds = np.unique(block_of)
        block_of = np.searchsorted(kinds, block_of).astype(np.int64)
        hours = np.bincount(block_of, weights=slots.hours, minlength=len(kinds)).astype(np.float64)
        return Reserve(self.price_per_wh * hours, self.max_w, block_of)
