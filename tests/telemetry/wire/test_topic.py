# SPDX-License-Identifier: Apache-2.0
"""Topics and payloads: who speaks, what is said, and 10,000 pieces of garbage that harm nobody."""

from pathlib import Path

import numpy as np
import orjson
import pytest

from kernel.errors import ConfigError
from kernel.metric import SCHEMAS
from kernel.reading import Absence, Missing
from telemetry.device.codec import encode
from telemetry.device.profile import load
from telemetry.wire.topic import Channel, Topics
from tests.servers import count

BITDEER = load(Path(__file__).parents[3] / "configs" / "profiles" / "containers" / "bitdeer_d40.toml")
VALUES = {
    "power_w": 63_400.0, "temp_ambient_c": 28.8, "humidity_pct": 83.4, "temp_supply_c": 44.0, "temp_return_c": 47.7,
    "pressure_supply_bar": 3.4, "pump_state": "on", "fan_state": "off", "error_text": "[]", "sockets_json": "[]",
    "tactics_json": "{}",
}  # fmt: skip


def test_a_message_gives_values_of_its_document_only() -> None:
    topics = Topics([Channel("h/s/c1", BITDEER, "c1"), Channel("h/s/c2", BITDEER, "c2")])
    assert len(topics.names()) == 8 and "c1MainData" in topics.names()
    document = encode(BITDEER, VALUES)["running"]
    (reading,) = topics.hear("c2RunningInfo", orjson.dumps(document), False, 5)
    assert (reading.device, reading.kind, reading.at_ms) == ("h/s/c2", "container", 5)
    assert reading.values == {"pump_state": "on", "fan_state": "off", "error_text": "[]"}


def test_two_devices_cannot_claim_one_topic() -> None:
    with pytest.raises(ConfigError) as error:
        Topics([Channel("h/s/c1", BITDEER, "c1"), Channel("h/s/c2", BITDEER, "c1"), Channel("h/s/c3", BITDEER, "c#")])
    assert len(error.value.faults) == 5


def test_retained_messages_are_of_unknown_age_and_passed_over_unless_wanted() -> None:
    payload = orjson.dumps(encode(BITDEER, VALUES)["main"])
    shy = Topics([Channel("h/s/c1", BITDEER, "c1")])
    assert shy.hear("c1MainData", payload, True, 0) == [] and shy.counts.retained_passed_over == 1
    keen = Topics([Channel("h/s/c1", BITDEER, "c1", retained_counts=True)])
    assert keen.hear("c1MainData", payload, True, 0)[0].number("power_w") == 63_400.0


def test_odd_number_formats_are_malformed_never_guessed() -> None:
    topics = Topics([Channel("h/s/c1", BITDEER, "c1")])
    for reported in ("nan", "inf", "1_000", "0x10", "", " ", "12,5", None, True, [], {}, 12.5):
        payload = orjson.dumps({"PowerData": {"TotalPower": reported}})
        (reading,) = topics.hear("c1MainData", payload, False, 0)
        found = reading.get("power_w")
        assert isinstance(found, Missing), f"{reported!r} became {found!r}"
        assert found.reason in (Absence.MALFORMED, Absence.NOT_REPORTED)


def spoil(payload: bytes, rng: np.random.Generator) -> bytes:
    kind = int(rng.integers(0, 5))
    if kind == 0:
        data = bytearray(payload)
        for _ in range(int(rng.integers(1, 5))):
            data[int(rng.integers(0, len(data)))] = int(rng.integers(0, 256))
        return bytes(data)
    if kind == 1:
        return payload[: int(rng.integers(0, len(payload)))]
    if kind == 2:
        return b"[" * int(rng.integers(1, 3000)) + payload
    if kind == 3:
        return orjson.dumps({"PowerData": rng.integers(-(2**62), 2**62, 3).tolist(), "DeviceInfo": [None, "x"]})
    return rng.bytes(int(rng.integers(0, 400)))


def test_garbage_payloads_and_topics_are_counted_and_named() -> None:
    topics = Topics([Channel("h/s/c1", BITDEER, "c1")])
    rng = np.random.default_rng(77)
    documents = {BITDEER.documents[name][0].replace("{id}", "c1"): doc for name, doc in encode(BITDEER, VALUES).items()}
    names = sorted(documents)
    schema = SCHEMAS["container"]
    cases, reported = count(10_000, 10_000), 0
    for _ in range(cases):
        topic = names[int(rng.integers(0, 4))]
        payload = spoil(orjson.dumps(documents[topic]), rng)
        if rng.random() < 0.2:
            topic = rng.bytes(int(rng.integers(0, 40))).decode("latin-1")
        for reading in topics.hear(topic, payload, False, 0):
            reported += 1
            for metric, found in reading.values.items():
                bounds = schema[metric]
                if isinstance(found, float):
                    assert bounds.low is None or found >= bounds.low
                    assert bounds.high is None or found <= bounds.high
                else:
                    assert isinstance(found, str) or found.reason in (
                        Absence.MALFORMED, Absence.NOT_REPORTED, Absence.NONSENSE
                    )  # fmt: skip
    counts = topics.counts
    assert counts.messages == cases and counts.messages == reported + counts.unknown_topic
    assert counts.unknown_topic > 1000 and counts.malformed > 3000


def test_a_devices_own_last_will_makes_it_unreachable() -> None:
    topics = Topics([Channel("h/s/c1", BITDEER, "c1", gone=("{id}/status", b"offline"))])
    assert "c1/status" in topics.names()
    assert topics.hear("c1/status", b"online", True, 5) == [] and topics.counts.unknown_topic == 0
    (gone,) = topics.hear("c1/status", b"offline", True, 9)
    assert set(gone.values) == set(BITDEER.metrics()) and gone.at_ms == 9
    assert all(isinstance(found, Missing) and found.reason is Absence.UNREACHABLE for found in gone.values.values())
