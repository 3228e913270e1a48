# SPDX-License-Identifier: Apache-2.0
"""Alarms by the command line, from a folder and through a serving hub; and a fast make-believe site that is well raises none."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hub.api.access import Role
from hub.api.ports import ports
from hub.app.demo_site import write_simulated_site
from hub.app.simulate import simulate, simulated
from hub.app.virtual_time import VirtualLoop, run
from hub.cli.app import app
from hub.config import load
from hub.control.alarm_desk import AlarmAct
from hub.wiring.state import alarm_rules
from kernel.actor import Actor, Channel
from kernel.clock import from_iso, loop_clock, system_clock
from kernel.errors import ConfigError, NotFound
from telemetry.alarm.rule import Rate
from tests.builders.fake_hub import FakeHub
from tests.hub.console.page_server import serving
from twin.site import Site
from twin.spec import TwinSpec

EPOCH_MS = from_iso("2026-03-02T00:00:00+05:00")
AIDA = Actor("aida", "operator", Channel.REST)


def asked(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["alarms", *words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_what_stands_what_watches_and_how_good_it_is(tmp_path: Path) -> None:
    simulate(0.1, 3, 40, tmp_path)
    standing = asked("list", str(tmp_path), "--all")
    rules = {row["rule"] for row in asked("rules", str(tmp_path))["rules"]}
    assert {row["rule"] for row in standing["alarms"]} <= rules and len(rules) > 10
    assert all(row["action"] for row in standing["alarms"])
    figures = asked("kpi", str(tmp_path), "--days", "1")
    assert figures["raised"] >= len(asked("list", str(tmp_path))["alarms"]) and figures["per_ten_minutes_most"] >= 0


def test_an_alarm_is_answered_through_the_hub_with_who_and_why(tmp_path: Path) -> None:
    view = FakeHub(system_clock(), miners=10)
    with serving(view, tmp_path) as (url, access):
        key = access.add_key("aida", Role.OPERATOR, ["*"])
        site = view.sites()[0]["site"]
        line = view.alarms(site)[0]
        way = ("--url", url, "--key", key)
        shown = asked("ack", site, line["rule"], "--scope", line["scope"], *way)["alarms"]
        assert next(one for one in shown if one["scope"] == line["scope"])["who"] == "aida"
        put_away = asked(
            "shelve", site, line["rule"], "--scope", line["scope"], "--why", "fan ordered", "--minutes", "60", *way
        )
        assert next(one for one in put_away["alarms"] if one["scope"] == line["scope"])["state"] == "shelved"
        place = (site, line["rule"], "--scope", line["scope"])
        acts = (
            (("unshelve", *place), "acknowledged"),
            (("out-of-service", *place, "--why", "in the laboratory"), "out_of_service"),
            (("in-service", *place), "acknowledged"),
        )
        for act, state in acts:
            shown = asked(*act, *way)["alarms"]
            assert next(one for one in shown if one["scope"] == line["scope"])["state"] == state
        assert [event.body["what"] for event in view.events if event.kind == "api.acted"][-3:] == [
            "alarm:unshelve", "alarm:out-of-service", "alarm:in-service",
        ]  # fmt: skip
        stranger = access.add_key("d", Role.REGULATOR, ["*"])
        refused = (
            CliRunner().invoke(app, ["alarms", "ack", site, line["rule"], "--url", url, "--key", stranger]).exception
        )
        assert isinstance(refused, ConfigError) and "may not" in str(refused)


def test_rates_follow_the_pace_of_a_make_believe_site() -> None:
    plain, fast = alarm_rules(), alarm_rules(20.0)
    rates = [
        (one.when.per_s, two.when.per_s)
        for one, two in zip(plain, fast, strict=True)
        if isinstance(one.when, Rate) and isinstance(two.when, Rate)
    ]
    assert rates and all(two == 20.0 * one for one, two in rates)


def test_the_live_hub_journals_each_answer(tmp_path: Path) -> None:
    loop = VirtualLoop()
    clock = loop_clock(EPOCH_MS, loop.time)
    spec = TwinSpec(miners=4, rack_size=4, seed=3, hub="alatau", site="north", feeders=1, faults={})
    config = load(write_simulated_site(tmp_path, Site(spec, EPOCH_MS), spec, EPOCH_MS), environment={})

    async def main() -> None:
        wired = await simulated(config, tmp_path, tmp_path / config.hub.data, spec, clock)
        components = wired.hub.components
        made = ports(wired.hub, wired.report_store, wired.provisions, "test")
        rule, scope = "meter-silent", "alatau/north/main"
        await components.recorder.commit(
            "alatau/north", "alarm.changed", {"rule": rule, "scope": scope, "what": "raised"}
        )
        await made.alarm_desk.shelve("north", rule, scope, AIDA, "calibration", clock.now_ms() + 60_000)
        acts: tuple[AlarmAct, ...] = ("unshelve", "out-of-service", "in-service")
        states = []
        for act in acts:
            await made.alarm_desk.set("north", rule, scope, AIDA, act, "in the laboratory")
            states.append(made.alarms.alarms("north")[0]["state"])
        assert states == ["unacknowledged", "out_of_service", "unacknowledged"]
        with pytest.raises(ConfigError):
            await made.alarm_desk.set("north", rule, scope, AIDA, "out-of-service", " ")
        with pytest.raises(NotFound):
            await made.alarm_desk.set("north", rule, "alatau/north/f9", AIDA, "unshelve", "")
        reported = [event.body["what"] for _, event in components.recorder.journal.events(["alarm.changed"])]
        assert reported == ["raised", "shelved", "unshelved", "out_of_service", "in_service"]
        for close in components.closers:
            close()

    run(main(), loop)
