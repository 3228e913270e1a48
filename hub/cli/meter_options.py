# SPDX-License-Identifier: Apache-2.0
"""What the commands around meters are asked with: folder, span, step, meter."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kernel.units import MS_PER_DAY, MS_PER_HOUR

if TYPE_CHECKING:
    from hub.config import Config
    from hub.metering.energy import EnergyBook
    from hub.state.meter import MeterRef
    from kernel.span import Slots, Span
    from telemetry.store.journal import Journal

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]
Folder = Annotated[Path, typer.Argument(help="The folder that holds hub.toml.")]
Meter = Annotated[str | None, typer.Option(help="site/meter; without it: all.")]
From = Annotated[str, typer.Option("--from", help="First instant, RFC 3339 with offset.")]
Until = Annotated[str, typer.Option("--until", help="RFC 3339 with offset; not included.")]
Step = Annotated[str, typer.Option(help="quarter, half, hour or day.")]

STEPS_MS = {"quarter": 900_000, "half": 1_800_000, "hour": MS_PER_HOUR, "day": MS_PER_DAY}


def opened(folder: Path) -> "tuple[Config, Journal, EnergyBook, dict[str, MeterRef]]":
    """(configuration, journal, energy, meters by device key), for reading with or without a running hub."""
    from hub.config import load
    from hub.state.meter import MeterRef
    from hub.wiring import reading, reading_book

    config = load(folder / "hub.toml", environment={})
    data = folder / config.hub.data
    journal = reading(data)
    refs = {
        f"{config.hub.name}/{site.name}/{meter.name}": MeterRef(
            f"{config.hub.name}/{site.name}/{meter.name}", meter.role, meter.feeder
        )
        for site in config.sites
        for meter in site.meters
    }
    return config, journal, reading_book(config, data, journal), refs


def chosen(config: "Config", refs: "dict[str, MeterRef]", meter: str | None) -> "list[MeterRef]":
    """The meter that was named, or all."""
    from kernel.errors import ConfigError, Fault

    if meter is None:
        return list(refs.values())
    key = f"{config.hub.name}/{meter}"
    if key not in refs:
        known = ", ".join(one.partition("/")[2] for one in refs) or "none"
        raise ConfigError([Fault(f"--meter {meter}", "no such meter", f"Write one of: {known}")])
    return [refs[key]]


def span_of(start: str, end: str) -> "Span":
    """The span that was asked for. Raises ConfigError with all that is wrong with it."""
    from kernel.clock import from_iso
    from kernel.errors import ConfigError, Fault
    from kernel.span import Span

    found, faults = [], []
    for option, text in (("--from", start), ("--until", end)):
        try:
            found.append(from_iso(text))
        except ValueError:
            faults.append(Fault(option, f"{text!r} is no instant", "Write it with its offset: 2026-11-23T00:00:00Z"))
    if not faults and found[1] <= found[0]:
        faults.append(Fault("--until", "lies not after --from", "Turn them round"))
    if faults:
        raise ConfigError(faults)
    return Span(*found)


def slots_of_step(span: "Span", step: str) -> "Slots":
    """The whole slots of a step within a span. Raises ConfigError where there is none."""
    from hub.metering.billing_duty import slots_between
    from hub.metering.utility_data import edges
    from kernel.errors import ConfigError, Fault

    if step not in STEPS_MS:
        raise ConfigError([Fault(f"--step {step}", "is none", f"Write one of: {', '.join(STEPS_MS)}")])
    inside = edges(span, STEPS_MS[step])
    if inside.end_ms <= inside.start_ms:
        raise ConfigError(
            [Fault("--from, --until", f"hold no whole {step}", "Ask for a longer span or a shorter step")]
        )
    return slots_between(inside.start_ms, inside.end_ms, STEPS_MS[step])
