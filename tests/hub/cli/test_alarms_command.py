# SPDX-License-Identifier: Apache-2.0
"""Alarms by the command line, from a folder and through a serving hub; and a fast make-believe site that is well raises none."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from hub.api.access import Role
from hub.app.simulate import simulate
from hub.cli.app import app
from hub.wiring.state import alarm_rules
from kernel.clock import system_clock
from kernel.errors import ConfigError
from telemetry.alarm.rule import Rate
from tests.hub.console.fake_view import FakeView
from tests.hub.console.page_server import serving


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
    view = FakeView(system_clock(), miners=10)
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
