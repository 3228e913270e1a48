# SPDX-License-Identifier: Apache-2.0
"""Observed columns of a fleet from the snapshot: state and mode codes, power, hashrate.

A failed poll reports `unreachable` and no other value, so the observation time of a unit is that of its last value; the
fleet decides which age is still fresh.
"""

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from kernel.reading import MISSING, Absence, Reading
from miner_control.fleet.fleet import (
    ASLEEP,
    STATE_CODE,
    UNSURE,
    Bools,
    Codes,
    Floats,
    Ints,
    Observed,
    Roster,
    never_observed,
)
from miner_control.fleet.miner import State
from telemetry.collect.snapshot import KindTable

_SLEEP_MODES = frozenset({"sleep", "asleep", "off"})
LONGEST_WINDOW_S: Final = 900.0
"""A mean since the start never loses the start-up: after this long it is used as it is."""
_UNKNOWN = STATE_CODE[State.UNKNOWN]


class UnitValues(NamedTuple):
    """One metric of each unit, shape [N]: `values` and `at_ms` are valid only where `has` is true (newest report)."""

    values: Floats
    at_ms: Ints
    has: Bools


def reported_of(roster: Roster, table: KindTable, metric: str, now_ms: int) -> UnitValues:
    """A metric in the roster's order; for text metrics only `has` is set, the values are zero."""
    rows = np.fromiter((table.index.get(device, -1) for device in roster.devices), dtype=np.int64, count=len(roster))
    known = np.flatnonzero(rows >= 0)
    values, codes, age_s = table.values(metric, now_ms)
    found = UnitValues(
        np.zeros(len(roster)), np.zeros(len(roster), dtype=np.int64), np.zeros(len(roster), dtype=np.bool_)
    )
    at = rows[known]
    found.has[known] = (codes[at] == 0) & np.isfinite(age_s[at])
    good = known[found.has[known]]
    found.at_ms[good] = now_ms - np.round(age_s[rows[good]] * 1000.0).astype(np.int64)
    if values.dtype != object:
        found.values[good] = values[rows[good]]
    return found


def observed_of(roster: Roster, table: KindTable, now_ms: int) -> Observed:
    """The columns of `Observed` in the roster's order. Devices missing from the snapshot count as never observed."""
    size, found = len(roster), never_observed(roster)
    rows = np.fromiter((table.index.get(device, -1) for device in roster.devices), dtype=np.int64, count=size)
    known = np.flatnonzero(rows >= 0)
    at = rows[known]
    heard_s = table.silence_s(now_ms)[at]
    has_reading = np.isfinite(heard_s)
    found.at_ms[known[has_reading]] = now_ms - np.round(heard_s[has_reading] * 1000.0).astype(np.int64)

    texts, codes, _ = table.values("state", now_ms)
    if texts.dtype == object:
        reported = [
            STATE_CODE.get(text, _UNKNOWN) if not code else _UNKNOWN for text, code in zip(texts, codes, strict=True)
        ]
        found.state[known] = np.array(reported, dtype=np.int8)[at]

    power, power_age_s = table.last_good("power_w", now_ms)
    rate, rate_age_s = table.last_good("hashrate_hs", now_ms)
    found.power_w[known], found.hashrate_hs[known] = power[at].astype(np.float64), rate[at].astype(np.float64)
    # A value that is missing from the unit's newest answer says nothing about the present.
    found.has_power[known] = np.isfinite(power_age_s[at]) & (power_age_s[at] <= heard_s + 1e-3)
    found.has_hashrate[known] = np.isfinite(rate_age_s[at]) & (rate_age_s[at] <= heard_s + 1e-3)
    return replace(found, mode=_modes(roster, table, rows, now_ms))


def _modes(roster: Roster, table: KindTable, rows: np.ndarray, now_ms: int) -> Codes:
    """Reported mode of each unit, as an index of its envelope; UNSURE where none was reported or it is unknown."""
    mode = np.full(len(roster), UNSURE, dtype=np.int8)
    texts, codes, _ = table.values("mode", now_ms)
    if texts.dtype != object:
        return mode
    index = [{name: at for at, name in enumerate(group.envelope.names)} for group in roster.groups]
    groups = roster.group.tolist()
    for unit, row in enumerate(rows.tolist()):
        if row >= 0 and not codes[row]:
            text = texts[row]
            mode[unit] = ASLEEP if text in _SLEEP_MODES else index[groups[unit]].get(text, UNSURE)
    return mode


def evidence(table: KindTable, device: str, since_ms: int) -> Reading:
    """A miner's values that count as evidence for a run since `since_ms`.

    Boards read during the start prove no dead board, and a mean over a window that began before `since_ms` proves no weak
    one: the hashrate is then Missing (STALE). Raises KeyError where the device was never observed.
    """
    found = table.reading(device, since_ms)
    window_s = min(found.number("hashrate_window_s") or 0.0, LONGEST_WINDOW_S)
    if found.at_ms - window_s * 1000.0 >= since_ms:
        return found
    return replace(found, values={**found.values, "hashrate_hs": MISSING[Absence.STALE]})
