# SPDX-License-Identifier: Apache-2.0
"""Energy per slot from registers, each slot with its coverage.

The energy of a slot does not depend on the range requested: the value at an edge follows from the piece of energy that it
cuts, so that hours sum to days and days to months exactly, in whole micro-watt-hours.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernel.span import Slots
from kernel.units import UWH_PER_WH
from telemetry.energy.energy_register import Basis, Change, Oddity, Pieces, RegisterTerms, Samples, pieces_of


@dataclass(frozen=True, slots=True)
class SlotEnergy:
    """Energy of each slot, shape [slot], and its measurement basis.

    - `by_basis_uwh` [basis, slot]; `energy_uwh` is the sum over the bases.
    - `coverage` (0..1): share of time with samples close together. `reported` (0..1) also counts time bridged by the counter;
      below 1 some energy is missing.
    - `oddities`: those within the slots.
    """

    slots: Slots
    by_basis_uwh: NDArray[np.int64]
    coverage: NDArray[np.float64]
    reported: NDArray[np.float64]
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
        """Basis as text for a report: counter, bridged, integral, a combination, or missing."""
        parts = [basis.name.lower() for basis in Basis if self.by_basis_uwh[basis, slot]]
        return "+".join(parts) if parts else ("counter" if self.reported[slot] > 0 else "missing")


def energy_on_slots(
    samples: Samples, slots: Slots, terms: RegisterTerms | None = None, changes: Sequence[Change] = ()
) -> SlotEnergy:
    """Energy per slot from one register. `samples` should include those next to the span, which determine the outer edges."""
    return on_slots(pieces_of(samples, terms or RegisterTerms(), changes), slots)


def on_slots(pieces: Pieces, slots: Slots) -> SlotEnergy:
    """Pieces of energy cut at the edges of slots, each in proportion to time."""
    edges = slots.edges_ms
    by_basis = np.zeros((len(Basis), len(slots)), dtype=np.int64)
    for basis in Basis:
        chosen = pieces.basis == basis
        if chosen.any():
            by_basis[basis] = np.diff(
                _up_to(edges, pieces.starts_ms[chosen], pieces.ends_ms[chosen], pieces.energy_uwh[chosen])
            )
    lengths = pieces.ends_ms - pieces.starts_ms
    reported_ms = np.diff(_up_to(edges, pieces.starts_ms, pieces.ends_ms, lengths))
    near = pieces.basis != Basis.BRIDGED
    near_ms = np.diff(_up_to(edges, pieces.starts_ms[near], pieces.ends_ms[near], lengths[near]))
    slot_ms = np.diff(edges)
    inside = tuple(oddity for oddity in pieces.oddities if edges[0] <= oddity.at_ms < edges[-1])
    return SlotEnergy(slots, by_basis, near_ms / slot_ms, reported_ms / slot_ms, inside)


def _up_to(
    edges_ms: NDArray[np.int64],
    starts_ms: NDArray[np.int64],
    ends_ms: NDArray[np.int64],
    amounts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Sum of amounts before each edge; of a piece cut by an edge, its share of time, rounded to a whole.

    Rounding depends on the piece alone, not on the pieces before it, so that the sum does not depend on the range requested.
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
