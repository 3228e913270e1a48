# SPDX-License-Identifier: Apache-2.0
"""Where miners stand, learnt by a running hub: control, alarms and page follow from that place in the journal on, and after a
restart, and in replay; what cannot be so is refused as a whole."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hub.app.live import start
from hub.app.replay import replay_folder
from hub.cli.app import app
from hub.config import load
from hub.fleet.placement import FactsRequest, facts_asked
from hub.fleet.provisioning import Provisions
from hub.state.fold import HubState
from hub.wiring.state import catalogue, empty_state
from kernel.clock import iso
from kernel.errors import ConfigError
from kernel.event import Event
from miner_control.inventory.asset_register import facts_body, facts_of, load_register
from miner_control.inventory.position import read_plan
from telemetry.store.journal import Record
from tests.builders.placement_files import INVENTORY, SITE
from tests.builders.requests import read
from tests.hub_site import World, until, world
from tests.telemetry.store.journal_cases import T0_MS


@pytest.fixture
def state(tmp_path: Path) -> HubState:
    (tmp_path / "hub.toml").write_text(SITE)
    (tmp_path / "inventory.csv").write_text(INVENTORY)
    return empty_state(load(tmp_path / "hub.toml", environment={}), catalogue())


def learn(state: HubState, *rows: tuple[str, str, str], at_ms: int = T0_MS) -> None:
    site = state.sites["hub/site"]
    asked = [{"device": device, "what": what, "value": value} for device, what, value in rows]
    body = facts_body(facts_asked(site, state.sites, read(FactsRequest, {"facts": asked}), at_ms), "anna")
    assert facts_of(json.loads(json.dumps(body))) == facts_of(body)
    event = Event("asset.fact_recorded", 1, "hub/site", "hub", state.position + 1, at_ms, body)
    state.apply(Record(state.position + 1, event))


def test_all_that_goes_by_place_follows_a_fact(state: HubState, tmp_path: Path) -> None:
    site = state.sites["hub/site"]
    before = site.roster
    learn(state, ("m1", "feeder", "f2"), ("m1", "rack", "r2"), ("m1", "slot", "9"), ("m1", "phase", "2"))
    after = site.roster
    assert after.devices == before.devices and len(after) == 3
    assert [after.feeder_names[at] for at in after.feeder] == ["f2", "f1", "f2"]
    assert after.phase.tolist() == [2, -1, -1] and before.phase.tolist() == [0, -1, -1]
    assert {group.name.rpartition("/")[2] for group in after.groups} == {"f1", "f2"}
    assert state.alarms.places.feeder["hub/site/m1"] == "hub/site/f2"
    assert state.alarms.places.rack["hub/site/m1"] == "hub/site/r2"
    (pump,), (tank,) = site.around.loads, site.around.loops
    assert pump.feeds == {"hub/site/m2"} and tank.loop.units.tolist() == [1]
    provisions = Provisions(load(tmp_path / "hub.toml", environment={}), tmp_path, tmp_path, state.miners)
    assert provisions._miners["hub/site/m1"].position == "9"
    learn(state, ("m1", "rack", ""), ("m1", "phase", ""), at_ms=T0_MS + 1)
    assert site.roster.phase.tolist() == [-1, -1, -1] and "hub/site/m1" not in state.alarms.places.rack
    assert (held := site.register.at("hub/site/m1", "rack", T0_MS)) is not None and held.value == "r2"


def test_the_last_miner_may_leave_a_feeder(state: HubState) -> None:
    learn(state, ("m3", "feeder", "f1"))
    site = state.sites["hub/site"]
    assert site.roster.feeder_names == ("f1",) and site.roster.feeder.tolist() == [0, 0, 0]
    learn(state, ("m1", "feeder", "f2"), ("m2", "feeder", "f2"), ("m3", "feeder", "f2"), at_ms=T0_MS + 1)
    assert site.around.loops[0].loop.units.tolist() == []
    assert site.around.loads[0].feeds == {"hub/site/m1", "hub/site/m2"}


def test_all_faults_of_a_request_are_reported_and_nothing_is_taken(state: HubState) -> None:
    site = state.sites["hub/site"]
    rows: list[Any] = [
        {"device": "m9", "what": "rack", "value": "r1"},
        {"device": "m1", "what": "colour", "value": "red"},
        {"device": "m1", "what": "feeder", "value": "f9"},
        {"device": "m1", "what": "phase", "value": "3"},
        {"device": "m1", "what": "rack", "value": "a/b"},
        {"device": "m1", "what": "rack", "value": "r1", "from": iso(T0_MS + 60_000)},
        {"device": "m1", "what": "site", "value": "elsewhere"},
    ]
    with pytest.raises(ConfigError) as caught:
        facts_asked(site, state.sites, read(FactsRequest, {"facts": rows}), T0_MS)
    assert [fault.place for fault in caught.value.faults] == [
        "facts.0.device", "facts.1.what", "facts.2.value", "facts.3.value", "facts.4.value", "facts.5.from", "facts.6.value",
    ]  # fmt: skip
    odd: list[Any] = [
        {"device": "m1", "what": "rack", "value": "r1", "from": "yesterday"},
        {"device": "m1", "what": "rack"},
        {"device": "m1", "what": "rack", "value": "r1", "since": "x"},
    ]
    with pytest.raises(ConfigError) as caught:
        read(FactsRequest, {"facts": odd, "source": ""})
    assert [fault.place for fault in caught.value.faults] == [
        "facts.0.from", "facts.1.value", "facts.2.since", "source",
    ]  # fmt: skip
    assert "Use device, what, value, from" in caught.value.faults[2].remedy
    with pytest.raises(ConfigError, match="facts: is missing"):
        read(FactsRequest, {})


def test_a_plan_of_addresses_is_read_with_all_its_faults() -> None:
    text = (
        "first,slots,rack,feeder\n10.0.0.1,4,r1,f1\n10.0.0.4,4,r2,f9\nten,4,r3,f1\n10.0.2.1,0,r4,f1\n10.0.3.1,4,,f1\n"
    )
    with pytest.raises(ConfigError) as caught:
        read_plan(text, "plan.csv", ["f1", "f2"])
    said = [fault.place for fault in caught.value.faults]
    assert said == ["plan.csv:3 feeder", "plan.csv:4 first", "plan.csv:5 slots", "plan.csv:6 rack", "plan.csv:3"]
    with pytest.raises(ConfigError, match="holds no row"):
        read_plan("a,b\n", "plan.csv", ["f1"])
    assert [row.rack for row in read_plan(text.splitlines()[0] + "\n10.0.0.1,4,r1,f1\n", "plan.csv", ["f1"])] == ["r1"]


def run(words: list[str], code: int = 0) -> Any:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout


@pytest.mark.timeout(120)
def test_a_running_hub_goes_by_what_it_is_reported_and_remembers_it(tmp_path: Path) -> None:
    async def main(site: World) -> None:
        config = load(site.config, environment={})
        words = ["--url", f"http://127.0.0.1:{site.port}", "--key", site.key, "--json"]
        async with start(config, tmp_path) as hub:
            here = hub.wired.hub.components.state.sites["alatau/north"]
            await until("they hash", lambda: hub.ports.sites.status("north")["counts"]["hashing"] >= 8, 60)
            assert here.register.miners[0].feeder == "f1"
            layout = hub.ports.fleet.fleet("north")["layout"]
            said = ["feeder=f2", "rack=f2-r09", "slot=7", "phase=1"]
            reported = await asyncio.to_thread(run, ["miners", "place", "north", "miner-00001", *said, *words])
            assert len(json.loads(reported)["recorded"]) == 4
            shown = hub.ports.fleet.miner("north", "miner-00001")
            assert (shown["rack"], shown["position"], shown["feeder"]) == ("f2-r09", "7", "f2")
            assert hub.ports.fleet.fleet("north")["layout"] != layout, "the page asks for racks again"
            again = await asyncio.to_thread(run, ["miners", "place", "north", "miner-00001", *said, *words])
            assert json.loads(again) == {"dry_run": False, "known": 4, "recorded": [], "observe_only": False}
            (tmp_path / "plan.csv").write_text("first,slots,rack,feeder\n127.78.31.1,4,p1,f1\n127.78.31.5,3,p2,f2\n")
            plan = ["miners", "plan-addresses", str(tmp_path), str(tmp_path / "plan.csv"), *words]
            dry = json.loads(await asyncio.to_thread(run, plan))
            assert dry["dry_run"] and dry["lost"] == ["miner-00008"] and len(here.register.facts) == 4
            done = json.loads(await asyncio.to_thread(run, [*plan, "--apply"]))
            assert done["recorded"] and here.register.miners[4].rack == "p2"
            plans = here.plan
            await until(
                "planned anew", lambda: here.plan is not plans and here.plan["why_now"] == "miners stand elsewhere"
            )
            ticks = hub.wired.hub.ticks
            await until("ticks go by it", lambda: hub.wired.hub.ticks > ticks + 2)
            acted = [e.body for _, e in hub.wired.hub.components.recorder.journal.events(["api.acted"])]
            assert [one["what"] for one in acted if one["who"] == "test"] == ["miner:place"] * 3
            registered = here.register
        async with start(config, tmp_path) as hub:
            here = hub.wired.hub.components.state.sites["alatau/north"]
            assert here.register == registered
            assert hub.ports.fleet.miner("north", "miner-00001")["rack"] == "p1"
        replayed = await asyncio.to_thread(replay_folder, tmp_path)
        assert replayed.difference is None and replayed.ticks > 3
        history = json.loads(run(["miners", "facts", str(tmp_path), "--device", "miner-00001", "--json"]))["facts"]
        assert [one["value"] for one in history if one["what"] == "rack"] == ["f2-r09", "p1"]
        run(["miners", "inventory", str(tmp_path), "--write", str(tmp_path / "now.csv")])
        written = load_register(tmp_path / "now.csv", "alatau", "north")
        assert written.miners == registered.miners and written.phases == registered.phases

    with world(tmp_path, miners=8, miner_host="127.78.31.1", feeders=2, pace=160.0) as site:
        asyncio.run(main(site))
