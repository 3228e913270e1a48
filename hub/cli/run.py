# SPDX-License-Identifier: Apache-2.0
"""Commands that run something: a demonstration, a hub, a twin, a simulation, a replay."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hub.cli.output import put_json, put_table, say

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]


def add_to(app: typer.Typer) -> None:
    """The commands of this room."""
    app.command("demo")(demo)
    app.command("run")(run)
    app.command("twin")(twin)
    app.command("simulate")(simulate)
    app.command("replay")(replay)


def _figure_rows(found: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """(of, figure, value) of a run's figures; a list has a row for each of its entries."""
    from hub.settlement.duty import open_text

    rows: list[tuple[str, str, Any]] = []
    for name, part in found.items():
        for key, value in part.items() if isinstance(part, dict) else ():
            if not isinstance(value, list):
                rows.append((name, key, value))
                continue
            texts = [open_text(entry) if key == "waiting" else str(entry) for entry in value]
            rows += [(name, key, text) for text in texts or ["none"]]
    return rows


def _log_to_stderr() -> None:
    import logging
    import sys

    import structlog

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )


def demo(
    miners: Annotated[int, typer.Option(min=1, max=20_000, help="Simulated miners.")] = 300,
    seconds: Annotated[float | None, typer.Option(min=20, help="End after so long; without it: until Ctrl-C.")] = None,
    headless: Annotated[bool, typer.Option("--headless", help="No page is announced; needs --seconds.")] = False,
    folder: Annotated[Path, typer.Option(help="Where configuration, journal and ledger go.")] = Path("demo-data"),
    port: Annotated[int, typer.Option(help="Port of the page and API on 127.0.0.1; 0: any free one.")] = 0,
    seed: Annotated[int, typer.Option(help="Fixes the simulated site.")] = 1,
    pace: Annotated[float, typer.Option(min=1, help="How much faster than real the miners ramp.")] = 20.0,
    json: Json = False,
) -> None:
    """The main job on a simulated site, over real protocols: collect, plan, command, obey, settle, report."""
    import uvloop

    from hub.app.demo import DemoOptions, run_demo
    from kernel.errors import ConfigError, Fault

    if headless and seconds is None:
        raise ConfigError([Fault("--headless", "a demonstration without page and without end", "Add --seconds")])
    _log_to_stderr()
    options = DemoOptions(miners, seconds, folder, port, seed, pace, headless)
    tell = say if headless or json else typer.echo
    try:
        found = uvloop.run(run_demo(options, tell))
    except KeyboardInterrupt:
        say("stopped")
        return
    if found is not None and json:
        put_json(found)
    elif found is not None:
        put_table("What the demonstration did", ("of", "figure", "value"), _figure_rows(found))


def run(
    config: Annotated[Path, typer.Argument(help="The hub's TOML file.")],
    port: Annotated[int | None, typer.Option(help="Overrides hub.port.")] = None,
) -> None:
    """Run a hub until it is stopped. Prints one link for the page."""
    import uvloop

    from hub.app.demo import raise_file_limit
    from hub.app.live import serve_until_stopped
    from hub.config import load

    _log_to_stderr()
    loaded = load(config, flags={} if port is None else {"hub.port": port})
    raise_file_limit()
    uvloop.run(serve_until_stopped(loaded, config.parent, typer.echo))


def twin(
    spec: Annotated[Path | None, typer.Argument(help="A spec as JSON; without it: defaults.")] = None,
    ready: Annotated[Path | None, typer.Option(help="Write what it serves to this file.")] = None,
    miners: Annotated[int, typer.Option(min=0, max=100_000)] = 100,
    seed: int = 1,
    pace: Annotated[float, typer.Option(min=0.001)] = 1.0,
    control_port: Annotated[int | None, typer.Option(help="Open the control channel (0: any free port).")] = None,
) -> None:
    """Serve a simulated site on loopback sockets until it is stopped."""
    from hub.app.demo import serve_twin

    text = None if spec is None else spec.read_bytes()
    serve_twin(text, ready, miners=miners, seed=seed, pace=pace, control_port=control_port)


def simulate(
    days: Annotated[float, typer.Option(min=0.01, max=366)] = 1.0,
    seed: Annotated[int, typer.Option()] = 1,
    miners: Annotated[int, typer.Option(min=1, max=100_000)] = 1000,
    folder: Annotated[
        Path | None, typer.Option(help="Keep journal and ledger here; without it they are let go.")
    ] = None,
    json: Json = False,
) -> None:
    """Live a day (or more) of a simulated hub in virtual time: the same bytes for the same seed."""
    from hub.app.simulate import simulate as live_through

    _log_to_stderr()
    found = live_through(days, seed, miners, folder)
    if json:
        put_json(found)
        return
    put_table(f"{days:g} days, seed {seed}", ("of", "figure", "value"), _figure_rows(found))


def replay(
    folder: Annotated[Path, typer.Argument(help="A folder with hub.toml and its data.")],
    json: Json = False,
) -> None:
    """Feed what was heard and compare what was commanded. Exit code 1 names the first difference."""
    from hub.app.replay import replay_folder

    found = replay_folder(folder)
    if json:
        put_json(found.to_json())
    else:
        say(found.text())
    if found.difference is not None:
        raise typer.Exit(1)
