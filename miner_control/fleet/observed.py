# SPDX-License-Identifier: Apache-2.0
"""From the snapshot's columns to what the fleet is made of: states and modes as codes, powers with whether they are there.

A failed poll says `unreachable` and tells nothing else, so a unit was heard when it last told a value; how long that may
be ago is the fleet's to judge.
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
    never_seen,
)
from miner_control.fleet.miner import State
from telemetry.collect.snapshot import KindTable

_SLEEP_MODES = frozenset({"sleep", "asleep", "off"})
LONGEST_WINDOW_S: Final = 900.0
"""A mean since the start never gets rid of the start: after so long it is taken as it is."""
_UNKNOWN = STATE_CODE[State.UNKNOWN]


class UnitValues(NamedTuple):
    """One metric of each unit, shape [N]: `values` and `at_ms` mean something only where the newest word `has` one."""

    values: Floats
    at_ms: Ints
    has: Bools


def reported_of(roster: Roster, table: KindTable, metric: str, now_ms: int) -> UnitValues:
    """A metric in the roster's order; of texts only whether there is one, the values are zero."""
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
    """The columns of `Observed` in the roster's order. Devices that the snapshot does not know were never heard of."""
    size, found = len(roster), never_seen(roster)
    rows = np.fromiter((table.index.get(device, -1) for device in roster.devices), dtype=np.int64, count=size)
    known = np.flatnonzero(rows >= 0)
    at = rows[known]
    heard_s = table.silence_s(now_ms)[at]
    heard = np.isfinite(heard_s)
    found.at_ms[known[heard]] = now_ms - np.round(heard_s[heard] * 1000.0).astype(np.int64)

    words, codes, _ = table.values("state", now_ms)
    if words.dtype == object:
        reported = [
            STATE_CODE.get(word, _UNKNOWN) if not code else _UNKNOWN for word, code in zip(words, codes, strict=True)
        ]
        found.state[known] = np.array(reported, dtype=np.int8)[at]

    power, power_age_s = table.last_good("power_w", now_ms)
    rate, rate_age_s = table.last_good("hashrate_hs", now_ms)
    found.power_w[known], found.hashrate_hs[known] = power[at].astype(np.float64), rate[at].astype(np.float64)
    # A value that the unit's newest answer did not tell any more is no statement about now.
    found.has_power[known] = np.isfinite(power_age_s[at]) & (power_age_s[at] <= heard_s + 1e-3)
    found.has_hashrate[known] = np.isfinite(rate_age_s[at]) & (rate_age_s[at] <= heard_s + 1e-3)
    return replace(found, mode=_modes(roster, table, rows, now_ms))


def _modes(roster: Roster, table: KindTable, rows: np.ndarray, now_ms: int) -> Codes:
    """The mode each unit told, as an index of its own envelope; UNSURE where it told none that the envelope knows."""
    mode = np.full(len(roster), UNSURE, dtype=np.int8)
    words, codes, _ = table.values("mode", now_ms)
    if words.dtype != object:
        return mode
    index = [{name: at for at, name in enumerate(group.envelope.names)} for group in roster.groups]
    groups = roster.group.tolist()
    for unit, row in enumerate(rows.tolist()):
        if row >= 0 and not codes[row]:
            word = words[row]
            mode[unit] = ASLEEP if word in _SLEEP_MODES else index[groups[unit]].get(word, UNSURE)
    return mode


def evidence(table: KindTable, device: str, since_ms: int) -> Reading:
    """What a miner that hashes since `since_ms` told of that: boards seen while they started prove no dead board, and a mean
    over a window that reaches back before it no weak one. KeyError where it was never heard of."""
    found = table.reading(device, since_ms)
    window_s = min(found.number("hashrate_window_s") or 0.0, LONGEST_WINDOW_S)
    if found.at_ms - window_s * 1000.0 >= since_ms:
        return found
    return replace(found, values={**found.values, "hashrate_hs": MISSING[Absence.STALE]})
