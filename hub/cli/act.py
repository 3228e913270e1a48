# SPDX-License-Identifier: Apache-2.0
"""Commands that act on a running hub, through its API and a key of one's own: a dispatcher's orders."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.output import put_json, put_table, say
from kernel.actor import Channel
from kernel.units import W_PER_MW

if TYPE_CHECKING:
    from kernel.errors import Fault

Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON object on the last line.")]
Url = Annotated[str, typer.Option(envvar="MINING_HUB_URL", help="Where the hub listens.")]
Key = Annotated[
    str, typer.Option(envvar="MINING_HUB_KEY", help="An API key; best given by the environment.", show_envvar=True)
]
Site = Annotated[str, typer.Argument(help="The site's name.")]
HERE = "http://127.0.0.1:8787"


def add_to(app: typer.Typer) -> None:
    """The commands of this room."""
    dispatch = typer.Typer(help="A dispatcher's orders.", no_args_is_help=True, rich_markup_mode=None)
    dispatch.command("send")(send)
    dispatch.command("end")(end)
    dispatch.command("list")(orders)
    dispatch.command("availability")(availability)
    app.add_typer(dispatch, name="dispatch")


def ask_hub(method: str, url: str, key: str, path: str, body: Any = None, entry: Channel = Channel.COMMAND_LINE) -> Any:
    """The hub's answer as JSON. Raises ConfigError where it does not answer, or not as asked."""
    import httpx

    from hub.api.access import ENTRY_HEADER
    from hub.config.observe_only import FIELD, HEADER
    from kernel.errors import ConfigError, Fault

    try:
        answer = httpx.request(
            method,
            f"{url}/api/v1{path}",
            json=body,
            headers={"Authorization": f"Bearer {key}", ENTRY_HEADER: entry},
            timeout=30,
            trust_env=False,
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ConfigError([Fault(url, f"does not answer: {error}", "Is the hub running? Give --url")]) from None
    if answer.headers.get(HEADER) == "true":
        say(f"this site only observes ({FIELD}): nothing is commanded there")
    if answer.status_code in (200, 201, 409):
        return answer.json()
    raise ConfigError(_faults(url, path, answer))


def _faults(url: str, path: str, answer: Any) -> "list[Fault]":
    """The refusal of a hub, with its own text."""
    from kernel.errors import Fault

    try:
        reported = answer.json()
    except ValueError:
        reported = {}
    if answer.status_code in (401, 403):
        known = "Give a key with --key or MINING_HUB_KEY; `mining-hub access add` makes one of the role needed"
        return [Fault("--key", "may not do this", known)]
    if answer.status_code == 404:
        remedy = "Give a site's name, and an id as the list of such things tells it"
        return [Fault(path, str(reported.get("detail", "is not there")), remedy)]
    named = [Fault(str(f["place"]), str(f["problem"]), str(f["remedy"])) for f in reported.get("faults", [])]
    return named or [Fault(url, f"answered {answer.status_code} to {path}", "See the hub's log")]


def send(
    site: Site,
    power_w: Annotated[float, typer.Option(min=0, help="At most this much from the grid, in watts.")],
    until: Annotated[str, typer.Option(help="RFC 3339 with offset.")],
    start: Annotated[str | None, typer.Option("--from", help="RFC 3339 with offset; without it: at once.")] = None,
    reference: Annotated[str, typer.Option(help="Your own number of the order.")] = "",
    reason: Annotated[str, typer.Option()] = "",
    telephone: Annotated[bool, typer.Option("--telephone", help="It was ordered by telephone; recorded so.")] = False,
    key: Key = "",
    url: Url = HERE,
    json: Json = False,
) -> None:
    """Limit a site's power. Exit code 1 where the hub refuses, with its reason."""
    body = {"power_w": power_w, "until": until, "reference": reference, "reason": reason}
    entry = Channel.TELEPHONE if telephone else Channel.COMMAND_LINE
    line = ask_hub("POST", url, key, f"/sites/{site}/orders", body | ({"from": start} if start else {}), entry)
    _show(line, json)


def end(
    site: Site,
    order: Annotated[str, typer.Argument(help="The order's id.")],
    why: Annotated[str, typer.Option()] = "",
    key: Key = "",
    url: Url = HERE,
    json: Json = False,
) -> None:
    """Release an order, or cancel it before its start."""
    from urllib.parse import quote

    _show(ask_hub("DELETE", url, key, f"/sites/{site}/orders/{quote(order, safe='')}?why={quote(why)}"), json)


def _show(line: Any, json: bool) -> None:
    if json:
        put_json(line)
    else:
        reported = [(name, value) for name, value in line.items() if value not in ("", None, [])]
        put_table("Order", ("field", "value"), [_dated(name, value) for name, value in reported])
    if line["phase"] == "refused":
        raise typer.Exit(1)


def _dated(name: str, value: Any) -> tuple[str, Any]:
    """An instant as people read it."""
    from kernel.clock import iso

    return (name.removesuffix("_ms"), iso(value)) if name.endswith("_ms") and isinstance(value, int) else (name, value)


def orders(site: Site, key: Key = "", url: Url = HERE, json: Json = False) -> None:
    """The site's orders, newest first, with the meter's verdict."""
    lines = ask_hub("GET", url, key, f"/sites/{site}/orders")
    if json:
        put_json({"orders": lines})
        return
    rows = [
        (
            line["id"][:13],
            line["reference"],
            line["power_w"] / W_PER_MW,
            line["phase"],
            line["outcome"],
            line["obeyed_by_meter_s"],
        )
        for line in lines
    ]
    put_table("Orders", ("id", "reference", "MW", "phase", "verdict", "obeyed by meter, s"), rows)


def availability(site: Site, key: Key = "", url: Url = HERE, json: Json = False) -> None:
    """What the site can do now, up and down, and what is left out and why."""
    found = ask_hub("GET", url, key, f"/sites/{site}/availability")
    if json:
        put_json(found)
        return
    rows = [_dated(name, value) for name, value in found.items() if not isinstance(value, list)]
    rows += [("up limited by", reason) for reason in found["up_limited_by"]]
    put_table("Availability", ("what", "value"), rows)
    put_table(
        "Left out", ("reason", "units", "W"), [(e["reason"], e["units"], e["power_w"]) for e in found["excluded"]]
    )
