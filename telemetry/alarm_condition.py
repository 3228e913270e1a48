# SPDX-License-Identifier: Apache-2.0
"""Conditions of alarm rules over the snapshot's columns: for each scope whether it raises, and whether it clears.

What is missing or too old neither raises nor clears: an alarm stands until a value says that it is over. Silence has a
rule of its own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from kernel.clock import MS_PER_S
from telemetry.alarm_rule import (
    GROUPS,
    AlarmRule,
    Balance,
    Difference,
    InState,
    Pattern,
    Rate,
    Stale,
    Threshold,
)
from telemetry.snapshot import KindTable, Snapshot

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Places:
    """Where devices stand: device to rack, feeder and site (keys), and the role of meters (`main`, `feeder`, ...)."""

    rack: Mapping[str, str] = field(default_factory=dict)
    feeder: Mapping[str, str] = field(default_factory=dict)
    role: Mapping[str, str] = field(default_factory=dict)

    def group_of(self, device: str, group: str) -> str | None:
        """The key of a device's group, or None where it is not known to stand in one."""
        if group == "site":
            return device.rpartition("/")[0]
        return (self.rack if group == "rack" else self.feeder).get(device)

    def groups_of(self, device: str) -> list[str]:
        """All scopes that hold a device, from the narrowest to the site."""
        return [found for group in GROUPS if (found := self.group_of(device, group)) is not None]


@dataclass(frozen=True, slots=True)
class Judged:
    """One rule over its scopes; arrays of shape [scope]. `values` is what is shown beside the alarm (NaN: nothing)."""

    scopes: list[str]
    raises: Bools
    clears: Bools
    values: NDArray[np.float64]


class RateMemory:
    """The value from which a rate is measured, per rule and device."""

    def __init__(self) -> None:
        self._from: dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}

    def since(self, rule: str, size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(value, instant in ms; NaN where there is none yet), each of shape [device]."""
        value, at_ms = self._from.get(rule, (np.full(0, np.nan), np.full(0, np.nan)))
        if len(value) < size:
            value = np.concatenate((value, np.full(size - len(value), np.nan)))
            at_ms = np.concatenate((at_ms, np.full(size - len(at_ms), np.nan)))
        self._from[rule] = value, at_ms
        return value, at_ms


def judged(
    rule: AlarmRule,
    snapshot: Snapshot,
    places: Places,
    now_ms: int,
    memory: RateMemory,
    listening_s: float = math.inf,
) -> Judged:
    """The rule's condition now, before delays. Who listens since `listening_s` calls nobody silent for longer than that: what
    was not heard while nobody listened proves nothing."""
    found = _judged(rule, snapshot, places, now_ms, memory)
    silence = rule.when.of if isinstance(rule.when, Pattern) else rule.when
    if isinstance(silence, Stale) and listening_s <= silence.after_s:
        return replace(found, raises=np.zeros_like(found.raises))
    return found


def _judged(rule: AlarmRule, snapshot: Snapshot, places: Places, now_ms: int, memory: RateMemory) -> Judged:
    table = snapshot.kind(rule.kind)
    when = rule.when
    if isinstance(when, Pattern):
        return _pattern(rule, when, table, places, now_ms)
    if isinstance(when, Balance):
        return _balance(rule, when, snapshot, places, now_ms)
    if isinstance(when, Rate):
        return _rate(rule, when, table, now_ms, memory)
    raises, clears, values = _of_device(rule, when, table, now_ms)
    return Judged(table.devices, raises, clears, values)


def _numbers(table: KindTable, metric: str, rule: AlarmRule, now_ms: int) -> tuple[NDArray[np.float64], Bools]:
    """(values, usable) of a metric: present and young enough."""
    values, codes, age_s = table.values(metric, now_ms)
    return np.asarray(values, dtype=np.float64), (codes == 0) & (age_s <= rule.max_age_s)


def _of_device(
    rule: AlarmRule, when: Threshold | Stale | InState | Difference, table: KindTable, now_ms: int
) -> tuple[Bools, Bools, NDArray[np.float64]]:
    if isinstance(when, Stale):
        silent_s = table.heard_s(now_ms)
        raises = silent_s > when.after_s
        return raises, ~raises, np.where(np.isfinite(silent_s), silent_s, np.nan)
    if isinstance(when, InState):
        states, codes, age_s = table.values(when.metric, now_ms)
        usable = (codes == 0) & (age_s <= rule.max_age_s)
        hit = np.isin(np.asarray(states, dtype=str), when.any_of) if len(states) else np.zeros(0, dtype=np.bool_)
        return hit & usable, ~hit & usable, np.full(len(hit), np.nan)
    values, usable = _numbers(table, when.metric, rule, now_ms)
    if isinstance(when, Threshold):
        if when.high is not None:
            return usable & (values > when.high), usable & (values <= when.high - when.hysteresis), values
        assert when.low is not None
        return usable & (values < when.low), usable & (values >= when.low + when.hysteresis), values
    reference, told = _numbers(table, when.reference, rule, now_ms)
    usable &= told & (reference > when.low)
    share = np.divide(values - reference, reference, out=np.zeros(len(values)), where=usable)
    apart = {"either": np.abs(share), "below": -share, "above": share}[when.direction]
    over = usable & (apart > when.over_share)
    return over, usable & ~over, share


def _rate(rule: AlarmRule, when: Rate, table: KindTable, now_ms: int, memory: RateMemory) -> Judged:
    values, usable = _numbers(table, when.metric, rule, now_ms)
    _, _, age_s = table.values(when.metric, now_ms)
    at_ms = now_ms - np.where(np.isfinite(age_s), age_s, 0.0) * MS_PER_S
    base, base_ms = memory.since(rule.id, len(values))
    base, base_ms = base[: len(values)], base_ms[: len(values)]
    passed_s = (at_ms - base_ms) / MS_PER_S
    known = usable & (passed_s >= when.window_s)
    rate = np.divide(np.abs(values - base), passed_s, out=np.zeros(len(values)), where=known)
    renew = usable & (np.isnan(base_ms) | known | (passed_s < 0))
    base[renew], base_ms[renew] = values[renew], at_ms[renew]
    over = known & (rate > when.per_s)
    return Judged(table.devices, over, known & ~over, rate)


def _pattern(rule: AlarmRule, when: Pattern, table: KindTable, places: Places, now_ms: int) -> Judged:
    raises, _, _ = _of_device(rule, when.of, table, now_ms)
    groups = [places.group_of(device, when.group) for device in table.devices]
    scopes = sorted({group for group in groups if group is not None})
    index = {scope: at for at, scope in enumerate(scopes)}
    rows = np.array([-1 if group is None else index[group] for group in groups], dtype=np.intp)
    placed = rows >= 0
    size = np.bincount(rows[placed], minlength=len(scopes))
    hit = np.bincount(rows[placed & raises], minlength=len(scopes))
    share = np.divide(hit, size, out=np.zeros(len(scopes)), where=size > 0)
    over = (share >= when.share) & (hit >= when.least)
    return Judged(scopes, over, ~over, share)


def _balance(rule: AlarmRule, when: Balance, snapshot: Snapshot, places: Places, now_ms: int) -> Judged:
    """Sums per site; silent where one of the devices does not tell, for a sum with a hole in it is no sum."""
    sums: dict[str, list[float]] = {}
    whole_told: set[str] = set()
    holes: set[str] = set()
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
                holes.add(site)
                continue
            total = sums.setdefault(site, [0.0, 0.0])
            total[1 if role == when.parts else 0] += float(values[row])
            if role == when.whole:
                whole_told.add(site)
    scopes = sorted(site for site in sums if site in whole_told and site not in holes)
    whole = np.array([sums[site][0] for site in scopes])
    parts = np.array([sums[site][1] for site in scopes])
    known = np.abs(whole) > when.low
    share = np.divide(whole - parts, whole, out=np.zeros(len(scopes)), where=known)
    over = known & (np.abs(share) > when.over_share)
    return Judged(scopes, over, known & ~over, share)
