# SPDX-License-Identifier: Apache-2.0
"""A site that only observes, through its sockets: orders refused by every way, nothing offered, the fact in every answer;
and what becomes of orders that were accepted before."""

import asyncio
import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from grid.order import read_order
from grid.order_book import Authority, OrderBook
from grid.signature import sign
from hub.app.live import Running, start
from hub.cli.app import app
from hub.config import load
from hub.config.observe_only import FIELD, HEADER
from hub.journal.recorder import Recorder, at_once
from hub.wiring import reading
from kernel.clock import Clock, iso, system_clock
from kernel.event import Event
from telemetry.io.journal_sqlite import open_journal
from tests.builders.dispatcher import Dispatcher
from tests.builders.signing import SEED, public_key
from tests.hub_site import World, until, world

SITE = "alatau/north"
BY = Authority("control-room", (SITE,))
HOUR_MS = 3_600_000
DISPATCHER = f'\n[[dispatchers]]\nname = "room"\npublic_key = "{public_key()}"\n'
REFUSED = "north only observes (observe_only): it carries out no order"


def observing(site: World, fact: bool) -> Any:
    text = site.config.read_text().replace("[[sites]]\nobserve_only = true", "[[sites]]")
    site.config.write_text(text.replace("[[sites]]", "[[sites]]\nobserve_only = true", 1) if fact else text)
    return load(site.config, environment={})


def ask(site: World, method: str, path: str, body: Any = None) -> tuple[int, str | None, Any]:
    """(status, what its header says of observing, body)."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{site.port}{path}",
        data=None if body is None else json.dumps(body).encode(),
        method=method,
        headers={"Authorization": f"Bearer {site.key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            status, head, raw = answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        status, head, raw = error.code, error.headers, error.read()
    text = raw.decode()
    return status, head.get(HEADER), json.loads(text) if "json" in head.get("Content-Type", "") else text


def order(power_w: float, reference: str, start_ms: int | None = None, hours: float = 1.0) -> dict[str, Any]:
    begin_ms = system_clock().now_ms() if start_ms is None else start_ms
    until_ms = begin_ms + round(hours * HOUR_MS)
    return {"scope": SITE, "power_w": power_w, "from": iso(begin_ms), "until": iso(until_ms), "reference": reference}


def events(hub: Running, *kinds: str) -> list[tuple[int, Event]]:
    return list(hub.hub.components.recorder.journal.events(list(kinds)))


@pytest.mark.timeout(240)
def test_orders_are_refused_by_every_way_and_every_answer_names_the_fact(tmp_path: Path) -> None:
    async def main(site: World) -> None:
        site.config.write_text(site.config.read_text() + DISPATCHER)
        async with start(observing(site, True), tmp_path) as hub:
            await until("a plan is made", lambda: hub.ports.plans.plan("north"), 90)
            await asyncio.to_thread(outside, site)
            tick = hub.hub.components.state.sites[SITE].tick
            assert tick is not None and "shadow" in tick, "what commanding would do is still valued"
            kinds = [event.kind for _, event in events(hub, "order.received", "order.refused", "order.accepted")]
            assert kinds == ["order.received", "order.refused"] * 3
            assert not events(hub, "command.issued")

    def outside(site: World) -> None:
        prefix, body = "/api/v1/sites/north", order(2_000.0, "D-1")
        status, head, line = ask(site, "POST", f"{prefix}/orders", body)
        assert (status, head, line["phase"], line[FIELD]) == (409, "true", "refused", True)
        assert REFUSED in line["refused"] and "operator" in line["refused"]
        assert ask(site, "POST", f"{prefix}/orders", body)[2]["id"] == line["id"], "a retry meets the same refusal"
        assert ask(site, "POST", f"{prefix}/orders", order(2_000.0, "D-2") | {"scope": f"{SITE}/f1"})[0] == 409

        room = Dispatcher(site.spec.mqtt_port or 0, "room")
        signed = sign(SEED, order(2_000.0, "M-1") | {"nonce": "n1", "issued": iso(time.time_ns() // 10**6)})
        reply = asyncio.run(room.ask(signed))
        room.stop()
        assert not reply["ok"] and REFUSED in reply["order"]["refused"] and reply["order"][FIELD] is True

        _, _, schema = ask(site, "GET", "/api/v1/openapi.json")
        device = ask(site, "GET", f"{prefix}/fleet")[2]["devices"][0]
        names = {"site": "north", "device": device, "order": line["id"], "report": "none", "form": "json"}
        asked = 0
        for path, methods in schema["paths"].items():
            if "{site}" not in path or "get" not in methods:
                continue
            query = f"?start_ms={time.time_ns() // 10**6 - HOUR_MS}&end_ms={time.time_ns() // 10**6}"
            status, head, answer = ask(site, "GET", path.format(**names) + (query if "series" in path else ""))
            assert head == "true", path
            if status == 200 and isinstance(answer, dict):
                assert answer[FIELD] is True, path
                asked += 1
            assert status in (200, 404), (path, status)
        assert asked >= 11
        assert all(one[FIELD] is True for one in ask(site, "GET", f"{prefix}/orders")[2])
        reported = ask(site, "POST", f"{prefix}/facts", {"dry_run": True, "facts": []})
        assert reported[1] == "true" and reported[0] in (200, 422)
        sites = ask(site, "GET", "/api/v1/sites")
        assert sites[1] is None and sites[2][0][FIELD] is True

        free = ask(site, "GET", f"{prefix}/availability")[2]
        assert free["down_w"] == free["up_w"] == free["locked_down_w"] == free["locked_up_w"] == 0.0
        assert not any((*free["down_in_w"], *free["up_in_w"]))
        assert [(one["reason"], one["units"]) for one in free["excluded"]] == [("the site only observes", 6)]
        status_now = ask(site, "GET", f"{prefix}/status")[2]
        for name in ("available_down_w", "available_up_w"):
            assert (status_now[name]["value"], status_now[name]["why"]) == (0.0, "the site only observes")
        offers = ask(site, "GET", f"{prefix}/plan/offers?reserve_w=1000")[2]
        assert offers["bids"] == offers["reserve"] == [] and offers["tomorrow"] is None
        for slot in offers["availability"]:
            assert (slot["down_w"], slot["up_w"], slot["why_not_more"]) == (0.0, 0.0, "the site only observes")

        metrics = ask(site, "GET", "/api/v1/metrics")[2]
        assert f'mining_hub_observe_only{{site="{SITE}"}} 1.0' in metrics
        page = ask(site, "GET", "/sites/north")[2]
        assert "This site only observes: nothing is commanded" in page and 'id="order-new"' not in page
        url = f"http://127.0.0.1:{site.port}"
        for words in (["dispatch", "availability", "north"], ["dispatch", "list", "north"]):
            done = CliRunner().invoke(app, [*words, "--url", url, "--key", site.key, "--json"])
            assert done.exit_code == 0 and "only observes" in done.stderr
        done = CliRunner().invoke(app, ["plan", "offers", str(tmp_path), "--json"])
        assert done.exit_code == 0 and "only observes" in done.stderr
        assert json.loads(done.stdout.splitlines()[-1])[FIELD] is True

    with world(tmp_path, miners=6, miner_host="127.78.41.1", feeders=1) as site:
        asyncio.run(main(site))


@pytest.mark.timeout(240)
def test_orders_of_before_end_when_a_site_only_observes_and_are_not_carried_out_later(tmp_path: Path) -> None:
    async def commanding(site: World) -> tuple[str, str]:
        async with start(observing(site, False), tmp_path) as hub:
            await until("all hash", lambda: hub.ports.sites.status("north")["counts"]["hashing"] == 6, 90)
            assert hub.ports.plans.availability("north")["observe_only"] is False
            later_ms = system_clock().now_ms() + HOUR_MS
            now = await hub.messages.submit_order(order(2_000.0, "now"), BY)
            later = await hub.messages.submit_order(order(2_000.0, "later", later_ms), BY)
            assert now["phase"] == later["phase"] == "accepted"
            await until("the meter shows it", lambda: line_of(hub, now["id"])["phase"] == "holding", 60)
            return now["id"], later["id"]

    async def observed(site: World, now: str, later: str) -> None:
        async with start(observing(site, True), tmp_path) as hub:
            await until("a step is taken", lambda: hub.hub.ticks > 1)
            begun = events(hub, "hub.started")[-1][0]
            ends = {event.body["id"]: (at, event.body) for at, event in events(hub, "order.ended")}
            steps = [at for at, event in events(hub, "tick.decided") if at > begun]
            assert set(ends) == {now, later} and max(at for at, _ in ends.values()) < min(steps)
            assert line_of(hub, now)["phase"] == "released" and line_of(hub, later)["phase"] == "cancelled"
            assert REFUSED in line_of(hub, now)["ended"] and REFUSED in line_of(hub, later)["ended"]
            await hub.hub.watch_orders()
            assert {line_of(hub, one)["outcome"] for one in (now, later)} <= {"complied", "open"}
            changed = await hub.messages.change_order(later, {"power_w": 1_000.0}, BY)
            assert changed["power_w"] == 2_000.0
            await asyncio.sleep(6)  # The miners' minimum off-time at this pace.

    async def commanding_again(site: World) -> None:
        async with start(observing(site, False), tmp_path) as hub:
            await until("a step is taken", lambda: hub.hub.ticks > 1)
            assert not hub.hub.components.state.book.live()
            assert not [one for one in hub.ports.sites.status("north")["limits"] if one["rule"].startswith("order")]
            await until("some wake by the plan", lambda: hub.ports.sites.status("north")["counts"]["hashing"] > 0, 90)
            fresh = await hub.messages.submit_order(order(2_000.0, "fresh"), BY)
            assert fresh["phase"] == "accepted" and fresh["observe_only"] is False

    def line_of(hub: Running, one: str) -> Any:
        return next(line for line in hub.ports.orders.orders("north") if line["id"] == one)

    with world(tmp_path, miners=6, miner_host="127.78.42.1", feeders=1, models={"antminer-s21": 1}, pace=160.0) as site:
        now, later = asyncio.run(commanding(site))
        asyncio.run(observed(site, now, later))
        asyncio.run(commanding_again(site))


def accepted_by_an_older_hub(data: Path) -> str:
    """An order in the journal of a hub that took orders where it only observed, with the breach that it was judged by."""
    now_ms = system_clock().now_ms()
    body = order(2_000.0, "old", now_ms - 120_000)
    order_id, reported = OrderBook({SITE: 1e6}).receive(
        read_order(body, BY.who, "rest", now_ms - 120_000), BY, now_ms - 120_000
    )
    breach = {
        "outcome": "breached", "obeyed_by_meter_s": None, "over_s": 30.0, "over_wh": 100.0, "peak_over_w": 15_000.0,
        "coverage": 1.0, "judged_until_ms": now_ms, "why": "30 s above it",
    }  # fmt: skip
    with open_journal(data) as journal:
        recorder = Recorder(journal, Clock(lambda: now_ms - 120_000, lambda: 0.0), lambda _: None, at_once())
        for kind, what in [*reported, ("order.verdict", {"id": order_id, **breach})]:
            recorder.emit(SITE, kind, what)
        asyncio.run(recorder.flush(required=True))
    return order_id


@pytest.mark.timeout(240)
def test_an_order_that_an_older_hub_accepted_while_it_observed_is_not_carried_out(tmp_path: Path) -> None:
    async def observed(site: World) -> None:
        async with start(observing(site, True), tmp_path) as hub:
            await until("a step is taken", lambda: hub.hub.ticks > 1)

    async def commanding(site: World, old: str) -> None:
        async with start(observing(site, False), tmp_path) as hub:
            await until("a step is taken", lambda: hub.hub.ticks > 1)
            found = next(line for line in hub.ports.orders.orders("north") if line["id"] == old)
            assert found["phase"] == "released" and "while its site only observed" in found["ended"]
            assert found["outcome"] == "not_counted", "the site only observed: nothing was breached"
            ended, begun = events(hub, "order.ended")[-1][0], events(hub, "hub.started")[-1][0]
            assert ended < min(at for at, _ in events(hub, "tick.decided") if at > begun)
            assert not [one for _, one in events(hub, "command.issued") if "old" in one.body["reason"]]

    with world(tmp_path, miners=4, miner_host="127.78.43.1", feeders=1) as site:
        asyncio.run(observed(site))
        old = accepted_by_an_older_hub(tmp_path / "data")
        asyncio.run(commanding(site, old))
        assert len(list(reading(tmp_path / "data").events(["order.ended"]))) == 1
