# SPDX-License-Identifier: Apache-2.0
"""Commands around plans: what is planned, why, what would change it, what can be offered."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from hub.cli.folder import last_ms, opened, say_observing
from hub.cli.output import put_json, put_table, say
from kernel.units import W_PER_MW

if TYPE_CHECKING:
    from grid.tariff import Tariff
    from hub.config import Config
    from hub.state.fold import HubState
    from hub.state.site import SiteState
    from hub.state.situation import SiteSituation

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]
Folder = Annotated[Path, typer.Argument(help="The folder that holds hub.toml.")]
SiteName = Annotated[str | None, typer.Option("--site", help="The site's name; without it: the first.")]


class _ShowByDefault(typer.core.TyperGroup):
    """`mining-hub plan FOLDER` is `mining-hub plan show FOLDER`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)


def add_to(app: typer.Typer) -> None:
    """The commands of this room."""
    plans = typer.Typer(
        help="Plans: what is planned, why, what would change it, what can be offered.",
        cls=_ShowByDefault,
        rich_markup_mode=None,
    )
    plans.command("show")(show)
    plans.command("explain")(explain)
    plans.command("offers")(offers)
    plans.command("shadow")(shadow)
    app.add_typer(plans, name="plan")


def _planned(folder: Path, site: str | None) -> "tuple[Config, HubState, SiteState, Tariff, SiteSituation]":
    """What planning anew needs: configuration, state, site, tariff, the site at the newest instant. Raises ConfigError."""
    from hub.state.situation import Freshness, situation_at
    from hub.wiring.duties import tariff_of
    from kernel.errors import ConfigError, Fault

    config, journal, state = opened(folder)
    found = next((one for one in state.sites.values() if site in (None, one.config.name)), None)
    tariff = tariff_of(config)
    if found is None or tariff is None:
        raise ConfigError([Fault("plan", "no such site, or no tariff", "See hub.toml")])
    say_observing([found])
    return config, state, found, tariff, situation_at(state, found, last_ms(journal), Freshness.of(config))


def show(folder: Folder, json: Json = False) -> None:
    """The newest plan of each site: power, price and the binding reason of each slot, and what it is worth."""
    from hub.config.observe_only import marked
    from hub.console.text import worth
    from kernel.clock import iso

    _, _, state = opened(folder)
    say_observing(state.sites.values())
    plans = {site.key: marked(site.config, site.plan) for site in state.sites.values() if site.plan is not None}
    if json:
        put_json({"plans": plans})
        return
    for key, body in plans.items():
        gap = "-" if body["gap"] is None else f"{100 * body['gap']:.4f} %"
        title = (
            f"{key}: {body['status']} by {body['method']}, gap {gap}, made {iso(body['made_ms'])} ({body['why_now']})"
        )
        edges = body["edges_ms"]
        rows: list[tuple[Any, ...]] = []
        for at, watts in enumerate(body["power_w"]):
            if not rows or rows[-1][2] != body["reasons"][at] or abs(rows[-1][1] - watts / W_PER_MW) > 0.001:
                rows.append((iso(edges[at])[5:16], watts / W_PER_MW, body["reasons"][at]))
        put_table(title, ("from (UTC)", "MW", "why"), rows)
        say(f"worth over the horizon {worth(body)}")
    if not plans:
        say("no plan has been made yet")


def explain(folder: Folder, site: SiteName = None, json: Json = False) -> None:
    """Why each group of miners is off or on now, and what one more MW or a cheaper tariff would be worth."""
    from hub.query.plan_answers import explained

    answer = explained(*_planned(folder, site))
    if json:
        put_json(answer)
        return
    rows = [list(row.values()) for row in answer["groups"]]
    put_table(f"{answer['site']}: groups now", ("group", "on", "of", "why"), rows)
    changes = answer["what_if"]
    names = list(changes[0]) if changes else []
    put_table("What it would be worth over the horizon", names, [[change[n] for n in names] for change in changes])


def offers(
    folder: Folder,
    site: SiteName = None,
    reserve_mw: Annotated[
        float | None, typer.Option(min=0.001, help="Offer so much reserve in blocks of four hours.")
    ] = None,
    json: Json = False,
) -> None:
    """Availability per slot, the bid curve for the next auction with its deadlines, reserve prices, and what to buy ahead."""
    from hub.query.plan_answers import offered

    answer = offered(*_planned(folder, site), None if reserve_mw is None else reserve_mw * W_PER_MW)
    if json:
        put_json(answer)
        return
    rows = [
        (line["start"][5:16], *(line[name] / W_PER_MW for name in ("planned_w", "down_w", "up_w")), line["why_not_more"])
        for line in answer["availability"][:: max(1, len(answer["availability"]) // 24)]
    ]  # fmt: skip
    put_table(
        f"{answer['site']}: what can be offered", ("from (UTC)", "plan MW", "down MW", "up MW", "not more for"), rows
    )
    auction = answer["auction"]
    if auction is None:
        say("no auction holds today: name its clock in [[planning.auctions]]")
    else:
        say(f"auction of {auction['auction']} for {auction['delivery']}: bids until {auction['input_until']}")
        if auction["prepay_missed"]:
            say(f"  its prepayment was due {auction['prepay_until']}")
        put_table(
            f"Bids, {answer['currency']}/MWh and MWh",
            ("from (UTC)", "highest", "MWh", "middle", "MWh", "lowest", "MWh"),
            [
                (bid["start"][5:16], *(
                    value
                    for step in (bid["steps"][0], bid["steps"][len(bid["steps"]) // 2], bid["steps"][-1])
                    for value in (round(step["price_per_mwh"], 2), round(step["energy_mwh"], 4))
                ))
                for bid in answer["bids"]
            ],
        )  # fmt: skip
    if answer["reserve"]:
        put_table("Reserve", ("block", "MW", "least price per MW"), [
            (one["block"], one["power_w"] / W_PER_MW, one["least_price_per_mw"]) for one in answer["reserve"]
        ])  # fmt: skip
    risk = answer["tomorrow"]
    if risk is not None:
        say(
            f"bought ahead of tomorrow: worth {risk['worth']:.0f} against {risk['worth_unhedged']:.0f} bare, {answer['currency']}"
        )


def shadow(folder: Folder, site: SiteName = None, json: Json = False) -> None:
    """What commanding would have been worth at a site that only observes, by day: energy not bought less hashes not done."""
    from hub.config.observe_only import marked
    from kernel.errors import ConfigError, Fault

    config, _, state = opened(folder)
    found = next((one for one in state.sites.values() if site in (None, one.config.name)), None)
    if found is None:
        raise ConfigError([Fault("plan shadow", f"no site {site!r}", "See hub.toml")])
    say_observing([found])
    answer = found.shadow.to_json(config.prices.currency)
    if json:
        put_json(marked(found.config, {"site": found.key, **answer}))
        return
    places = {
        "hours": 1,
        "not_bought_mwh": 2,
        "not_done_ph_days": 2,
        "starts": 0,
        "energy_worth": 0,
        "hashes_worth": 0,
        "worth": 0,
    }
    rows = [
        [
            line.get("day", "all"),
            *(line[name] if line[name] is None else round(line[name], to) for name, to in places.items()),
        ]
        for line in (*answer["days"], answer["total"])
    ]
    title = f"{found.key}: energy not bought less hashes not done, {answer['currency']}"
    put_table(title, ("day", "hours", "MWh", "PH days", "starts", "saved", "lost", "worth"), rows)
    total = answer["total"]
    if total["priced_hours"] < total["hours"] - 0.05:
        say(f"money is of the {total['priced_hours']:.1f} of {total['hours']:.1f} hours whose prices were known")
    if answer["unpriced"]:
        say(f"not priced now: {answer['unpriced']}")
