# SPDX-License-Identifier: Apache-2.0
"""Commands that study prices and plans: a backtest over history, a plan as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.output import put_json, put_table, say

if TYPE_CHECKING:
    from kernel.curve import Curve

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]


def add_to(app: typer.Typer) -> None:
    """The commands of this room."""
    app.command("backtest")(backtest)
    app.command("picture")(picture)


def _curve(path: Path, name: str, unit: str) -> "Curve":
    """A price file (Parquet or CSV: an instant column and a number column) as a curve."""
    import numpy as np

    from kernel.errors import ConfigError, Fault
    from scheduling.price_table import curve_of

    if not path.is_file():
        raise ConfigError([Fault(str(path), "no such file", "Give a Parquet or CSV file")])
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(path)
        columns: dict[str, Any] = {}
        for column in table.column_names:
            columns[column] = table[column].to_pandas().to_numpy()
        if not any(np.issubdtype(np.asarray(c).dtype, np.datetime64) for c in columns.values()):
            frame = table.to_pandas()
            if frame.index.name or frame.index.dtype.kind == "M":
                columns = {"instant": frame.index.to_numpy(), **{c: frame[c].to_numpy() for c in frame.columns}}
        return curve_of(columns, name=name, unit=unit, source=path.name)
    import csv

    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    texts = {column: np.array([row[column] for row in rows]) for column in (rows[0] if rows else {})}
    return curve_of(texts, name=name, unit=unit, source=path.name)


def _beside(given: Path | None, prices: Path, name: str) -> Path | None:
    """A file that was named, or its usual sibling in the same folder."""
    sibling = prices.parent / name
    return given or (sibling if sibling.is_file() else None)


def backtest(
    prices: Annotated[Path, typer.Option(help="Real-time prices, 15 min.")],
    day_ahead: Annotated[Path | None, typer.Option(help="Day-ahead prices, 1 h.")] = None,
    demand: Annotated[Path | None, typer.Option(help="Forecast of the grid's demand, for coincident peaks.")] = None,
    months: Annotated[int | None, typer.Option(min=1, help="Only the first so many whole months.")] = None,
    unit: Annotated[str, typer.Option(help="Unit of the prices.")] = "USD/MWh",
    json: Json = False,
) -> None:
    """What each policy would have earned on a history, knowing at each instant only what was known then."""
    from scheduling.backtest import run

    real_time = _curve(prices, "price/real_time", unit)
    ahead_path, demand_path = (
        _beside(day_ahead, prices, "ercot_da_prices.parquet"),
        _beside(demand, prices, "ercot_load.parquet"),
    )
    ahead = None if ahead_path is None else _curve(ahead_path, "price/day_ahead", unit)
    load = None if demand_path is None else _curve(demand_path, "demand", "MW")
    found = run(real_time, ahead, load, months=months)
    if json:
        put_json(found)
        return
    for study, body in found.items():
        if not isinstance(body, dict):
            continue
        rows = [
            (policy, part.get("value"), part.get("regret_pct"), part.get("starts_per_unit_day"))
            for policy, part in body.get("policies", {}).items()
        ]
        if rows:
            put_table(study, ("policy", "value", "regret, %", "starts per unit and day"), rows)


def picture(
    folder: Annotated[Path, typer.Argument(help="The folder that holds hub.toml.")],
    out: Annotated[Path, typer.Option(help="Ends in .png or .svg.")] = Path("plan.png"),
    site: Annotated[str | None, typer.Option(help="The site's name; without it: the first.")] = None,
) -> None:
    """The newest plan against price and limit, as a picture."""
    from hub.config import load
    from hub.reports.plan_picture import plan_picture
    from hub.wiring import folded, reading
    from kernel.errors import ConfigError, Fault

    config = load(folder / "hub.toml", environment={})
    chosen = next((one for one in config.sites if site in (None, one.name)), None)
    if chosen is None or out.suffix not in (".png", ".svg"):
        raise ConfigError([Fault("--site/--out", "no such site, or neither .png nor .svg", "See hub.toml")])
    state = folded(config, reading(folder / config.hub.data))
    plan = state.sites[f"{config.hub.name}/{chosen.name}"].plan
    if plan is None:
        raise ConfigError([Fault(chosen.name, "has no plan yet", "Run the hub with prices and a tariff")])
    out.write_bytes(plan_picture(plan, "png" if out.suffix == ".png" else "svg", zone=chosen.zone))
    say(str(out))
