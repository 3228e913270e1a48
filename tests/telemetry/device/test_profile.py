# SPDX-License-Identifier: Apache-2.0
"""Profiles: every fault at once with file and key; scaling, ratios and linear ranges; planning of reads."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kernel.errors import ConfigError
from kernel.reading import Absence, Missing
from telemetry.collect.source import Tier
from telemetry.device.block import Limits, blocks
from telemetry.device.codec import decode, encode
from telemetry.device.point import Register
from telemetry.device.points import Faults
from telemetry.device.profile import Profile, load, parse


def profile_of(points: dict[str, Any], given: dict[str, float] | None = None, **more: Any) -> Profile:
    data = {
        "make": "Test", "model": "T1", "kind": "meter", "wire": "modbus", "source_url": "https://example.org/t1",
        "checked": {"status": "unverified", "by": "made for the test"}, "points": points, **more,
    }  # fmt: skip
    return parse("t1", data, Faults("t1.toml"), given or {})


def test_all_faults_come_at_once_each_with_file_key_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(
        """
        make = "Test"
        kind = "metre"
        wire = "modbus"
        source_url = "somewhere"
        colour = "red"
        [checked]
        status = "frame"
        [modbus]
        max_registers = 300
        [points]
        power_w = { address = 0, type = "f32" }
        """
    )
    with pytest.raises(ConfigError) as error:
        load(path)
    places = {fault.place for fault in error.value.faults}
    assert places >= {
        "bad.toml: model", "bad.toml: kind", "bad.toml: source_url", "bad.toml: colour", "bad.toml: checked.by",
        "bad.toml: checked.frame", "bad.toml: modbus.max_registers",
    }  # fmt: skip
    assert all(fault.remedy for fault in error.value.faults)


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"address": 0, "type": "f32"}, "points.power_w.unit"),
        ({"address": 0, "type": "f32", "unit": "kWh"}, "points.power_w.unit"),
        ({"address": 0, "type": "f32", "unit": "horses"}, "points.power_w.unit"),
        ({"address": 0x10000, "type": "u16", "unit": "W"}, "points.power_w.address"),
        ({"address": 0xFFFF, "type": "u32", "unit": "W"}, "points.power_w.address"),
        ({"type": "u16", "unit": "W"}, "points.power_w.address"),
        ({"address": 0, "type": "u24", "unit": "W"}, "points.power_w.type"),
        ({"address": 0, "type": "u16", "unit": "W", "scale": 0}, "points.power_w.scale"),
        ({"address": 0, "type": "u16", "unit": "W", "adress": 1}, "points.power_w.adress"),
        ({"address": 0, "type": "u16", "unit": "W", "tier": "never"}, "points.power_w.tier"),
        ({"address": 0, "type": "u16", "unit": "W", "word_order": "middle"}, "points.power_w.word_order"),
        ({"address": 0, "type": "u16", "unit": "W", "function": 7}, "points.power_w.function"),
        ({"address": 0, "type": "u16", "unit": "W", "multiply": ["ct"]}, "points.power_w.multiply"),
        (
            {"address": 0, "type": "u16", "unit": "W", "linear": {"low": 1, "high": 1, "raw": 9}},
            "points.power_w.linear",
        ),
        ("0x34", "points.power_w"),
    ],
)
def test_a_fault_in_a_point_names_its_key(entry: Any, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        profile_of({"power_w": entry})
    assert f"t1.toml: {key}" in {fault.place for fault in error.value.faults}


def test_a_metric_of_another_name_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'power_w'"):
        profile_of({"powr_w": {"address": 0, "type": "f32", "unit": "W"}})


def test_ratios_and_linear_ranges_come_from_the_site() -> None:
    points = {
        "power_w": {
            "address": 0, "type": "u16", "unit": "kW", "linear": {"low": "-p_full", "high": "p_full", "raw": 9999},
        },
        "current_l1_a": {"address": 1, "type": "u16", "unit": "mA", "multiply": ["ct_ratio"]},
    }  # fmt: skip
    parameters = {"p_full": 100.0, "ct_ratio": 1.0}
    made = profile_of(points, parameters=parameters, given={"ct_ratio": 40.0, "p_full": 200.0})
    raw = {(None, 3, 0): 9999, (None, 3, 1): 5000}
    assert decode(made, raw, 0) == {"power_w": pytest.approx(200_000.0), "current_l1_a": pytest.approx(200.0)}
    assert decode(made, {**raw, (None, 3, 0): 0}, 0)["power_w"] == pytest.approx(-200_000.0)
    with pytest.raises(ConfigError, match="no such parameter"):
        profile_of(points, parameters=parameters, given={"ratio": 40.0})


@pytest.mark.parametrize(
    ("word_order", "byte_order", "wire"),
    [
        ("big", "big", [0x1122, 0x3344]),
        ("little", "big", [0x3344, 0x1122]),
        ("big", "little", [0x2211, 0x4433]),
        ("little", "little", [0x4433, 0x2211]),
    ],
)
def test_all_register_and_byte_orders(word_order: str, byte_order: str, wire: list[int]) -> None:
    entry = {"address": 0, "type": "u32", "unit": "Wh", "word_order": word_order, "byte_order": byte_order}
    made = profile_of({"energy_import_wh": entry})
    raw = {(None, 3, 0): wire[0], (None, 3, 1): wire[1]}
    assert decode(made, raw, 0)["energy_import_wh"] == 0x11223344
    assert encode(made, {"energy_import_wh": float(0x11223344)}) == raw


def test_absence_has_a_reason_and_never_becomes_a_number() -> None:
    made = profile_of(
        {
            "power_w": {"address": 0, "type": "i16", "unit": "W", "sentinels": [-32768]},
            "frequency_hz": {"address": 1, "type": "f32", "unit": "Hz", "sentinels": ["nan"]},
            "voltage_l1_v": {"address": 3, "type": "f32", "unit": "V"},
            "power_factor": {"address": 5, "type": "i16", "unit": "1", "scale": 0.001},
            "current_l1_a": {"address": 6, "type": "u16", "unit": "A"},
        }
    )
    nan = {1: 0x7FC0, 2: 0, 3: 0x7FC0, 4: 0}
    raw: dict[Any, Any] = {(None, 3, at): word for at, word in {0: 0x8000, 5: 3000, **nan}.items()}
    raw[(None, 3, 6)] = Missing(Absence.REFUSED, "exception 2")
    reasons = {m: found.reason for m, found in decode(made, raw, 0).items() if isinstance(found, Missing)}
    assert reasons == {
        "power_w": Absence.SENTINEL, "frequency_hz": Absence.SENTINEL, "voltage_l1_v": Absence.NONSENSE,
        "power_factor": Absence.NONSENSE, "current_l1_a": Absence.REFUSED,
    }  # fmt: skip


def test_a_value_that_does_not_fit_is_refused_by_name() -> None:
    made = profile_of({"power_w": {"address": 0, "type": "u16", "unit": "W"}})
    with pytest.raises(ValueError, match="power_w"):
        encode(made, {"power_w": 70_000.0})


def test_tiers_are_read_separately() -> None:
    made = profile_of(
        {
            "power_w": {"address": 0, "type": "u16", "unit": "W"},
            "thd_voltage_pct": {"address": 1, "type": "u16", "unit": "%", "tier": "slow"},
        }
    )
    assert made.metrics(Tier.FAST) == ("power_w",) and made.metrics(Tier.SLOW) == ("thd_voltage_pct",)
    assert [str(block) for block in made.reads(Tier.FAST)] == ["fc3 0+1"]
    assert set(decode(made, {}, 0, Tier.SLOW)) == {"thd_voltage_pct"}


registers = st.builds(Register, st.sampled_from([3, 4]), st.integers(0, 300), st.sampled_from([1, 2, 4]))


@given(st.lists(registers, min_size=1, max_size=25), st.integers(4, 125), st.integers(0, 40))
def test_blocks_cover_every_value_whole_within_the_limits(wanted: list[Register], size: int, gap: int) -> None:
    made = blocks(wanted, Limits(size, gap))
    for register in wanted:
        assert any(
            block.function == register.function
            and block.address <= register.address
            and register.address + register.count <= block.address + block.count
            for block in made
        )
    for block in made:
        inside = sorted(
            (r.address, r.address + r.count)
            for r in wanted
            if r.function == block.function
            and block.address <= r.address
            and r.address + r.count <= block.address + block.count
        )
        end = inside[0][1]
        assert block.count <= size and inside[0][0] == block.address
        for start, stop in inside[1:]:
            assert start - end <= gap
            end = max(end, stop)
        assert end == block.address + block.count


def fewest(wanted: list[tuple[int, int]], size: int, gap: int) -> int:
    """The fewest blocks by trying every way to cut the sorted list: slow, and plainly right."""
    best = [0] + [len(wanted) + 1] * len(wanted)
    for stop in range(1, len(wanted) + 1):
        for start in range(stop):
            run = wanted[start:stop]
            ends = [max(end for _, end in run[: at + 1]) for at in range(len(run))]
            gaps = all(run[at + 1][0] - ends[at] <= gap for at in range(len(run) - 1))
            if gaps and ends[-1] - run[0][0] <= size:
                best[stop] = min(best[stop], best[start] + 1)
    return best[-1]


@given(st.lists(st.integers(0, 60), min_size=1, max_size=9, unique=True), st.integers(2, 20), st.integers(0, 10))
def test_no_plan_has_fewer_reads(starts: list[int], size: int, gap: int) -> None:
    wanted = [Register(3, 2 * at, 2) for at in starts]
    spans = sorted((r.address, r.address + 2) for r in wanted)
    assert len(blocks(wanted, Limits(size, gap))) == fewest(spans, size, gap)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(
    [
        "make",
        "kind",
        "wire",
        "checked",
        "modbus",
        "points",
        "switch",
        "documents",
        "parameters",
        "sunspec",
        "source_url",
        "command",
    ]
)
point_keys = st.sampled_from(
    ["address", "type", "unit", "scale", "labels", "linear", "multiply", "tier", "bit", "sentinels", "pointer", "low",
     "document", "answer", "index", "scale_address", "function"]
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(keys, anything, max_size=4), st.dictionaries(point_keys, anything, max_size=5), st.booleans())
def test_no_profile_however_wrong_raises_anything_but_its_faults(top: Any, point: Any, json: bool) -> None:
    data = {
        "make": "T", "model": "T", "kind": "meter", "wire": "mqtt" if json else "modbus",
        "source_url": "https://example.org", "checked": {"status": "source", "by": "x"}, "documents": {"main": "t"},
        "points": {"power_w": {"address": 0, "type": "u16", "unit": "W", **point}}, **top,
    }  # fmt: skip
    try:
        parse("t", data, Faults("t.toml"), {})
    except ConfigError as error:
        assert error.faults
