# SPDX-License-Identifier: Apache-2.0
"""Commands that read a hub's folder, with or without a running hub: plan, miners, reports, ledger."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hub.cli import commissioning, feeder_mapping, field, inventories, learnt, model_names, placement, plans, tickets
from hub.cli.folder import SiteFolder, last_ms, opened, say_observing
from hub.cli.output import put_json, put_table, say
from kernel.units import HS_PER_THS

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]
Folder = Annotated[Path, typer.Argument(help="The folder that holds hub.toml.")]


def add_to(app: typer.Typer) -> None:
    """The commands of this room."""
    plans.add_to(app)
    miners = typer.Typer(help="The fleet as the journal last saw it.", no_args_is_help=True, rich_markup_mode=None)
    miners.command("list")(miners_list)
    miners.command("show")(miners_show)
    miners.command("dialects")(miners_dialects)
    field.add_to(miners)
    learnt.add_to(miners)
    model_names.add_to(miners)
    tickets.add_to(miners)
    placement.add_to(miners)
    feeder_mapping.add_to(miners)
    inventories.add_to(miners)
    commissioning.add_to(miners)
    app.add_typer(miners, name="miners")
    report = typer.Typer(help="Make, list and verify signed reports.", no_args_is_help=True, rich_markup_mode=None)
    report.command("list")(report_list)
    report.command("make")(report_make)
    report.command("energy")(report_energy)
    report.command("statement")(report_statement)
    report.command("verify")(report_verify)
    app.add_typer(report, name="report")
    ledger = typer.Typer(help="The treasury's ledger.", no_args_is_help=True, rich_markup_mode=None)
    ledger.command("balances")(ledger_balances)
    ledger.command("journal")(ledger_journal)
    ledger.command("check")(ledger_check)
    ledger.command("export")(ledger_export)
    app.add_typer(ledger, name="ledger")


def _ledger(folder: Path):  # type: ignore[no-untyped-def]
    from hub.config import load
    from hub.wiring import reading_ledger

    config = load(folder / "hub.toml", environment={})
    return config, reading_ledger(folder / config.hub.data)


def miners_list(
    folder: Folder,
    state: Annotated[str | None, typer.Option(help="Only those in this state, such as fault.")] = None,
    json: Json = False,
) -> None:
    """Each miner: state, mode, power, hashrate, and how long ago it spoke."""
    from hub.query.status import STATE_NAMES
    from hub.state.situation import Freshness, situation_at
    from kernel.errors import ConfigError, Fault

    if state not in (None, *STATE_NAMES):
        raise ConfigError([Fault(f"--state {state}", "is none", f"Write one of: {', '.join(STATE_NAMES)}")])
    config, journal, known = opened(folder)
    now_ms = journal.position() and last_ms(journal)
    say_observing(known.sites.values())
    rows: list[dict[str, Any]] = []
    for site in known.sites.values():
        now = situation_at(known, site, now_ms, Freshness.of(config))
        fleet, seen = now.fleet, now.seen
        for unit, device in enumerate(fleet.devices):
            name, mode = STATE_NAMES[int(fleet.state[unit])], int(fleet.mode[unit])
            envelope, fresh = site.roster.envelope(unit), bool(fleet.fresh[unit])
            if state in (None, name):
                rows.append(
                    {
                        "device": device,
                        "model": envelope.model,
                        "feeder": site.roster.feeder_names[int(site.roster.feeder[unit])],
                        "owner": site.register.miners[unit].owner,
                        "state": name,
                        "observe_only": site.config.observe_only,
                        "mode": envelope.names[mode] if fresh and mode >= 0 else None,
                        "power_w": float(fleet.power_w[unit]) if fresh else None,
                        "counted_w": float(fleet.power_w[unit]),
                        "hashrate_hs": float(fleet.hashrate_hs[unit]) if fresh else None,
                        "heard_s": (now_ms - int(seen.at_ms[unit])) / 1000.0 if seen.at_ms[unit] else None,
                    }
                )
    if json:
        put_json({"as_of_ms": now_ms, "miners": rows})
        return
    owned = any(row["owner"] for row in rows)
    table = [
        (
            row["device"].rpartition("/")[2] if len(known.sites) == 1 else row["device"],
            row["model"], row["feeder"], row["state"], row["mode"],
            None if row["power_w"] is None else round(row["power_w"]),
            None if row["hashrate_hs"] is None else round(row["hashrate_hs"] / HS_PER_THS, 1),
            None if row["heard_s"] is None else round(row["heard_s"]), *([row["owner"]] if owned else []),
        )
        for row in rows
    ]  # fmt: skip
    columns = ["device", "model", "feeder", "state", "mode", "W", "TH/s", "age s", *(["owner"] if owned else [])]
    put_table(f"{len(rows)} miners", columns, table)


def miners_show(
    folder: Folder,
    device: Annotated[str, typer.Argument(help="hub/site/device, or its name where no other site has one so named.")],
    json: Json = False,
) -> None:
    """Last values of one miner, its capabilities and its performance reference, as far as they are known."""
    from hub.config.observe_only import marked
    from hub.control.interlock import place_line
    from hub.query.learnt import envelope_json, usual_json
    from kernel.clock import iso
    from kernel.errors import ConfigError, Fault
    from kernel.reading import Missing

    _, _, state = opened(folder)
    table = state.snapshot.kind("miner")
    named = [(key, site) for site in state.sites.values() for key in site.roster.devices if _is_named(key, device)]
    if len(named) != 1:
        problem = "is in no inventory" if not named else f"is a miner of {len(named)} sites"
        raise ConfigError([Fault(device, problem, "See `mining-hub miners list`; write hub/site/device")])
    key, site = named[0]
    found = table.reading(key) if key in table.index else None
    reported = {} if found is None else found.values
    values = {
        name: f"missing: {value.reason.name.lower()} {value.detail}".strip() if isinstance(value, Missing) else value
        for name, value in sorted(reported.items())
    }
    can = envelope_json(site.envelope(key))
    usual = usual_json(site.usual, site.roster.index[key], found)
    place, at = place_line(state, site, key), None if found is None else iso(found.at_ms)
    say_observing([site])
    if json:
        answer = {"device": key, "at": at, "place": place, "values": values, "envelope": can, "performance": usual}
        put_json(marked(site.config, answer))
        return
    put_table("Where it stands, and whose it is", ("what", "value"), [(k, v) for k, v in place.items() if v])
    plain = [(name, _worded(name, value)) for name, value in values.items() if not _listed(value)]
    put_table(f"{key}, last reading {at or 'never'}", ("metric", "value"), plain)
    for name, value in values.items():
        if rows := _listed(value):
            columns = list(dict.fromkeys(column for row in rows for column in row))
            put_table(name.removesuffix("_json"), columns, [[_short(row.get(one)) for one in columns] for row in rows])
    modes = {
        f"mode {name}": f"{mode['power_w']:.0f} W, {mode['hashrate_hs'] / HS_PER_THS:.1f} TH/s"
        for name, mode in can.pop("modes").items()
    }
    put_table("What it can do", ("what", "value"), list({**modes, **can}.items()))
    if usual is not None:
        title = f"What is usual in its normal mode, over {usual.pop('days')} days"
        lines = [(name, _worded(name, one["reference"]), _worded(name, one["now"])) for name, one in usual.items()]
        put_table(title, ("what", "usual", "now"), lines)


def _is_named(key: str, name: str) -> bool:
    return name in (key, key.rpartition("/")[2])


def _listed(value: Any) -> list[dict[str, Any]]:
    """The rows of a text that is a JSON list of objects (boards, pools); empty for anything else."""
    if not isinstance(value, str) or not value.startswith("[{"):
        return []
    import orjson

    rows = orjson.loads(value)
    return [{name: _worded(name, one) for name, one in row.items()} for row in rows if isinstance(row, dict)]


def _worded(name: str, value: Any) -> Any:
    """Hashes as people say them."""
    return f"{value / HS_PER_THS:,.2f} TH/s" if name.endswith("_hs") and isinstance(value, int | float) else value


def miners_dialects(folder: SiteFolder = Path(), json: Json = False) -> None:
    """What each firmware speaks and can do."""
    from hub.config.lookup import listed
    from hub.config.renamed import current
    from miner_control.inventory.dialect_matrix import dialect_matrix

    rows = dialect_matrix(current(listed(folder, "profiles/firmware")))
    if json:
        put_json({"dialects": rows})
        return
    from shutil import get_terminal_size

    # What each can do stands below its name: as many side by side as the terminal is wide.
    columns = max(1, (get_terminal_size().columns - 26) // 22)
    for at in range(0, len(rows), columns):
        some = rows[at : at + columns]
        lines = [
            [name.replace("_", " "), *(_short(row[name]) for row in some)] for name in rows[0] if name != "dialect"
        ]
        put_table("Dialects and capabilities", ["", *(str(row["dialect"]) for row in some)], lines)


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return "; ".join(f"{name}: {one}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list | tuple | set | frozenset) else value


def report_list(folder: Folder, json: Json = False) -> None:
    """The reports of a hub's folder."""
    from hub.config import load
    from hub.reports.store import ReportStore
    from hub.wiring import reading_ledger
    from kernel.clock import system_clock

    config = load(folder / "hub.toml", environment={})
    data = folder / config.hub.data
    report_store = ReportStore(reading_ledger(data), data, system_clock())
    lines = {line["id"]: line for site in config.sites for line in report_store.lines(site.name)}
    if json:
        put_json({"reports": list(lines.values())})
        return
    rows = [(line["id"], line["kind"], ", ".join(line["files"]), line["signed_by"][:16]) for line in lines.values()]
    put_table("Reports", ("id", "kind", "files", "key"), rows)


def _span(start: str, end: str):  # type: ignore[no-untyped-def]
    from kernel.clock import from_iso
    from kernel.errors import ConfigError, Fault
    from kernel.span import Span

    try:
        return Span(from_iso(start), from_iso(end))
    except ValueError as error:
        raise ConfigError([Fault("--from/--until", str(error), "Write 2026-03-02T00:00:00+05:00")]) from None


From = Annotated[str, typer.Option("--from", help="RFC 3339 with offset.")]
Until = Annotated[str, typer.Option("--until", help="RFC 3339 with offset; not included.")]


def report_energy(
    folder: Folder,
    site: Annotated[str, typer.Argument(help="The site's name.")],
    start: From,
    end: Until,
    json: Json = False,
) -> None:
    """Energy of a site by its meters, hour by hour: JSON, CSV and signature."""
    from hub.reports.site_energy import REPORT

    _made(_make(folder, REPORT, start, end, site), json)


def report_statement(folder: Folder, start: From, end: Until, json: Json = False) -> None:
    """The treasury's statement of a period, from the ledger alone: JSON, CSV and signature."""
    from hub.reports.treasury_statement import REPORT

    _made(_make(folder, REPORT, start, end), json)


def report_make(
    folder: Folder,
    kind: Annotated[str, typer.Argument(help="The report's name; `mining-hub plugins` lists them.")],
    start: From,
    end: Until,
    site: Annotated[str | None, typer.Option(help="The site's name, for a report of one site.")] = None,
    json: Json = False,
) -> None:
    """A report of any kind, a plug-in's too: JSON, CSV and signature."""
    _made(_make(folder, kind, start, end, site), json)


def _make(folder: Path, kind: str, start: str, end: str, site: str | None = None) -> Any:
    from hub.reports.kind import ReportSources
    from hub.reports.store import ReportStore
    from hub.wiring import reading_book, reading_ledger
    from hub.wiring.plugins import REPORTS
    from kernel.clock import system_clock
    from kernel.errors import ConfigError, Fault

    report = REPORTS.find(kind, "report")
    config, journal, state = opened(folder)
    names = ", ".join(one.name for one in config.sites)
    of_site = state.sites.get(f"{config.hub.name}/{site}") if site is not None else None
    if of_site is None and (site is not None or report.scope == "site"):
        problem = "no such site" if site is not None else f"{kind} is a report of one site"
        raise ConfigError([Fault(site or "--site", problem, f"Write one of: {names}")])
    data = folder / config.hub.data
    ledger, book = reading_ledger(data), reading_book(config, data, journal)
    sources = ReportSources(config.hub.name, ledger, book, of_site, journal.position())
    return ReportStore(ledger, data, system_clock()).make(report, sources, _span(start, end))


def _made(made: Any, json: bool) -> None:
    if json:
        put_json({"id": made.id, "sha256": made.sha256, "files": [str(made.json), str(made.csv), str(made.sig)]})
    else:
        say(f"{made.json}\n{made.csv}\n{made.sig}\nSHA-256 {made.sha256}")


def report_verify(
    path: Annotated[Path, typer.Argument(help="Any file of the report.")],
    key: Annotated[Path | None, typer.Option(help="The hub's public key, from elsewhere than the report.")] = None,
    json: Json = False,
) -> None:
    """Check a report's bytes against its signature. Exit code 1 where they do not fit."""
    from hub.reports.verify import verify_report
    from hub.wiring.plugins import REPORTS

    verdict = verify_report(path, REPORTS, key)
    if json:
        put_json(
            {
                "signature": verdict.signature,
                "reason": verdict.reason,
                "key_id": verdict.key_id,
                "trusted": verdict.trusted,
            }
        )
    else:
        say(f"{verdict.signature}: {verdict.reason} (key {verdict.key_id or 'none'})")
    if verdict.signature != "valid":
        raise typer.Exit(1)


def ledger_balances(folder: Folder, json: Json = False) -> None:
    """Each account, both sides and net."""
    from treasury.listing import balance_rows

    _, ledger = _ledger(folder)
    _rows("Balances", balance_rows(ledger), json, "balances")


def ledger_journal(folder: Folder, json: Json = False) -> None:
    """Every transfer, oldest first."""
    from treasury.listing import SHOWN, journal_rows

    _, ledger = _ledger(folder)
    rows = list(journal_rows(ledger))
    if json:
        put_json({"transfers": rows})
        return
    shown = [[row[column] for column in SHOWN] for row in rows if row["entry"] == "transfer"]
    put_table("Transfers", SHOWN, shown)


def ledger_check(folder: Folder, json: Json = False) -> None:
    """All invariants over the whole ledger. Exit code 1 where one is broken."""
    from treasury.listing import check_report

    _, ledger = _ledger(folder)
    found = check_report(ledger)
    if json:
        put_json(found)
    else:
        put_table("Check", ("what", "result"), [(key, _short(value)) for key, value in found.items()])
    if found.get("findings"):
        raise typer.Exit(1)


def ledger_export(
    folder: Folder, form: Annotated[str, typer.Option("--as", help="hledger, ledger or beancount")] = "hledger"
) -> None:
    """The whole ledger as a plain-text journal, in whole smallest units."""
    from treasury.export import export

    _, ledger = _ledger(folder)
    for line in export(ledger, form):
        typer.echo(line)


def _rows(title: str, rows: Any, json: bool, name: str) -> None:
    found = list(rows)
    if json:
        put_json({name: found})
        return
    columns = list(found[0]) if found else []
    put_table(title, columns, [[_short(row[column]) for column in columns] for row in found])
