# SPDX-License-Identifier: Apache-2.0
"""Metering point passport: meters installed, acts, verifications, seals and transformer ratios, with dates.

Facts are dated and never overwritten: a replaced meter is a further installation. They give the register changes for counting
energy, the intervals in which the point is unfit for billing, and the lines printed with each energy figure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kernel.clock import from_datetime, iso
from kernel.errors import ConfigError, Fault
from kernel.ids import parse_device_key
from kernel.span import Span
from kernel.toml_model import read_toml, table_in, tables_in
from telemetry.energy.energy_register import Change, RegisterTerms

_OPEN_MS = 253_402_300_799_000
"""End of a span that has no end yet: 9999-12-31."""


@dataclass(frozen=True, slots=True)
class Installation:
    """One meter at this point, by an act. `initial_wh` and `final_wh`: its import register as stated in the acts."""

    span: Span
    serial: str
    type: str
    approval: str
    act: str
    initial_wh: float | None
    final_wh: float | None
    removal_act: str


@dataclass(frozen=True, slots=True)
class Verification:
    """Verification of the meter with this serial; the certificate is valid for the span."""

    span: Span
    serial: str
    certificate: str
    by: str


@dataclass(frozen=True, slots=True)
class Seal:
    """A seal, from its setting to its removal or loss."""

    span: Span
    number: str
    by: str


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ratios of current and voltage transformers. A register that counts secondary energy shows 1/(ct * vt) of the energy."""

    span: Span
    ct_ratio: float
    vt_ratio: float
    act: str

    @property
    def factor(self) -> float:
        return self.ct_ratio * self.vt_ratio


@dataclass(frozen=True, slots=True)
class MeterFault:
    """An interval in which the point did not measure correctly, by an act."""

    span: Span
    text: str
    act: str


@dataclass(frozen=True, slots=True)
class Passport:
    """All facts of one metering point. Each list is in order of time; installations and ratios do not overlap."""

    device: str
    register_is_primary: bool
    installations: tuple[Installation, ...]
    verifications: tuple[Verification, ...]
    seals: tuple[Seal, ...]
    ratios: tuple[Ratio, ...]
    faults: tuple[MeterFault, ...]

    def changes(self) -> tuple[Change, ...]:
        """Replacements of meters and changes of the multiplier, in order of time."""
        found = [
            Change(new.span.start_ms, old.final_wh, new.initial_wh, self.factor_at(new.span.start_ms))
            for old, new in pairwise(self.installations)
        ]
        replaced = {change.at_ms for change in found}
        if not self.register_is_primary:
            found += [
                Change(ratio.span.start_ms, factor=ratio.factor)
                for ratio in self.ratios[1:]
                if ratio.span.start_ms not in replaced
            ]
        return tuple(sorted(found, key=lambda change: change.at_ms))

    def factor_at(self, at_ms: int) -> float:
        """Multiplier of the register at an instant; 1 where it counts primary energy."""
        if self.register_is_primary:
            return 1.0
        return next((ratio.factor for ratio in self.ratios if ratio.span.holds(at_ms)), 1.0)

    def terms(self, **known: Any) -> RegisterTerms:
        """Terms for `telemetry.energy.energy_register`, with the multiplier before any change."""
        first = self.ratios[0].factor if self.ratios and not self.register_is_primary else 1.0
        return RegisterTerms(factor=first, **known)

    def unfit(self, span: Span) -> tuple[tuple[Span, str], ...]:
        """(interval, reason) within a span where the point is unfit for billing; the fee rule uses these."""
        found = [
            (part, f"fault: {fault.text} ({fault.act})") for fault in self.faults if (part := fault.span.overlap(span))
        ]
        installed = [(part, one.serial) for one in self.installations if (part := one.span.overlap(span))]
        found += [(part, "no meter installed") for part in _left(span, [part for part, _ in installed])]
        for part, serial in installed:
            verified = [one.span for one in self.verifications if one.serial == serial]
            found += [(gap, f"verification of {serial} not valid") for gap in _left(part, verified)]
        if self.seals:
            found += [(gap, "no seal recorded") for gap in _left(span, [seal.span for seal in self.seals])]
        return tuple(sorted(found, key=lambda entry: (entry[0].start_ms, entry[1])))

    def cited(self, span: Span) -> dict[str, Any]:
        """Facts that an energy figure of a span rests on, as JSON values, to be printed with it."""
        return {
            "device": self.device,
            "meters": [
                {
                    "serial": one.serial, "type": one.type, "approval": one.approval, "act": one.act,
                    "from": iso(one.span.start_ms), "to": _end(one.span), "final_wh": one.final_wh,
                    "initial_wh": one.initial_wh, "removal_act": one.removal_act,
                }
                for one in self.installations if one.span.overlap(span)
            ],
            "verifications": [
                {"serial": one.serial, "certificate": one.certificate, "by": one.by, "expires": _end(one.span)}
                for one in self.verifications if one.span.overlap(span)
            ],
            "seals": [one.number for one in self.seals if one.span.overlap(span)],
            "ratios": [
                {"ct": one.ct_ratio, "vt": one.vt_ratio, "factor": one.factor, "from": iso(one.span.start_ms), "act": one.act}
                for one in self.ratios if one.span.overlap(span)
            ],
            "register": "primary" if self.register_is_primary else "secondary, multiplied",
            "unfit": [{"from": iso(part.start_ms), "to": iso(part.end_ms), "why": why} for part, why in self.unfit(span)],
        }  # fmt: skip


def _left(span: Span, held: list[Span]) -> list[Span]:
    """Parts of a span that none of the others covers."""
    left, at_ms = [], span.start_ms
    for part in sorted(held):
        if part.start_ms > at_ms and part.start_ms < span.end_ms:
            left.append(Span(at_ms, part.start_ms))
        at_ms = max(at_ms, part.end_ms)
        if at_ms >= span.end_ms:
            return left
    return [*left, Span(at_ms, span.end_ms)] if at_ms < span.end_ms else left


def _end(span: Span) -> str | None:
    return None if span.end_ms >= _OPEN_MS else iso(span.end_ms)


# --- reading the file ---------------------------------------------------------------------------------------------------


class _Reader:
    """Reader of one passport file; collects all faults."""

    def __init__(self, path: Path) -> None:
        self.path, self.faults = path, list[Fault]()
        self.zone: ZoneInfo | None = None

    def fault(self, place: str, problem: str, remedy: str) -> None:
        self.faults.append(Fault(f"{self.path.name} {place}", problem, remedy))

    def text(self, place: str, entry: Mapping[str, Any], key: str, *, needed: bool = True) -> str:
        found = entry.get(key, "")
        if needed and not str(found).strip():
            self.fault(place, f"{key} is missing", "Give it as in the document")
        return str(found)

    def number(
        self, place: str, entry: Mapping[str, Any], key: str, default_value: float | None = None
    ) -> float | None:
        found = entry.get(key, default_value)
        if found is not None and (isinstance(found, bool) or not isinstance(found, int | float) or found < 0):
            self.fault(place, f"{key} = {found!r} is no number of 0 or more", "Correct it")
            return None
        return None if found is None else float(found)

    def instant(self, place: str, entry: Mapping[str, Any], key: str, *, end: bool = False) -> int:
        """An instant with offset, or a date: its midnight in the site's zone; for an end, the midnight after it."""
        found = entry.get(key)
        if found is None and end:
            return _OPEN_MS
        if isinstance(found, datetime):
            if found.tzinfo is None:
                self.fault(place, f"{key} = {found} has no zone", f"Write {found.isoformat()}+05:00, for example")
                return 0
            return from_datetime(found)
        if isinstance(found, date) and self.zone is not None:
            day = date.fromordinal(found.toordinal() + 1) if end else found
            return from_datetime(datetime.combine(day, time(), self.zone))
        self.fault(place, f"{key} is missing or no date", "Give a date, or an instant with offset")
        return 0

    def span(self, place: str, entry: Mapping[str, Any], first: str, last: str) -> Span:
        start_ms = self.instant(place, entry, first)
        end_ms = self.instant(place, entry, last, end=True)
        if end_ms < start_ms:
            self.fault(place, f"{last} lies before {first}", "Correct one of them")
            return Span(0, 0)
        return Span(start_ms, end_ms)


def load_passport(path: Path) -> Passport:
    """Read one metering point's facts from TOML. ConfigError with every fault of the file."""
    reader = _Reader(path)
    document = read_toml(path, "Name the file of the metering point's papers")
    point = table_in(document, "point", f"{path.name} point", reader.faults)
    device = reader.text("point", point, "device")
    try:
        parse_device_key(device)
    except ValueError as error:
        reader.fault("point", str(error), "Name the device as the configuration does")
    try:
        reader.zone = ZoneInfo(reader.text("point", point, "zone") or "UTC")
    except (ZoneInfoNotFoundError, ValueError):
        reader.fault("point", f"unknown zone {point.get('zone')!r}", "For example Asia/Almaty")
        reader.zone = ZoneInfo("UTC")
    register = point.get("register", "primary")
    if register not in ("primary", "secondary"):
        reader.fault("point", f"register = {register!r}", "primary or secondary")

    def entries(name: str) -> list[tuple[str, Mapping[str, Any]]]:
        tables = tables_in(document, name, f"{path.name} {name}", reader.faults)
        return [(f"{name} {number}", entry) for number, entry in enumerate(tables, 1)]

    installations = [
        Installation(
            reader.span(place, entry, "installed", "removed"), reader.text(place, entry, "serial"),
            reader.text(place, entry, "type"), reader.text(place, entry, "approval"), reader.text(place, entry, "act"),
            reader.number(place, entry, "initial_wh"), reader.number(place, entry, "final_wh"),
            reader.text(place, entry, "removal_act", needed="removed" in entry),
        )
        for place, entry in entries("installation")
    ]  # fmt: skip
    verifications = [
        Verification(
            reader.span(place, entry, "on", "expires"), reader.text(place, entry, "serial"),
            reader.text(place, entry, "certificate"), reader.text(place, entry, "by"),
        )
        for place, entry in entries("verification")
    ]  # fmt: skip
    seals = [
        Seal(reader.span(place, entry, "set", "removed"), reader.text(place, entry, "number"), reader.text(place, entry, "by"))
        for place, entry in entries("seal")
    ]  # fmt: skip
    ratios = [
        Ratio(
            reader.span(place, entry, "from", "to"), reader.number(place, entry, "ct", 1.0) or 1.0,
            reader.number(place, entry, "vt", 1.0) or 1.0, reader.text(place, entry, "act"),
        )
        for place, entry in entries("ratio")
    ]  # fmt: skip
    faults = [
        MeterFault(reader.span(place, entry, "from", "to"), reader.text(place, entry, "text"), reader.text(place, entry, "act"))
        for place, entry in entries("fault")
    ]  # fmt: skip
    passport = Passport(
        device,
        register == "primary",
        tuple(sorted(installations, key=lambda one: one.span)),
        tuple(sorted(verifications, key=lambda one: one.span)),
        tuple(sorted(seals, key=lambda one: one.span)),
        tuple(sorted(ratios, key=lambda one: one.span)),
        tuple(sorted(faults, key=lambda one: one.span)),
    )
    _across(reader, passport)
    if reader.faults:
        raise ConfigError(reader.faults)
    return passport


def _across(reader: _Reader, passport: Passport) -> None:
    """Faults between entries: overlaps, replacements without registers, unknown serials."""
    if not passport.installations:
        reader.fault("installation", "no meter is installed", "Give at least one [[installation]]")
    for name, spans in (
        ("installation", [one.span for one in passport.installations]),
        ("ratio", [one.span for one in passport.ratios]),
    ):
        for first, second in pairwise(spans):
            if first.overlap(second):
                reader.fault(name, f"two hold at {iso(second.start_ms)}", "End the earlier one before")
    for old, new in pairwise(passport.installations):
        if old.final_wh is None or new.initial_wh is None:
            reader.fault(
                f"installation {new.serial}",
                "the replacement has no registers: final_wh of the old or initial_wh of the new is missing",
                "Copy both from the act, or the energy between them is lost",
            )
    serials = {one.serial for one in passport.installations}
    for one in passport.verifications:
        if one.serial not in serials:
            reader.fault(
                f"verification {one.certificate}", f"no meter {one.serial!r} was installed", "Correct the serial"
            )
    if not passport.register_is_primary and not passport.ratios:
        reader.fault("ratio", "the register counts secondary energy and no ratio is given", "Give a [[ratio]]")
