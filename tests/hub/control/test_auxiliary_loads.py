# SPDX-License-Identifier: Apache-2.0
"""Loads beside the miners in a running hub: cooling last on shed and first on restore, over a real broker; faults named."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from grid.order_book import Authority
from hub.app.live import Running, start
from hub.app.replay import replay_folder
from hub.config import load
from hub.control.tick import TickSettings, decide
from hub.query.auxiliaries import auxiliary_lines
from hub.state.auxiliaries import loads_on
from hub.state.cooling_loops import loops_at
from hub.state.situation import Freshness, situation_at
from kernel.clock import iso, system_clock
from kernel.errors import ConfigError
from kernel.reading import Reading
from kernel.receipt import Accepted, Refused, Unknown, Unreachable, Unsupported
from miner_control.control.auxiliary_load import OUTPUT, Load, LoadBook, LoadKind
from miner_control.control.cold_protection import Loop, wake_fault
from telemetry.collect.snapshot import Snapshot
from telemetry.device.profile import load as load_profile
from telemetry.io.http_source import HttpSwitch
from telemetry.io.mqtt_switch import MqttSwitch
from tests.builders.commands_of_a_hub import commands_of
from tests.hub_site import World, until, world
from tests.servers import free_port

PROFILES = Path(__file__).parents[3] / "configs" / "profiles" / "containers"
LOADS = """
run_on_s = 240.0
loads = [
  { name = "oil-pump", kind = "pump", device = "container-1", power_w = 2000, serves = { feeders = ["f1"] } },
  { name = "dry-cooler", kind = "fan", device = "container-1", power_w = 900, serves = { feeders = ["f1"] } },
]
cooling_loops = [
  { name = "tank", device = "container-1", serves = { feeders = ["f1"] }, inlet_min_c = 5, frost_protection_c = -30 },
]
"""


def with_loads(site: World, text: str = LOADS) -> Any:
    held = site.config.read_text()
    site.config.write_text(held.replace('inventory = "inventory.csv"', f'inventory = "inventory.csv"{text}', 1))
    return load(site.config, environment={})


def reported(hub: Running) -> dict[str, Any]:
    table = hub.wired.hub.components.state.snapshot.kind("container")
    found = [table.reading(device) for device in table.index]
    return dict(found[0].values) if found else {}


@pytest.mark.timeout(240)
def test_cooling_goes_last_and_comes_first(tmp_path: Path) -> None:
    async def main(site: World) -> None:
        async with start(with_loads(site), tmp_path) as hub:
            here = hub.wired.hub.components.state.sites["alatau/north"]

            def counts() -> Any:
                return hub.ports.sites.status("north")["counts"]

            await until("all hash", lambda: counts()["hashing"] == 8 and reported(hub).get("pump_state"), 90)
            by = Authority("control-room", ("alatau/north",))
            body = {"scope": "alatau/north", "power_w": 2_000.0, "until": iso(system_clock().now_ms() + 3_600_000)}
            order = await hub.messages.submit_order(body, by)
            await until("all sleep", lambda: counts()["asleep"] == 8, 60)
            await until("then the pump is off", lambda: reported(hub).get("pump_state") == "off", 60)
            await until("and the cooler", lambda: reported(hub).get("fan_state") == "off", 60)
            first_off = next(
                i for i, (kind, b) in enumerate(commands_of(hub)) if kind == "command.issued" and b.get("on") is False
            )
            slept = [
                i
                for i, (kind, b) in enumerate(commands_of(hub))
                if kind == "command.receipt" and b["intent"] == "Sleep"
            ]
            assert slept[7] < first_off, "cooling is not shed with the miners"
            await asyncio.sleep(5)  # The miners' minimum off-time at this pace.
            await hub.messages.end_order(order["id"], by, "")
            await until("all hash again", lambda: counts()["hashing"] == 8, 90)
            assert reported(hub)["pump_state"] == reported(hub)["fan_state"] == "on"
            done = [body for body in reversed(here.receipts) if body["outcome"] == "verified"]
            pumped = max(at for at, body in enumerate(done) if body["device"].endswith("oil-pump") and body["on"])
            woken = [at for at, body in enumerate(done) if body["intent"] in ("Wake", "SetMode")]
            assert pumped < min(at for at in woken if at > 8), "no wake was asked before its cooling was proven"
            assert here.overhead_factor < 1.3, "a site that sleeps teaches nothing about its losses"
        replayed = await asyncio.to_thread(replay_folder, tmp_path)
        assert replayed.difference is None and replayed.commands > 0

    with world(tmp_path, miners=8, miner_host="127.78.24.1", models={"antminer-s21": 1}, feeders=1, pace=160.0) as site:
        asyncio.run(main(site))


def test_faults_of_loads_are_all_named(tmp_path: Path) -> None:
    from hub.wiring.state import catalogue, empty_state

    text = """
loads = [
  { name = "p", kind = "pump", device = "nobody", serves = { racks = ["r99"] } },
  { name = "q", kind = "fan", device = "container-1", serves = {} },
]
cooling_loops = [{ name = "t", device = "meter", serves = { miners = ["miner-00001"] } }]
"""
    with world(tmp_path, miners=8, miner_host="127.78.25.1", feeders=1) as site:
        config = with_loads(site, text)
    with pytest.raises(ConfigError) as caught:
        empty_state(config, catalogue())
    said = str(caught.value)
    for word in ("no 'nobody'", "r99 is not in the inventory", "load q serves", "loop t device", "cools no miner"):
        assert word in said, word


POINTS = """
containers = [{ name = "hk3", profile = "antspace_hk3", host = "192.0.2.2", port = 80 }]
sensors = [
  { name = "rtd", profile = "seneca_z4rtd", host = "192.0.2.1" },
  { name = "hall", profile = "zigbee2mqtt_climate", topic = "zigbee2mqtt/hall" },
]
switches = [{ name = "yard", profile = "modbus_contactors", host = "192.0.2.3", parameters = { outputs = 2 } }]
cooling_loops = [%s]
"""


def with_points(folder: Path, loops: str) -> Any:
    """A site's state with loops that devices of every wire tell of; nobody is asked."""
    from hub.wiring.state import catalogue, empty_state

    with world(folder, miners=4, miner_host="127.78.26.1", feeders=1, containers=0) as site:
        return empty_state(with_loads(site, POINTS % loops), catalogue())


def test_a_loop_is_reported_by_whom_the_site_names(tmp_path: Path) -> None:
    serves = 'serves = { feeders = ["f1"] }'
    of = "{ device = %r, point = %r }".replace("%r", '"%s"')
    reported = {
        "supply": ("rtd", "temp_2_c"),
        "return": ("hk3", "temp_return_c"),
        "ambient": ("hall", "temp_c"),
        "humidity": ("hall", "humidity_pct"),
        "flow": ("yard", "output_2_state"),
        "pressure": ("hk3", "pressure_supply_bar"),
    }
    named = ", ".join(f"{what} = {of % where}" for what, where in reported.items())
    loops = f"""
  {{ name = "dry", {serves}, {named}, pressure_min_bar = 1 }},
  {{ name = "box", {serves}, device = "hk3", supply = {of % ("rtd", "temp_c")} }},
"""
    state = with_points(tmp_path, loops)
    snapshot, now_ms, key = state.snapshot, system_clock().now_ms(), "alatau/north"

    def hear(kind: str, device: str, age_s: float = 1.0, **values: Any) -> None:
        snapshot.hear(Reading(f"{key}/{device}", kind, now_ms - round(age_s * 1000), values))

    def now() -> list[Loop]:
        return loops_at(state.sites[key].around.loops, snapshot, -25.0, now_ms)

    assert [(one.supply_c, one.flow_ok, one.ambient_c) for one in now()] == [(None, None, -25.0)] * 2
    hear("sensor", "rtd", temp_c=31.0, temp_2_c=22.0)
    hear("sensor", "hall", temp_c=24.0, humidity_pct=90.0)
    hear("switch", "yard", output_1_state="off", output_2_state="on")
    hear(
        "container",
        "hk3",
        temp_supply_c=44.0,
        temp_return_c=52.0,
        pressure_supply_bar=2.0,
        pump_state="off",
        flow_lpm=300.0,
    )
    dry, box = now()
    assert (dry.supply_c, dry.return_c, dry.ambient_c, dry.humidity_pct) == (22.0, 52.0, 24.0, 90.0)
    assert (dry.flow_ok, dry.pressure_bar) == (True, 2.0) and "dew point of 22 C" in wake_fault(dry)
    assert (box.supply_c, box.ambient_c, box.flow_ok) == (31.0, -25.0, True), (
        "named points go before the container's own"
    )
    here = situation_at(state, state.sites[key], now_ms, Freshness(60.0))
    seen = auxiliary_lines(snapshot, state.sites[key], replace(here, loops=(dry, box)))["loops"]
    assert [(one["name"], one["serves"], one["supply_c"]) for one in seen] == [("dry", 4, 22.0), ("box", 4, 31.0)]
    assert "dew point" in seen[0]["holds"] and seen[1]["holds"] == "" and seen[0]["flow_ok"] is True
    hear("switch", "yard", 0.5, output_2_state="off")
    hear("container", "hk3", 0.5, flow_lpm=0.0)
    assert [wake_fault(one) for one in now()] == ["no proof of flow"] * 2
    now_ms += 181_000
    assert [(one.supply_c, one.flow_ok, one.pressure_bar) for one in now()] == [(None, None, None)] * 2, (
        "old words are none"
    )


def test_a_load_of_known_power_is_not_learnt_as_overhead(tmp_path: Path) -> None:
    """Main meter = 1.04 x miners + pump: the share that is learnt is 1.04, and nothing while nobody knows of the pump."""
    load_text = """]
loads = [{ name = "pump", kind = "pump", device = "yard", index = 2, power_w = 2000, serves = { feeders = ["f1"] } }"""
    state = with_points(tmp_path, load_text)
    site, now_ms = state.sites["alatau/north"], system_clock().now_ms()
    for device in site.roster.devices:
        values = {"state": "hashing", "mode": "normal", "power_w": 3000.0, "hashrate_hs": 2e14}
        state.snapshot.hear(Reading(device, "miner", now_ms - 1000, values))
    assert site.main is not None
    state.traces[site.main].add(now_ms - 500, 1.04 * 12_000.0 + 2_000.0)

    def seen() -> float | None:
        now = situation_at(state, site, now_ms, Freshness(60.0))
        found: float | None = decide(state, site, now, TickSettings(60.0)).body["overhead_seen"]
        return found

    assert seen() is None, "is it on?"
    state.snapshot.hear(Reading("alatau/north/yard", "switch", now_ms - 1000, {"output_2_state": "on"}))
    assert seen() == pytest.approx(1.04)
    assert site.around.auxiliary_w is not None and site.around.auxiliary_w.sum() == pytest.approx(2000.0)
    state.snapshot.hear(Reading("alatau/north/yard", "switch", now_ms - 900, {"output_2_state": "off"}))
    assert seen() == pytest.approx(1.04 + 2_000.0 / 12_000.0)


def test_a_relay_that_speaks_only_when_it_is_switched() -> None:
    """Zigbee and Tasmota tell a change and fall silent. Our proof of on, then a hand that switches off: minutes later nobody may
    believe the proof again."""
    pump = Load("pump", LoadKind.PUMP, "h/s/relay", 1, "f1", 2000.0, frozenset({"h/s/m"}), OUTPUT)
    snapshot, book, now_ms = Snapshot(), LoadBook([pump.key]), 1_800_000_000_000

    def on(after_s: float) -> bool | None:
        return loads_on(snapshot, book, [pump], now_ms + round(after_s * 1000))["pump"]

    def reported(state: str, at_s: float) -> None:
        snapshot.hear(Reading("h/s/relay", "switch", now_ms + round(at_s * 1000), {"output_1_state": state}))

    assert on(0) is None
    asked = {"device": pump.key, "intent": "SwitchLoad", "id": "1", "on": True}
    book.apply("command.receipt", {**asked, "outcome": "verified", "sampled_ms": now_ms}, now_ms)
    reported("on", 0.5)
    assert on(1) is True and on(3_600) is True, "silence takes nothing back"
    reported("off", 10)
    assert on(11) is False and on(400) is None, "an old word proves nothing, and neither does what it contradicts"
    reported("on", 500)
    assert on(501) is True and on(900) is True


def test_loops_that_name_what_is_not_there_are_refused(tmp_path: Path) -> None:
    serves = 'serves = { feeders = ["f1"] }'
    loops = f"""
  {{ name = "a", {serves}, supply = {{ device = "nobody", point = "temp_c" }} }},
  {{ name = "b", {serves}, supply = {{ device = "rtd", point = "temp_9_c" }}, flow = {{ device = "rtd", point = "temp_c" }} }},
  {{ name = "c", {serves}, humidity = {{ device = "hall", point = "humidity_pct" }} }},
  {{ name = "d", {serves}, device = "hall" }},
  {{ name = "e", {serves}, device = "hk3", dew_point = {{ device = "yard", point = "output_3_state" }} }},
"""
    with pytest.raises(ConfigError) as caught:
        with_points(tmp_path, loops)
    said = [str(fault) for fault in caught.value.faults]
    for words in (
        ("loop a supply device", "no 'nobody'", "hall, hk3"),
        ("loop b supply point", "'temp_9_c': seneca_z4rtd has no such point", "temp_c, temp_2_c"),
        ("loop b flow point", "'temp_c': tells something else", "nothing in l/min"),
        ("loop c", "nobody tells its inlet temperature"),
        ("loop d device", "no 'hall'", "Name one of: hk3"),
        ("loop e dew_point point", "modbus_contactors has no such point"),
    ):
        assert any(all(word in fault for word in words) for fault in said), (words, said)
    assert len(said) == 6


def test_an_order_of_mqtt_is_reported_as_the_maker_wants_it() -> None:
    sent: list[tuple[str, bytes]] = []

    class Link:
        def __init__(self, well: bool) -> None:
            self._well = well

        async def publish(self, topic: str, payload: bytes, *, timeout_s: float) -> None:
            if not self._well:
                raise TimeoutError
            sent.append((topic, payload))

    profile = load_profile(PROFILES / "bitdeer_d40.toml")

    async def main() -> None:
        hands = MqttSwitch(profile, "c7-", Link(True))
        assert isinstance(await hands.switch("pdu02", 3, False, deadline_s=1.0), Accepted)
        assert isinstance(await hands.switch("water_pump", 2, True, deadline_s=1.0), Accepted)
        assert isinstance(await hands.switch("valve", 1, True, deadline_s=1.0), Unsupported)
        assert isinstance(
            await MqttSwitch(profile, "c7-", Link(False)).switch("pump", 1, True, deadline_s=1.0), Unreachable
        )

    asyncio.run(main())
    assert sent == [
        ("c7-PDUOperate", b'{"PDUIndex":"1","SocketIndex":"2","Operate":"0"}'),
        ("c7-PumpOperate", b'{"Type":"WaterPump","Index":"2","Operate":"1"}'),
    ]


def test_a_cooler_over_http_is_asked_and_its_answer_is_no_proof() -> None:
    async def main() -> None:
        asked: list[str] = []
        answers = {
            "open": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            "close": b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n",
        }

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            line = (await reader.readline()).decode()
            asked.append(line.split()[1])
            if "hang" not in line:
                writer.write(answers["open" if "open" in line else "close"])
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        profile = load_profile(PROFILES / "antspace_hk3.toml")
        cooler = HttpSwitch(profile, f"http://127.0.0.1:{port}")
        assert isinstance(await cooler.switch("fan", 1, True, deadline_s=2.0), Accepted)
        assert isinstance(await cooler.switch("pump", 1, False, deadline_s=2.0), Refused)
        assert isinstance(await cooler.switch("pdu01", 1, False, deadline_s=2.0), Unsupported)
        assert asked == ["/cooler?operation=open", "/cooler?operation=close"]
        answers["open"] = b""
        assert isinstance(await cooler.switch("fan", 1, True, deadline_s=2.0), Unknown)
        server.close()
        await server.wait_closed()
        gone = HttpSwitch(profile, f"http://127.0.0.1:{free_port()}")
        assert isinstance(await gone.switch("fan", 1, True, deadline_s=2.0), Unreachable)

    asyncio.run(main())
