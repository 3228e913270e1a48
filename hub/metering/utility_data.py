# SPDX-License-Identifier: Apache-2.0
"""Metered data of the utility: how its files are written (a TOML layout), and its figures against the hub's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from hub.config.types import Part, Zone
from hub.metering.energy import EnergyBook
from kernel.errors import ConfigError, Fault
from kernel.ids import device_key
from kernel.metric import to_canonical
from kernel.span import Span
from kernel.toml_model import checked, read_toml, within
from telemetry.energy.utility_data import Comparison, Layout, MeteredSeries, compared, slots_of


class LayoutPart(Part):
    """A file of an automated metering system. `meters` maps its names of points to ours, as `site/meter`."""

    source: str = Field(min_length=1, examples=["utility"])
    zone: Zone = Field(examples=["Asia/Almaty"])
    time_column: str
    time_format: str = Field(examples=["%d.%m.%Y %H:%M"])
    value_column: str
    unit: str = Field(examples=["kWh"])
    length_s: Literal[900, 1800, 3600]
    meters: Mapping[str, str] = Field(min_length=1)
    meter_column: str | None = None
    stamp: Literal["start", "end"] = "start"
    delimiter: str = Field(default=";", min_length=1, max_length=1)
    decimal: Literal[",", "."] = ","
    skip_lines: int = Field(default=0, ge=0)
    encoding: str = "utf-8-sig"


def load_layout(path: Path, hub: str, known: Mapping[str, object]) -> tuple[LayoutPart, Layout]:
    """Read a layout; `known` are our meters by device key. Raises ConfigError with every fault of the file."""
    part, wrong = checked(LayoutPart, read_toml(path, "Give a TOML file"))
    if part is None:
        raise ConfigError(within(f"{path.name} ", wrong))
    faults, devices = list[Fault](), dict[str, str]()
    for point, name in part.meters.items():
        site, _, meter = name.partition("/")
        key = device_key(hub, site, meter) if site and meter else name
        if key not in known:
            listed = ", ".join(sorted(one.partition("/")[2] for one in known)) or "none"
            faults.append(Fault(f"{path.name} meters.{point}", f"no meter {name!r}", f"Write one of: {listed}"))
        devices[point] = key
    try:
        to_canonical(part.unit)
    except (KeyError, ValueError):
        faults.append(Fault(f"{path.name} unit", f"{part.unit!r} is no unit of energy", "For example kWh"))
    if faults:
        raise ConfigError(faults)
    plain = part.model_dump(exclude={"source", "encoding", "meters"})
    return part, Layout(**plain, meters=devices)


def side_by_side(
    book: EnergyBook, theirs: MeteredSeries, tolerance_share: float, tolerance_wh: float
) -> list[Comparison]:
    """Theirs against ours, a comparison for each run of consecutive intervals, with what we know of ourselves."""
    passport = book.passports.get(theirs.device)
    found = []
    for slots in slots_of(theirs):
        held = (theirs.starts_ms >= slots.span.start_ms) & (theirs.starts_ms < slots.span.end_ms)
        run = MeteredSeries(theirs.device, theirs.starts_ms[held], theirs.length_ms, theirs.energy_uwh[held])
        unfit = () if passport is None else passport.unfit(slots.span)
        ours = book.energy(theirs.device, slots)
        found.append(compared(run, ours, tolerance_share=tolerance_share, tolerance_wh=tolerance_wh, unfit=unfit))
    return found


def edges(span: Span, length_ms: int) -> Span:
    """The whole intervals within a span."""
    start_ms = -(-span.start_ms // length_ms) * length_ms
    return Span(start_ms, max(start_ms, span.end_ms // length_ms * length_ms))
