# SPDX-License-Identifier: Apache-2.0
"""Alarm system performance after ISA-18.2 and EEMUA 191: rate, floods, standing, chattering, bad actors."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernel.clock import MS_PER_S
from kernel.span import Span
from kernel.units import S_PER_DAY

WINDOW_S = 600.0
FLOOD = 10
"""Alarms in ten minutes above which one operator cannot keep up (a flood)."""
CHATTER = 3
CHATTER_S = 60.0
STANDING_S = S_PER_DAY


@dataclass(frozen=True, slots=True)
class AlarmKpis:
    """Figures of a span. Rates are per ten minutes, shares 0..1, times in seconds; None where no alarm was acknowledged."""

    raised: int
    per_ten_minutes_mean: float
    per_ten_minutes_most: int
    flood_share: float
    standing: int
    chattering: tuple[tuple[str, str], ...]
    bad_actors: tuple[tuple[str, int], ...]
    bad_actors_share: float
    median_acknowledged_after_s: float | None
    by_priority: Mapping[str, int]
    suppressed: int
    shelved_now: int


def kpis(changes: Iterable[tuple[int, Mapping[str, Any]]], span: Span, now_ms: int) -> AlarmKpis:
    """Figures from `alarm.changed` events (instant, body), oldest first.

    A suppressed alarm counts when it appears on the operator's list: raised without suppression, or still active when the
    suppression ended.
    """
    raised: list[tuple[int, str, str, str]] = []
    since: dict[tuple[str, str], int] = {}
    waiting: dict[tuple[str, str], int] = {}
    took_s: list[float] = []
    shelved: set[tuple[str, str]] = set()
    hidden: dict[tuple[str, str], str] = {}
    suppressed = 0
    for at_ms, body in changes:
        key = (str(body["rule"]), str(body["scope"]))
        what = body["what"]
        if what == "raised" and body.get("suppressed"):
            hidden[key] = str(body.get("priority", ""))
            suppressed += span.holds(at_ms)
        elif what == "raised" or (what == "unsuppressed" and key in hidden):
            priority = hidden.pop(key, str(body.get("priority", "")))
            since[key] = at_ms
            waiting.setdefault(key, at_ms)
            if span.holds(at_ms):
                raised.append((at_ms, *key, priority))
        elif what == "suppressed":
            since.pop(key, None)
        elif what == "unsuppressed":
            since[key] = at_ms
        elif what == "cleared":
            since.pop(key, None)
            hidden.pop(key, None)
        elif what == "acknowledged":
            begun_ms = waiting.pop(key, None)
            if begun_ms is not None and span.holds(at_ms):
                took_s.append((at_ms - begun_ms) / MS_PER_S)
        elif what == "shelved":
            shelved.add(key)
        elif what == "unshelved":
            shelved.discard(key)

    instants = np.array([at_ms for at_ms, *_ in raised], dtype=np.int64)
    windows = max(1, -(-(span.end_ms - span.start_ms) // round(WINDOW_S * MS_PER_S)))
    counts = np.bincount((instants - span.start_ms) // round(WINDOW_S * MS_PER_S), minlength=windows)
    actors = Counter(f"{rule} at {scope}" for _, rule, scope, _ in raised)
    worst = actors.most_common(10)
    return AlarmKpis(
        raised=len(raised),
        per_ten_minutes_mean=len(raised) / windows,
        per_ten_minutes_most=int(counts.max()),
        flood_share=float((counts > FLOOD).mean()),
        standing=sum(now_ms - at_ms > STANDING_S * MS_PER_S for at_ms in since.values()),
        chattering=_chattering(raised),
        bad_actors=tuple(worst),
        bad_actors_share=sum(count for _, count in worst) / len(raised) if raised else 0.0,
        median_acknowledged_after_s=float(np.median(took_s)) if took_s else None,
        by_priority=dict(Counter(priority for *_, priority in raised)),
        suppressed=suppressed,
        shelved_now=len(shelved),
    )


def _chattering(raised: list[tuple[int, str, str, str]]) -> tuple[tuple[str, str], ...]:
    """Rule and scope of alarms raised at least CHATTER times within CHATTER_S."""
    by_key: dict[tuple[str, str], list[int]] = {}
    for at_ms, rule, scope, _ in raised:
        by_key.setdefault((rule, scope), []).append(at_ms)
    return tuple(
        sorted(
            key
            for key, times in by_key.items()
            if any(
                times[at + CHATTER - 1] - times[at] <= CHATTER_S * MS_PER_S for at in range(len(times) - CHATTER + 1)
            )
        )
    )
