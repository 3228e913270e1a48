# SPDX-License-Identifier: Apache-2.0
"""Commands around billed energy: computed anew, the utility's figures against ours, every version of an interval."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hub.cli.meter_options import (
    STEPS_MS,
    Folder,
    From,
    Json,
    Meter,
    Step,
    Until,
    chosen,
    opened,
    slots_of_step,
    span_of,
)
from hub.cli.output import put_json, put_table
from kernel.units import UWH_PER_WH


def add_to(meters: typer.Typer) -> None:
    """The commands of this room, under `meters`."""
    meters.command("bill")(bill)
    meters.command("import")(import_file)
    meters.command("compare")(compare)
    meters.command("versions")(versions)


def bill(folder: Folder, start: From, end: Until, meter: Meter = None, json: Json = False) -> None:
    """Compute billed energy of a span anew: what differs from what is held becomes a further version of it."""
    from hub.metering.billing_duty import bill as put
    from hub.wiring import reading_billing
    from kernel.clock import system_clock

    config, _, book, refs = opened(folder)
    length = {900: "quarter", 1800: "half", 3600: "hour"}[config.billing.slot_s]
    slots = slots_of_step(span_of(start, end), length)
    store = reading_billing(folder / config.hub.data)
    made = {
        ref.device: put(book, store, ref.device, slots, system_clock().now_ms()) for ref in chosen(config, refs, meter)
    }
    if json:
        put_json({"slots": len(slots), "changed": made})
        return
    put_table(f"{len(slots)} slots", ("meter", "new or changed"), list(made.items()))


def import_file(
    folder: Folder,
    file: Annotated[Path, typer.Argument(help="The CSV file of the metering system.")],
    layout: Annotated[Path, typer.Option(help="How it is written: a TOML file, or its path in the site's folder.")],
    json: Json = False,
) -> None:
    """Take in the utility's figures: all of a file or, with every fault reported, nothing. The same again changes nothing."""
    from hub.config.lookup import look_up
    from hub.metering.utility_data import load_layout
    from hub.wiring import reading_billing
    from kernel.clock import system_clock
    from kernel.errors import ConfigError, Fault
    from kernel.ids import sha256_hex
    from telemetry.energy.utility_data import read_metered

    config, _, _, refs = opened(folder)
    place = layout if layout.is_file() else look_up(folder, layout)
    part, plan = load_layout(place, config.hub.name, refs)
    try:
        raw = file.read_bytes()
        text = raw.decode(part.encoding)
    except (OSError, UnicodeDecodeError, LookupError) as error:
        raise ConfigError([Fault(str(file), str(error), "Give the file; its encoding stands in the layout")]) from None
    series = read_metered(text, plan, file.name)
    data, digest = folder / config.hub.data, sha256_hex(raw)
    kept = data / "metered" / f"{digest}.csv"
    kept.parent.mkdir(parents=True, exist_ok=True)
    if not kept.exists():
        kept.write_bytes(raw)
    store, now_ms = reading_billing(data), system_clock().now_ms()
    changed = {one.device: store.put(part.source, one, now_ms, f"sha256:{digest}") for one in series}
    if json:
        put_json({"source": part.source, "sha256": digest, "changed": changed})
        return
    rows = [(one.device, len(one.starts_ms), changed[one.device]) for one in series]
    put_table(f"{file.name} as {part.source!r}", ("meter", "intervals", "new or changed"), rows)


def compare(
    folder: Folder,
    source: Annotated[str, typer.Argument(help="The source that its layout names.")],
    start: From,
    end: Until,
    meter: Meter = None,
    step: Step = "quarter",
    tolerance_pct: Annotated[float, typer.Option(min=0.0, help="Difference allowed, per cent.")] = 0.5,
    tolerance_wh: Annotated[float, typer.Option(min=0.0, help="Difference allowed in any case.")] = 1000.0,
    json: Json = False,
) -> None:
    """The utility's figures against ours, each difference with what explains it. Exit code 1 where one is unexplained."""
    from hub.metering.utility_data import side_by_side
    from hub.wiring import reading_billing
    from kernel.clock import iso
    from kernel.errors import ConfigError, Fault

    config, _, book, refs = opened(folder)
    span, store = span_of(start, end), reading_billing(folder / config.hub.data)
    if step not in STEPS_MS:
        raise ConfigError([Fault(f"--step {step}", "is none", f"Write one of: {', '.join(STEPS_MS)}")])
    answers: list[dict[str, Any]] = []
    for ref in chosen(config, refs, meter):
        theirs = store.get(source, ref.device, span, length_ms=STEPS_MS[step])
        found = [] if theirs is None else side_by_side(book, theirs, tolerance_pct / 100, tolerance_wh)
        for one in found:
            answers.append(  # noqa: PERF401 - it reads better
                {
                    "meter": one.device, "intervals": one.intervals, "ours_wh": one.ours_uwh / UWH_PER_WH,
                    "theirs_wh": one.theirs_uwh / UWH_PER_WH, "general": one.general,
                    "differences": [
                        {"from": iso(d.span.start_ms), "ours_wh": d.ours_uwh / UWH_PER_WH, "theirs_wh": d.theirs_uwh / UWH_PER_WH,
                         "difference_wh": d.difference_wh, "why": d.why or "unexplained"}
                        for d in one.discrepancies
                    ],
                }
            )  # fmt: skip
    if not answers:
        held = ", ".join(sorted({f"{row[0]} ({row[2] // 60_000} min)" for row in store.held()})) or "nothing"
        raise ConfigError([Fault(source, "holds nothing of these meters and this span", f"Held: {held}")])
    unexplained = sum(d["why"] == "unexplained" for answer in answers for d in answer["differences"])
    if json:
        put_json({"source": source, "comparisons": answers, "unexplained": unexplained})
    else:
        rows = [
            (a["meter"].partition("/")[2], a["intervals"], a["ours_wh"] / 1000, a["theirs_wh"] / 1000, len(a["differences"]))
            for a in answers
        ]  # fmt: skip
        put_table(f"{source} against ours", ("meter", "intervals", "ours kWh", "theirs kWh", "differ"), rows)
        lines = [
            (d["from"][:16], d["ours_wh"] / 1000, d["theirs_wh"] / 1000, d["why"]) for a in answers for d in a["differences"]
        ]  # fmt: skip
        if lines:
            put_table("Differences", ("from (UTC)", "ours kWh", "theirs kWh", "why"), lines)
    if unexplained:
        raise typer.Exit(1)


def versions(
    folder: Folder,
    source: Annotated[str, typer.Argument(help="`ours`, or the source of an import.")],
    meter: Annotated[str, typer.Argument(help="site/meter")],
    at: Annotated[str, typer.Argument(help="The interval's first instant.")],
    step: Step = "quarter",
    json: Json = False,
) -> None:
    """All versions of one billed interval: what was held when, and what it rests on."""
    from hub.wiring import reading_billing
    from kernel.clock import from_iso, iso

    config, _, _, refs = opened(folder)
    (ref,) = chosen(config, refs, meter)
    found = reading_billing(folder / config.hub.data).versions(source, ref.device, from_iso(at), STEPS_MS[step])
    rows = [
        {"version": version, "energy_wh": energy_uwh / UWH_PER_WH, "made": iso(made_ms), "evidence": evidence}
        for version, energy_uwh, made_ms, evidence in found
    ]
    if json:
        put_json({"meter": ref.device, "source": source, "from": at, "versions": rows})
        return
    put_table(
        f"{ref.device} at {at}, {source}", ("version", "Wh", "made", "rests on"), [tuple(row.values()) for row in rows]
    )
