# SPDX-License-Identifier: Apache-2.0
"""Energy figure as printed: coverage, measurement basis, meter passport, fitness for billing."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kernel.clock import iso
from kernel.span import Span
from kernel.units import UWH_PER_WH
from telemetry.energy.energy_register import Basis
from telemetry.energy.passport import Passport
from telemetry.energy.series import SlotEnergy


@dataclass(frozen=True, slots=True)
class EnergyFigure:
    """Energy of one metering point over a span.

    - `energy_wh`: whole watt-hours, rounded once, half away from zero.
    - `coverage`: share of time with samples close together; `reported_share` also counts gaps bridged by the counter (both
      0..1).
    - `by_basis_wh`: energy by `energy_register.Basis`; `passport`: the facts that the figure rests on.
    """

    device: str
    span: Span
    energy_wh: int
    coverage: float
    reported_share: float
    by_basis_wh: dict[str, float]
    oddities: tuple[str, ...]
    passport: dict[str, Any]

    @property
    def fit(self) -> bool:
        """Whether it is fit for billing: no energy is missing, and the metering point is fit throughout the span."""
        return self.reported_share >= 1.0 - 1e-9 and not self.passport.get("unfit", ["no passport"])

    def to_json(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "from": iso(self.span.start_ms),
            "to": iso(self.span.end_ms),
            "energy_wh": self.energy_wh,
            "coverage": round(self.coverage, 6),
            "told": round(self.reported_share, 6),
            "by_basis_wh": self.by_basis_wh,
            "oddities": list(self.oddities),
            "passport": self.passport,
            "fit_for_billing": self.fit,
        }


def figure(device: str, energy: SlotEnergy, passport: Passport | None) -> EnergyFigure:
    """The figure of all slots together. Without a passport it is marked unfit for billing."""
    span = energy.slots.span
    total_uwh = int(energy.energy_uwh.sum())
    lengths = np.diff(energy.slots.edges_ms)
    sign = -1 if total_uwh < 0 else 1
    return EnergyFigure(
        device,
        span,
        sign * ((abs(total_uwh) + UWH_PER_WH // 2) // UWH_PER_WH),
        float(np.average(energy.coverage, weights=lengths)),
        float(np.average(energy.reported, weights=lengths)),
        {basis.name.lower(): int(energy.by_basis_uwh[basis].sum()) / UWH_PER_WH for basis in Basis},
        tuple(f"{iso(oddity.at_ms)} {oddity.what}: {oddity.text}" for oddity in energy.oddities),
        {"unfit": ["no passport"]} if passport is None else passport.cited(span),
    )
