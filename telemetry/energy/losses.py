# SPDX-License-Identifier: Apache-2.0
"""Losses per slot: main meter against the sum of downstream meters, and drift of the loss share.

A slot is evaluated only where every meter reported all of it. Losses of a line and a transformer are a steady share; a step
in them is an unmetered load, a wrong ratio, or a failing meter.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kernel.span import Slots
from telemetry.energy.series import SlotEnergy

_ALL = 1.0 - 1e-9


@dataclass(frozen=True, slots=True)
class Losses:
    """Per slot, shape [slot]: energy of the whole and of its parts in micro-Wh, loss as a share of the whole.

    `judged`: slots that every meter reported in full and in which energy flowed; elsewhere `loss_share` has no meaning.
    `missing`: per slot, the meters that did not.
    """

    slots: Slots
    whole_uwh: NDArray[np.int64]
    parts_uwh: NDArray[np.int64]
    loss_share: NDArray[np.float64]
    judged: NDArray[np.bool_]
    missing: tuple[tuple[str, ...], ...]

    def total_share(self) -> float | None:
        """Loss over all judged slots together, or None where there is none, or no energy flowed."""
        whole = int(self.whole_uwh[self.judged].sum())
        return None if whole <= 0 else (whole - int(self.parts_uwh[self.judged].sum())) / whole


@dataclass(frozen=True, slots=True)
class Drift:
    """A step of the losses: from `before_share` to `after_share` at the start of slot `slot`."""

    slot: int
    before_share: float
    after_share: float


def losses(whole: Mapping[str, SlotEnergy], parts: Mapping[str, SlotEnergy]) -> Losses:
    """Losses of several incomers as the whole and several feeders (or miners) as the parts; all on the same slots.

    ValueError where a side has no meter, or slots differ.
    """
    if not whole or not parts:
        raise ValueError("losses need at least one meter on each side")
    slots = next(iter(whole.values())).slots
    for device, energy in (*whole.items(), *parts.items()):
        if not np.array_equal(energy.slots.edges_ms, slots.edges_ms):
            raise ValueError(f"{device} is on other slots")
    whole_uwh = np.sum([energy.energy_uwh for energy in whole.values()], axis=0)
    parts_uwh = np.sum([energy.energy_uwh for energy in parts.values()], axis=0)
    meters = {**whole, **parts}
    missing = tuple(
        tuple(device for device, energy in meters.items() if energy.reported[slot] < _ALL) for slot in range(len(slots))
    )
    judged = np.array([not names for names in missing], dtype=np.bool_) & (whole_uwh > 0)
    share = np.divide(
        (whole_uwh - parts_uwh).astype(np.float64), whole_uwh, out=np.zeros(len(slots)), where=whole_uwh > 0
    )
    return Losses(slots, whole_uwh, parts_uwh, share, judged, missing)


def drift(found: Losses, *, slots_each: int = 24, tolerance_share: float = 0.01) -> Drift | None:
    """First slot from which the median loss of the following slots differs from that of all judged slots before it.

    Medians of `slots_each` judged slots, so that a single outlier changes nothing. None where losses are steady, or there are
    too few slots.
    """
    places = np.flatnonzero(found.judged)
    shares = found.loss_share[places]
    for at in range(slots_each, len(shares) - slots_each + 1):
        before, after = float(np.median(shares[:at])), float(np.median(shares[at : at + slots_each]))
        if abs(after - before) > tolerance_share:
            # The window reacts before the step is in its middle: the step is where the shares leave the old level.
            off = np.abs(shares[at : at + slots_each] - before) > tolerance_share / 2
            return Drift(int(places[at + int(np.argmax(off))]), before, after)
    return None
