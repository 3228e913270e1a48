# SPDX-License-Identifier: Apache-2.0
"""Disaggregation of feeder-meter power to miners that report none, by regression.

A row is the meter's power less that of the reporting units, at a calm instant; rows differ in the numbers of silent units
asleep and on. A feeder's silent units are constant in number, so that constant load and the standby of sleeping units
cannot be separated: standby is taken from the envelope, which is small against the power of a running unit.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from miner_control.fleet.fleet import STATE_CODE, Bools, Commanded, Ints, Observed, Roster, per_feeder
from miner_control.fleet.miner import State
from miner_control.learning.dynamics import Key, watts_from_meter
from miner_control.learning.windows import SteadyMode

ROWS_KEPT: Final = 256
SPARE_ROWS: Final = 3
"""Required surplus of rows over unknowns; with fewer nothing is returned."""
_STANDBY: Final = "asleep"
_HASHING, _SLEEPING = STATE_CODE[State.HASHING], STATE_CODE[State.ASLEEP]
_MOVING: Final = (STATE_CODE[State.RAMPING], STATE_CODE[State.TUNING])


@dataclass(slots=True)
class FeederRows:
    """Calm instants of a site: per feeder and numbers of silent units (`counts[k]`, k over `columns`) the mean meter power
    that remains for them, and its sample count (at most 60). Instants with equal numbers share one row."""

    rows: dict[tuple[int, tuple[int, ...]], tuple[float, int]] = field(default_factory=dict)

    def look(
        self,
        roster: Roster,
        observed: Observed,
        commanded: Commanded,
        meters_w: Mapping[str, float],
        now_ms: int,
        fresh_s: float,
        calm_s: float,
    ) -> None:
        """Add one instant. `meters_w`: fresh power by feeder name, at the miners (losses deducted). A feeder with any command
        or change within `calm_s` is skipped."""
        fresh = (observed.at_ms > 0) & (now_ms - observed.at_ms <= fresh_s * 1000)
        changed_ms = np.maximum(commanded.since_ms, commanded.proven_ms)
        moving = (
            (commanded.until_ms > now_ms)
            | (fresh & np.isin(observed.state, _MOVING))
            | (now_ms - changed_ms < calm_s * 1000)
        )
        restless = per_feeder(roster, moving.astype(np.float64)) > 0
        reported_w = per_feeder(roster, np.where(fresh & observed.has_power, observed.power_w, 0.0))
        silent = _silent(observed)
        standby_w = per_feeder(
            roster, np.where(silent & fresh & (observed.state == _SLEEPING), roster.sleep_w[roster.group], 0.0)
        )
        place = _places(roster, observed, fresh)
        for feeder, name in enumerate(roster.feeder_names):
            ours = silent & (roster.feeder == feeder)
            if restless[feeder] or name not in meters_w or not bool(ours.any()):
                continue
            counts = tuple(np.bincount(place[ours], minlength=_width(roster)).tolist())
            mean_w, times = self.rows.pop((feeder, counts), (0.0, 0))
            left_w = meters_w[name] - float(reported_w[feeder] + standby_w[feeder])
            self.rows[feeder, counts] = (mean_w * times + left_w) / (times + 1), min(times + 1, 60)
        while len(self.rows) > ROWS_KEPT:
            del self.rows[next(iter(self.rows))]

    def solve(self, roster: Roster) -> list[SteadyMode]:
        """Power per model and mode of the silent units, where the rows separate it from all other load of the feeders."""
        if not self.rows:
            return []
        counts = np.array([each for _, each in self.rows], dtype=np.float64)
        columns = _columns(roster)
        used = np.array([at for at in np.flatnonzero(counts.any(axis=0)) if columns[at][1] != _STANDBY], dtype=np.int64)
        always = np.array([feeder for feeder, _ in self.rows])[:, None] == np.unique(
            [feeder for feeder, _ in self.rows]
        )
        if len(self.rows) < len(used) + always.shape[1] + SPARE_ROWS:
            return []
        left_w = np.array([watts for watts, _ in self.rows.values()])
        found = watts_from_meter(np.concatenate((counts[:, used], always), axis=1), left_w)
        return [
            SteadyMode(columns[column][0], columns[column][1], one, None)
            for column, one in zip(used.tolist(), found[: len(used)], strict=True)
            if columns[column][1] and one is not None and one.value > 0
        ]


def _silent(observed: Observed) -> Bools:
    """Units that report, but never their power."""
    return np.asarray((observed.at_ms > 0) & ~observed.has_power)


def _keys(roster: Roster) -> tuple[dict[Key, int], Ints, int]:
    """(index of each model, model index of each group, columns per model: modes, then asleep, then any other state)."""
    keys: dict[Key, int] = {}
    for group in roster.groups:
        keys.setdefault(group.envelope.key, len(keys))
    of_group = np.array([keys[group.envelope.key] for group in roster.groups], dtype=np.int64)
    return keys, of_group, roster.mode_power_w.shape[1] + 2


def _width(roster: Roster) -> int:
    keys, _, columns = _keys(roster)
    return len(keys) * columns


def _columns(roster: Roster) -> list[tuple[Key, str]]:
    """Model and mode of each column; `_STANDBY` for sleeping units, "" for any other state."""
    keys, of_group, columns = _keys(roster)
    found = []
    for key, at in keys.items():
        names = roster.groups[int(np.flatnonzero(of_group == at)[0])].envelope.names
        found += [(key, names[column] if column < len(names) else "") for column in range(columns - 2)]
        found += [(key, _STANDBY), (key, "")]
    return found


def _places(roster: Roster, observed: Observed, fresh: Bools) -> Ints:
    """The column of each unit, shape [N]. A hashing unit that reports no mode counts in its normal one."""
    _, of_group, columns = _keys(roster)
    mode = np.where(observed.mode >= 0, observed.mode, roster.normal[roster.group])
    hashing, asleep = fresh & (observed.state == _HASHING), fresh & (observed.state == _SLEEPING)
    place = np.where(hashing, mode, np.where(asleep, columns - 2, columns - 1))
    return np.asarray(of_group[roster.group] * columns + place, dtype=np.int64)
