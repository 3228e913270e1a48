# SPDX-License-Identifier: Apache-2.0
"""Identification from a stretch of journal, and the file of its estimates.

Reading batches become tracks per unit and steady samples per model and mode; verified commands become episodes. The file
(JSON, editable) keeps every estimate with spread and count; `refined` puts those that are sure enough into envelopes.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final, NotRequired, TypedDict, cast

import numpy as np

from kernel.errors import ConfigError, Fault
from kernel.event import Event, EventKind
from kernel.reading import Column, ReadingBatch
from miner_control.fleet.command import Intent, intent_from_json
from miner_control.fleet.envelope import Envelope
from miner_control.fleet.miner import State
from miner_control.learning.dynamics import Dynamics, Estimate, Key, Steady, Track, episodes, learn, refine

SETTLED_S: Final = 1800.0
"""Time since the last command after which the samples of a unit count as steady."""


def _numbers(column: Column | None, rows: int) -> tuple[Any, Any]:
    if column is None or isinstance(column.stored, list):
        return np.zeros(rows), np.zeros(rows, dtype=np.bool_)
    return column.stored, column.present()


def tracks_of(
    batches: Iterable[ReadingBatch], devices: frozenset[str]
) -> tuple[dict[str, Track], dict[str, list[str]]]:
    """(track, reported mode while hashing, "" otherwise) of each of these devices, in order of time."""
    parts: dict[str, list[tuple[int, float, bool, float, bool, str]]] = defaultdict(list)
    for batch in batches:
        rows = len(batch)
        power, has_power = _numbers(batch.columns.get("power_w"), rows)
        rate, has_rate = _numbers(batch.columns.get("hashrate_hs"), rows)
        state, mode = batch.columns.get("state"), batch.columns.get("mode")
        for row, device in enumerate(batch.devices):
            if device not in devices or not (has_power[row] or has_rate[row]):
                continue
            hashing = state is not None and state.field(row) == State.HASHING.value
            mode_name = mode.field(row) if mode is not None and hashing else ""
            parts[device].append(
                (
                    int(batch.at_ms[row]), float(power[row]), bool(has_power[row]), float(rate[row]), bool(has_rate[row]),
                    mode_name if isinstance(mode_name, str) else "",
                )
            )  # fmt: skip
    tracks, modes = {}, {}
    for device, samples in parts.items():
        samples.sort(key=lambda one: one[0])
        tracks[device] = Track(
            np.array([one[0] for one in samples], dtype=np.int64),
            np.array([one[1] for one in samples]),
            np.array([one[2] for one in samples], dtype=np.bool_),
            np.array([one[3] for one in samples]),
            np.array([one[4] for one in samples], dtype=np.bool_),
        )
        modes[device] = [one[5] for one in samples]
    return tracks, modes


def commands_of(events: Iterable[Event]) -> list[tuple[str, Intent, int]]:
    """(device, intent, sent_ms) of the commands whose receipt is verified; others prove nothing."""
    asked: dict[str, tuple[str, Intent, int]] = {}
    found = []
    for event in events:
        body = event.body
        if event.kind == EventKind.COMMAND_ISSUED:
            asked[str(body["id"])] = (str(body["device"]), intent_from_json(body), int(body["issued_ms"]))
        elif event.kind == EventKind.COMMAND_RECEIPT and body.get("outcome") == "verified" and str(body["id"]) in asked:
            device, intent, issued_ms = asked[str(body["id"])]
            found.append((device, intent, sent_ms(body, issued_ms)))
    return found


def sent_ms(receipt: Mapping[str, Any], issued_ms: int) -> int:
    """Sending time of a verified command: the wait under the inrush limit is no delay of the miner."""
    took_ms = round(1000 * float(receipt.get("took_s", 0.0)))
    return max(issued_ms, int(receipt.get("sampled_ms", issued_ms)) - took_ms)


def identification(
    batches: Iterable[ReadingBatch], events: Iterable[Event], key_of: Mapping[str, Key], *, settled_s: float = SETTLED_S
) -> dict[Key, Dynamics]:
    """Estimates from a stretch of journal, per model and firmware. `key_of` maps each device to these."""
    tracks, modes = tracks_of(batches, frozenset(key_of))
    commands = commands_of(events)
    return learn(episodes(commands, tracks, key_of), _steady(tracks, modes, commands, key_of, settled_s))


def _steady(
    tracks: Mapping[str, Track],
    modes: Mapping[str, list[str]],
    commands: Iterable[tuple[str, Intent, int]],
    key_of: Mapping[str, Key],
    settled_s: float,
) -> list[Steady]:
    asked: dict[str, list[int]] = defaultdict(list)
    for device, _, sent_ms in commands:
        asked[device].append(sent_ms)
    rows: dict[Key, list[tuple[int, str, float, bool, float, bool]]] = defaultdict(list)
    for unit, (device, track) in enumerate(sorted(tracks.items())):
        sent = np.array(sorted(asked[device]), dtype=np.int64)
        before = np.searchsorted(sent, track.at_ms, side="right") - 1
        for at, mode_name in enumerate(modes[device]):
            since_ms = track.at_ms[at] - (sent[before[at]] if before[at] >= 0 else track.at_ms[0])
            if mode_name and since_ms >= settled_s * 1000:
                rows[key_of[device]].append(
                    (
                        unit, mode_name, track.power_w[at], bool(track.has_power[at]), track.hashrate_hs[at],
                        bool(track.has_hashrate[at]),
                    )
                )  # fmt: skip
    return [
        Steady(
            key,
            np.array([row[0] for row in samples], dtype=np.int64),
            tuple(row[1] for row in samples),
            np.array([row[2] for row in samples]),
            np.array([row[3] for row in samples], dtype=np.bool_),
            np.array([row[4] for row in samples]),
            np.array([row[5] for row in samples], dtype=np.bool_),
        )
        for key, samples in sorted(rows.items())
    ]


TIMES: Final = ("ramp_up_s", "ramp_down_s", "start_lost_s", "sleep_w")
MODES: Final = ("mode_power_w", "mode_hashrate_hs")


def identification_text(found: Mapping[Key, Dynamics]) -> str:
    """Estimates as JSON text: value, spread, count and confidence of each number, per model and firmware."""
    listed = [learnt_json(key, learnt) for key, learnt in sorted(found.items())]
    return json.dumps({"version": 1, "learnt": listed}, indent=1) + "\n"


class IdentifiedDynamics(TypedDict):
    """Estimates of one model under a firmware; each: value, spread, count, confidence."""

    model: str
    firmware: str
    ramp_up_s: NotRequired[dict[str, Any]]
    ramp_down_s: NotRequired[dict[str, Any]]
    start_lost_s: NotRequired[dict[str, Any]]
    sleep_w: NotRequired[dict[str, Any]]
    mode_power_w: NotRequired[dict[str, dict[str, Any]]]
    mode_hashrate_hs: NotRequired[dict[str, dict[str, Any]]]


class DynamicsIdentified(IdentifiedDynamics):
    """Payload of `dynamics.identified`. `held`: the values that the estimates rest on."""

    held: dict[str, list[Any]]


def learnt_json(key: Key, learnt: Dynamics) -> IdentifiedDynamics:
    """Estimates of one model under a firmware, as JSON values."""
    entry: dict[str, Any] = {"model": key[0], "firmware": key[1]}
    for name in TIMES:
        one: Estimate | None = getattr(learnt, name)
        if one is not None:
            entry[name] = _reported(one)
    for name in MODES:
        modes: Mapping[str, Estimate] | None = getattr(learnt, name)
        if modes:
            entry[name] = {mode: _reported(one) for mode, one in modes.items()}
    return cast(IdentifiedDynamics, entry)


def learnt_of(entry: Mapping[str, Any]) -> tuple[Key, Dynamics]:
    """The inverse of `learnt_json`. Raises KeyError, TypeError or ValueError where it cannot be read."""
    times = {name: _estimate(entry[name]) for name in TIMES if name in entry}
    modes = {name: {mode: _estimate(one) for mode, one in entry[name].items()} for name in MODES if name in entry}
    return (str(entry["model"]), str(entry["firmware"])), Dynamics(**times, **modes)  # type: ignore[arg-type]


def _reported(one: Estimate) -> dict[str, float]:
    return {"value": one.value, "spread": one.spread, "count": one.count, "confidence": round(one.confidence, 3)}


def read_identification(text: str, place: str = "learnt") -> dict[Key, Dynamics]:
    """The inverse of `identification_text`. Raises ConfigError that names each unreadable entry."""
    found: dict[Key, Dynamics] = {}
    faults: list[Fault] = []
    try:
        listed = json.loads(text)["learnt"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ConfigError(
            [Fault(place, f"cannot be read: {error}", "Write it again with `miners learn --write`")]
        ) from None
    for at, entry in enumerate(listed):
        try:
            key, learnt = learnt_of(entry)
            found[key] = learnt
        except (KeyError, TypeError, ValueError) as error:
            faults.append(Fault(f"{place} learnt[{at}]", f"cannot be read: {error}", "Correct it, or take it out"))
    if faults:
        raise ConfigError(faults)
    return found


def _estimate(entry: Mapping[str, Any]) -> Estimate:
    return Estimate(float(entry["value"]), float(entry["spread"]), int(entry["count"]))


def refined(envelopes: Mapping[Key, Envelope], found: Mapping[Key, Dynamics]) -> dict[Key, Envelope]:
    """The envelopes with sufficiently sure estimates in place of declared or assumed values."""
    return {key: refine(each, found[key]) if key in found else each for key, each in envelopes.items()}
