# SPDX-License-Identifier: Apache-2.0
"""Learning as it goes: which stretches of readings are worth reading, and what is held of them from turn to turn.

Commands are followed from issue to receipt to the next command (`Followed`); of the stretches that are over a few are read
and become values, the newest of which are held per figure (`IdentificationBook`). Watts and hashes per mode come from rounds over
units that have long been in one mode (`steady_round`). Only what became sure, or changed, is news.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from kernel.event import Event, EventKind
from miner_control.fleet.command import Intent, PowerPercent, PowerTarget, SetMode, Sleep, Wake, intent_from_json
from miner_control.fleet.command_state import NOTHING_HAPPENED
from miner_control.fleet.fleet import STATE_CODE, UNSURE, Bools, Codes, Commanded, Ints, Observed, Roster
from miner_control.fleet.miner import State
from miner_control.learning.batch import MODES, TIMES, DynamicsIdentified, learnt_json, learnt_of, sent_ms
from miner_control.learning.dynamics import SURE, Dynamics, Episode, Estimate, Key, deeds, estimate

KEPT: Final = 32
"""Newest values that are held of each figure: so much of the past counts."""
CHANGE: Final = 0.05
"""An estimate that moved by more than this share is news."""
ROUNDS_KEPT: Final = 8


class Stretch(NamedTuple):
    """A sleep or wake that was verified, and when what followed from it was over: the next command, or the longest wait."""

    device: str
    intent: Intent
    sent_ms: int
    end_ms: int


class Followed:
    """Commands from issue to receipt to the next one. `longest_s`: after so long a stretch is over in any case."""

    def __init__(self, longest_s: float) -> None:
        self._longest_ms = round(longest_s * 1000)
        self._issued: dict[str, tuple[str, int]] = {}
        self._open: dict[str, Stretch] = {}
        self._over: list[Stretch] = []
        self._asleep: set[str] = set()

    def apply(self, event: Event) -> None:
        """Take `command.issued` and `command.receipt` in their order."""
        body, device = event.body, str(event.body["device"])
        if event.kind == EventKind.COMMAND_ISSUED:
            self._issued[device] = str(body["id"]), int(body["issued_ms"])
            if body["intent"] == "Reboot":
                # What was cut short by a restart is no ramp to learn from: it would only be too short.
                self._open.pop(device, None)
            return
        asked_id, issued_ms = self._issued.get(device, ("", 0))
        if body["id"] != asked_id or body["outcome"] == "accepted":
            return
        del self._issued[device]
        if body["outcome"] in NOTHING_HAPPENED:
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
            self._open[device] = Stretch(device, intent, sent, sent + self._longest_ms)

    def over(self, now_ms: int) -> list[Stretch]:
        """The stretches that ended since this was asked last, in order of their ends."""
        for device in [device for device, one in self._open.items() if one.end_ms <= now_ms]:
            self._over.append(self._open.pop(device))
        found, self._over = sorted(self._over, key=lambda one: (one.end_ms, one.device)), []
        return found


class SteadyMode(NamedTuple):
    """What the units of a model did that have long been in one mode: medians over units."""

    key: Key
    mode: str
    power_w: Estimate | None
    hashrate_hs: Estimate | None


@dataclass(slots=True)
class Steadiness:
    """Since when each unit was found hashing in the same mode, round by round; shape [N]."""

    mode: Codes
    since_ms: Ints

    @classmethod
    def of(cls, roster: Roster) -> "Steadiness":
        """Nobody was looked at yet."""
        return cls(np.full(len(roster), UNSURE, dtype=np.int8), np.zeros(len(roster), dtype=np.int64))

    def look(self, seen: Observed, asked: Commanded, now_ms: int, fresh_s: float, settled_s: float) -> Bools:
        """One round: which units have been hashing in the mode they tell for `settled_s`, shape [N]."""
        fresh = (seen.at_ms > 0) & (now_ms - seen.at_ms <= fresh_s * 1000) & (asked.until_ms <= now_ms)
        hashing = fresh & (seen.state == STATE_CODE[State.HASHING])
        mode = np.where(hashing, seen.mode, UNSURE).astype(np.int8)
        same = (mode >= 0) & (mode == self.mode)
        self.since_ms = np.where(same, self.since_ms, now_ms)
        self.mode = mode
        since_ms = np.maximum(self.since_ms, np.maximum(asked.since_ms, asked.proven_ms))
        return np.asarray(same & (now_ms - since_ms >= settled_s * 1000))


def steady_round(roster: Roster, seen: Observed, steady: Bools) -> list[SteadyMode]:
    """Watts and hashes of the steady units per model, firmware and mode."""
    keys: dict[Key, list[int]] = defaultdict(list)
    for at, group in enumerate(roster.groups):
        keys[group.envelope.key].append(at)
    found = []
    for key, groups in sorted(keys.items()):
        ours = steady & np.isin(roster.group, groups)
        for mode, name in enumerate(roster.groups[groups[0]].envelope.names):
            chosen = ours & (seen.mode == mode)
            watts = estimate(seen.power_w[chosen & seen.has_power])
            rates = estimate(seen.hashrate_hs[chosen & seen.has_hashrate])
            if watts is not None or rates is not None:
                found.append(SteadyMode(key, name, watts, rates))
    return found


class IdentificationBook:
    """The newest values of each figure per model and firmware, and what was last told of them.

    Figures are `ramp_up_s`, `ramp_down_s`, `start_lost_s`, `sleep_w`: one value an episode; and `mode_power_w/NAME`,
    `mode_hashrate_hs/NAME`: one estimate a round, held as (value, spread, count).
    """

    def __init__(self) -> None:
        self._times: dict[Key, dict[str, list[float]]] = {}
        self._modes: dict[Key, dict[str, list[list[float]]]] = {}
        self.reported: dict[Key, Dynamics] = {}

    def take(self, seen: Iterable[Episode]) -> None:
        """Hold what some episodes show."""
        for episode in seen:
            held = self._times.setdefault(episode.key, {})
            for figure, value in deeds(episode).items():
                held[figure] = [*held.get(figure, []), value][-KEPT:]

    def take_round(self, round_: Iterable[SteadyMode]) -> None:
        """Hold what one round over steady units showed."""
        for one in round_:
            held = self._modes.setdefault(one.key, {})
            for figure, found in zip(MODES, (one.power_w, one.hashrate_hs), strict=True):
                if found is not None:
                    name = f"{figure}/{one.mode}"
                    held[name] = [*held.get(name, []), [found.value, found.spread, found.count]][-ROUNDS_KEPT:]

    def learnt(self, key: Key) -> Dynamics:
        """The estimates that what is held gives."""
        times = {figure: estimate(values) for figure, values in self._times.get(key, {}).items()}
        modes: dict[str, dict[str, Estimate]] = {name: {} for name in MODES}
        for name, rounds in self._modes.get(key, {}).items():
            figure, _, mode = name.partition("/")
            value, spread, count = np.median(np.array(rounds), axis=0).tolist()
            modes[figure][mode] = Estimate(value, spread, int(count))
        return Dynamics(**times, **{name: found or None for name, found in modes.items()})  # type: ignore[arg-type]

    def is_known(self, key: Key, figures: Iterable[str], untold_too: bool = False) -> bool:
        """Whether some figures of a model are known well enough as it is; `untold_too`: or were never told at all."""
        found = self.learnt(key)
        held = [getattr(found, figure) for figure in figures]
        return all(untold_too if one is None else _sure(one) for one in held)

    def news(self) -> list[Key]:
        """Of which models something became sure, or changed by more than `CHANGE`, since it was told."""
        return [key for key in sorted({*self._times, *self._modes}) if self._is_news(key)]

    def _is_news(self, key: Key) -> bool:
        before = _flat(self.reported.get(key, Dynamics()))
        return any(_sure(one) and _moved(one, before.get(name)) for name, one in _flat(self.learnt(key)).items())

    def body(self, key: Key) -> DynamicsIdentified:
        """The event `dynamics.identified` of a model: the estimates, and the values that they rest on."""
        held: dict[str, list[Any]] = {**self._times.get(key, {}), **self._modes.get(key, {})}
        return {**learnt_json(key, self.learnt(key)), "held": held}

    def apply(self, body: Mapping[str, Any]) -> Key:
        """Take an event `dynamics.identified`: what it tells is what is told now. Returns the model and firmware."""
        key, learnt = learnt_of(body)
        self.reported[key] = learnt
        held = body["held"]
        self._times[key] = {name: list(held[name]) for name in held if name in TIMES}
        self._modes[key] = {name: list(held[name]) for name in held if name not in TIMES}
        return key

    def copy(self) -> "IdentificationBook":
        """A book of its own that holds the same."""
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
