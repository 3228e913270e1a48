# SPDX-License-Identifier: Apache-2.0
"""Conditions of alarm rules on the latest values: per scope whether the condition raises or clears.

A missing or too old value neither raises nor clears: an alarm remains until a value ends it. Loss of data has a rule type of
its own (`Stale`).
"""

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from kernel.clock import MS_PER_S
from telemetry.alarm.rule import GROUPS, AlarmRule, Balance, Difference, InState, Pattern, Rate, Stale, Threshold
from telemetry.collect.snapshot import KindTable, Snapshot

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Designed = Mapping[str, Set[str]]
"""Designed state (`telemetry.alarm.rule.DESIGNED`) to the scopes that are in it."""


@dataclass(frozen=True, slots=True)
class Places:
    """Location of devices: device to rack and feeder (keys), and role of meters (`main`, `feeder`, ...)."""

    rack: Mapping[str, str] = field(default_factory=dict)
    feeder: Mapping[str, str] = field(default_factory=dict)
    role: Mapping[str, str] = field(default_factory=dict)

    def group_of(self, device: str, group: str) -> str | None:
        """Key of a device's group; None where it is not known."""
        if group == "site":
            return device.rpartition("/")[0]
        return (self.rack if group == "rack" else self.feeder).get(device)

    def groups_of(self, device: str) -> list[str]:
        """All scopes that contain a device, from the narrowest to the site."""
        return [found for group in GROUPS if (found := self.group_of(device, group)) is not None]


@dataclass(frozen=True, slots=True)
class Judged:
    """Result of one rule over its scopes; arrays of shape [scope]. `values`: the value shown with the alarm (NaN: none)."""

    scopes: list[str]
    raises: Bools
    clears: Bools
    values: Floats


class Memory:
    """State kept between evaluations.

    - Per rule and device: the value from which a rate is measured, and the last measured rate.
    - Per rule and site: both sums of a balance within its window.
    """

    def __init__(self) -> None:
        self._held: dict[str, Floats] = {}
        self._sums: dict[tuple[str, str], list[tuple[float, ...]]] = {}

    def of(self, rule: str, size: int) -> Floats:
        """Value, its instant in ms, and rate per second, shape [3, device]; NaN where there is none yet."""
        held = self._held.get(rule, np.full((3, 0), np.nan))
        if held.shape[1] < size:
            held = self._held[rule] = np.concatenate((held, np.full((3, size - held.shape[1]), np.nan)), axis=1)
        return held[:, :size]

    def moved(self, rule: str, site: str, now_ms: int, window_s: float, sums: Sequence[float]) -> float:
        """Largest change of either side of a balance within the window, including at least the evaluation before this one."""
        held = self._sums.setdefault((rule, site), [])
        while len(held) > 1 and now_ms - held[1][0] >= window_s * MS_PER_S:
            del held[0]
        held.append((now_ms, *sums))
        sides = [[row[side] for row in held] for side in (1, 2)]
        return max(max(side) - min(side) for side in sides)


def excused(rule: AlarmRule, designed: Designed, scopes: Sequence[str]) -> Bools:
    """Scopes in a designed state that suppresses the rule, shape [scope]."""
    states = [members for name in rule.suppressed_by if (members := designed.get(name))]
    if not states:
        return np.zeros(len(scopes), dtype=np.bool_)
    return np.fromiter(
        (any(scope in members for members in states) for scope in scopes), dtype=np.bool_, count=len(scopes)
    )


def judged(
    rule: AlarmRule,
    snapshot: Snapshot,
    places: Places,
    now_ms: int,
    memory: Memory,
    listening_s: float = math.inf,
    designed: Designed | None = None,
) -> Judged:
    """Evaluate a rule's condition now, before delays.

    - A `Stale` condition is never raised for a longer silence than the hub has been receiving readings (`listening_s`).
    - A pattern does not count devices of its group in a designed state that suppresses the rule.
    - A rate is not measured across such a state.
    """
    found = _judged(rule, snapshot, places, now_ms, memory, designed or {})
    silence = rule.when.of if isinstance(rule.when, Pattern) else rule.when
    if isinstance(silence, Stale) and listening_s <= silence.after_s:
        return replace(found, raises=np.zeros_like(found.raises))
    return found


def _judged(
    rule: AlarmRule, snapshot: Snapshot, places: Places, now_ms: int, memory: Memory, designed: Designed
) -> Judged:
    table = snapshot.kind(rule.kind)
    when = rule.when
    if isinstance(when, Pattern):
        return _pattern(rule, when, table, places, now_ms, excused(rule, designed, table.devices))
    if isinstance(when, Balance):
        return _balance(rule, when, snapshot, places, now_ms, memory)
    if isinstance(when, Rate):
        return _rate(rule, when, table, now_ms, memory, excused(rule, designed, table.devices))
    raises, clears, values = _of_device(rule, when, table, now_ms)
    return Judged(table.devices, raises, clears, values)


def _numbers(table: KindTable, metric: str, rule: AlarmRule, now_ms: int) -> tuple[Floats, Bools]:
    """(values, usable) of a metric; usable: present and not older than the rule allows."""
    values, codes, age_s = table.values(metric, now_ms)
    return np.asarray(values, dtype=np.float64), (codes == 0) & (age_s <= rule.max_age_s)


def _of_device(
    rule: AlarmRule, when: Threshold | Stale | InState | Difference, table: KindTable, now_ms: int
) -> tuple[Bools, Bools, Floats]:
    if isinstance(when, Stale):
        silent_s = table.silence_s(now_ms)
        raises = silent_s > when.after_s
        return raises, ~raises, np.where(np.isfinite(silent_s), silent_s, np.nan)
    if isinstance(when, InState):
        states, codes, age_s = table.values(when.metric, now_ms)
        usable = (codes == 0) & (age_s <= rule.max_age_s)
        hit = np.isin(np.asarray(states, dtype=str), when.any_of) if len(states) else np.zeros(0, dtype=np.bool_)
        return hit & usable, ~hit & usable, np.full(len(hit), np.nan)
    values, usable = _numbers(table, when.metric, rule, now_ms)
    if isinstance(when, Threshold):
        if when.load_metric:
            load, load_usable = _numbers(table, when.load_metric, rule, now_ms)
            usable &= load_usable & (load >= when.load_least)
        if when.high is not None:
            return usable & (values > when.high), usable & (values <= when.high - when.hysteresis), values
        assert when.low is not None
        return usable & (values < when.low), usable & (values >= when.low + when.hysteresis), values
    reference, reference_usable = _numbers(table, when.reference, rule, now_ms)
    usable &= reference_usable & (reference > when.low)
    share = np.divide(values - reference, reference, out=np.zeros(len(values)), where=usable)
    apart = {"either": np.abs(share), "below": -share, "above": share}[when.direction]
    over = usable & (apart > when.over_share)
    return over, usable & ~over, share


def _rate(rule: AlarmRule, when: Rate, table: KindTable, now_ms: int, memory: Memory, changing: Bools) -> Judged:
    """The signed rate, kept from the end of one window to the end of the next, so that delays can run.

    While a device is `changing` by design there is no rate. The first window afterwards starts within that state, from the
    last value of it.
    """
    values, usable = _numbers(table, when.metric, rule, now_ms)
    _, _, age_s = table.values(when.metric, now_ms)
    at_ms = now_ms - np.where(np.isfinite(age_s), age_s, 0.0) * MS_PER_S
    base, base_ms, rate = memory.of(rule.id, len(values))
    passed_s = (at_ms - base_ms) / MS_PER_S
    measured = usable & ~changing & (passed_s >= when.window_s)
    rate[measured] = (values[measured] - base[measured]) / passed_s[measured]
    rate[changing | (passed_s < 0)] = np.nan
    renew = usable & (measured | changing | np.isnan(base_ms) | (passed_s < 0))
    base[renew], base_ms[renew] = values[renew], at_ms[renew]
    known = usable & ~np.isnan(rate)
    judged_rate = {"rising": rate, "falling": -rate, "either": np.abs(rate)}[when.direction]
    over = known & (judged_rate > when.per_s)
    return Judged(table.devices, over, known & ~over, rate.copy())


def _pattern(rule: AlarmRule, when: Pattern, table: KindTable, places: Places, now_ms: int, changing: Bools) -> Judged:
    """Share of each group that meets the condition, without devices that are `changing` by design. An active pattern clears only
    when the whole group, including those devices, is below the limits.
    """
    raises, _, _ = _of_device(rule, when.of, table, now_ms)
    groups = [places.group_of(device, when.group) for device in table.devices]
    scopes = sorted({group for group in groups if group is not None})
    index = {scope: at for at, scope in enumerate(scopes)}
    rows = np.array([-1 if group is None else index[group] for group in groups], dtype=np.intp)

    def over(of: Bools) -> tuple[Bools, Floats]:
        size = np.bincount(rows[of], minlength=len(scopes))
        hit = np.bincount(rows[of & raises], minlength=len(scopes))
        share = np.divide(hit, size, out=np.zeros(len(scopes)), where=size > 0)
        return (share >= when.share) & (hit >= when.min_devices), share

    placed = rows >= 0
    raised, share = over(placed & ~changing)
    still_over, _ = over(placed)
    return Judged(scopes, raised, ~still_over & ~raised, share)


def _balance(rule: AlarmRule, when: Balance, snapshot: Snapshot, places: Places, now_ms: int, memory: Memory) -> Judged:
    """Sums per site. A site raises and clears only where every meter of the balance has a usable value.

    Readings may be up to `max_age_s` apart: the limit is raised by the largest change of either sum within that time.
    """
    sums: dict[str, list[float]] = {}
    whole_known: set[str] = set()
    incomplete: set[str] = set()
    kinds = [kind for kind in snapshot.kinds() if when.metric in snapshot.kind(kind).metrics]
    for kind in kinds:
        table = snapshot.kind(kind)
        values, usable = _numbers(table, when.metric, rule, now_ms)
        for row, device in enumerate(table.devices):
            role = places.role.get(device)
            if not role or role not in (when.whole, when.plus, when.parts):
                continue
            site = device.rpartition("/")[0]
            if not usable[row]:
                incomplete.add(site)
                continue
            total = sums.setdefault(site, [0.0, 0.0])
            total[1 if role == when.parts else 0] += float(values[row])
            if role == when.whole:
                whole_known.add(site)
    scopes = sorted(sums.keys() | incomplete)
    whole = np.array([sums.get(site, (0.0, 0.0))[0] for site in scopes])
    parts = np.array([sums.get(site, (0.0, 0.0))[1] for site in scopes])
    complete = np.array([site in whole_known and site not in incomplete for site in scopes], dtype=np.bool_)
    known = complete & (np.abs(whole) > when.low)
    share = np.divide(whole - parts, whole, out=np.full(len(scopes), np.nan), where=known)
    apart, allowed = np.abs(whole - parts), when.over_share * np.abs(whole) + when.margin
    moved = np.zeros(len(scopes))
    for at in np.flatnonzero(known).tolist():
        moved[at] = memory.moved(rule.id, scopes[at], now_ms, rule.max_age_s, sums[scopes[at]])
    return Judged(scopes, known & (apart > allowed + moved), known & (apart <= allowed), share)
