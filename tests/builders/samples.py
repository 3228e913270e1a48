# SPDX-License-Identifier: Apache-2.0
"""Meter samples out of reading batches, for tests that judge energy without an archive."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from kernel.reading import ReadingBatch
from telemetry.energy.energy_register import Samples


def samples_of(
    batches: Iterable[ReadingBatch], device: str, energy: str = "energy_import_wh", power: str = "power_w"
) -> Samples:
    """The samples of one device out of batches, in the order given (the order of arrival, from the journal)."""
    at: list[NDArray[np.int64]] = []
    parts: dict[str, list[NDArray[np.float64]]] = {energy: [], power: []}
    oks: dict[str, list[NDArray[np.bool_]]] = {energy: [], power: []}
    for batch in batches:
        rows = np.array([row for row, name in enumerate(batch.devices) if name == device], dtype=np.intp)
        if not len(rows):
            continue
        at.append(batch.at_ms[rows])
        for metric in (energy, power):
            column = batch.columns.get(metric)
            if column is None or isinstance(column.stored, list):
                parts[metric].append(np.zeros(len(rows)))
                oks[metric].append(np.zeros(len(rows), dtype=np.bool_))
            else:
                parts[metric].append(column.stored[rows])
                oks[metric].append(column.codes[rows] == 0)
    if not at:
        none, no = np.zeros(0), np.zeros(0, dtype=np.bool_)
        return Samples(np.zeros(0, dtype=np.int64), none, no, none, no)
    return Samples(
        np.concatenate(at),
        np.concatenate(parts[energy]),
        np.concatenate(oks[energy]),
        np.concatenate(parts[power]),
        np.concatenate(oks[power]),
    )
