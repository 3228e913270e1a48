# SPDX-License-Identifier: Apache-2.0
"""Incremental identification: selects sample windows and keeps the newest estimates per figure.

Commands are followed from issue to receipt to the next command (`Followed`); a few of the finished windows are read and
become values, the newest of which are kept per figure (`IdentificationBook`). Power and hashrate per mode come from rounds
over units that have long been in one mode (`steady_round`). Only figures that became sure, or changed, are reported.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from kernel.event import Event, EventKind
from miner_control.fleet.command import Intent, PowerPercent, PowerTarget, SetMode, Sleep, Wake, intent_from_json
from miner_control.fleet.command_state import NO_EFFECT
from miner_control.fleet.fleet import STATE_CODE, UNSURE, Bools, Codes, Commanded, Ints, Observed, Roster
from miner_control.fleet.miner import State
from miner_control.learning.batch import MODES, TIMES, DynamicsIdentified, learnt_json, learnt_of, sent_ms
from miner_control.learning.dynamics import SURE, Dynamics, Episode, Estimate, Key, estimate, figures_of

KEPT: Final = 32
"""Number of newest values kept of each figure."""
CHANGE: Final = 0.05
"""An estimate is reported again when it changed by more than this share."""
ROUNDS_KEPT: Final = 8


class Window(NamedTuple):
    """A verified sleep or wake with the end of its window: the next command, or the longest wait."""

    device: str
    intent: Intent
    sent_ms: int
    end_ms: int


class Followed:
    """Commands followed from issue to receipt to the next one. `longest_s`: longest window."""

    def __init__(self, longest_s: float) -> None:
        self._longest_ms = round(longest_s * 1000)
        self._issued: dict[str, tuple[str, int]] = {}
        self._open: dict[str, Window] = {}
        self._over: list[Window] = []
        self._asleep: set[str] = set()

    def apply(self, event: Event) -> None:
        """Apply `command.issued` and `command.receipt` in their order."""
        body, device = event.body, str(event.body["device"])
        if event.kind == EventKind.COMMAND_ISSUED:
            self._issued[device] = str(body["id"]), int(body["issued_ms"])
            if body["intent"] == "Reboot":
                # A ramp cut short by a restart is no sample: it would be too short.
                self._open.pop(device, None)
            return
        asked_id, issued_ms = self._issued.get(device, ("", 0))
        if body["id"] != asked_id or body["outcome"] == "accepted":
            return
        del self._issued[device]
        if body["outcome"] in NO_EFFECT:
            return
        open_one = self._open.pop(device, None)
        if open_one is not None:
            self._over.append(open_one._replace(end_ms=min(open_one.end_ms, issued_ms)))
        intent = intent_from_json(body)
        if body["outcome"] != "verified":
            return
        if device in self._asleep and isinstance(intent, SetMode | PowerTarget | PowerPercent):
            # Some firmwares wake straight into a mode.
            intent = Wake()
        if isinstance(intent, Sleep | Wake):
            (self._asleep.add if isinstance(intent, Sleep) else self._asleep.discard)(device)
            sent = sent_ms(body, issued_ms)
            self._open[device] = Window(device, intent, sent, sent + self._longest_ms)

    def over(self, now_ms: int) -> list[Window]:
        """The windows that ended since the last call, in order of their ends."""
        for device in [device for device, one in self._open.items() if one.end_ms <= now_ms]:
            self._over.append(self._open.pop(device))
        found, self._over = sorted(self._over, key=lambda one: (one.end_ms, one.device)), []
        return found


class SteadyMode(NamedTuple):
    """Median over the units of a model that have long been in one mode."""

    key: Key
    mode: str
    power_w: Estimate | None
    hashrate_hs: Estimate | None


@dataclass(slots=True)
class Steadiness:
    """Start of each unit's present run of hashing in one mode, round by round; shape [N]."""

    mode: Codes
    since_ms: Ints

    @classmethod
    def of(cls, roster: Roster) -> "Steadiness":
        """Before the first round."""
        return cls(np.full(len(roster), UNSURE, dtype=np.int8), np.zeros(len(roster), dtype=np.int64))

    def look(self, observed: Observed, commanded: Commanded, now_ms: int, fresh_s: float, settled_s: float) -> Bools:
        """Add one round; returns the units hashing in their reported mode for at least `settled_s`, shape [N]."""
        fresh = (observed.at_ms > 0) & (now_ms - observed.at_ms <= fresh_s * 1000) & (commanded.until_ms <= now_ms)
        hashing = fresh & (observed.state == STATE_CODE[State.HASHING])
        mode = np.where(hashing, observed.mode, UNSURE).astype(np.int8)
        same = (mode >= 0) & (mode == self.mode)
        self.since_ms = np.where(same, self.since_ms, now_ms)
        self.mode = mode
        since_ms = np.maximum(self.since_ms, np.maximum(commanded.since_ms, commanded.proven_ms))
        return np.asarray(same & (now_ms - since_ms >= settled_s * 1000))


def steady_round(roster: Roster, observed: Observed, steady: Bools) -> list[SteadyMode]:
    """Power and hashrate of the steady units per model, firmware and mode."""
    keys: dict[Key, list[int]] = defaultdict(list)
    for at, group in enumerate(roster.groups):
        keys[group.envelope.key].append(at)
    found = []
    for key, groups in sorted(keys.items()):
        ours = steady & np.isin(roster.group, groups)
        for mode, name in enumerate(roster.groups[groups[0]].envelope.names):
            chosen = ours & (observed.mode == mode)
            watts = estimate(observed.power_w[chosen & observed.has_power])
            rates = estimate(observed.hashrate_hs[chosen & observed.has_hashrate])
            if watts is not None or rates is not None:
                found.append(SteadyMode(key, name, watts, rates))
    return found


class IdentificationBook:
    """The newest values of each figure per model and firmware, and the estimates last reported.

    Figures are `ramp_up_s`, `ramp_down_s`, `start_lost_s`, `sleep_w`: one value an episode; and `mode_power_w/NAME`,
    `mode_hashrate_hs/NAME`: one estimate a round, held as (value, spread, count).
    """

    def __init__(self) -> None:
        self._times: dict[Key, dict[str, list[float]]] = {}
        self._modes: dict[Key, dict[str, list[list[float]]]] = {}
        self.reported: dict[Key, Dynamics] = {}

    def take(self, observed: Iterable[Episode]) -> None:
        """Add the values of some episodes."""
        for episode in observed:
            held = self._times.setdefault(episode.key, {})
            for figure, value in figures_of(episode).items():
                held[figure] = [*held.get(figure, []), value][-KEPT:]

    def take_round(self, round_: Iterable[SteadyMode]) -> None:
        """Add the estimates of one round over steady units."""
        for one in round_:
            held = self._modes.setdefault(one.key, {})
            for figure, found in zip(MODES, (one.power_w, one.hashrate_hs), strict=True):
                if found is not None:
                    name = f"{figure}/{one.mode}"
                    held[name] = [*held.get(name, []), [found.value, found.spread, found.count]][-ROUNDS_KEPT:]

    def learnt(self, key: Key) -> Dynamics:
        """The estimates from the values held."""
        times = {figure: estimate(values) for figure, values in self._times.get(key, {}).items()}
        modes: dict[str, dict[str, Estimate]] = {name: {} for name in MODES}
        for name, rounds in self._modes.get(key, {}).items():
            figure, _, mode = name.partition("/")
            value, spread, count = np.median(np.array(rounds), axis=0).tolist()
            modes[figure][mode] = Estimate(value, spread, int(count))
        return Dynamics(**times, **{name: found or None for name, found in modes.items()})  # type: ignore[arg-type]

    def is_known(self, key: Key, figures: Iterable[str], unreported_too: bool = False) -> bool:
        """Whether some figures of a model are sure already; `unreported_too`: or were never observed at all."""
        found = self.learnt(key)
        held = [getattr(found, figure) for figure in figures]
        return all(unreported_too if one is None else _sure(one) for one in held)

    def reportable(self) -> list[Key]:
        """Models with a figure that became sure, or changed by more than `CHANGE`, since the last report."""
        return [key for key in sorted({*self._times, *self._modes}) if self._is_reportable(key)]

    def _is_reportable(self, key: Key) -> bool:
        before = _flat(self.reported.get(key, Dynamics()))
        return any(_sure(one) and _moved(one, before.get(name)) for name, one in _flat(self.learnt(key)).items())

    def body(self, key: Key) -> DynamicsIdentified:
        """The body of `dynamics.identified` of a model: the estimates, and the values behind them."""
        held: dict[str, list[Any]] = {**self._times.get(key, {}), **self._modes.get(key, {})}
        return {**learnt_json(key, self.learnt(key)), "held": held}

    def apply(self, body: Mapping[str, Any]) -> Key:
        """Apply an event `dynamics.identified`: its estimates are the last reported. Returns the model and firmware."""
        key, learnt = learnt_of(body)
        self.reported[key] = learnt
        held = body["held"]
        self._times[key] = {name: list(held[name]) for name in held if name in TIMES}
        self._modes[key] = {name: list(held[name]) for name in held if name not in TIMES}
        return key

    def copy(self) -> "IdentificationBook":
        """An independent copy."""
        made = IdentificationBook()
        made._times = {key: dict(held) for key, held in self._times.items()}
        made._modes = {key: dict(held) for key, held in self._modes.items()}
        made.reported = dict(self.reported)
        return made


def _flat(learnt: Dynamics) -> dict[str, Estimate]:
    found = {name: one for name in TIMES if (one := getattr(learnt, name)) is not None}
    for name in MODES:
        found |= {f"{name}/{mode}": one for mode, one in (getattr(learnt, name) or {}).items()}
    return found


def _moved(one: Estimate, old: Estimate | None) -> bool:
    return old is None or not _sure(old) or abs(one.value - old.value) > CHANGE * abs(old.value)


def _sure(one: Estimate | None) -> bool:
    return one is not None and one.confidence >= SURE
