# SPDX-License-Identifier: Apache-2.0
"""Identification of miner dynamics: ramps, standby power, power and hashrate per mode, by model and firmware.

Each verified command is an episode: the samples of that unit from the command to the next one. A sleep gives ramp-down and
standby power, a wake gives ramp-up and the hashing that a start costs; steady samples give each mode's power and hashrate.
Miners without power measurement are identified through their feeder's meter. An estimate is a median with spread and count;
it enters the envelope only when it is sure enough, and is then marked learnt.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

import numpy as np

from miner_control.fleet.command import Intent, Reboot, Sleep, Wake
from miner_control.fleet.envelope import Envelope, Mode, Provenance
from miner_control.fleet.fleet import Bools, Floats, Ints

Key = tuple[str, str]
"""Model and firmware."""

FULL_SHARE: Final = 0.95
STANDBY_SHARE: Final = 0.1
SURE: Final = 0.6
_FEWEST_SAMPLES: Final = 5
_FINE_S: Final = 12.0
_FINE_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Estimate:
    """A median over `count` units or episodes, and their spread (median absolute deviation, in the unit of the value)."""

    value: float
    spread: float
    count: int

    @property
    def confidence(self) -> float:
        """0..1: rises with the count, falls with the relative spread of the median."""
        scatter = self.spread / abs(self.value) / np.sqrt(self.count) if self.value else 0.0
        return float(self.count / (self.count + 2.0) * max(0.0, 1.0 - 3.0 * scatter))


def estimate(values: Sequence[float] | Floats) -> Estimate | None:
    """The estimate of some values; None without values."""
    if not len(values):
        return None
    found = np.asarray(values, dtype=np.float64)
    middle = float(np.median(found))
    return Estimate(middle, float(np.median(np.abs(found - middle))), len(values))


@dataclass(frozen=True, slots=True)
class Track:
    """Samples of one unit in order of time, shape [sample]; a value is valid only where its mask is set."""

    at_ms: Ints
    power_w: Floats
    has_power: Bools
    hashrate_hs: Floats
    has_hashrate: Bools


@dataclass(frozen=True, slots=True)
class Episode:
    """Samples of a unit from one command to the next one (or to the last report)."""

    key: Key
    device: str
    intent: Intent
    sent_ms: int
    track: Track


def episodes(
    commands: Iterable[tuple[str, Intent, int]],
    tracks: Mapping[str, Track],
    key_of: Mapping[str, Key],
    longest_s: float = 3600.0,
) -> list[Episode]:
    """Cut tracks by commands (device, intent, sent_ms). Commands of other intents end an episode and begin none; an episode
    cut short by a restart is left out."""
    by_device: dict[str, list[tuple[int, Intent]]] = defaultdict(list)
    for device, intent, sent_ms in commands:
        by_device[device].append((sent_ms, intent))
    found: list[Episode] = []
    for device, sequence in by_device.items():
        if device not in tracks or device not in key_of:
            continue
        track = tracks[device]
        sequence.sort(key=lambda pair: pair[0])
        for at, (sent_ms, intent) in enumerate(sequence):
            if not isinstance(intent, Sleep | Wake):
                continue
            if at + 1 < len(sequence) and isinstance(sequence[at + 1][1], Reboot):
                continue
            end_ms = sequence[at + 1][0] if at + 1 < len(sequence) else sent_ms + round(longest_s * 1000)
            first, last = np.searchsorted(track.at_ms, [sent_ms, min(end_ms, sent_ms + round(longest_s * 1000))])
            # One sample from before the command gives the initial state.
            part = slice(max(0, int(first) - 1), int(last))
            cut = Track(*(getattr(track, name)[part] for name in Track.__slots__))
            found.append(Episode(key_of[device], device, intent, sent_ms, cut))
    return found


def _crossing_s(at_s: Floats, values: Floats, level: float, rising: bool) -> float | None:
    """Time at which the values finally cross a level, linear between samples; None where they never do.

    Noise near the level crosses it several times: the middle between the first and the last crossing is returned.
    """
    beyond = values >= level if rising else values <= level
    turns = np.flatnonzero(beyond[1:] & ~beyond[:-1])
    if not beyond[-1]:
        return None
    if not len(turns):
        return float(max(0.0, at_s[0]))
    share = (level - values[turns]) / (values[turns + 1] - values[turns])
    crossed_s = at_s[turns] + share * (at_s[turns + 1] - at_s[turns])
    return float((crossed_s[0] + crossed_s[-1]) / 2)


def _fine(at_s: Floats, crossed_s: float) -> bool:
    """Whether the samples around a crossing are close enough together to time it."""
    at = int(np.clip(np.searchsorted(at_s, crossed_s), 1, len(at_s) - 1))
    return bool(at_s[at] - at_s[at - 1] <= max(_FINE_S, _FINE_SHARE * crossed_s))


def _settled(values: Floats) -> float | None:
    """The level of the last quarter of an episode; None where it still changes."""
    rest = values[-max(3, len(values) // 4) :]
    if len(rest) < 3:
        return None
    level = float(np.median(rest))
    drift = abs(float(np.median(rest[len(rest) // 2 :])) - float(np.median(rest[: len(rest) // 2 + 1])))
    return level if drift <= 0.03 * max(abs(level), float(np.max(values)) * 0.1) else None


def sleep_times(episode: Episode) -> tuple[float | None, float] | None:
    """(ramp-down seconds, standby watts) of a sleep; None where power was not reported or did not settle, and None for the
    seconds where it was reported too seldom to time the fall."""
    reported = episode.track.has_power
    at_s = (episode.track.at_ms[reported] - episode.sent_ms) / 1000.0
    power = episode.track.power_w[reported]
    if len(power) < _FEWEST_SAMPLES or at_s[0] > 0:
        return None
    standby = _settled(power)
    if standby is None or standby > 0.3 * power[0]:
        return None
    down_s = _crossing_s(at_s, power, standby + STANDBY_SHARE * (power[0] - standby), rising=False)
    return (down_s if down_s is None or _fine(at_s, down_s) else None), standby


def wake_times(episode: Episode) -> tuple[float, float] | None:
    """(ramp-up seconds to `FULL_SHARE` of full rate, seconds of full-rate hashing lost by the start); None where the
    hashrate was not reported, reported too seldom, or did not settle."""
    reported = episode.track.has_hashrate
    at_s = (episode.track.at_ms[reported] - episode.sent_ms) / 1000.0
    rate = _smooth(episode.track.hashrate_hs[reported])
    inside = at_s >= 0
    if np.count_nonzero(inside) < _FEWEST_SAMPLES:
        return None
    full = _settled(rate[inside])
    if full is None or full <= 0 or rate[inside][0] > 0.5 * full:
        return None
    up_s = _crossing_s(at_s[inside], rate[inside], FULL_SHARE * full, rising=True)
    if up_s is None or not _fine(at_s, up_s):
        return None
    steps_s = np.diff(np.concatenate(([0.0], at_s[inside])))
    middle = (np.concatenate(([0.0], rate[inside][:-1])) + rate[inside]) / 2
    return up_s, float(np.sum(steps_s * (1.0 - middle / full)))


def _smooth(values: Floats) -> Floats:
    """Median of three, so that one noisy sample crosses no level."""
    if len(values) < 3:
        return values
    inner = np.median(np.stack((values[:-2], values[1:-1], values[2:])), axis=0)
    return np.concatenate((values[:1], inner, values[-1:]))


@dataclass(frozen=True, slots=True)
class Steady:
    """Samples of units that have long been in one mode, shape [sample]: unit, mode, reported power and hashrate."""

    key: Key
    unit: Ints
    mode: tuple[str, ...]
    power_w: Floats
    has_power: Bools
    hashrate_hs: Floats
    has_hashrate: Bools


@dataclass(frozen=True, slots=True)
class Dynamics:
    """Estimates of a model under a firmware; None where there was no observation."""

    ramp_up_s: Estimate | None = None
    ramp_down_s: Estimate | None = None
    start_lost_s: Estimate | None = None
    sleep_w: Estimate | None = None
    mode_power_w: Mapping[str, Estimate] | None = None
    mode_hashrate_hs: Mapping[str, Estimate] | None = None


def figures_of(episode: Episode) -> dict[str, float]:
    """Figures of `Dynamics` from one episode; empty where it gives none."""
    sleeps = isinstance(episode.intent, Sleep)
    times = sleep_times(episode) if sleeps else wake_times(episode)
    names = ("ramp_down_s", "sleep_w") if sleeps else ("ramp_up_s", "start_lost_s")
    return {} if times is None else {name: value for name, value in zip(names, times, strict=True) if value is not None}


def learn(observed: Iterable[Episode], steady: Iterable[Steady] = ()) -> dict[Key, Dynamics]:
    """Estimates per model and firmware from episodes and steady samples."""
    reported: dict[Key, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for episode in observed:
        for figure, value in figures_of(episode).items():
            reported[episode.key][figure].append(value)
    modes: dict[Key, tuple[dict[str, Estimate], dict[str, Estimate]]] = {}
    for samples in steady:
        modes[samples.key] = (
            _by_mode(samples, samples.power_w, samples.has_power),
            _by_mode(samples, samples.hashrate_hs, samples.has_hashrate),
        )
    return {
        key: Dynamics(
            **{figure: estimate(values) for figure, values in reported.get(key, {}).items()},
            mode_power_w=modes[key][0] if key in modes else None,
            mode_hashrate_hs=modes[key][1] if key in modes else None,
        )
        for key in {*reported, *modes}
    }


def _by_mode(samples: Steady, values: Floats, reported: Bools) -> dict[str, Estimate]:
    """Per mode the median over units of each unit's own median, so that frequent reports have no greater weight."""
    names = np.asarray(samples.mode, dtype=object)
    found: dict[str, Estimate] = {}
    for mode in sorted(set(samples.mode)):
        chosen = reported & (names == mode)
        units = np.unique(samples.unit[chosen])
        middle = estimate([float(np.median(values[chosen & (samples.unit == unit)])) for unit in units])
        if middle is not None:
            found[mode] = middle
    return found


def refine(envelope: Envelope, learnt: Dynamics, confidence: float = SURE) -> Envelope:
    """The envelope with sufficiently sure estimates in place of declared or assumed values."""

    def value(found: Estimate | None, declared_value: float) -> float:
        return found.value if found is not None and found.confidence >= confidence else declared_value

    watts, rates = learnt.mode_power_w or {}, learnt.mode_hashrate_hs or {}
    modes = tuple(
        Mode(
            m.name,
            # A mode commanded by its power keeps it: replaced by the measured power, it would drift with each command.
            m.power_w if envelope.commanded_in_watts else value(watts.get(m.name), m.power_w),
            value(rates.get(m.name), m.hashrate_hs),
        )
        for m in envelope.modes
    )
    rising = all(one.power_w < two.power_w and one.hashrate_hs < two.hashrate_hs for one, two in pairwise(modes))
    better = replace(
        envelope,
        # Modes learnt in part can cross the declared ones; then the declared shape stays.
        modes=modes if rising else envelope.modes,
        sleep_w=value(learnt.sleep_w, envelope.sleep_w),
        ramp_up_s=value(learnt.ramp_up_s, envelope.ramp_up_s),
        ramp_down_s=value(learnt.ramp_down_s, envelope.ramp_down_s),
        start_lost_s=value(learnt.start_lost_s, envelope.start_lost_s),
    )
    return better if better == envelope else replace(better, provenance=Provenance.LEARNT)


def watts_from_meter(counts: Floats, meter_w: Floats) -> list[Estimate | None]:
    """Watts per unit of each column of `counts[t, k]` (units of a model in a mode at instant t) that best explain a
    meter; the last column may be all ones for constant load. None for a column that the instants cannot separate.

    Least squares; the spread is the standard error. Needs instants in which the counts differ: pulses, sheds, wakes.
    """
    rows, columns = counts.shape
    if rows <= columns:
        return [None] * columns
    inverse = np.linalg.pinv(counts)
    watts = inverse @ meter_w
    residual = meter_w - counts @ watts
    variance = float(residual @ residual) / (rows - columns)
    errors = np.sqrt(np.maximum(variance * np.sum(inverse**2, axis=1), 0.0))
    reported = np.abs(np.diag(inverse @ counts) - 1.0) < 1e-6
    return [
        Estimate(float(watts[k]), float(errors[k]), rows) if reported[k] and errors[k] <= 0.2 * abs(watts[k]) else None
        for k in range(columns)
    ]
