# SPDX-License-Identifier: Apache-2.0
"""Fleet of miners as numpy columns: present load, and load after pending commands.

A fleet is a value of one tick, built from three parts of the same length and order:

* `Roster`: static data (asset register and envelopes); rebuilt only when the register changes;
* `Observed`: last reported values (columns of the snapshot);
* `Commanded`: last commands, and the time of the last on/off change (`command_state`).

Silence counts as load: a miner without a report within `stale_s` counts with its last commanded on-mode, else its normal
mode. A faulty, ramping or unknown miner never counts as asleep: only its own fresh report `asleep` does that, or, for
`stale_s` after its last report, a verified sleep.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from miner_control.fleet.command import Intent, PowerTarget, SetMode, Sleep, Wake
from miner_control.fleet.envelope import Envelope
from miner_control.fleet.miner import Miner, State

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.int8]

ASLEEP: Final = -1
"""The mode index of a sleeping miner; on-modes count from 0 by rising power."""
UNSURE: Final = -2
"""The mode index where none is known (never observed, or never commanded)."""

STATES: Final = tuple(State)
STATE_CODE: Final[Mapping[str, int]] = {state.value: code for code, state in enumerate(STATES)}
_HASHING, _RAMPING, _TUNING = (STATE_CODE[s] for s in (State.HASHING, State.RAMPING, State.TUNING))
_SLEEPING, _UNREACHABLE, _UNKNOWN = (STATE_CODE[s] for s in (State.ASLEEP, State.UNREACHABLE, State.UNKNOWN))
_FAULT = STATE_CODE[State.FAULT]


@dataclass(frozen=True, slots=True)
class Group:
    """Miners of the same envelope on the same feeder. `name` is `model/firmware/feeder`."""

    name: str
    envelope: Envelope
    feeder: int


@dataclass(frozen=True, slots=True)
class Roster:
    """Static columns of the fleet: N units, G groups, M modes (padded), F feeders.

    - `group[N]`, `feeder[N]`, `phase[N]` (0, 1, 2; -1: all three or unknown); `ours[N]`: the hub may command it.
    - `mode_power_w[G, M]`, `mode_hashrate_hs[G, M]`: rising; a mode that does not exist repeats the one before it.
    - `mode_count[G]`, `normal[G]` (factory mode), `sleep_w[G]`, `min_on_s[G]`, `min_off_s[G]`, `can_sleep[G]`;
      `wakes_any[G]`: wakes straight into any mode; `profiled[G]`.
    """

    devices: tuple[str, ...]
    index: Mapping[str, int]
    groups: tuple[Group, ...]
    feeder_names: tuple[str, ...]
    group: Ints
    feeder: Ints
    phase: Codes
    ours: Bools
    mode_power_w: Floats
    mode_hashrate_hs: Floats
    mode_count: Ints
    normal: Ints
    sleep_w: Floats
    min_on_s: Floats
    min_off_s: Floats
    can_sleep: Bools
    wakes_any: Bools
    profiled: Bools

    def __len__(self) -> int:
        return len(self.devices)

    def envelope(self, unit: int) -> Envelope:
        """The capability envelope of a unit."""
        return self.groups[int(self.group[unit])].envelope


@dataclass(frozen=True, slots=True)
class Observed:
    """Last report of each unit, shape [N]: `at_ms` 0 where never observed; `state` codes of `STATES`; `mode` an index,
    ASLEEP or UNSURE; `power_w` and `hashrate_hs` are valid only where `has_power`, `has_hashrate`."""

    at_ms: Ints
    state: Codes
    mode: Codes
    power_w: Floats
    has_power: Bools
    hashrate_hs: Floats
    has_hashrate: Bools


@dataclass(frozen=True, slots=True)
class Commanded:
    """Command columns of each unit, shape [N].

    - `mode`: mode of the pending command; `until_ms`: instant up to which it may still take effect (0: none pending).
    - `on_mode`: on-mode last commanded (UNSURE: never); `since_ms`: last change between on and off.
    - `starts_used`: starts of the running day; `mode_ceiling`: highest mode allowed now (heat).
    - `excluded`: under a person's or another owner's control, or left alone for a time after a failed command.
    - `put_to_sleep`: a sleep by the hub was verified and no command followed.
    - `proven_mode`: mode proven by the last verified command, with a sample of `proven_ms` (0: none).
    - `restore`: mode before a limit or the guard lowered the unit (UNSURE: none).
    """

    mode: Codes
    on_mode: Codes
    until_ms: Ints
    since_ms: Ints
    starts_used: Ints
    excluded: Bools
    put_to_sleep: Bools
    proven_mode: Codes
    proven_ms: Ints
    mode_ceiling: Codes
    restore: Codes


@dataclass(frozen=True, slots=True)
class Fleet:
    """Fleet at one tick. All arrays have shape [N].

    - `mode`: mode by evidence; `wanted`: mode after pending commands (`mode` where none is pending).
    - `power_w`: load to be counted now; `settled_w`: load after everything pending took effect.
    - `fresh`: reported in time. `can_command`: ours, reachable, and not excluded. `scale`: measured over envelope power.
    - `wake_mode`: lowest mode to wake into. `restore`: mode to return to once no limit holds the unit down (UNSURE: none).
    """

    roster: Roster
    now_ms: int
    state: Codes
    fresh: Bools
    mode: Codes
    wanted: Codes
    power_w: Floats
    settled_w: Floats
    hashrate_hs: Floats
    scale: Floats
    can_command: Bools
    may_sleep: Bools
    may_wake: Bools
    ceiling: Codes
    wake_mode: Codes
    restore: Codes
    starts_used: Ints
    since_ms: Ints

    def __len__(self) -> int:
        return len(self.roster)

    @property
    def devices(self) -> tuple[str, ...]:
        return self.roster.devices

    def option_w(self) -> Floats:
        """Power of each unit asleep (column 0) and in each mode, shape [N, 1 + M]; its mode `wanted` draws `settled_w`."""
        roster = self.roster
        # Column by column: allocation reads whole columns, a hundred thousand units at a time.
        power: Floats = np.empty((len(self), 1 + roster.mode_power_w.shape[1]), order="F")
        power[:, 0] = roster.sleep_w[roster.group]
        for column in range(roster.mode_power_w.shape[1]):
            power[:, column + 1] = roster.mode_power_w[:, column][roster.group] * self.scale
        power[np.arange(len(self)), self.wanted.astype(np.int64) + 1] = self.settled_w
        return power

    def feeder_power_w(self) -> Floats:
        """Load counted per feeder, shape [F]."""
        return per_feeder(self.roster, self.power_w)

    def counts(self) -> Ints:
        """Units per group asleep and in each mode once pending commands took effect, shape [G, 1 + M]."""
        width = 1 + self.roster.mode_power_w.shape[1]
        flat = self.roster.group * width + (self.wanted.astype(np.int64) + 1)
        return np.bincount(flat, minlength=len(self.roster.groups) * width).reshape(-1, width)

    def tally(self) -> dict[str, int]:
        """Units per state, every state named."""
        found = np.bincount(self.state, minlength=len(STATES))
        return {state.value: int(found[code]) for code, state in enumerate(STATES)}

    def intent(self, unit: int, mode: int) -> Intent:
        """The intent for a mode: sleep, wake, the firmware's own mode, or watts where the firmware takes watts.

        A sleeping unit whose firmware cannot wake straight into a mode wakes into its last one (`wake_mode`); the next
        tick commands the mode, once it is on.
        """
        if mode == ASLEEP:
            return Sleep()
        envelope = self.roster.groups[int(self.roster.group[unit])].envelope
        aim = envelope.modes[min(mode, len(envelope.modes) - 1)]
        if int(self.wanted[unit]) == ASLEEP and (not envelope.wakes_into_any_mode or aim.name == envelope.normal):
            return Wake()
        if envelope.commanded_in_watts:
            return PowerTarget(aim.power_w)
        return SetMode(aim.name)


def per_feeder(roster: Roster, watts: Floats) -> Floats:
    """Sum per feeder of a quantity given per unit, shape [F]."""
    found: Floats = np.zeros(len(roster.feeder_names))
    np.add.at(found, roster.feeder, watts)
    return found


def roster_of(
    miners: Sequence[Miner],
    envelope_of: Mapping[tuple[str, str], Envelope],
    *,
    phases: Mapping[str, int] | None = None,
    not_ours: Collection[str] = (),
) -> Roster:
    """The static columns. `envelope_of` maps (model, dialect); `not_ours`: owners whose miners are only observed.

    Raises KeyError naming the models that have no envelope.
    """
    lacking = sorted({(m.model, m.dialect) for m in miners} - set(envelope_of))
    if lacking:
        raise KeyError(f"no envelope for {', '.join(f'{model} with {dialect}' for model, dialect in lacking)}")
    feeder_names = tuple(sorted({miner.feeder for miner in miners}))
    feeder_at = {name: at for at, name in enumerate(feeder_names)}
    groups: list[Group] = []
    group_at: dict[tuple[str, str, str], int] = {}
    for miner in miners:
        key = (miner.model, miner.dialect, miner.feeder)
        if key not in group_at:
            group_at[key] = len(groups)
            groups.append(Group("/".join(key), envelope_of[key[:2]], feeder_at[miner.feeder]))
    known_phases = phases or {}
    return Roster(
        devices=tuple(miner.device for miner in miners),
        index={miner.device: at for at, miner in enumerate(miners)},
        feeder_names=feeder_names,
        group=np.array([group_at[m.model, m.dialect, m.feeder] for m in miners], dtype=np.int64),
        feeder=np.array([feeder_at[m.feeder] for m in miners], dtype=np.int64),
        phase=np.array([known_phases.get(m.device, -1) for m in miners], dtype=np.int8),
        ours=np.array([m.owner not in not_ours for m in miners], dtype=np.bool_),
        **_of_groups(groups),
    )


def with_envelopes(roster: Roster, envelope_of: Mapping[tuple[str, str], Envelope]) -> Roster:
    """The same units with these envelopes; models without one here keep theirs."""
    groups = [replace(one, envelope=envelope_of.get(one.envelope.key, one.envelope)) for one in roster.groups]
    return replace(roster, **_of_groups(groups))


def _of_groups(groups: Sequence[Group]) -> dict[str, Any]:
    """The groups, and the roster columns that follow from their envelopes."""
    count, width = len(groups), max((len(g.envelope.modes) for g in groups), default=1)
    power, rate = np.zeros((count, width)), np.zeros((count, width))
    for row, group in enumerate(groups):
        modes = group.envelope.modes
        for column in range(width):
            mode = modes[min(column, len(modes) - 1)]
            power[row, column], rate[row, column] = mode.power_w, mode.hashrate_hs
    envelopes = [group.envelope for group in groups]
    return {
        "groups": tuple(groups),
        "mode_power_w": power,
        "mode_hashrate_hs": rate,
        "mode_count": np.array([len(e.modes) for e in envelopes], dtype=np.int64),
        "normal": np.array([e.names.index(e.normal) for e in envelopes], dtype=np.int64),
        "sleep_w": np.array([e.sleep_w for e in envelopes], dtype=np.float64),
        "min_on_s": np.array([e.min_on_s for e in envelopes], dtype=np.float64),
        "min_off_s": np.array([e.min_off_s for e in envelopes], dtype=np.float64),
        "can_sleep": np.array([e.can_sleep for e in envelopes], dtype=np.bool_),
        "wakes_any": np.array([e.wakes_into_any_mode for e in envelopes], dtype=np.bool_),
        "profiled": np.array([e.profiled for e in envelopes], dtype=np.bool_),
    }


def never_observed(roster: Roster) -> Observed:
    """Columns before the first report."""
    n = len(roster)
    return Observed(
        at_ms=np.zeros(n, dtype=np.int64),
        state=np.full(n, _UNKNOWN, dtype=np.int8),
        mode=np.full(n, UNSURE, dtype=np.int8),
        power_w=np.zeros(n),
        has_power=np.zeros(n, dtype=np.bool_),
        hashrate_hs=np.zeros(n),
        has_hashrate=np.zeros(n, dtype=np.bool_),
    )


def never_commanded(roster: Roster) -> Commanded:
    """Columns before the first command."""
    n = len(roster)
    return Commanded(
        mode=np.full(n, UNSURE, dtype=np.int8),
        on_mode=np.full(n, UNSURE, dtype=np.int8),
        until_ms=np.zeros(n, dtype=np.int64),
        since_ms=np.zeros(n, dtype=np.int64),
        starts_used=np.zeros(n, dtype=np.int64),
        excluded=np.zeros(n, dtype=np.bool_),
        put_to_sleep=np.zeros(n, dtype=np.bool_),
        proven_mode=np.full(n, UNSURE, dtype=np.int8),
        proven_ms=np.zeros(n, dtype=np.int64),
        mode_ceiling=np.full(n, np.iinfo(np.int8).max, dtype=np.int8),
        restore=np.full(n, UNSURE, dtype=np.int8),
    )


def fleet_of(
    roster: Roster,
    observed: Observed,
    commanded: Commanded,
    now_ms: int,
    *,
    stale_s: float = 60.0,
    starts_cap: int | None = None,
) -> Fleet:
    """One tick's fleet. `starts_cap`: most starts per unit and day (None: free)."""
    group = roster.group
    top, normal = roster.mode_count[group] - 1, roster.normal[group]
    fresh = (observed.at_ms > 0) & (now_ms - observed.at_ms <= stale_s * 1000)
    state = np.where(fresh, observed.state, np.where(observed.at_ms > 0, _UNREACHABLE, _UNKNOWN)).astype(np.int8)

    # A poll older than the sample that proved the command says nothing about the unit since then.
    proven = (commanded.proven_ms > 0) & (commanded.proven_mode != UNSURE)
    outrun = fresh & proven & (observed.at_ms < commanded.proven_ms)
    state = np.where(outrun, np.where(commanded.proven_mode == ASLEEP, _SLEEPING, _RAMPING), state).astype(np.int8)

    believed = np.where(commanded.on_mode >= 0, commanded.on_mode, normal)
    # A unit that reports no mode and was never commanded one is in the mode whose power it draws.
    unnamed = (
        fresh & (observed.mode == UNSURE) & (commanded.on_mode == UNSURE) & observed.has_power & (state == _HASHING)
    )
    if bool(unnamed.any()):
        nearest = np.abs(roster.mode_power_w[group[unnamed]] - observed.power_w[unnamed, None]).argmin(axis=1)
        believed[unnamed] = nearest
    reported = np.where(observed.mode >= 0, observed.mode, believed)
    reported = np.where(outrun & (commanded.proven_mode >= 0), commanded.proven_mode, reported)
    asleep = fresh & ((state == _SLEEPING) | ((state == _UNREACHABLE) & commanded.put_to_sleep))
    mode = np.where(asleep, ASLEEP, np.minimum(np.where(fresh, reported, believed), top)).astype(np.int8)

    pending = (commanded.until_ms > now_ms) & (commanded.mode != UNSURE)
    wanted = np.where(pending, np.minimum(commanded.mode, top), mode).astype(np.int8)

    rows = np.arange(len(roster))
    table = np.concatenate((roster.sleep_w[:, None], roster.mode_power_w), axis=1)[group]
    steady = fresh & observed.has_power & (state == _HASHING) & ~pending
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = observed.power_w / table[rows, mode.astype(np.int64) + 1]
    # Without a profile there is nothing to doubt a reported power by.
    doubted = np.where(roster.profiled[group], np.clip(ratio, 0.75, 1.33), ratio)
    scale = np.where(steady, np.nan_to_num(doubted, nan=1.0, posinf=1.0), 1.0)

    nominal = table[rows, mode.astype(np.int64) + 1] * np.where(mode >= 0, scale, 1.0)
    measured = fresh & observed.has_power & ~outrun & ~((state == _UNREACHABLE) & asleep)
    rising = fresh & ((state == _RAMPING) | (state == _TUNING))
    power = np.where(measured, np.where(rising, np.maximum(observed.power_w, nominal), observed.power_w), nominal)
    settling = table[rows, wanted.astype(np.int64) + 1] * np.where(wanted >= 0, scale, 1.0)
    aged_s, highest = (now_ms - commanded.since_ms) / 1000.0, np.minimum(top, commanded.mode_ceiling)
    down_s = np.array([each.envelope.ramp_down_s for each in roster.groups], dtype=np.float64)[group]
    # A unit that has just gone to sleep is still running down: what it draws now is not what is to be counted on.
    running_down = asleep & (aged_s <= 2.0 * down_s + 30.0)
    settled = np.where((pending & (wanted != mode)) | running_down, settling, power)

    usable = fresh & roster.ours & ~commanded.excluded
    may_sleep = roster.can_sleep[group] & (aged_s >= roster.min_on_s[group])
    may_wake = (aged_s >= roster.min_off_s[group]) & (state != _FAULT)
    if starts_cap is not None:
        may_wake &= commanded.starts_used < starts_cap
    return Fleet(
        roster=roster,
        now_ms=now_ms,
        state=state,
        fresh=fresh,
        mode=mode,
        wanted=wanted,
        power_w=power,
        settled_w=settled,
        hashrate_hs=np.where(fresh & observed.has_hashrate, observed.hashrate_hs, 0.0),
        scale=scale,
        can_command=usable,
        may_sleep=may_sleep,
        may_wake=may_wake,
        # A new mode command would replace a wake that still waits for its turn.
        ceiling=np.where((mode == ASLEEP) & (wanted >= 0), wanted, highest).astype(np.int8),
        wake_mode=np.where(roster.wakes_any[group], 0, np.minimum(believed, top)).astype(np.int8),
        restore=np.minimum(commanded.restore, top).astype(np.int8),
        starts_used=commanded.starts_used,
        since_ms=commanded.since_ms,
    )


def urgent(fleet: Fleet) -> Fleet:
    """The same fleet under an order that overrides minimum on-times: every unit that can sleep may be put to sleep."""
    return replace(fleet, may_sleep=fleet.roster.can_sleep[fleet.roster.group])
