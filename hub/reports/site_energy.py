# SPDX-License-Identifier: Apache-2.0
"""Report: energy of each meter of a site by the hour, with what each figure rests on: samples, frames, the meters' papers.

Hours are whole UTC hours, cut at the period's ends. Watt-hours are whole and sum to the meter's total exactly. `coverage`
is the share of time with samples close together; where `reported` is below 1 energy is missing, and the report says so. Hours
in which a metering point was not fit for billing (a fault, an expired verification) are named, never left out.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import pairwise
from typing import Any

import numpy as np

from hub.metering.energy import MeterFigure, unfit_text
from hub.reports.kind import ReportKind, ReportSources, period_json
from kernel.clock import MS_PER_HOUR, iso
from kernel.span import Slots, Span
from kernel.units import UWH_PER_WH
from telemetry.energy.energy_register import Basis
from telemetry.energy.series import SlotEnergy

REPORT = "site-energy"
VERSION = 2
COLUMNS = (
    "meter",
    "role",
    "start",
    "end",
    "energy_wh",
    "coverage",
    "told",
    "basis",
    "unfit",
    "frames",
    "frames_sha256",
)


def hours_of(span: Span) -> Slots:
    """Whole UTC hours, the first and last cut at the span's ends."""
    first = span.start_ms - span.start_ms % MS_PER_HOUR + MS_PER_HOUR
    inner = np.arange(first, span.end_ms, MS_PER_HOUR, dtype=np.int64)
    return Slots(np.unique(np.concatenate(([span.start_ms], inner, [span.end_ms])).astype(np.int64)))


def site_energy(figures: Sequence[MeterFigure], span: Span, site: str, position: int) -> dict[str, Any]:
    """The report as JSON values. `figures` are on `hours_of(span)`; `position` is the journal's, up to which was read."""
    parts = [_meter(figure) for figure in figures]
    mains = [part["total_wh"] for part in parts if part["role"] == "main"]
    incomplete = sorted(part["meter"] for part in parts if any(hour["told"] < 1 for hour in part["hours"]))
    return {
        "report": REPORT,
        "version": VERSION,
        "site": site,
        "period": period_json(span),
        "journal_position": position,
        "draft": False,
        "unit": "Wh",
        "main_total_wh": sum(mains) if mains else None,
        "incomplete": incomplete,
        "without_papers": sorted(part["meter"] for part in parts if part["papers"] is None),
        "unfit": sorted(part["meter"] for part in parts if any(hour["unfit"] for hour in part["hours"])),
        "meters": parts,
    }


def _meter(figure: MeterFigure) -> dict[str, Any]:
    energy, meter = figure.energy, figure.ref
    whole_wh = _whole_wh(energy)
    hours = []
    for index, slot in enumerate(energy.slots):
        names = [name for at_ms, name in figure.frames if slot.holds(at_ms)]
        hours.append(
            {
                "start": iso(slot.start_ms),
                "end": iso(slot.end_ms),
                "energy_wh": whole_wh[index] if energy.reported[index] > 0 else None,
                "coverage": round(float(energy.coverage[index]), 4),
                "told": round(float(energy.reported[index]), 4),
                "basis": energy.basis(index),
                "integral_wh": int(energy.by_basis_uwh[Basis.INTEGRAL, index]) // UWH_PER_WH,
                "unfit": "; ".join(unfit_text(figure.unfit, slot)),
                "frames": len(names),
                "frames_sha256": sha256("".join(names).encode()).hexdigest() if names else None,
            }
        )
    oddities = [{"at": iso(oddity.at_ms), "what": oddity.what, "text": oddity.text} for oddity in energy.oddities]
    return {
        "meter": meter.device,
        "role": meter.role,
        "feeder": meter.feeder,
        "total_wh": sum(whole_wh),
        "hours": hours,
        "oddities": oddities,
        "papers": figure.papers,
    }


def _whole_wh(energy: SlotEnergy) -> list[int]:
    """Whole watt-hours per slot that sum to the whole of the total: the rest of each slot goes on to the next."""
    sums = [0, *(int(value) for value in np.cumsum(energy.energy_uwh))]
    return [after // UWH_PER_WH - before // UWH_PER_WH for before, after in pairwise(sums)]


def table(document: Mapping[str, Any]) -> tuple[Sequence[str], list[list[Any]]]:
    """The report as one table: a line for each meter and hour."""
    rows = [
        [part["meter"], part["role"], *(hour[name] for name in COLUMNS[2:])]
        for part in document["meters"]
        for hour in part["hours"]
    ]
    return COLUMNS, rows


def build(sources: ReportSources, span: Span) -> dict[str, Any]:
    """The document of a site; `sources` hold its state and the energy of its meters."""
    site, book = sources.site, sources.book
    if site is None or book is None:
        raise ValueError(f"{REPORT} is of one site, with the energy of its meters")
    slots = hours_of(span)
    return site_energy([book.figure(ref, slots) for ref in site.meter_refs()], span, site.key, sources.position)


KIND = ReportKind(REPORT, "site", "Energy of each meter of a site by the hour.", build, table)
