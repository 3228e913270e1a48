# SPDX-License-Identifier: Apache-2.0
"""Walks along racks through a running hub: buttons pressed over UDP in order become places; floods and strangers do no harm."""

import asyncio
import csv
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hub.app.live import start
from hub.cli.app import app
from hub.config import load
from hub.fleet.ip_report import Buttons, CommissioningRequest, slots_asked, walk_lines
from hub.journal.recorder import Recorder, at_once
from hub.state.fold import HubState
from hub.wiring.state import catalogue, empty_state, folded
from kernel.clock import Clock
from kernel.errors import ConfigError
from miner_control.inventory.position import Press
from telemetry.io.journal_sqlite import open_journal
from tests.builders.placement_files import INVENTORY, SITE
from tests.builders.requests import read
from tests.hub_site import World, until, world
from tests.telemetry.store.journal_cases import T0_MS


class Desk:
    """A hub's state and recorder on a clock moved by hand, and the ear's end of it."""

    def __init__(self, folder: Path) -> None:
        (folder / "hub.toml").write_text(SITE)
        lines = INVENTORY.splitlines()
        macs = ["mac", *(f"AA:00:00:00:00:0{at}" for at in range(1, len(lines)))]
        text = "".join(f"{line},{mac}\n" for line, mac in zip(lines, macs, strict=True))
        (folder / "inventory.csv").write_text(text)
        self.config = load(folder / "hub.toml", environment={})
        self.now_ms = T0_MS
        clock = Clock(lambda: self.now_ms, lambda: self.now_ms / 1000)
        self.state: HubState = empty_state(self.config, catalogue())
        self.recorder = Recorder(open_journal(folder / "data"), clock, self.state.apply, at_once())
        self.buttons = Buttons(self.state, self.recorder, clock)
        self.site = self.state.sites["hub/site"]

    def press(self, mac: str, host: str = "10.9.9.9", after_ms: int = 3_000) -> None:
        self.now_ms += after_ms
        self.buttons.heard(Press(host, mac, self.now_ms))

    def settle(self) -> None:
        asyncio.run(self.recorder.flush())


def test_repetitions_floods_and_strangers(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for after_ms in (0, 300, 300):
        desk.press("aa:00:00:00:00:01", after_ms=after_ms)
    desk.press("aa:bb:00:00:00:99", host="10.0.0.2")
    desk.press("de:ad:be:ef:00:01")
    desk.settle()
    assert [heard.device for heard in desk.state.buttons.last] == ["", "hub/site/m2", "hub/site/m1"]
    shown = walk_lines(desk.state, desk.site, True)
    assert shown["commissioning"] is None and [one.get("rack") for one in shown["presses"]] == [None, "r1", "r1"]
    for at in range(5_000):
        desk.press(f"00:00:00:00:{at // 256:02x}:{at % 256:02x}", after_ms=0)
    desk.settle()
    reported = [event for _, event in desk.recorder.journal.events(["button.pressed"])]
    assert len(reported) <= 3 + 20 and desk.buttons.dropped > 4_900
    desk.press("aa:00:00:00:00:03", after_ms=10_000)
    desk.settle()
    assert desk.state.buttons.last[0].device == "hub/site/m3", "a person is heard again once it is over"
    again = folded(desk.config, desk.recorder.journal)
    assert again.buttons.last == desk.state.buttons.last


def test_a_walk_outlives_a_restart_and_takes_no_end_of_presses(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    slots = [["r1", "1", "f1"], ["r1", "2", "f1"]]
    desk.recorder.emit("hub/site", "commissioning.begun", {"by": "anna", "slots": slots})
    desk.settle()
    desk.press("aa:00:00:00:00:02")
    desk.settle()
    walk = folded(desk.config, desk.recorder.journal).buttons.walks["hub/site"]
    assert walk == desk.state.buttons.walks["hub/site"] and walk.next_slot() == ("r1", "2", "f1")
    for at in range(300):
        desk.press(f"00:00:00:00:01:{at % 256:02x}")
    desk.settle()
    assert len(desk.state.buttons.walks["hub/site"].presses) == 3 * 2 + 100
    desk.recorder.emit("hub/site", "commissioning.ended", {"by": "anna", "why": "cancelled"})
    desk.settle()
    assert not desk.state.buttons.walks and len(desk.state.buttons.last) == 200


def test_all_faults_of_slots_are_reported(tmp_path: Path) -> None:
    site = Desk(tmp_path).site
    rows: list[Any] = [
        {"rack": "r1", "position": "1", "feeder": "f1"},
        {"rack": "r1", "position": "1", "feeder": "f1"},
        {"rack": "r2", "position": "3", "feeder": "f9"},
    ]
    with pytest.raises(ConfigError) as caught:
        slots_asked(site, read(CommissioningRequest, {"slots": rows}))
    assert [fault.place for fault in caught.value.faults] == ["slots.1", "slots.2"]
    odd: list[Any] = [
        {"rack": "r1", "position": 2, "feeder": "f1"},
        {"rack": "a/b", "position": "3", "feeder": "f1"},
        "r1",
    ]
    with pytest.raises(ConfigError) as caught:
        read(CommissioningRequest, {"slots": odd})
    assert [fault.place for fault in caught.value.faults] == ["slots.0.position", "slots.1.rack", "slots.2"]
    with pytest.raises(ConfigError, match="slots: is empty"):
        read(CommissioningRequest, {"slots": []})


@pytest.mark.timeout(120)
def test_buttons_pressed_in_order_over_udp_become_places(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]

    async def main(site: World) -> None:
        site.config.write_text(site.config.read_text() + f'\n[ip_report]\nlisten = "127.0.0.1"\nport = {port}\n')
        config = load(site.config, environment={})
        door = ["--url", f"http://127.0.0.1:{site.port}", "--key", site.key, "--json"]

        def cli(code: int, *said: str) -> Any:
            done = CliRunner().invoke(app, ["miners", "commissioning", "north", *said, *door])
            assert done.exit_code == code, (done.output, done.exception)
            return json.loads(done.stdout)

        order = [2, 1, 4, 3]
        with (tmp_path / "slots.csv").open("w") as file:
            out = csv.writer(file)
            out.writerows(
                [["rack", "slot", "feeder"], *([f"w{at // 2}", at % 2, f"f{at // 2 + 1}"] for at in range(4))]
            )
        async with start(config, tmp_path) as hub:
            here = hub.wired.hub.components.state.sites["alatau/north"]
            begun = await asyncio.to_thread(cli, 0, "--slots", str(tmp_path / "slots.csv"))
            assert begun["listening"] and begun["commissioning"]["next"] == {
                "rack": "w0",
                "position": "0",
                "feeder": "f1",
            }
            for at, number in enumerate(order):
                key = f"alatau/north/miner-{number:05d}"
                await asyncio.to_thread(site.control, "/press", {"device": key, "port": port})
                heard = lambda at=at: hub.ports.commissioning.walk("north")["commissioning"]["pressed"] == at + 1  # noqa: E731
                await until("it is heard", heard, 10)
                if at == 2:
                    few = await asyncio.to_thread(cli, 1, "--end")
                    assert not few["ended"] and "3 buttons were pressed for 4 slots" in few["faults"][0]["problem"]
                    assert not here.register.facts
            reported = await asyncio.to_thread(cli, 0)
            assert reported["commissioning"]["next"] is None and reported["presses"][0]["device"] == "miner-00003"
            dry = await asyncio.to_thread(cli, 0, "--end", "--dry-run")
            done = await asyncio.to_thread(cli, 0, "--end")
            assert done["ended"] and not dry["ended"] and done["recorded"] == dry["recorded"]
            places = [(m.rack, m.position, m.feeder) for m in here.register.miners[:4]]
            assert places == [("w0", "1", "f1"), ("w0", "0", "f1"), ("w1", "1", "f2"), ("w1", "0", "f2")]
            assert {fact.source for fact in here.register.facts} == {"IP-report button"}
            assert (await asyncio.to_thread(cli, 0))["commissioning"] is None
            cancel = ["miners", "commissioning", "north", "--cancel", *door]
            taken = await asyncio.to_thread(CliRunner().invoke, app, cancel)
            assert isinstance(taken.exception, ConfigError) and "no walk is under way" in str(taken.exception)

    with world(tmp_path, miners=8, miner_host="127.78.33.1", feeders=2) as site:
        asyncio.run(main(site))


def test_a_port_that_is_taken_is_reported_at_the_start(tmp_path: Path) -> None:
    from hub.wiring.buttons import button_ears

    desk = Desk(tmp_path)

    class Rooms:
        state, recorder, clock = desk.state, desk.recorder, Clock(lambda: T0_MS, lambda: 0.0)
        counters: list[object] = []

    assert button_ears(desk.config, Rooms) == []  # type: ignore[arg-type]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        (tmp_path / "hub.toml").write_text(
            SITE + f'[ip_report]\nlisten = "127.0.0.1"\nport = {taken.getsockname()[1]}\n'
        )
        (ear,) = button_ears(load(tmp_path / "hub.toml", environment={}), Rooms)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="ip_report"):
            asyncio.run(ear.start())
