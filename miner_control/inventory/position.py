# SPDX-License-Identifier: Apache-2.0
"""Positions of miners as dated facts: by address plan, by IP-report buttons, by rack pulses.

A rack pulse proves the rack's feeder by that feeder's meter."""

import ipaddress
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from kernel.errors import ConfigError, Fault
from miner_control.fleet.fleet import Floats
from miner_control.inventory.asset_register import AssetRegister, Fact
from miner_control.inventory.spreadsheet import rows_of

LEAST_SIGMAS: Final = 4.0
"""A pulse must exceed a meter's noise by this many standard deviations."""


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One rack of an address plan: consecutive addresses from `first`, one per slot."""

    first: str
    slots: int
    rack: str
    feeder: str


PLAN_COLUMNS: Final = ("first", "slots", "rack", "feeder")


def read_plan(text: str, place: str, feeders: Collection[str]) -> list[PlanRow]:
    """An address plan from CSV (`PLAN_COLUMNS`). Raises ConfigError with every fault: invalid addresses, rows that overlap,
    feeders that the site does not have."""
    faults: list[Fault] = []
    rows: list[PlanRow] = []
    spans: list[tuple[int, int, int, str]] = []
    for line, row in enumerate(rows_of(text), start=2):
        where = f"{place}:{line}"
        held = {column: str(row.get(column) or "").strip() for column in PLAN_COLUMNS}
        empty = [column for column, value in held.items() if not value]
        faults += [Fault(f"{where} {column}", "is empty", "Fill it in") for column in empty]
        if empty:
            continue
        try:
            first = ipaddress.ip_address(held["first"])
        except ValueError:
            faults.append(Fault(f"{where} first", f"{held['first']!r} is no address", "Write the rack's first address"))
            continue
        if not held["slots"].isdigit() or not 1 <= int(held["slots"]) <= 65_536:
            faults.append(Fault(f"{where} slots", f"{held['slots']!r} is no number of 1 to 65536", "Count the slots"))
            continue
        if held["feeder"] not in feeders:
            known = ", ".join(sorted(feeders))
            faults.append(Fault(f"{where} feeder", f"no feeder {held['feeder']!r}", f"Write one of: {known}"))
        spans.append((first.version, int(first), int(first) + int(held["slots"]), where))
        rows.append(PlanRow(held["first"], int(held["slots"]), held["rack"], held["feeder"]))
    spans.sort()
    faults += [
        Fault(here, f"its addresses are also those of {other}", "Correct first or slots")
        for (version, _, end, other), (next_version, start, _, here) in pairwise(spans)
        if version == next_version and start < end
    ]
    if not rows and not faults:
        faults.append(Fault(place, "holds no row", f"Write the columns {', '.join(PLAN_COLUMNS)}"))
    if faults:
        raise ConfigError(faults)
    return rows


def by_address(register: AssetRegister, plan: Sequence[PlanRow], at_ms: int) -> tuple[list[Fact], list[str]]:
    """(facts, devices whose address is in no row) from an address plan."""
    spans = [(int(ipaddress.ip_address(row.first)), row) for row in plan]
    facts: list[Fact] = []
    lost: list[str] = []
    for miner in register.miners:
        try:
            at = int(ipaddress.ip_address(miner.host))
        except ValueError:
            lost.append(miner.device)
            continue
        row = next(((first, row) for first, row in spans if first <= at < first + row.slots), None)
        if row is None:
            lost.append(miner.device)
            continue
        first, held = row
        for what, value in (("rack", held.rack), ("position", str(at - first + 1)), ("feeder", held.feeder)):
            facts.append(Fact(miner.device, what, value, at_ms, "address plan"))
    return facts, lost


@dataclass(frozen=True, slots=True)
class Press:
    """A pressed IP-report button of a miner: the address and MAC it sent, and the time."""

    host: str
    mac: str
    at_ms: int


_ADDRESS = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d{1,3}){3})(?![\d.])")
_MAC = re.compile(r"(?i)\b([0-9a-f]{2}(?:[:-][0-9a-f]{2}){5})\b")


def read_press(payload: bytes, sender: str, at_ms: int) -> Press | None:
    """A report as sent by makers (`10.0.0.5,AA:BB:CC:00:11:22`, `IP:10.0.0.5MAC:aa:bb:...`); None for anything else.

    The address in the report has priority over the sender's: reports may be relayed.
    """
    text = payload[:512].decode("ascii", "replace").replace("\x00", " ")
    mac = _MAC.search(text)
    if mac is None:
        return None
    address = _ADDRESS.search(text)
    host = address[1] if address is not None and all(int(part) < 256 for part in address[1].split(".")) else sender
    return Press(host, mac[1].lower().replace("-", ":"), at_ms)


def by_presses(
    register: AssetRegister, presses: Sequence[Press], slots: Sequence[tuple[str, str, str]]
) -> tuple[list[Fact], list[Fault]]:
    """Facts from pressing one button at each of `slots` (rack, position, feeder), in that order.

    A button pressed twice in a row counts once. Too few or too many presses, an unknown miner, or one pressed at two slots
    is a fault and that place stays unknown: a wrong place is worse than none.
    """
    walked: list[Press] = []
    for press in sorted(presses, key=lambda one: one.at_ms):
        if not walked or walked[-1].mac != press.mac:
            walked.append(press)
    faults: list[Fault] = []
    if len(walked) != len(slots):
        text = f"{len(walked)} buttons were pressed for {len(slots)} slots"
        return [], [Fault("button walk", text, "Walk the rack again; press each button once")]
    times = Counter(press.mac for press in walked)
    by_mac = {miner.mac: miner for miner in register.miners if miner.mac}
    by_host = {miner.host: miner for miner in register.miners}
    facts: list[Fact] = []
    for press, (rack, position, feeder) in zip(walked, slots, strict=True):
        miner = by_mac.get(press.mac) or by_host.get(press.host)
        if miner is None:
            faults.append(
                Fault(f"slot {rack}/{position}", f"{press.mac} at {press.host} is not in the register", "Scan first")
            )
            continue
        if times[press.mac] > 1:
            text = f"{miner.device} was pressed here and at another slot"
            faults.append(Fault(f"slot {rack}/{position}", text, "Walk these slots again"))
            continue
        for what, value in (("rack", rack), ("position", position), ("feeder", feeder)):
            facts.append(Fact(miner.device, what, value, press.at_ms, "IP-report button"))
    return facts, faults


@dataclass(frozen=True, slots=True)
class PulseResult:
    """Reading of the meters in a pulse: the feeder that moved ("": none clearly), its fall against the expected one, and the
    ratio of the fall to the noise (standard deviations)."""

    rack: str
    declared: str
    feeder: str
    moved_w: float
    expected_w: float
    noise_ratio: float

    @property
    def agrees(self) -> bool:
        return self.feeder == self.declared and 0.7 <= self.moved_w / self.expected_w <= 1.3


def judge_pulse(
    rack: str,
    declared: str,
    expected_w: float,
    feeders: Sequence[str],
    before_w: Floats,
    during_w: Floats,
    after_w: Floats,
) -> PulseResult:
    """The feeder that fell while a rack was off. `before_w`, `during_w`, `after_w` are meter samples, shape [feeder, sample].

    The fall is measured against both sides, so that a drift over the pulse cancels; noise is the scatter on each side.
    """
    level = (np.median(before_w, axis=1) + np.median(after_w, axis=1)) / 2.0
    fall = level - np.median(during_w, axis=1)
    noise = np.sqrt(
        (np.var(before_w, axis=1) + np.var(after_w, axis=1)) / 4.0 / max(1, min(before_w.shape[1], after_w.shape[1]))
        + np.var(during_w, axis=1) / max(1, during_w.shape[1])
    )
    noise_ratio = fall / np.maximum(noise, 1.0)
    best = int(np.argmax(fall))
    clear = noise_ratio[best] >= LEAST_SIGMAS and fall[best] >= 0.3 * expected_w
    return PulseResult(
        rack, declared, feeders[best] if clear else "", float(fall[best]), expected_w, float(noise_ratio[best])
    )


def mismatches(results: Sequence[PulseResult]) -> list[Fault]:
    """Racks on another feeder than the register's, or whose power does not fit."""
    faults = []
    for one in results:
        if one.agrees:
            continue
        if not one.feeder:
            problem = f"no feeder moved clearly (most: {one.moved_w:.0f} W of {one.expected_w:.0f} W expected)"
        elif one.feeder != one.declared:
            problem = f"is on {one.feeder}, the register has {one.declared or 'none'}"
        else:
            problem = (
                f"moved {one.moved_w:.0f} W on {one.feeder}, not {one.expected_w:.0f} W: not all its miners are there"
            )
        faults.append(Fault(f"rack {one.rack}", problem, "Look at the rack, correct the register, pulse again"))
    return faults


def facts_of_pulses(results: Sequence[PulseResult], racks: Mapping[str, Sequence[str]], at_ms: int) -> list[Fact]:
    """The feeders that pulses have proven, as facts of each miner of the rack."""
    return [
        Fact(device, "feeder", one.feeder, at_ms, "rack pulse")
        for one in results
        if one.feeder
        for device in racks.get(one.rack, ())
    ]
