# SPDX-License-Identifier: Apache-2.0
"""Telemetry brought on slots: gauges to time-weighted means, counters to energy, each slot with its coverage.

A slot's energy does not depend on the range that was asked: the value at an edge follows from the two samples around it,
so that hours sum to days and days to months exactly, in whole micro-watt-hours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernel.clock import MS_PER_S
from kernel.reading import ReadingBatch
from kernel.span import Slots
from telemetry.energy.energy_register import (
    UWH_PER_WH,
    Basis,
    Change,
    Oddity,
    Pieces,
    RegisterTerms,
    Samples,
    pieces_of,
)


@dataclass(frozen=True, slots=True)
class SlotEnergy:
    """Energy of each slot, shape [slot], and what it rests on.

    `energy_uwh` is the sum of the three bases in `by_basis_uwh` [basis, slot]. `coverage` (0..1) is the share of time in
    which samples lay close together; `told` (0..1) also counts time bridged by the counter: where it is below 1 some
    energy is missing. `oddities` are those that fall into the slots.
    """

    slots: Slots
    by_basis_uwh: NDArray[np.int64]
    coverage: NDArray[np.float64]
    told: NDArray[np.float64]
    oddities: tuple[Oddity, ...]

    @property
    def energy_uwh(self) -> NDArray[np.int64]:
        total: NDArray[np.int64] = self.by_basis_uwh.sum(axis=0)
        return total

    @property
    def energy_wh(self) -> NDArray[np.float64]:
        return self.energy_uwh / UWH_PER_WH

    def total_wh(self) -> float:
        """Energy of all slots together."""
        return float(int(self.energy_uwh.sum()) / UWH_PER_WH)

    def basis(self, slot: int) -> str:
        """In words, for a report: counter, bridged, integral, a mixture of them, or missing."""
        parts = [basis.name.lower() for basis in Basis if self.by_basis_uwh[basis, slot]]
        return "+".join(parts) if parts else ("counter" if self.told[slot] > 0 else "missing")


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


def energy_on_slots(
    samples: Samples, slots: Slots, terms: RegisterTerms | None = None, changes: Sequence[Change] = ()
) -> SlotEnergy:
    """Energy per slot from one register. Samples around the slots' span belong in too: they settle the outer edges."""
    return on_slots(pieces_of(samples, terms or RegisterTerms(), changes), slots)


def on_slots(pieces: Pieces, slots: Slots) -> SlotEnergy:
    """Pieces of energy cut at the slots' edges, each in proportion to time."""
    edges = slots.edges_ms
    by_basis = np.zeros((len(Basis), len(slots)), dtype=np.int64)
    for basis in Basis:
        chosen = pieces.basis == basis
        if chosen.any():
            by_basis[basis] = np.diff(
                _up_to(edges, pieces.starts_ms[chosen], pieces.ends_ms[chosen], pieces.energy_uwh[chosen])
            )
    lengths = pieces.ends_ms - pieces.starts_ms
    told_ms = np.diff(_up_to(edges, pieces.starts_ms, pieces.ends_ms, lengths))
    near = pieces.basis != Basis.BRIDGED
    near_ms = np.diff(_up_to(edges, pieces.starts_ms[near], pieces.ends_ms[near], lengths[near]))
    slot_ms = np.diff(edges)
    inside = tuple(oddity for oddity in pieces.oddities if edges[0] <= oddity.at_ms < edges[-1])
    return SlotEnergy(slots, by_basis, near_ms / slot_ms, told_ms / slot_ms, inside)


def _up_to(
    edges_ms: NDArray[np.int64],
    starts_ms: NDArray[np.int64],
    ends_ms: NDArray[np.int64],
    amounts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The sum of amounts before each edge; of a piece that an edge cuts, its share of time, rounded to a whole.

    The rounding looks at the piece alone, never at what lies before it: so the sum does not depend on the range asked.
    """
    sums = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(amounts)))
    if not len(starts_ms):
        return np.zeros(len(edges_ms), dtype=np.int64)
    done = np.searchsorted(ends_ms, edges_ms, side="right")
    cut = np.minimum(done, len(starts_ms) - 1)
    share = np.clip((edges_ms - starts_ms[cut]) / (ends_ms[cut] - starts_ms[cut]), 0.0, 1.0)
    part = np.where(done < len(starts_ms), np.floor(amounts[cut] * share + 0.5), 0.0).astype(np.int64)
    result: NDArray[np.int64] = sums[done] + part
    return result


def mean_on_slots(
    at_ms: NDArray[np.int64],
    values: NDArray[np.float64],
    ok: NDArray[np.bool_],
    slots: Slots,
    hold_s: float = 120.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(time-weighted mean, coverage 0..1) per slot, both of shape [slot]; the mean of an uncovered slot means nothing.

    A sample holds until the next one, whether that is a value or a failure, and at most `hold_s`.
    """
    order = np.argsort(at_ms, kind="stable")
    at_ms, values, ok = at_ms[order], values[order], ok[order]
    if not len(at_ms):
        return np.zeros(len(slots)), np.zeros(len(slots))
    hold_ms = round(hold_s * MS_PER_S)
    ends = np.minimum(np.append(at_ms[1:], at_ms[-1] + hold_ms), at_ms + hold_ms)
    good = ok & (ends > at_ms)
    starts, ends, values = at_ms[good], ends[good], values[good]
    edges = slots.edges_ms
    lengths = (ends - starts).astype(np.float64)
    area = _area_up_to(edges, starts, lengths, values)
    covered_ms = np.diff(_area_up_to(edges, starts, lengths, np.ones(len(starts))))
    mean = np.divide(np.diff(area), covered_ms, out=np.zeros(len(slots)), where=covered_ms > 0)
    return mean, covered_ms / np.diff(edges)


def _area_up_to(
    edges_ms: NDArray[np.int64],
    starts_ms: NDArray[np.int64],
    lengths_ms: NDArray[np.float64],
    values: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The integral of a step function before each edge, in value times ms."""
    if not len(starts_ms):
        return np.zeros(len(edges_ms))
    sums = np.concatenate(([0.0], np.cumsum(values * lengths_ms)))
    begun = np.searchsorted(starts_ms, edges_ms, side="right")
    last = np.maximum(begun - 1, 0)
    inside = np.clip(edges_ms - starts_ms[last], 0.0, lengths_ms[last])
    return np.where(begun > 0, sums[last] + inside * values[last], 0.0)
