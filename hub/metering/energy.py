# SPDX-License-Identifier: Apache-2.0
"""Energy of meters for billing, checks and reports, over archive and journal, by the meters' passports.

All figures come from one arithmetic (`telemetry.energy.energy_register`), across replacements and changes of the
multiplier, and each names the papers that it rests on and the intervals in which its metering point was not fit for billing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hub.state.meter import MeterRef
from kernel.clock import iso
from kernel.span import Slots, Span
from kernel.units import UWH_PER_WH
from telemetry.energy.passport import Passport
from telemetry.energy.series import SlotEnergy
from telemetry.store.archive import Archive

BILLABLE = 0.999
"""Energy of a span is billed once the meter has reported at least this share of it; until then it waits."""


@dataclass(frozen=True, slots=True)
class MeterFigure:
    """A meter's energy on slots, with what it rests on: raw frames kept (instant, SHA-256) in order of time, the papers
    cited (None: none are on file), and (interval, why) where the point was not fit for billing."""

    ref: MeterRef
    energy: SlotEnergy
    frames: tuple[tuple[int, str], ...] = ()
    papers: Mapping[str, Any] | None = None
    unfit: tuple[tuple[Span, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Billed:
    """Whole watt-hours of a span by the billing meters, and what they rest on, for the voucher that cites them."""

    energy_wh: int
    rests_on: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unbilled:
    """Why the energy of a span cannot be billed yet: which meter, the share of the span that its readings tell, and the
    instant of the last one (None: there is none). `device` is None where no billing meter is configured."""

    span: Span
    device: str | None = None
    share: float = 0.0
    last_ms: int | None = None

    def __str__(self) -> str:
        if self.device is None:
            return "no billing meter is configured"
        end = iso(self.span.end_ms)
        if self.last_ms is None:
            return f"a reading of billing meter {self.device} from {end} on is awaited; there is none yet"
        if self.last_ms < self.span.end_ms:
            return (
                f"a reading of billing meter {self.device} from {end} on is awaited; its last is of {iso(self.last_ms)}"
            )
        return f"billing meter {self.device} reported {self.share:.1%} of {self.span}, the rest is missing"


class EnergyBook:
    """Asks the archive; knows the papers by device key."""

    def __init__(self, archive: Archive, passports: Mapping[str, Passport] | None = None) -> None:
        self.archive = archive
        self.passports = dict(passports or {})

    def energy(self, device: str, slots: Slots) -> SlotEnergy:
        """Energy of each slot by the meter's register, with coverage."""
        passport = self.passports.get(device)
        if passport is None:
            return self.archive.energy(device, slots)
        return self.archive.energy(device, slots, passport.terms(), passport.changes())

    def figure(self, ref: MeterRef, slots: Slots) -> MeterFigure:
        """A meter's energy with all that it rests on."""
        passport, span = self.passports.get(ref.device), slots.span
        frames = tuple(self.archive.frames(ref.device, span))
        if passport is None:
            return MeterFigure(ref, self.energy(ref.device, slots), frames)
        return MeterFigure(ref, self.energy(ref.device, slots), frames, passport.cited(span), passport.unfit(span))

    def billed(self, devices: Sequence[str], span: Span) -> Billed | Unbilled:
        """Energy of a span by these meters together, or which of them reported too little of it."""
        if not devices:
            return Unbilled(span)
        total_uwh, meters = 0, []
        for device in devices:
            found = self.energy(device, whole(span))
            if found.reported[0] < BILLABLE:
                return self._unbilled(device, span, float(found.reported[0]))
            total_uwh += int(found.energy_uwh.sum())
            passport = self.passports.get(device)
            papers = None if passport is None else passport.cited(span)
            meters.append({"device": device, "basis": found.basis(0), "papers": papers})
        text = f"billing meter over {span}"
        return Billed(round(total_uwh / UWH_PER_WH), {"what": text, "meters": meters})

    def _unbilled(self, device: str, span: Span, share: float) -> Unbilled:
        samples = self.archive.samples(device, span)
        heard_ms = samples.at_ms[samples.energy_ok | samples.power_ok]
        return Unbilled(span, device, share, int(heard_ms.max()) if len(heard_ms) else None)


def unfit_text(unfit: Sequence[tuple[Span, str]], span: Span) -> list[str]:
    """Why a span is not wholly fit for billing, as a text."""
    return [f"{iso(part.start_ms)} to {iso(part.end_ms)}: {why}" for part, why in unfit if part.overlap(span)]


def whole(span: Span) -> Slots:
    """A span as a single slot."""
    return Slots(np.array([span.start_ms, span.end_ms], dtype=np.int64))
