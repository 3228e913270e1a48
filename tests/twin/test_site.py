# SPDX-License-Identifier: Apache-2.0
"""The rest of the make-believe site: containers over a real broker, hosts that are no miners, money, and its own limits."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kernel.errors import ConfigError
from telemetry.device.codec import decode_document
from telemetry.device.profile import load
from tests.builders.broker import listen, until
from tests.servers import free_port, mosquitto
from tests.twins import rpc, running_twin
from twin.faults import METER_FAULTS, MINER_FAULTS, SERVICE_FAULTS
from twin.lines import allow_files
from twin.models import MODELS
from twin.spec import TwinSpec, host_addresses, layout

ROOT = Path(__file__).parents[2]


def test_a_container_comes_back_with_the_broker_and_obeys_its_pump_topic(tmp_path: Path) -> None:
    profile = load(ROOT / "configs" / "profiles" / "containers" / "bitdeer_d40.toml")
    port = free_port()
    with running_twin(tmp_path, miners=10, mqtt_host="127.0.0.1", mqtt_port=port, mqtt_period_s=0.2) as twin:
        topic = twin.ready["containers"][0]["topic_prefix"]
        for life in (1, 2):
            with mosquitto(tmp_path, port):
                heard: dict[str, Any] = {}
                client = listen(port, heard)
                values = decode_document(profile, "main", until(heard, f"{topic}MainData"))
                share = twin.ready["losses"]["cooling_share"]
                assert values["power_w"] == pytest.approx(twin.truth()["miners_power_w"] * share, rel=0.05), life
                running = decode_document(profile, "running", until(heard, f"{topic}RunningInfo"))
                if life == 1:
                    assert running["pump_state"] == "on"
                    client.publish(
                        f"{topic}PumpOperate", json.dumps({"Type": "1", "Index": "1", "Operate": "0"}), qos=1
                    )
                    end = time.monotonic() + 20
                    while running["pump_state"] == "on" and time.monotonic() < end:
                        heard.clear()
                        running = decode_document(profile, "running", until(heard, f"{topic}RunningInfo"))
                assert running["pump_state"] == "off"
                client.disconnect()
                client.loop_stop()


def test_money_servers_answer_and_die_on_demand(tmp_path: Path) -> None:
    with running_twin(tmp_path, miners=5, finance=True) as twin:
        assert twin.ready["pool_token"]
        for name in ("pool_url", "rates_url", "venue_url"):
            host, port = twin.ready[name].removeprefix("http://").split("/")[0].split(":")
            socket.create_connection((host, int(port)), timeout=2).close()
        asked = urllib.request.Request(twin.ready["rates_url"])
        twin.fault({"faults": ["rates_dead"], "service": True})
        with pytest.raises((urllib.error.HTTPError, urllib.error.URLError, ConnectionError)):
            urllib.request.urlopen(asked, timeout=3)


def test_hosts_that_are_no_miners_stand_between_them(tmp_path: Path) -> None:
    with running_twin(
        tmp_path, miners=20, strewn_over=512, silent_hosts=3, half_open_hosts=2, miner_host="127.70.0.0"
    ) as twin:
        hosts = [miner["host"] for miner in twin.miners]
        assert len(set(hosts)) == 20 and all(host.startswith("127.70.") for host in hosts)
        kinds = Counter(decoy["kind"] for decoy in twin.ready["decoys"])
        assert kinds == {"silent": 3, "half_open": 2}
        silent = next(decoy for decoy in twin.ready["decoys"] if decoy["kind"] == "silent")
        assert rpc({"host": silent["host"], "ports": {"rpc": silent["port"]}}, {"command": "version"}, 0.3) == b""
        full = next(decoy for decoy in twin.ready["decoys"] if decoy["kind"] == "half_open")
        with pytest.raises(TimeoutError):
            for _ in range(3):
                socket.create_connection((full["host"], full["port"]), timeout=0.5)


def test_the_layout_is_the_spec_s_own() -> None:
    spec = TwinSpec(miners=100, faults={"duplicate_serial": 0.02, "dead": 0.01}, feeders=3)
    places = layout(spec)
    assert Counter(fault for place in places for fault in place.faults) == {"duplicate_serial": 2, "dead": 1}
    assert [place.feeder for place in places] == sorted(place.feeder for place in places)
    assert len({(place.rack, place.position) for place in places}) == 100
    assert host_addresses(spec)[0] == [place.host for place in places]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"host": "0.0.0.0"}, "loopback"),
        ({"miner_host": "10.0.0.1"}, "loopback"),
        ({"models": {"antminer-s99": 1}}, "antminer-s21"),
        ({"faults": {"tired": 0.1}}, "hung"),
        ({"faults": {"dead": 0.9, "hashless": 0.2}}, "at most 1"),
        ({"pace": 0}, "greater than 0"),
    ],
)
def test_a_wrong_spec_is_refused_with_its_remedy(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TwinSpec(**wrong)


def test_a_taken_port_is_reported_and_nothing_is_left_running(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        spec = TwinSpec(miners=2, finance=False, rpc_port=0, http_port=0, meter_port=taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "twin.serve", "-"],
            input=spec.model_dump_json().encode(),
            capture_output=True,
            timeout=30,
        )
    assert done.returncode == 2
    assert b"cannot listen" in done.stderr and b"another port" in done.stderr


def test_more_files_than_the_host_allows_is_reported() -> None:
    with pytest.raises(ConfigError, match="fewer miners"):
        allow_files(10**9)


def test_the_control_channel_is_off_unless_asked_for(tmp_path: Path) -> None:
    with running_twin(tmp_path, miners=1, control_port=None) as twin:
        assert "control_url" not in twin.ready


def test_truth_in_columns(tmp_path: Path) -> None:
    with running_twin(tmp_path, miners=12, faults={"hashless": 0.25}) as twin:
        with urllib.request.urlopen(twin.ready["control_url"] + "/truth?all=1") as answer:
            columns = json.load(answer)
        assert len(columns["device"]) == len(columns["power_w"]) == 12
        faulty = [at for at, faults in enumerate(columns["faults"]) if faults == ["hashless"]]
        assert len(faulty) == 3
        assert all(columns["hashrate_hs"][at] == 0 and columns["power_w"][at] > 1000 for at in faulty)
        assert all(columns["state"][at] == "fault" for at in faulty)


def test_the_page_of_the_twin_names_every_model_and_fault() -> None:
    page = (ROOT / "docs" / "reference" / "twin.md").read_text(encoding="utf-8")
    for word, says in (MINER_FAULTS | METER_FAULTS | SERVICE_FAULTS).items():
        assert f"| `{word}` | {says} |" in page, f"describe {word} in docs/reference/twin.md"
    for model in MODELS.values():
        modes = ", ".join(name for name, _, _ in model.modes)
        row = (
            f"| `{model.name}` | {model.label} | `{model.dialect}` | {model.power_w:g} | {model.hashrate_hs / 1e12:g} "
            f"| {model.sleep_w:g} | {model.down_delay_s:g} + {model.down_s:g} | {model.up_s:g} | {modes} |"
        )
        assert row in page, f"docs/reference/twin.md should say: {row}"
