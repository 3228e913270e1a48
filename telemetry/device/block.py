# SPDX-License-Identifier: Apache-2.0
"""Grouping of registers into the fewest read requests that a device allows, without splitting a value.

Registers are sorted by address and added to the current block as long as size and gap allow. Each block is a run of
neighbours in that order, so adding as many as possible each time gives the fewest blocks.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from telemetry.collect.source import Tier
from telemetry.device.point import Point, Register


@dataclass(frozen=True, slots=True)
class Block:
    """One read request: `count` registers (or bits, functions 1 and 2) from `address`; `unit_id` None: the device's own."""

    unit_id: int | None
    function: int
    address: int
    count: int

    def __str__(self) -> str:
        unit = "" if self.unit_id is None else f"unit {self.unit_id} "
        return f"{unit}fc{self.function} {self.address}+{self.count}"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a device: most registers in one read, and most unneeded registers between two needed ones in one read."""

    max_count: int = 125
    max_gap: int = 16


def blocks(registers: Iterable[Register], limits: Limits) -> tuple[Block, ...]:
    """Read requests that cover all registers. A value longer than `max_count` gets a request of its own size."""
    made: list[Block] = []
    run: tuple[int | None, int] | None = None
    start = end = 0
    ordered = sorted(registers, key=lambda r: (r.unit_id is not None, r.unit_id or 0, r.function, r.address, r.count))
    for register in ordered:
        key, last = (register.unit_id, register.function), register.address + register.count
        fits = key == run and register.address - end <= limits.max_gap and max(end, last) - start <= limits.max_count
        if fits:
            end = max(end, last)
            continue
        if run is not None:
            made.append(Block(*run, start, end - start))
        run, start, end = key, register.address, last
    if run is not None:
        made.append(Block(*run, start, end - start))
    return tuple(made)


def registers_of(points: Iterable[Point], tier: Tier | None = None) -> list[Register]:
    """Registers that a tier needs, scale factors included; of all tiers where `tier` is None."""
    found: list[Register] = []
    for point in points:
        if isinstance(point.at, Register) and (tier is None or point.tier is tier):
            found += [point.at, *point.also]
            if point.scale_at is not None:
                found.append(point.scale_at)
    return found
