# SPDX-License-Identifier: Apache-2.0
"""What was learnt of each model against what was assumed, as lines for API and command line."""

from collections.abc import Iterator, Mapping
from typing import Any

from miner_control.envelope import Envelope
from miner_control.learn import SURE, Estimate, Key, Learnt
from miner_control.lessons import TIMES

MODE_PARTS = {"mode_power_w": "power_w", "mode_hashrate_hs": "hashrate_hs"}


def learnt_lines(found: Mapping[Key, Learnt], assumed: Mapping[Key, Envelope]) -> list[dict[str, Any]]:
    """One line a figure: `model, firmware, what, mode, learnt, spread, count, confidence, assumed, in_use`.

    `what` ends in its unit; `assumed` is None where nothing was; figures that are not sure enough are not `in_use`.
    """
    return [line for key, learnt in sorted(found.items()) for line in _lines(key, learnt, assumed.get(key))]


def _lines(key: Key, learnt: Learnt, envelope: Envelope | None) -> Iterator[dict[str, Any]]:
    for name in TIMES:
        one: Estimate | None = getattr(learnt, name)
        if one is not None:
            yield _line(key, name, "", one, None if envelope is None else getattr(envelope, name))
    for name, part in MODE_PARTS.items():
        modes: Mapping[str, Estimate] = getattr(learnt, name) or {}
        for mode, one in modes.items():
            known = envelope is not None and mode in envelope.names
            yield _line(key, name, mode, one, getattr(envelope.mode(mode), part) if envelope and known else None)
    rates = learnt.mode_hashrate_hs or {}
    for mode, watts in (learnt.mode_power_w or {}).items():
        if mode in rates and rates[mode].value > 0:
            per = 1e12 / rates[mode].value
            both = Estimate(watts.value * per, watts.spread * per, min(watts.count, rates[mode].count))
            known = envelope is not None and mode in envelope.names
            yield _line(key, "mode_j_per_th", mode, both, envelope.mode(mode).j_per_th if envelope and known else None)


def _line(key: Key, what: str, mode: str, one: Estimate, assumed: float | None) -> dict[str, Any]:
    return {
        "model": key[0],
        "firmware": key[1],
        "what": what,
        "mode": mode,
        "learnt": one.value,
        "spread": one.spread,
        "count": one.count,
        "confidence": round(one.confidence, 3),
        "assumed": assumed,
        "in_use": one.confidence >= SURE,
    }


def envelope_json(envelope: Envelope) -> dict[str, Any]:
    """What a miner can do as it is known now: modes with watts and hashes, times, and where the numbers come from."""
    return {
        "provenance": str(envelope.provenance),
        "modes": {mode.name: {"power_w": mode.power_w, "hashrate_hs": mode.hashrate_hs} for mode in envelope.modes},
        **{name: getattr(envelope, name) for name in (*TIMES, "min_on_s", "min_off_s")},
    }
