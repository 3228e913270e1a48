# SPDX-License-Identifier: Apache-2.0
"""What was learnt of each model against what was assumed, and of each miner against now, for API and command line."""

from collections.abc import Iterator, Mapping
from math import isclose
from typing import Any

from kernel.reading import Reading
from kernel.units import HS_PER_THS
from miner_control.fleet.envelope import Envelope
from miner_control.health.performance_reference import PerformanceReferences
from miner_control.learning.batch import MODES, TIMES, refined
from miner_control.learning.dynamics import Dynamics, Estimate, Key


def learnt_lines(found: Mapping[Key, Dynamics], assumed: Mapping[Key, Envelope]) -> list[dict[str, Any]]:
    """One line a figure: `model, firmware, what, mode, identified, spread, count, confidence, assumed, in_use`.

    `what` ends in its unit; `assumed` is None where nothing was. What is not sure enough, does not fit the other modes, or is
    asked for by its watts is not `in_use`.
    """
    known = refined(assumed, found)
    return [
        _line(key, what, mode, one, _value(assumed.get(key), what, mode), _value(known.get(key), what, mode))
        for key, learnt in sorted(found.items())
        for what, mode, one in _figures(learnt)
    ]


def _figures(learnt: Dynamics) -> Iterator[tuple[str, str, Estimate]]:
    """(what, mode or "", estimate); J/TH where both of its parts are there."""
    for name in TIMES:
        one: Estimate | None = getattr(learnt, name)
        if one is not None:
            yield name, "", one
    watts, rates = learnt.mode_power_w or {}, learnt.mode_hashrate_hs or {}
    for name, modes in zip(MODES, (watts, rates), strict=True):
        for mode, one in modes.items():
            yield name, mode, one
    for mode in (mode for mode in watts if mode in rates):
        one, rate = watts[mode], rates[mode]
        if rate.value > 0:
            per = HS_PER_THS / rate.value
            yield "mode_j_per_th", mode, Estimate(one.value * per, one.spread * per, min(one.count, rate.count))


def _value(envelope: Envelope | None, what: str, mode: str) -> float | None:
    if envelope is None or (mode and mode not in envelope.names):
        return None
    found = getattr(envelope.mode(mode), what.removeprefix("mode_")) if mode else getattr(envelope, what)
    return float(found)


def _line(key: Key, what: str, mode: str, one: Estimate, assumed: float | None, known: float | None) -> dict[str, Any]:
    return {
        "model": key[0],
        "firmware": key[1],
        "what": what,
        "mode": mode,
        "identified": one.value,
        "spread": one.spread,
        "count": one.count,
        "confidence": round(one.confidence, 3),
        "assumed": assumed,
        "in_use": known is not None and isclose(known, one.value, rel_tol=1e-9),
    }


def envelope_json(envelope: Envelope) -> dict[str, Any]:
    """What a miner can do as it is known now: modes with watts and hashes, times, and where the numbers come from."""
    return {
        "provenance": str(envelope.provenance),
        "modes": {mode.name: {"power_w": mode.power_w, "hashrate_hs": mode.hashrate_hs} for mode in envelope.modes},
        **{name: getattr(envelope, name) for name in (*TIMES, "min_on_s", "min_off_s")},
    }


def usual_json(book: PerformanceReferences, unit: int, now: Reading | None) -> dict[str, Any] | None:
    """Performance reference of a miner in its normal mode with its last values; None where nothing is known yet.

    `days` it rests on, and `hashrate_hs`, `j_per_th`, `chip_c`, each with `reference` and
    `now` (None where it is not reported).
    """
    found, days = book.of(unit)
    if not days:
        return None
    rate, power_w = (None if now is None else now.number(name) for name in ("hashrate_hs", "power_w"))
    reported = {
        "hashrate_hs": rate,
        "j_per_th": power_w / (rate / HS_PER_THS) if power_w is not None and rate else None,
        "chip_c": None if now is None else now.number("temp_chip_max_c"),
    }
    return {"days": days, **{name: {"reference": usual, "now": reported[name]} for name, usual in found.items()}}
