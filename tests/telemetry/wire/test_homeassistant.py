# SPDX-License-Identifier: Apache-2.0
import json

from hypothesis import given
from hypothesis import strategies as st

from kernel.reading import MISSING, Absence, Reading
from telemetry.collect.snapshot import Snapshot
from telemetry.wire.exposition import Figure, exposition
from telemetry.wire.homeassistant import Announced, Topics, _plain, discovery_post, state_post
from tests.telemetry.store.journal_cases import T0_MS

TOPICS = Topics()
METER = Reading(
    "hub/site/main.1",
    "meter",
    T0_MS,
    {"power_w": 1250.5, "energy_import_wh": 5e9, "frequency_hz": MISSING[Absence.TIMED_OUT], "serial": "A-1"},
)


def test_a_state_holds_what_is_there_and_nothing_else() -> None:
    post = state_post(METER, TOPICS)
    assert post.topic == "mining-hub/hub/site/main.1/meter" and post.retain
    assert json.loads(post.payload) == {"power_w": 1250.5, "energy_import_wh": 5e9, "serial": "A-1", "at_ms": T0_MS}


def test_discovery_names_units_classes_and_the_device() -> None:
    post = discovery_post(METER, ["power_w", "energy_import_wh", "frequency_hz", "serial"], TOPICS, version="1.2")
    assert post.topic == "homeassistant/device/hub_ssite_smain_d1/config" and post.retain
    body = json.loads(post.payload)
    assert body["dev"] == {
        "ids": ["hub_ssite_smain_d1"],
        "name": "main.1",
        "mdl": "meter",
        "sn": "A-1",
        "sa": "hub/site",
    }
    assert body["o"] == {"name": "mining-hub", "sw": "1.2"} and body["availability_topic"] == "mining-hub/status"
    power = body["cmps"]["meter_power_w"]
    assert (power["p"], power["device_class"], power["unit_of_measurement"], power["state_class"]) == (
        "sensor", "power", "W", "measurement",
    )  # fmt: skip
    energy = body["cmps"]["meter_energy_import_wh"]
    assert (energy["device_class"], energy["unit_of_measurement"], energy["state_class"]) == (
        "energy", "Wh", "total_increasing",
    )  # fmt: skip
    assert body["cmps"]["meter_frequency_hz"]["device_class"] == "frequency"
    assert "unit_of_measurement" not in body["cmps"]["meter_serial"]
    unique = [component["unique_id"] for component in body["cmps"].values()]
    assert len(set(unique)) == 4


def test_a_hashrate_is_shown_in_terahashes() -> None:
    miner = Reading("hub/site/m1", "miner", T0_MS, {"hashrate_hs": 1.1e14, "state": "hashing"})
    body = json.loads(discovery_post(miner, miner.values, TOPICS, version="1").payload)
    component = body["cmps"]["miner_hashrate_hs"]
    assert component["unit_of_measurement"] == "TH/s" and "1e-12" in component["value_template"]
    assert "state_class" not in body["cmps"]["miner_state"]


def test_what_is_new_is_announced_once() -> None:
    announced = Announced(TOPICS, "1")
    first = announced.posts(METER)
    assert [post.topic.split("/")[0] for post in first] == ["homeassistant", "mining-hub"]
    assert "frequency_hz" not in first[0].payload.decode()
    assert len(announced.posts(METER)) == 1
    more = Reading(METER.device, "meter", T0_MS, {"frequency_hz": 50.0})
    again = announced.posts(more)
    assert len(again) == 2 and "meter_power_w" in again[0].payload.decode()
    assert len(announced.posts(Reading("hub/site/m", "miner", T0_MS, {"boards_json": "[]"}))) == 1
    announced.forget()
    assert len(announced.posts(METER)) == 2


KEY = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,6}/[a-z0-9][a-z0-9._-]{0,6}", fullmatch=True)


@given(KEY, KEY)
def test_two_devices_never_share_an_id(one: str, other: str) -> None:
    assert (_plain(one) == _plain(other)) == (one == other)
    assert all(c.isalnum() or c in "_-" for c in _plain(one))


def test_the_text_of_metrics() -> None:
    miner = Reading("hub/site/m1", "miner", T0_MS, {"power_w": 3250.5, "state": 'odd "x"', "firmware": "v1"})
    snapshot = Snapshot([METER, miner])
    text = exposition(
        snapshot,
        T0_MS + 5000,
        [
            Figure("polls_total", 7.0, "polls made", counter=True),
            Figure("sink_behind", 3.0, "records", labels={"sink": "vm"}),
        ],
    )
    lines = text.splitlines()
    assert 'mining_hub_meter_power_w{site="hub/site",device="hub/site/main.1"} 1250.5' in lines
    assert 'mining_hub_meter_energy_import_wh{site="hub/site",device="hub/site/main.1"} 5000000000.0' in lines
    assert "# TYPE mining_hub_meter_energy_import_wh counter" in lines
    assert not any("frequency" in line for line in lines), "what is missing is absent"
    assert 'mining_hub_miner_state{site="hub/site",device="hub/site/m1",state="odd \\"x\\""} 1' in lines
    assert 'mining_hub_miner_silent_seconds{site="hub/site",device="hub/site/m1"} 5.0' in lines
    assert "firmware" not in text
    assert "mining_hub_polls_total 7.0" in lines and 'mining_hub_sink_behind{sink="vm"} 3.0' in lines
    old = exposition(snapshot, T0_MS + 600_000)
    assert "power_w" not in old and "silent_seconds" in old
    assert exposition(Snapshot(), T0_MS) == ""
