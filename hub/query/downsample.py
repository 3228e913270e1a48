# SPDX-License-Identifier: Apache-2.0
"""From samples to what a chart of some pixels can show: no row that the eye could not tell from its neighbour."""

import numpy as np
from numpy.typing import NDArray

from grid.limit import Limit, cap_at
from hub.market.price_duty import MARKET
from hub.query.schema import Series
from hub.state.fold import HubState
from hub.state.site import SiteState
from hub.state.trace import Trace
from kernel.curve import known

GAP_MS = 20_000


def binned(
    at_ms: NDArray[np.int64],
    value: NDArray[np.float64],
    start_ms: int,
    end_ms: int,
    width: int,
    gap_ms: int = GAP_MS,
) -> tuple[list[int], list[float | None], list[float | None], list[float | None]]:
    """(middle of each column with samples, mean, lowest, highest): about `width` columns over [start, end).

    Where nothing was heard for longer than `gap_ms` stands a row of None, so that no line is drawn over it.
    """
    if not len(at_ms) or end_ms <= start_ms:
        return [], [], [], []
    column = ((at_ms - start_ms) * width // (end_ms - start_ms)).astype(np.int64)
    first = np.concatenate(([0], np.flatnonzero(np.diff(column)) + 1))
    last = np.concatenate((first[1:], [len(column)])) - 1
    mean = np.add.reduceat(value, first) / (last - first + 1)
    low, high = np.minimum.reduceat(value, first), np.maximum.reduceat(value, first)
    step_ms = (end_ms - start_ms) / width
    middle = (start_ms + (column[first] + 0.5) * step_ms).astype(np.int64)
    silent = np.flatnonzero(at_ms[first[1:]] - at_ms[last[:-1]] > gap_ms) + 1
    between = (at_ms[first[silent]] + at_ms[last[silent - 1]]) // 2
    rows = np.insert(middle, silent, between)
    at: list[int] = rows.tolist()
    return at, _gapped(mean, silent), _gapped(low, silent), _gapped(high, silent)


def _gapped(values: NDArray[np.float64], silent: NDArray[np.int64]) -> list[float | None]:
    found: list[float | None] = [round(float(value), 1) for value in values]
    for index in reversed(silent.tolist()):
        found.insert(index, None)
    return found


def steps(
    starts_ms: NDArray[np.int64], ends_ms: NDArray[np.int64], values: NDArray[np.float64], start_ms: int, end_ms: int
) -> tuple[list[int], list[float | None]]:
    """Pieces as steps that hold until the next row; a gap, and the end, is a row of None."""
    at: list[int] = []
    held: list[float | None] = []
    for begin, end, value in zip(starts_ms.tolist(), ends_ms.tolist(), values.tolist(), strict=True):
        if end <= start_ms or begin >= end_ms:
            continue
        if at and held[-1] is None and at[-1] == begin:
            held[-1] = value
        else:
            at.append(max(begin, start_ms))
            held.append(value)
        at.append(min(end, end_ms))
        held.append(None)
    return at, held


def power_chart(state: HubState, site: SiteState, start_ms: int, end_ms: int, width: int, now_ms: int) -> Series:
    """Power by the main meter, plan, price and limit of a site over a time."""
    trace = state.traces.get(site.main or "") or Trace(1)
    at_ms, mean, low, high = binned(*trace.between(start_ms, end_ms), start_ms, end_ms, width)
    schedule = site.schedule
    plan = (
        steps(schedule.edges_ms[:-1], schedule.edges_ms[1:], schedule.power_w, start_ms, end_ms)
        if schedule
        else ([], [])
    )
    curve = known(state.all_curves(), MARKET, now_ms)
    price = steps(curve.starts_ms, curve.ends_ms, curve.values, start_ms, end_ms) if curve else ([], [])
    orders = _orders(state, site)
    edges = {at for one in orders for at in (one.span.start_ms, one.span.end_ms) if start_ms < at < end_ms}
    limit_at, limits = sorted({start_ms, *edges}), [*site.standing_limits(), *orders]
    return {
        "start_ms": start_ms,
        "end_ms": end_ms,
        "observe_only": site.config.observe_only,
        "power_at_ms": at_ms,
        "power_w": mean,
        "power_low_w": low,
        "power_high_w": high,
        "plan_at_ms": plan[0],
        "plan_w": plan[1],
        "price_at_ms": price[0],
        "price_per_mwh": price[1],
        "limit_at_ms": limit_at,
        "limit_w": [cap.power_w if (cap := cap_at(limits, site.key, at)) else None for at in limit_at],
    }


def _orders(state: HubState, site: SiteState) -> list[Limit]:
    """Orders as limits, the ended ones too: the chart shows what held."""
    held = [one for one in state.book.entries() if one.accepted_ms and one.order.scope == site.key]
    return [Limit(site.key, e.order.power_w, e.order.span, e.priority, e.order.reference, "") for e in held]
