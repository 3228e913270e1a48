# SPDX-License-Identifier: Apache-2.0
"""Commands that look after a hub: check a configuration, examine a folder, manage keys."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from hub.cli.output import put_json, put_table, say

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]


def add_to(app: typer.Typer) -> None:
    """The commands of this room."""
    config = typer.Typer(help="The configuration.", no_args_is_help=True, rich_markup_mode=None)
    config.command("check")(config_check)
    config.command("migrate")(config_migrate)
    app.add_typer(config, name="config")
    access = typer.Typer(help="API keys: who may see and do what.", no_args_is_help=True, rich_markup_mode=None)
    access.command("add")(access_add)
    access.command("list")(access_list)
    access.command("revoke")(access_revoke)
    app.add_typer(access, name="access")
    app.command("doctor")(doctor)
    app.command("plugins")(plugins)
    app.command("link")(link)


Config = Annotated[Path, typer.Argument(help="The hub's TOML file.")]


def config_check(path: Config, json: Json = False) -> None:
    """Every fault of the configuration and its inventories at once. Exit code 2 where there is one."""
    from hub.config import load
    from hub.wiring import catalogue, check_profiles, empty_state, passports_of
    from hub.wiring.feeds import check_feeds
    from hub.wiring.plugins import check_kinds

    config = load(path)
    check_kinds(config)
    state = empty_state(config, catalogue(config.folder))
    check_profiles(config)
    check_feeds(config, path.parent)
    passports_of(config)
    miners = sum(len(site.roster) for site in state.sites.values())
    if json:
        put_json({"ok": True, "sites": len(config.sites), "miners": miners})
    else:
        say(f"{path}: no fault; {len(config.sites)} sites, {miners} miners")


def config_migrate(
    path: Annotated[Path, typer.Argument(help="A TOML file of the hub: hub.toml, or a file of the site's folder.")],
    write: Annotated[bool, typer.Option("--write", help="Rewrite the file; the former one is kept as *.bak.")] = False,
    json: Json = False,
) -> None:
    """Renamed keys in a file: shows the changes, and writes them with --write. Comments and layout stay."""
    import difflib
    import shutil

    from hub.config.renamed import migrated
    from kernel.errors import ConfigError, Fault
    from kernel.toml_model import read_text

    before = read_text(path)
    made = migrated(before, str(path))
    kept = path.with_name(f"{path.name}.bak")
    if write and made.changed:
        if kept.exists():
            raise ConfigError(
                [Fault(str(kept), "is there already", "Move it away: it is an earlier state of the file")]
            )
        shutil.copy2(path, kept)
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(made.text.encode())
        shutil.copymode(path, part)
        part.replace(path)
    if json:
        changed = [{"from": old, "to": new} for old, new in made.changed]
        put_json({"file": str(path), "changed": changed, "written": write and bool(changed)})
        return
    if not made.changed:
        say(f"{path}: nothing to rename")
        return
    if not write:
        lines = difflib.unified_diff(
            before.splitlines(), made.text.splitlines(), str(path), f"{path} (renamed)", lineterm=""
        )
        typer.echo("\n".join(lines))
    say(f"{path}: {len(made.changed)} keys renamed{f'; former file: {kept}' if write else '; nothing written yet'}")


def doctor(
    path: Config,
    json: Json = False,
    deep: Annotated[bool, typer.Option("--deep", help="Read every stored batch and check its integrity.")] = False,
) -> None:
    """Look at what usually goes wrong: clock, disk, stores, keys, feeds, listening address. Exit code 1 on a fault."""
    from hub.config import load

    config = load(path)
    found = [*_examine(path, config), *(_integrity(path.parent / config.hub.data) if deep else ())]
    if json:
        put_json({"checks": [{"what": what, "ok": ok, "text": text} for what, ok, text in found]})
    else:
        put_table("Doctor", ("what", "well", "text"), found)
    if not all(ok for _, ok, _ in found):
        raise typer.Exit(1)


def _integrity(data: Path) -> Iterator[tuple[str, bool, str]]:
    from hub.wiring.integrity import stored_batches
    from kernel.errors import ConfigError

    try:
        yield from stored_batches(data)
    except ConfigError as error:
        yield "batches", False, str(error)


def plugins(json: Json = False) -> None:
    """Dialects, feeds, pools, rates, venues, report kinds and sinks by name, and the distribution that brings each. Exit code 1
    where one cannot be used."""
    from hub.wiring.plugins import TABLES, unreadable

    rows = [row for table in TABLES for row in table.rows()]
    if json:
        put_json({"plugins": [asdict(row) for row in rows], "unreadable": list(unreadable())})
    else:
        put_table("Plug-ins", ("what", "name", "of", "fault"), [(r.what, r.name, r.origin, r.fault) for r in rows])
        for text in unreadable():
            say(text)
    if unreadable() or any(row.fault for row in rows):
        raise typer.Exit(1)


def _plugins() -> Iterator[tuple[str, bool, str]]:
    """A line for each name that an installed distribution gives."""
    from hub.wiring.named import SHIPPED
    from hub.wiring.plugins import TABLES, unreadable

    for row in (row for table in TABLES for row in table.rows()):
        if row.origin != SHIPPED:
            yield f"plug-in {row.what} {row.name}", not row.fault, row.fault or row.origin
    for text in unreadable():
        yield "plug-in", False, text


def _examine(path: Path, config) -> Iterator[tuple[str, bool, str]]:  # type: ignore[no-untyped-def]
    import shutil

    from hub.wiring import reading, reading_ledger
    from hub.wiring.feeds import poll_once
    from hub.wiring.keeping import set_aside
    from kernel.clock import iso, system_clock
    from kernel.errors import ConfigError
    from treasury.checks import check

    now_ms = system_clock().now_ms()
    data = path.parent / config.hub.data
    yield "clock", now_ms > 1_750_000_000_000, iso(now_ms)
    usage = shutil.disk_usage(data if data.exists() else path.parent)
    yield "disk", usage.free > 2 << 30, f"{usage.free / 2**30:.1f} GiB free of {usage.total / 2**30:.1f}"
    local = config.hub.host in ("127.0.0.1", "::1", "localhost")
    yield (
        "listens",
        local,
        config.hub.host if local else f"{config.hub.host}: reachable from outside; put TLS before it",
    )
    for feed, faults, curves in poll_once(config, path.parent, now_ms):
        given = f"gives {', '.join(curves)}" if curves else "has given no curve"
        yield f"feed {feed}", not faults, "; ".join(map(str, faults)) or given
    yield from _plugins()
    if not data.exists():
        yield "data", True, "nothing yet: the hub has not run"
        return
    try:
        journal = reading(data)
        health = journal.health()
        yield "journal", True, f"{health.position} records, {health.bytes_used / 2**20:.1f} MiB"
        last = {kind: max((r.at_ms for r in journal.last(kind)), default=0) for kind in ("meter", "miner")}
        for kind, at_ms in last.items():
            yield f"last {kind}", at_ms > 0, iso(at_ms) if at_ms else "never heard"
    except ConfigError as error:
        yield "journal", False, str(error)
    try:
        findings = check(reading_ledger(data))
        yield "ledger", not findings, "intact" if not findings else "; ".join(map(str, findings))
    except ConfigError as error:
        yield "ledger", False, str(error)
    for aside, devices in set_aside(config, data):
        text = (
            f"{aside.rows} rows of {', '.join(devices[:3]) or aside.kind} set aside at {iso(aside.at_ms)}: {aside.text}"
        )
        yield f"sink {aside.sink}", False, text
    for file in [*(data / "keys").glob("*"), *(path.parent / "secrets").glob("*"), data / "access.json"]:
        if file.is_file() and file.suffix != ".pub":
            mode = file.stat().st_mode & 0o077
            yield (
                f"mode of {file.name}",
                mode == 0,
                "for the hub alone" if mode == 0 else "readable by others: chmod 600",
            )
    for name, credential in config.credentials.items():
        weak = _weak(credential, path.parent)
        yield f"password of {name}", not weak, "the maker's default: change it" if weak else "not a known default"


def _weak(credential, folder: Path) -> bool:  # type: ignore[no-untyped-def]
    from hub.config import secret

    found = secret(credential.password_env, credential.password_file, folder)
    return found in ("root", "admin", "password", "letmein", "super", "")


def access_add(
    path: Config,
    who: Annotated[str, typer.Option(help="Whose key it is.")],
    role: Annotated[str, typer.Option(help="operator, dispatcher, regulator, treasury or admin")],
    site: Annotated[list[str] | None, typer.Option(help="Sites it is for; without it: all.")] = None,
    days: Annotated[float, typer.Option(min=0.01, help="How long it holds.")] = 365.0,
) -> None:
    """Make a key. Its text is printed once and kept nowhere. A running hub knows it at once."""
    from hub.api.access import EVERY_SITE, Access, Role
    from hub.config import load
    from kernel.clock import system_clock
    from kernel.errors import ConfigError, Fault

    if role not in set(Role):
        raise ConfigError([Fault("--role", f"{role!r} is none", f"Write one of: {', '.join(Role)}")])
    data = path.parent / load(path).hub.data
    typer.echo(Access(data, system_clock()).add_key(who, Role(role), tuple(site or (EVERY_SITE,)), days))


def link(path: Config, json: Json = False) -> None:
    """Print a link that opens the page of a running hub in one browser, once, within half an hour."""
    from hub.api.access import Access
    from hub.config import load
    from kernel.address import authority
    from kernel.clock import system_clock

    hub = load(path).hub
    url = f"http://{authority(hub.host, hub.port)}/enter?token={Access(path.parent / hub.data, system_clock()).link()}"
    if json:
        put_json({"url": url})
    else:
        typer.echo(url)


def access_list(path: Config, json: Json = False) -> None:
    """All keys, without their secrets."""
    from hub.api.access import Access
    from hub.config import load
    from kernel.clock import iso, system_clock

    keys = Access(path.parent / load(path).hub.data, system_clock()).keys()
    rows: list[dict[str, Any]] = [
        {
            "id": key.id,
            "who": key.who,
            "role": str(key.role),
            "sites": list(key.sites),
            "expires": iso(key.expires_ms) if key.expires_ms else None,
            "revoked": iso(key.revoked_ms) if key.revoked_ms else None,
        }
        for key in keys
    ]
    if json:
        put_json({"keys": rows})
        return
    names = ("id", "who", "role", "sites", "expires", "revoked")
    put_table("Keys", names, [[", ".join(row[n]) if n == "sites" else row[n] for n in names] for row in rows])


def access_revoke(path: Config, key: Annotated[str, typer.Argument(help="The key's id.")]) -> None:
    """Close a key for good."""
    from hub.api.access import Access
    from hub.config import load
    from kernel.clock import system_clock

    if not Access(path.parent / load(path).hub.data, system_clock()).revoke(key):
        say(f"no key {key}")
        raise typer.Exit(1)
    say(f"{key} opens nothing any more")
