# SPDX-License-Identifier: Apache-2.0
"""Energy of a meter from the journal: what is billed, checked and reported, all by the same arithmetic."""

from kernel.span import Slots, Span
from telemetry.journal import Journal
from telemetry.register import RegisterTerms
from telemetry.series import SlotEnergy, energy_on_slots, samples_of

AROUND_MS = 120_000
"""Samples this far outside a span still tell what its edges were."""


def meter_energy(journal: Journal, device: str, slots: Slots, terms: RegisterTerms | None = None) -> SlotEnergy:
    """Energy of each slot by the meter's register, with coverage and what it rests on."""
    span = slots.span
    batches = journal.batches("meter", span.start_ms - AROUND_MS, span.end_ms + AROUND_MS)
    samples = samples_of(batches, device)
    return energy_on_slots(samples, slots, terms or RegisterTerms())


def whole(span: Span) -> Slots:
    """A span as a single slot."""
    import numpy as np

    return Slots(np.array([span.start_ms, span.end_ms], dtype=np.int64))
