# SPDX-License-Identifier: Apache-2.0
"""Commands that study prices and plans: a backtest over history, a plan as a picture."""

from pathlib import Path
from typing import Annotated

import typer

from hub.cli.output import put_json, put_table, say

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]


def add_to(app: typer.Typer) -> None:
    """The commands of this room."""
    app.command("backtest")(backtest)
    app.command("picture")(picture)


ZONES = {
    "USD": "America/Chicago",
    "EUR": "Europe/Brussels",
    "GBP": "Europe/London",
    "KZT": "Asia/Almaty",
    "AUD": "Australia/Brisbane",
}
"""Whose days are meant where --zone does not say, by the currency; the report names the zone."""
AUCTION = r"day.?ahead|(^|[_\W])da([_\W]|$)|(^|[_\W])dam([_\W]|$)|auction|spot|omie|epex|nord.?pool"


def _siblings(prices: Path) -> tuple[Path | None, Path | None]:
    """(day-ahead prices, demand) of the same market in the same folder: `x_da_prices` and `x_load` next to `x_rt_prices`."""
    market, found, rest = prices.name.partition("_rt_")
    if not found:
        return None, None
    ahead, load = prices.parent / f"{market}_da_{rest}", prices.parent / f"{market}_load{prices.suffix}"
    return (ahead if ahead.is_file() else None), (load if load.is_file() else None)


def backtest(
    prices: Annotated[Path, typer.Option(help="Prices: Parquet or CSV, any even step that divides the hour.")],
    day_ahead: Annotated[Path | None, typer.Option(help="Day-ahead prices of the same market.")] = None,
    demand: Annotated[Path | None, typer.Option(help="Forecast of the grid's demand, for coincident peaks.")] = None,
    known: Annotated[
        str, typer.Option(help="When --prices are known: real-time, day-ahead, or auto (by name).")
    ] = "auto",
    months: Annotated[int | None, typer.Option(min=1, help="Only the first so many whole months.")] = None,
    unit: Annotated[str | None, typer.Option(help="Unit of the prices; without it, as the column is named.")] = None,
    zone: Annotated[str | None, typer.Option(help="Whose days and months; also of instants that name no zone.")] = None,
    column: Annotated[str | None, typer.Option(help="The column of prices, where the file holds several.")] = None,
    rows: Annotated[str | None, typer.Option(help="Only rows that hold this text, where series are stacked.")] = None,
    fill: Annotated[float, typer.Option(min=0, help="Fill holes of up to so many hours from the day before.")] = 0.0,
    hashprice: Annotated[float, typer.Option(min=0, help="Per PH/s and day, in money of the prices.")] = 45.0,
    demand_charge: Annotated[float, typer.Option(min=0, help="Per kW of the month's peak.")] = 6.0,
    coincident: Annotated[float, typer.Option(min=0, help="Per kW at the system's peak, June to September.")] = 15.0,
    reserve: Annotated[float, typer.Option(min=0, help="Per MW and hour of reserve held.")] = 4.0,
    seed: Annotated[int, typer.Option(min=0, help="Of simulated orders, load errors and demand.")] = 7,
    json: Json = False,
) -> None:
    """What each policy would have earned on a history, knowing at each instant only what was known then."""
    import re
    from zoneinfo import ZoneInfo

    from grid.price_table import TableFacts
    from hub.cli.price_file import curve_from
    from kernel.errors import ConfigError, Fault
    from scheduling.study.backtest import Settings, run

    if known not in ("auto", "real-time", "day-ahead"):
        raise ConfigError([Fault("--known", f"{known!r} is none of auto, real-time, day-ahead", "Give one of them")])
    try:
        local = None if zone is None else ZoneInfo(zone)
    except (KeyError, ValueError) as error:
        raise ConfigError([Fault("--zone", f"no zone {zone!r}", "Give one such as Europe/Madrid")]) from error
    asked = TableFacts(unit, column, rows, local, fill)
    real_time = curve_from(prices, "price/real_time", asked)
    siblings = _siblings(prices)
    ahead_path, demand_path = day_ahead or siblings[0], demand or siblings[1]
    likely = TableFacts(unit, zone=local, fill_h=fill)
    ahead = None if ahead_path is None else curve_from(ahead_path, "price/day_ahead", likely)
    loads = TableFacts(zone=local, fill_h=fill, name_part="demand", assumed_unit="MW")
    load = None if demand_path is None else curve_from(demand_path, "demand", loads)
    named = re.search(AUCTION, f"{prices.stem} {column or ''}", re.IGNORECASE) is not None
    settings = Settings(
        zone=zone or ZONES.get(real_time.unit[:3], "UTC"),
        hashprice=hashprice,
        demand_per_kw_month=demand_charge,
        coincident_per_kw=coincident,
        reserve_per_mwh=reserve,
        auction=known == "day-ahead" or (known == "auto" and ahead is None and named),
        seed=seed,
    )
    found = run(real_time, ahead, load, settings=settings, months=months)
    if json:
        put_json(found)
        return
    for study, body in found.items():
        if not isinstance(body, dict):
            continue
        lines = [
            (policy, part.get("value"), part.get("regret_pct"), part.get("starts_per_unit_day"))
            for policy, part in body.get("policies", {}).items()
        ]
        if lines:
            put_table(study, ("policy", "value", "regret, %", "starts per unit and day"), lines)


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
