# SPDX-License-Identifier: Apache-2.0
"""What is switched and is no miner, on real servers: sockets, pumps, phases, and the button that says who stands where."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from kernel.clock import system_clock
from kernel.receipt import Unreachable, Unsupported, Verified
from miner_control.inventory.position import read_press
from telemetry.device.profile import load
from telemetry.io.modbus import Address, ModbusLine
from telemetry.io.modbus_switch import ModbusSwitch, microbt_login
from tests.builders.broker import listen, until
from tests.servers import free_port, mosquitto
from tests.twins import await_ports, rpc, running_twin
from twin.site import Site
from twin.spec import TwinSpec

BEGAN_MS = 1_700_000_000_000
PROFILES = Path(__file__).parents[2] / "configs" / "profiles" / "containers"


def test_a_power_cycle_over_mqtt_cures_a_hung_miner(tmp_path: Path) -> None:
    port = free_port()
    with (
        mosquitto(tmp_path, port),
        running_twin(
            tmp_path, miners=6, models={"whatsminer-m50s": 1}, mqtt_host="127.0.0.1", mqtt_port=port, mqtt_period_s=0.2
        ) as twin,
    ):
        miner = twin.miners[2]
        twin.fault({"device": miner["device"], "faults": ["hung"]})
        assert rpc(miner, {"command": "summary"}, 0.3) == b""
        prefix = twin.ready["containers"][0]["topic_prefix"]
        topic = f"{prefix}PDUOperate"
        heard: dict[str, Any] = {}
        client = listen(port, heard)
        until(heard, f"{prefix}MainData")  # It listens before it tells.
        for operate, plugged in (("0", False), ("1", True)):
            client.publish(topic, json.dumps({"PDUIndex": "0", "SocketIndex": "2", "Operate": operate}), qos=1)
            truth = twin.until(miner["device"], "plugged", plugged)
            if not plugged:
                assert truth["power_w"] == 0.0 and truth["state"] == "fault"
                await_ports(miner, opened=False)
        client.disconnect()
        client.loop_stop()
        twin.until(miner["device"], "state", "hashing")
        await_ports(miner, opened=True)
        assert rpc(miner, {"command": "version"})


def test_sockets_over_modbus_need_the_login_and_switch_the_unit_behind(tmp_path: Path) -> None:
    profile = load(PROFILES / "microbt_kehua.toml")
    with running_twin(tmp_path, miners=45, container_profile="microbt_kehua") as twin:
        reported = twin.ready["containers"][0]
        miner = twin.miners[22]
        where = Address("tcp", reported["host"], reported["port"])

        async def talk() -> None:
            line = ModbusLine(where)
            known = ModbusSwitch(
                "c", profile, line, system_clock(), login=microbt_login(reported["account"], twin.ready["password"])
            )
            assert isinstance(await known.switch("pdu02", 3, False), Verified)
            assert twin.truth(miner["device"])["plugged"] is False
            assert isinstance(await known.switch("pdu02", 3, True), Verified)
            assert twin.truth(miner["device"])["plugged"] is True
            assert isinstance(await known.switch("pdu99", 1, True), Unsupported)
            wrong = ModbusSwitch("c", profile, line, system_clock(), login=microbt_login(reported["account"], "wrong"))
            assert isinstance(await wrong.switch("pdu02", 3, False), Unreachable)
            assert twin.truth(miner["device"])["plugged"] is True
            line.close()

        asyncio.run(talk())


def test_without_flow_liquid_cooled_units_stop_themselves_and_air_cooled_ones_do_not() -> None:
    spec = TwinSpec(miners=8, models={"antminer-s21-hyd": 1, "antminer-s21": 1}, faults={}, pace=60.0)
    site = Site(spec, BEGAN_MS)
    site.cool(site.units, False, BEGAN_MS)
    site.machines.advance(BEGAN_MS + 300_000)
    wet = [unit for unit in site.units if unit.model.cooling == "hydro"]
    assert all(site.machines.state(unit.index) == "fault" for unit in wet)
    assert all(site.machines.state(unit.index) == "hashing" for unit in site.units if unit not in wet)
    site.cool(site.units, True, BEGAN_MS + 300_000)
    site.machines.advance(BEGAN_MS + 1_500_000)
    assert all(site.machines.state(unit.index) == "hashing" for unit in site.units)


def test_each_unit_stands_on_its_phase_and_the_phases_sum_to_the_meter() -> None:
    spec = TwinSpec(miners=31, models={"antminer-s21-hyd": 1, "antminer-s21": 4}, faults={}, feeders=2)
    site = Site(spec, BEGAN_MS)
    for at in range(3):
        assert sum(site.meter_phases_w(at)) == pytest.approx(float(site.meter_power_w()[at]), rel=1e-9)
    first = next(unit for unit in site.units if unit.place.phase == 0 and unit.place.feeder == 0)
    before = site.meter_phases_w(1)
    site.plug(first, False, BEGAN_MS + 1000)
    after = site.meter_phases_w(1)
    assert before[0] - after[0] > 3000
    assert after[1:] == pytest.approx(before[1:], rel=1e-3)


@pytest.mark.parametrize("model", ["antminer-s21", "whatsminer-m50s"])
def test_the_button_says_address_and_mac(tmp_path: Path, model: str) -> None:
    with (
        running_twin(tmp_path, miners=3, models={model: 1}) as twin,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear,
    ):
        ear.bind(("127.0.0.1", 0))
        ear.settimeout(5)
        miner = twin.miners[1]
        twin.ask("POST", "/press", json.dumps({"device": miner["device"], "port": ear.getsockname()[1]}).encode())
        payload, sender = ear.recvfrom(512)
        press = read_press(payload, sender[0], BEGAN_MS)
        assert press is not None and (press.host, press.mac) == (miner["host"], miner["mac"].lower())


def test_writing_an_antminer_s_pools_restarts_its_mining() -> None:
    from twin.antminer import Antminer
    from twin.exchange import Request

    site = Site(TwinSpec(miners=1, models={"antminer-s21": 1}, faults={}), BEGAN_MS)
    unit = site.units[0]
    body = json.dumps(
        {"pools": [{"url": "stratum+tcp://a.invalid:1", "user": "u", "pass": "x"}], "bitmain-work-mode": "0"}
    )
    Antminer(site)._write(unit, "set_miner_conf", Request("POST", "/", {}, {}, body.encode()), BEGAN_MS + 1000)
    site.machines.advance(BEGAN_MS + 60_000)
    assert unit.pools[0].url == "stratum+tcp://a.invalid:1"
    assert site.machines.one(0)[1] == 0.0, "the boards start anew"
    site.machines.advance(BEGAN_MS + 1_200_000)
    assert site.machines.state(0) == "hashing"


def test_another_manager_wakes_what_was_put_to_sleep() -> None:
    site = Site(TwinSpec(miners=2, models={"whatsminer-m50s": 1}, faults={}), BEGAN_MS)
    site.set_faults(site.units[0], {"foreign"}, BEGAN_MS)
    for unit in site.units:
        site.sleep(unit, BEGAN_MS + 1000)
    for at_s in range(2, 60):
        site.machines.advance(BEGAN_MS + at_s * 1000)
        site.tick(BEGAN_MS + at_s * 1000)
        if at_s == 20:
            assert site.machines.asleep.all()
    assert site.machines.asleep.tolist() == [False, True]
