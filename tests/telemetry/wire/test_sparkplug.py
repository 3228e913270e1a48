# SPDX-License-Identifier: Apache-2.0
"""Sparkplug B: bytes of a foreign implementation, the life of an edge node, and garbage."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.errors import ConfigError
from kernel.reading import Absence, Missing, Reading
from telemetry.collect.snapshot import Snapshot
from telemetry.device.profile import load
from telemetry.wire.sparkplug import (
    BOOLEAN,
    DOUBLE,
    INT64,
    Metric,
    Payload,
    decode_payload,
    encode_payload,
    rebirth_request,
    typed,
)
from telemetry.wire.sparkplug_host import SparkplugChannel, SparkplugHost
from tests.servers import count

PROFILE = load(Path(__file__).parents[3] / "configs" / "profiles" / "meters" / "sparkplug_meter.toml")
T0 = 1_795_000_000_000

# Made by pysparkplug 0.6.1 (Google's protobuf underneath) from the values in the tests below.
FOREIGN = {
    "NBIRTH": "0880bcd9f29e3412120a0562645365711880bcd9f29e342004580312210a144e6f646520436f6e74726f6c2f52656269727468"
    "1880bcd9f29e34200b700012150a0454656d7010091880bcd9f29e34200250f9ff031800",
    "DBIRTH": "0880bcd9f29e34121b0a05506f77657210011880bcd9f29e34200a69000000008038b540121c0a0a566f6c74616765204c3110"
    "021880bcd9f29e342009650080664312230a0d456e6572677920496d706f727410031880bcd9f29e34200858818080808080801012210a0e5265"
    "61637469766520506f77657210041880bcd9f29e34200350d0f6ffff0f12190a0653657269616c10051880bcd9f29e34200c7a04534e2d311218"
    "0a094672657175656e637910061880bcd9f29e34200a38011801",
    "DDATA": "08e8c3d9f29e341214100118e8c3d9f29e34200a6900000000002045c01211100418e8c3d9f29e34200350fbffffff0f1802",
    "PAST": "08d0cbd9f29e341216100118a0e7d5f29e34200a2801690000000000c05b401214100118d0cbd9f29e34200a690000000000c06b40"
    "1803",
    "NDEATH": "12120a0562645365711880bcd9f29e3420045803",
}  # fmt: skip


def foreign(name: str) -> bytes:
    return bytes.fromhex(FOREIGN[name])


def host() -> SparkplugHost:
    return SparkplugHost([SparkplugChannel("h/s/m1", PROFILE, "plant", "edge1", "meter1")])


def tell(made: SparkplugHost, verb: str, data: bytes, now_ms: int = T0) -> tuple[Reading, ...]:
    topic = f"spBv1.0/plant/{verb}/edge1" + ("" if verb.startswith("N") else "/meter1")
    return made.hear(topic, data, now_ms).readings


def message(seq: int | None, *metrics: Metric) -> bytes:
    return encode_payload(Payload(metrics, T0, seq))


def power(value: float, **more: object) -> Metric:
    return Metric("Power", datatype=DOUBLE, value=value, **more)  # type: ignore[arg-type]


def test_foreign_bytes_are_read_and_written_the_same() -> None:
    birth = decode_payload(foreign("NBIRTH"))
    assert birth.seq == 0 and birth.timestamp_ms == T0
    assert {m.name: typed(m, m.datatype) for m in birth.metrics} == {
        "bdSeq": 3, "Node Control/Rebirth": False, "Temp": -7,
    }  # fmt: skip
    for name in FOREIGN:
        if name != "NBIRTH":
            payload = decode_payload(foreign(name))
            again = decode_payload(encode_payload(payload))
            assert again == payload
    asked = decode_payload(rebirth_request(T0))
    assert [(m.name, m.datatype, m.value) for m in asked.metrics] == [("Node Control/Rebirth", BOOLEAN, True)]


def test_the_life_of_an_edge_node_with_aliases_signs_nulls_and_death() -> None:
    made = host()
    assert tell(made, "NBIRTH", foreign("NBIRTH")) == ()
    (birth,) = tell(made, "DBIRTH", foreign("DBIRTH"))
    assert birth.number("power_w") == 5432.5 and birth.number("voltage_l1_v") == 230.5
    assert birth.number("reactive_var") == -1200.0 and birth.get("serial") == "SN-1"
    assert birth.number("energy_import_wh") == float(9_007_199_254_740_993)
    null = birth.get("frequency_hz")
    assert isinstance(null, Missing) and null.reason is Absence.SENTINEL
    (data,) = tell(made, "DDATA", foreign("DDATA"), T0 + 1000)
    assert dict(data.values) == {"power_w": -42.25, "reactive_var": -5.0} and data.at_ms == T0 + 1000
    (gone,) = tell(made, "NDEATH", foreign("NDEATH"), T0 + 5000)
    assert set(gone.values) == set(PROFILE.metrics())
    assert all(isinstance(found, Missing) and found.reason is Absence.UNREACHABLE for found in gone.values.values())


def test_historical_values_never_overwrite_the_latest() -> None:
    made, snapshot = host(), Snapshot()
    tell(made, "NBIRTH", foreign("NBIRTH"))
    tell(made, "DBIRTH", foreign("DBIRTH"))
    tell(made, "DDATA", foreign("DDATA"), T0 + 1000)
    past, live = tell(made, "DDATA", foreign("PAST"), T0 + 2000)
    assert past.number("power_w") == 111.0 and past.at_ms == T0 - 60_000
    assert live.number("power_w") == 222.0 and live.at_ms == T0 + 2000
    # A replay whose clock runs ahead, after the latest live value.
    ahead = message(4, power(999.0, is_historical=True, timestamp_ms=T0 + 10**9))
    (late,) = tell(made, "DDATA", ahead, T0 + 3000)
    assert late.at_ms < live.at_ms
    for reading in (live, past, late):
        snapshot.hear(reading)
    assert snapshot.field("h/s/m1", "power_w", T0 + 3000, 60.0) == 222.0


def test_a_gap_in_the_sequence_requests_a_rebirth_and_data_is_ignored_until_it_comes() -> None:
    made = host()
    tell(made, "NBIRTH", foreign("NBIRTH"))
    tell(made, "DBIRTH", foreign("DBIRTH"))
    heard = made.hear("spBv1.0/plant/DDATA/edge1/meter1", message(5, power(1.0)), T0)
    assert heard.readings == () and heard.rebirths == (("plant", "edge1"),)
    heard = made.hear("spBv1.0/plant/DDATA/edge1/meter1", message(6, power(2.0)), T0 + 100)
    assert heard.readings == () and heard.rebirths == (), "asked once, not at every message"
    heard = made.hear("spBv1.0/plant/DDATA/edge1/meter1", message(7, power(2.0)), T0 + 60_000)
    assert heard.rebirths == (("plant", "edge1"),), "and again when nothing came of it"
    tell(made, "NBIRTH", message(0, Metric("bdSeq", datatype=INT64, value=4)))
    (reading,) = tell(made, "DBIRTH", message(1, power(7.0)))
    assert reading.number("power_w") == 7.0 and made.counts.gaps == 1


def test_the_sequence_wraps_at_255() -> None:
    made = host()
    tell(made, "NBIRTH", message(0, Metric("bdSeq", datatype=INT64, value=0)))
    for seq in range(1, 600):
        (reading,) = tell(made, "DDATA", message(seq % 256, power(float(seq))))
        assert reading.number("power_w") == seq
    assert made.counts.gaps == 0


def test_data_before_any_birth_asks_for_one() -> None:
    heard = host().hear("spBv1.0/plant/DDATA/edge1/meter1", message(9, power(1.0)), T0)
    assert heard.readings == () and heard.rebirths == (("plant", "edge1"),)


def test_a_late_will_of_an_earlier_session_is_ignored() -> None:
    made = host()
    tell(made, "NBIRTH", message(0, Metric("bdSeq", datatype=INT64, value=8)))
    heard = made.hear("spBv1.0/plant/NDEATH/edge1", message(None, Metric("bdSeq", datatype=INT64, value=7)), T0)
    assert heard.readings == () and heard.rebirths == (("plant", "edge1"),) and made.counts.late_deaths == 1
    (reading,) = tell(made, "DDATA", message(1, power(3.0)))
    assert reading.number("power_w") == 3.0
    (gone,) = tell(made, "NDEATH", message(None, Metric("bdSeq", datatype=INT64, value=8)))
    assert isinstance(gone.get("power_w"), Missing)


def test_a_device_that_dies_alone_leaves_the_node_alive() -> None:
    made = host()
    tell(made, "NBIRTH", message(0))
    (gone,) = tell(made, "DDEATH", message(1))
    why = gone.get("power_w")
    assert isinstance(why, Missing) and why.detail == "meter1 is offline (death certificate)"
    (back,) = tell(made, "DBIRTH", message(2, power(5.0)))
    assert back.number("power_w") == 5.0


def test_two_devices_cannot_claim_one_name_and_strangers_are_counted() -> None:
    channel = SparkplugChannel("h/s/m1", PROFILE, "plant", "edge1", "meter1")
    with pytest.raises(ConfigError):
        SparkplugHost([channel, SparkplugChannel("h/s/m2", PROFILE, "plant", "edge1", "meter1")])
    made = host()
    for topic in ("spBv1.0/plant/NDATA/other", "spAv1.0/plant/NDATA/edge1", "spBv1.0/plant/NOISE/edge1", "x", ""):
        assert made.hear(topic, b"", T0).readings == ()
    assert made.counts.strangers == 5


metrics = st.builds(
    Metric,
    st.text(max_size=12),
    st.none() | st.integers(0, 2**63),
    st.none() | st.integers(0, 2**63),
    st.just(DOUBLE),
    st.none() | st.floats(allow_nan=False),
    st.booleans(),
)


@given(st.lists(metrics, max_size=5), st.none() | st.integers(0, 2**63), st.none() | st.integers(0, 255))
def test_payloads_round_trip(reported: list[Metric], stamp: int | None, seq: int | None) -> None:
    payload = Payload(tuple(reported), stamp, seq)
    assert decode_payload(encode_payload(payload)) == payload


def test_garbage_is_counted_and_makes_no_value() -> None:
    rng = np.random.default_rng(12)
    made = host()
    tell(made, "NBIRTH", foreign("NBIRTH"))
    tell(made, "DBIRTH", foreign("DBIRTH"))
    verbs = ["NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH"]
    raised = 0
    for _ in range(count(10_000, 10_000)):
        data = bytearray(foreign("DDATA") if rng.random() < 0.8 else rng.bytes(int(rng.integers(0, 200))))
        for _ in range(int(rng.integers(1, 6))):
            if data:
                data[int(rng.integers(0, len(data)))] = int(rng.integers(0, 256))
        try:
            decode_payload(bytes(data))
        except ValueError:
            raised += 1
        for reading in tell(made, verbs[int(rng.integers(0, 6))], bytes(data), T0):
            for found in reading.values.values():
                assert isinstance(found, Missing | str) or abs(float(found)) < 1e300
    assert raised > 1000 and made.counts.malformed > 1000 and made.counts.messages == 10_002
