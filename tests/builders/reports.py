# SPDX-License-Identifier: Apache-2.0
"""An energy report over made figures."""

import numpy as np

from hub.metering.energy import MeterFigure
from hub.reports.site_energy import hours_of, site_energy
from hub.state.meter import MeterRef
from kernel.clock import MS_PER_HOUR, from_iso
from kernel.ids import sha256_hex
from kernel.metric import SCHEMAS, TEXT_METRICS
from kernel.reading import Absence, Missing, Reading, ReadingBatch, batch_of
from kernel.span import Span
from telemetry.energy.series import energy_on_slots
from tests.builders.samples import samples_of

START_MS = from_iso("2026-11-23T08:20:00Z")


SPAN = Span(START_MS, START_MS + 3 * MS_PER_HOUR)


METER = "hub-1/site-1/main"


def batches(power_w: float = 1_000_000.0, silent_from_s: int = 10**9) -> list[ReadingBatch]:
    rows = []
    for second in range(-60, 3 * 3600 + 61, 10):
        silent = second >= silent_from_s
        energy_wh = 5_000_000.0 + power_w * (second + 60) / 3600
        values = {"energy_import_wh": Missing(Absence.TIMED_OUT) if silent else float(np.floor(energy_wh)),
                  "power_w": Missing(Absence.TIMED_OUT) if silent else power_w}  # fmt: skip
        frame = None if silent else sha256_hex(str(second).encode())
        rows.append(Reading(METER, "meter", START_MS + second * 1000, values, frame))
    return [
        batch_of("meter", list(SCHEMAS["meter"]), TEXT_METRICS["meter"], rows[i : i + 50])
        for i in range(0, len(rows), 50)
    ]


def figures(reported: list[ReadingBatch], *refs: MeterRef) -> list[MeterFigure]:
    """Each meter's energy and frames out of batches."""
    slots = hours_of(SPAN)
    frames = {
        ref.device: tuple(
            (int(batch.at_ms[row]), name)
            for batch in reported
            for row, name in sorted(batch.evidence.items())
            if batch.devices[row] == ref.device
        )
        for ref in refs
    }
    return [
        MeterFigure(ref, energy_on_slots(samples_of(reported, ref.device), slots), frames[ref.device]) for ref in refs
    ]


def energy_report() -> dict[str, object]:
    return site_energy(figures(batches(), MeterRef(METER, "main")), SPAN, "hub-1/site-1", 42)
