# SPDX-License-Identifier: Apache-2.0
"""Readings and events made for the tests of journal, archive and sinks."""

from collections.abc import Sequence

from kernel.event import Event
from kernel.metric import SCHEMAS, TEXT_METRICS
from kernel.reading import MISSING, Absence, Field, Reading, ReadingBatch, batch_of

T0_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z


def batch(kind: str, readings: Sequence[Reading]) -> ReadingBatch:
    return batch_of(kind, list(SCHEMAS[kind]), TEXT_METRICS[kind], readings)


def miner(index: int, at_ms: int, power_w: float | None = 3000.0, state: str = "hashing") -> Reading:
    power: Field = MISSING[Absence.UNREACHABLE] if power_w is None else power_w
    return Reading(f"hub/site/m{index:05d}", "miner", at_ms, {"power_w": power, "state": state, "hashrate_hs": 1e14})


def meter(index: int, at_ms: int, energy_wh: float, power_w: float = 1000.0) -> Reading:
    return Reading(
        f"hub/site/meter-{index}", "meter", at_ms, {"power_w": power_w, "energy_import_wh": energy_wh}, evidence=None
    )


def event(seq: int, kind: str = "operator.note", at_ms: int = T0_MS, site: str = "hub/site") -> Event:
    return Event(kind, 1, site, "hub", seq, at_ms, {"text": f"note {seq}"})
