# SPDX-License-Identifier: Apache-2.0
"""What a site has promised or been promised over spans of time, brought on slots: take-or-pay blocks, reserve products."""

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
    """Energy of a span that is paid for whether used or not: `energy_wh` in all, `used_wh` of it up to now; each Wh that is
    missing at the end costs `penalty_per_wh`."""

    span: Span
    energy_wh: float
    penalty_per_wh: float
    used_wh: float = 0.0
    rule: str = "take-or-pay"


def takes_of(blocks: Iterable[TakeBlock], slots: Slots, now_ms: int) -> tuple[Take, ...]:
    """The blocks that touch the horizon. Of a block that goes on beyond it, the horizon owes its share of what is left, by
    time: a plan must not put everything off to where it does not look."""
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
    """How much of the charge on the month's highest power this horizon bears, 0 to 1: its part of what the month has left,
    by time. A new peak is paid once and used until the month ends; a horizon of days that bore all of it would let a fleet
    sleep through a month that pays. All of it towards the end, when nothing is left to use it in."""
    local = to_datetime(now_ms).astimezone(zone)
    end_ms = local_month(local.year, local.month, zone).end_ms
    return (min(slots.span.end_ms, end_ms) - now_ms) / (end_ms - now_ms)


@dataclass(frozen=True, slots=True)
class Held:
    """A reserve product as a contract has it: money per W and hour held, the most that is held, hours of a block (of the
    UTC day)."""

    price_per_wh: float
    max_w: float
    block_h: int = 4

    def on(self, slots: Slots) -> Reserve:
        """The product on slots; a block that the horizon cuts is held for the part that it shows."""
        number = slots.starts_ms // (self.block_h * MS_PER_HOUR)
        block_of: Ints = (number - number[0]).astype(np.int64)
        kinds = np.unique(block_of)
        block_of = np.searchsorted(kinds, block_of).astype(np.int64)
        hours = np.bincount(block_of, weights=slots.hours, minlength=len(kinds)).astype(np.float64)
        return Reserve(self.price_per_wh * hours, self.max_w, block_of)
