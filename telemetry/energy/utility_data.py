# SPDX-License-Identifier: Apache-2.0
"""Metered data of the utility: reading of files, versions, comparison with the hub's own figures.

- A file has intervals of 15, 30 or 60 minutes in local time. The hour that a zone repeats in autumn is recognised by its
  order in the file; the hour skipped in spring is a fault.
- A later file for the same intervals is a further version: nothing is overwritten, and a report names the version used.
- Differences are explained by known faults and gaps of the hub's own data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from kernel.clock import MS_PER_S, from_datetime, iso
from kernel.csv_table import csv_table
from kernel.errors import ConfigError, Fault
from kernel.metric import to_canonical
from kernel.span import Slots, Span
from kernel.units import UWH_PER_WH
from telemetry.energy.energy_register import Basis
from telemetry.energy.series import SlotEnergy

LENGTHS_S = (900, 1800, 3600)
OURS = "ours"
"""Source name of the hub's own figures, stored together with the utility's data."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Format of a file. Columns are named by their heading; `meters` maps the file's metering points to the hub's devices.

    `stamp`: whether a row carries the start or the end of its interval. `meter_column` None: one metering point, the only one
    of `meters`.
    """

    zone: str
    time_column: str
    time_format: str
    value_column: str
    unit: str
    length_s: int
    meters: Mapping[str, str]
    meter_column: str | None = None
    stamp: str = "start"
    delimiter: str = ";"
    decimal: str = ","
    skip_lines: int = 0


@dataclass(frozen=True, slots=True)
class MeteredSeries:
    """Intervals of one device, sorted, all of one length. `energy_uwh` [interval] is exact."""

    device: str
    starts_ms: NDArray[np.int64]
    length_ms: int
    energy_uwh: NDArray[np.int64]

    @property
    def span(self) -> Span:
        return Span(int(self.starts_ms[0]), int(self.starts_ms[-1]) + self.length_ms)


def read_metered(text: str, layout: Layout, name: str = "metered data") -> list[MeteredSeries]:
    """Series of a CSV file. ConfigError with every wrong line and its remedy; then nothing is accepted."""
    faults: list[Fault] = []
    rows = text.splitlines()[layout.skip_lines :]
    names, table = csv_table("\n".join(rows), name, layout.delimiter)
    wanted = [layout.time_column, layout.value_column, *([layout.meter_column] if layout.meter_column else [])]
    absent = [column for column in wanted if column not in names]
    if layout.length_s not in LENGTHS_S:
        faults.append(Fault(name, f"intervals of {layout.length_s} s", f"One of {LENGTHS_S}"))
    if absent:
        head = ", ".join(names or ["nothing"])
        faults += [Fault(name, f"no column {column!r}; it has {head}", "Correct the layout") for column in absent]
    if faults:
        raise ConfigError(faults)

    zone, (_, factor, _) = ZoneInfo(layout.zone), to_canonical(layout.unit)
    found: dict[str, dict[int, int]] = {}
    before: dict[str, datetime] = {}
    for number, row in enumerate(table, layout.skip_lines + 2):
        place = f"{name} line {number}"
        point = row[layout.meter_column].strip() if layout.meter_column else next(iter(layout.meters))
        device = layout.meters.get(point)
        if device is None:
            faults.append(Fault(place, f"unknown metering point {point!r}", "Map it to a device in the layout"))
            continue
        start_ms = _start_ms(row[layout.time_column] or "", layout, zone, device, before, place, faults)
        energy_uwh = _energy_uwh(row[layout.value_column] or "", layout, factor, place, faults)
        if start_ms is None or energy_uwh is None:
            continue
        of = found.setdefault(device, {})
        if start_ms in of:
            faults.append(Fault(place, f"{iso(start_ms)} stands twice for {point!r}", "Remove one of them"))
        of[start_ms] = energy_uwh
    if not found and not faults:
        faults.append(Fault(name, "no interval in it", "Give the right file or layout"))
    if faults:
        raise ConfigError(faults)
    return [
        MeteredSeries(
            device,
            np.array(sorted(of), dtype=np.int64),
            layout.length_s * MS_PER_S,
            np.array([of[start] for start in sorted(of)], dtype=np.int64),
        )
        for device, of in sorted(found.items())
    ]


def _start_ms(
    text: str,
    layout: Layout,
    zone: ZoneInfo,
    device: str,
    before: dict[str, datetime],
    place: str,
    faults: list[Fault],
) -> int | None:
    """UTC start of a row's interval. Of a repeated local hour, the first row of an instant is the earlier one."""
    try:
        local = datetime.strptime(text.strip(), layout.time_format)
    except ValueError:
        faults.append(Fault(place, f"time {text!r} is not as {layout.time_format!r}", "Correct the layout or the line"))
        return None
    if local.tzinfo is not None:
        at = local.astimezone(UTC)
    else:
        at = local.replace(tzinfo=zone).astimezone(UTC)
        if at.astimezone(zone).replace(tzinfo=None) != local:
            faults.append(
                Fault(place, f"{text.strip()} does not exist in {layout.zone}", "The clock skipped that hour")
            )
            return None
        later = local.replace(tzinfo=zone, fold=1).astimezone(UTC)
        last = before.get(device)
        if later != at and last is not None and last >= at:
            at = later
    before[device] = at
    start = at - timedelta(seconds=layout.length_s) if layout.stamp == "end" else at
    start_ms = from_datetime(start)
    if start_ms % (layout.length_s * MS_PER_S):
        faults.append(Fault(place, f"{text.strip()} is no edge of {layout.length_s} s", "Check length_s and stamp"))
        return None
    return start_ms


def _energy_uwh(text: str, layout: Layout, factor: float, place: str, faults: list[Fault]) -> int | None:
    plain = text.strip().replace("\u00a0", "").replace(" ", "")
    plain = plain.replace(".", "").replace(",", ".") if layout.decimal == "," else plain.replace(",", "")
    try:
        value = Decimal(plain)
    except InvalidOperation:
        faults.append(Fault(place, f"{text!r} is no number", "A missing value is an absent line, not a zero"))
        return None
    if not value.is_finite() or value < 0:
        faults.append(Fault(place, f"energy {text!r} cannot be", "Export has a column of its own"))
        return None
    return int((value * Decimal(factor) * UWH_PER_WH).to_integral_value())


class MeteredStore(Protocol):
    """Versions of the utility's data and of the hub's own figures, stored apart from telemetry."""

    def put(self, source: str, series: MeteredSeries, made_ms: int, evidence: str) -> int:
        """Store a series as a further version where it differs from the stored one; returns the number of new intervals."""

    def get(
        self, source: str, device: str, span: Span, as_of_ms: int | None = None, length_ms: int = 900_000
    ) -> MeteredSeries | None:
        """Newest version of each interval, or the newest made up to an instant; None where there is none."""

    def newest(self, source: str, device: str, length_ms: int) -> int | None:
        """Start of the latest interval stored; None where there is none."""


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One interval in which the utility's and our energy differ beyond the tolerance, in whole micro-watt-hours."""

    span: Span
    ours_uwh: int
    theirs_uwh: int
    why: str

    @property
    def difference_wh(self) -> float:
        return (self.theirs_uwh - self.ours_uwh) / UWH_PER_WH


@dataclass(frozen=True, slots=True)
class Comparison:
    """The utility's series against ours. Differences beyond the tolerance, each with an explanation or none."""

    device: str
    intervals: int
    ours_uwh: int
    theirs_uwh: int
    discrepancies: tuple[Discrepancy, ...]
    general: str


def slots_of(series: MeteredSeries) -> list[Slots]:
    """Intervals of a series as runs of consecutive slots."""
    breaks = np.flatnonzero(np.diff(series.starts_ms) != series.length_ms) + 1
    return [Slots(np.append(run, run[-1] + series.length_ms)) for run in np.split(series.starts_ms, breaks) if len(run)]


def compared(
    theirs: MeteredSeries,
    ours: SlotEnergy,
    *,
    tolerance_share: float = 0.005,
    tolerance_wh: float = 1000.0,
    unfit: Sequence[tuple[Span, str]] = (),
) -> Comparison:
    """Comparison by interval; `ours` must have every interval of `theirs`, else ValueError."""
    places = {start: slot for slot, start in enumerate(ours.slots.starts_ms.tolist())}
    absent = [start for start in theirs.starts_ms.tolist() if start not in places]
    if absent:
        raise ValueError(f"no figure of ours at {iso(absent[0])}: request the span {theirs.span}")
    rows = np.array([places[start] for start in theirs.starts_ms.tolist()], dtype=np.intp)
    mine = ours.energy_uwh[rows]
    apart = np.abs(theirs.energy_uwh - mine)
    allowed = np.maximum(tolerance_wh * UWH_PER_WH, tolerance_share * np.maximum(theirs.energy_uwh, mine))
    general = _general(theirs.energy_uwh.astype(np.float64), mine.astype(np.float64))
    found = [
        Discrepancy(
            ours.slots[int(rows[at])],
            int(mine[at]),
            int(theirs.energy_uwh[at]),
            _why(ours, int(rows[at]), unfit) or general,
        )
        for at in np.flatnonzero(apart > allowed).tolist()
    ]
    return Comparison(
        theirs.device, len(rows), int(mine.sum()), int(theirs.energy_uwh.sum()), tuple(found), general if found else ""
    )


def _why(ours: SlotEnergy, slot: int, unfit: Sequence[tuple[Span, str]]) -> str:
    """Known faults and gaps of the hub's own data that explain a difference in a slot."""
    span = ours.slots[slot]
    reasons = [f"our {oddity.what} at {iso(oddity.at_ms)}" for oddity in ours.oddities if span.holds(oddity.at_ms)]
    reasons += [why for part, why in unfit if part.overlap(span)]
    if ours.reported[slot] < 1.0:
        reasons.append(f"we miss {1 - ours.reported[slot]:.0%} of it")
    elif ours.by_basis_uwh[Basis.BRIDGED, slot] > 0:
        reasons.append("we bridged a gap: the sum is right, its hours are not")
    if ours.by_basis_uwh[Basis.INTEGRAL, slot] > 0:
        reasons.append("ours is integrated power, in part")
    return "; ".join(reasons)


def _general(theirs: NDArray[np.float64], ours: NDArray[np.float64]) -> str:
    """A common cause of many differences: another ratio, or a clock an interval or an hour off; "" where there is none."""
    both = (theirs > 0) & (ours > 0)
    if both.sum() >= 8:
        ratio = theirs[both] / ours[both]
        middle = float(np.median(ratio))
        if abs(middle - 1) > 0.003 and float(np.std(ratio)) < 0.01 * middle:
            return f"theirs is {middle:.4g} times ours throughout: a ratio or a unit"
    if len(theirs) >= 16 and float(np.std(ours)) > 0:
        here = float(np.abs(theirs - ours).sum())
        for shift in (1, -1, 2, -2, 4, -4):
            moved = np.roll(ours, shift)
            inside = slice(max(shift, 0), len(ours) + min(shift, 0))
            if float(np.abs(theirs[inside] - moved[inside]).sum()) < 0.2 * here:
                return f"theirs fits ours moved by {shift:+d} intervals: their clock, their zone, or start against end"
    return ""
