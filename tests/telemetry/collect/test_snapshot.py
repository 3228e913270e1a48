# SPDX-License-Identifier: Apache-2.0
import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernel.metric import SCHEMAS
from kernel.reading import MISSING, Absence, Field, Missing, Reading
from telemetry.collect.snapshot import Snapshot
from tests.telemetry.store.journal_cases import T0_MS, batch, miner


def test_the_latest_of_each_metric_and_its_age() -> None:
    snapshot = Snapshot()
    snapshot.update(batch("miner", [miner(1, T0_MS, 3000.0), miner(2, T0_MS, 3100.0, "sleeping")]))
    snapshot.update(batch("miner", [Reading("hub/site/m00001", "miner", T0_MS + 5000, {"power_w": 3001.0})]))

    table = snapshot.kind("miner")
    assert table.devices == ["hub/site/m00001", "hub/site/m00002"]
    values, codes, age_s = table.values("power_w", T0_MS + 6000)
    assert values.tolist() == [3001.0, 3100.0] and codes.tolist() == [0, 0] and age_s.tolist() == [1.0, 6.0]
    states, _, _ = table.values("state", T0_MS)
    assert (states == "sleeping").tolist() == [False, True]
    assert snapshot.field("hub/site/m00001", "state", T0_MS + 6000, 10.0) == "hashing"


def test_a_late_reading_never_overwrites_a_newer_one() -> None:
    snapshot = Snapshot()
    snapshot.update(batch("miner", [miner(1, T0_MS + 5000, 2.0)]))
    snapshot.update(batch("miner", [miner(1, T0_MS, 1.0)]))
    assert snapshot.field("hub/site/m00001", "power_w", T0_MS + 5000, 60.0) == 2.0
    snapshot.update(batch("miner", [miner(1, T0_MS + 9000, 9.0), miner(1, T0_MS + 7000, 7.0)]))
    assert snapshot.field("hub/site/m00001", "power_w", T0_MS + 9000, 60.0) == 9.0


def test_missing_says_why_and_the_last_good_value_stays_known() -> None:
    snapshot = Snapshot()
    snapshot.update(batch("miner", [miner(1, T0_MS, 3000.0)]))
    gone = Reading(
        "hub/site/m00001", "miner", T0_MS + 5000, {"power_w": MISSING[Absence.UNREACHABLE], "state": "unreachable"}
    )
    snapshot.update(batch("miner", [gone]))
    assert snapshot.field("hub/site/m00001", "power_w", T0_MS + 5000, 60.0) == MISSING[Absence.UNREACHABLE]
    values, age_s = snapshot.kind("miner").last_good("power_w", T0_MS + 6000)
    assert values[0] == 3000.0 and age_s[0] == 6.0
    assert snapshot.kind("miner").silence_s(T0_MS + 6000)[0] == 6.0, "a failure to answer is no sign of life"


def test_stale_never_asked_and_unknown() -> None:
    snapshot = Snapshot([miner(1, T0_MS)])
    assert snapshot.field("hub/site/m00001", "power_w", T0_MS + 61_000, 60.0) == MISSING[Absence.STALE]
    assert snapshot.field("hub/site/m00001", "fan_max_rpm", T0_MS, 60.0) == MISSING[Absence.NOT_ASKED]
    assert snapshot.field("hub/site/nobody", "power_w", T0_MS, 60.0) == MISSING[Absence.NOT_ASKED]
    values, codes, age_s = snapshot.kind("miner").values("fan_max_rpm", T0_MS)
    assert len(values) == len(codes) == len(age_s) == 1 and codes[0] == Absence.NOT_ASKED and np.isinf(age_s[0])


def test_a_clock_set_back_hides_nothing_new_and_one_set_forward_ages_nothing() -> None:
    for step_s in (-3600, 3600):
        snapshot = Snapshot()
        snapshot.update(batch("miner", [miner(1, T0_MS, 1.0), miner(2, T0_MS, 1.0)]))
        snapshot.clock_stepped(step_s)
        now_ms = T0_MS + step_s * 1000 + 5000
        snapshot.update(batch("miner", [miner(1, now_ms, 2.0)]))
        values, _, age_s = snapshot.kind("miner").values("power_w", now_ms)
        assert values.tolist() == [2.0, 1.0] and age_s.tolist() == [0.0, 5.0]
        assert snapshot.kind("miner").silence_s(now_ms).tolist() == [0.0, 5.0]


def test_after_a_restart_what_is_dated_ahead_hides_nothing() -> None:
    snapshot = Snapshot([miner(1, T0_MS + 3_600_000, 1.0)], now_ms=T0_MS)
    assert snapshot.field("hub/site/m00001", "power_w", T0_MS + 1000, 60.0) == 1.0
    snapshot.update(batch("miner", [miner(1, T0_MS + 5000, 2.0)]))
    assert snapshot.field("hub/site/m00001", "power_w", T0_MS + 5000, 60.0) == 2.0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 90),
            st.integers(0, 20),
            st.dictionaries(
                st.sampled_from(["power_w", "state", "fan_max_rpm"]),
                st.sampled_from([1.0, 2.0, Absence.TIMED_OUT, Absence.NONSENSE]),
            ),
        ),
        max_size=60,
    ),
    st.integers(1, 7),
)
def test_batches_of_any_size_give_the_same_as_single_readings(
    rows: list[tuple[int, int, dict[str, object]]], cut: int
) -> None:
    def field(name: str, found: object) -> Field:
        if isinstance(found, Absence):
            return MISSING[found]
        return f"s{found}" if name == "state" else float(found)  # type: ignore[arg-type]

    readings = [
        Reading(f"hub/site/m{d}", "miner", T0_MS + at, {n: field(n, v) for n, v in values.items()})
        for d, at, values in rows
    ]
    newest: dict[tuple[str, str], tuple[int, Field]] = {}
    for reading in readings:
        for name, found in reading.values.items():
            if reading.at_ms >= newest.get((reading.device, name), (-1, 0.0))[0]:
                newest[reading.device, name] = reading.at_ms, found

    whole = Snapshot(readings)
    cut_up = Snapshot()
    for start in range(0, len(readings), cut):
        cut_up.update(batch("miner", readings[start : start + cut]))
    for (device, name), (at_ms, expected) in newest.items():
        for snapshot in (whole, cut_up):
            assert snapshot.field(device, name, at_ms, 1e9) == expected
    for snapshot in (whole, cut_up):
        for device in {r.device for r in readings if r.values}:
            known = snapshot.kind("miner").reading(device)
            assert known.values == {n: v for (d, n), (_, v) in newest.items() if d == device}


def test_ten_thousand_devices_are_quick() -> None:
    metrics = [m for m in SCHEMAS["miner"] if m.endswith(("_w", "_c", "_rpm", "_s"))]
    rows = [
        Reading(f"hub/site/m{i:05d}", "miner", T0_MS, {**dict.fromkeys(metrics, 1.0), "state": "hashing"})
        for i in range(10_000)
    ]
    one = batch("miner", rows)
    snapshot = Snapshot()
    snapshot.update(one)
    start = time.process_time()
    for step in range(10):
        one.at_ms = one.at_ms + 1000 * (step + 1)
        snapshot.update(one)
        snapshot.kind("miner").values("power_w", T0_MS)
    assert (time.process_time() - start) / 10 < 0.1
    assert not isinstance(snapshot.field("hub/site/m09999", "power_w", T0_MS, 60.0), Missing)
