# SPDX-License-Identifier: Apache-2.0
"""Laws of every device profile: what is encoded decodes to itself; frames decode to what their table says; honesty."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.metric import SCHEMAS
from kernel.reading import Absence, Field, Missing
from telemetry.device.block import registers_of
from telemetry.device.codec import decode, encode
from telemetry.device.frames import frame_faults
from telemetry.device.point import REGISTER_TYPES, Point, Register
from telemetry.device.profile import Checked, Profile, catalogue
from telemetry.device.scale import to_raw_number
from tests.servers import count

PROFILES = catalogue(Path(__file__).parents[2] / "configs" / "profiles")
INTEGER_BOUNDS = {
    "u16": (0, 0xFFFE), "i16": (-0x7FFF, 0x7FFE), "u32": (0, 0xFFFFFFFE), "i32": (-0x7FFFFFFF, 0x7FFFFFFE),
    "u64": (0, 2**52), "i64": (-(2**52), 2**52), "mercury_u24": (0, 2**22 - 2), "mercury_u32": (0, 2**32 - 2),
    "mercury_p24": (-(2**22) + 2, 2**22 - 2), "mercury_q24": (-(2**22) + 2, 2**22 - 2),
}  # fmt: skip


def resolution(point: Point, raw: Any = None) -> float:
    """The step of a point in canonical units; floats are judged relatively as well."""
    step = abs(point.factor / point.inverse_factor)
    if point.scale_at is not None and raw is not None:
        word = raw[(point.scale_at.unit_id, point.scale_at.function, point.scale_at.address)]
        step *= 10.0 ** (word - 0x10000 if word & 0x8000 else word)
    return step


def values_for(point: Point) -> st.SearchStrategy[Field]:
    """Canonical values that a point's wire type can carry and that can be."""
    if point.type == "json":
        return st.just('[{"a":1}]')
    if point.is_text:
        if point.labels:
            return st.sampled_from(sorted(point.labels.values()))
        length = point.at.count * 2 if isinstance(point.at, Register) else 12
        return st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=length)
    low = -1e6 if point.low is None else max(point.low, -1e6)
    high = 1e6 if point.high is None else min(point.high, 1e6)
    if point.type in INTEGER_BOUNDS:
        scale = 10.0 if point.unit in ("W", "var", "VA", "Wh", "varh") else 0.001
        exponent = scale if point.scale_at is not None else 1.0
        ends = [
            bound * exponent * point.factor / point.inverse_factor + point.offset
            for bound in INTEGER_BOUNDS[point.type]
        ]
        low, high = max(low, min(ends)), min(high, max(ends))
        if point.also:
            low, high = low * (1 + len(point.also)), high * (1 + len(point.also)) - 10
        if 0 in point.sentinels:
            low = max(low, high / 1000)
    if point.bit is not None:
        return st.sampled_from([0.0, 1.0])
    if point.metric.endswith("_pct") and point.high is None:
        high = 100.0
    return st.floats(low, high, allow_nan=False)


def strategy(profile: Profile) -> st.SearchStrategy[dict[str, Field]]:
    return st.fixed_dictionaries({point.metric: values_for(point) for point in profile.points})


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_what_is_encoded_decodes_to_itself(name: str) -> None:
    profile = PROFILES[name]

    @settings(max_examples=count(12, 500), deadline=None)
    @given(strategy(profile))
    def law(values: dict[str, Field]) -> None:
        raw = encode(profile, values)
        found = decode(profile, raw, 0)
        for point in profile.points:
            reported, meant = found[point.metric], values[point.metric]
            if isinstance(meant, str):
                assert reported == meant
                continue
            assert isinstance(reported, float), f"{point.metric} = {meant}: {reported}"
            assert isinstance(meant, float)
            relative = 2e-7 if point.type == "f32" else 1e-11
            integer = not (point.type.startswith("f") or point.type in ("number", "numeral"))
            slack = resolution(point, raw) / 2 * 1.000001 if integer else 1e-30 + resolution(point) * 1e-9
            assert abs(reported - meant) <= slack + relative * (abs(meant) + abs(point.offset)), point.metric

    law()


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_nothing_encoded_is_nothing_decoded(name: str) -> None:
    """No value is ever made out of absence."""
    profile = PROFILES[name]
    for found in decode(profile, encode(profile, {}), 0).values():
        assert isinstance(found, Missing) and found.reason in (Absence.SENTINEL, Absence.NOT_REPORTED)
    for found in decode(profile, {}, 0).values():
        assert isinstance(found, Missing) and found.reason is Absence.NOT_REPORTED


@pytest.mark.parametrize("name", sorted(name for name, p in PROFILES.items() if p.check.frames))
def test_frames_decode_to_the_expected_values(name: str) -> None:
    assert frame_faults(PROFILES[name]) == []


@pytest.mark.parametrize("name", sorted(name for name, p in PROFILES.items() if p.check.frames))
def test_a_frame_that_differs_is_found(name: str) -> None:
    profile = PROFILES[name]
    frames = [
        replace(frame, expect={key: _other(value) for key, value in frame.expect.items()})
        for frame in profile.check.frames
    ]
    wrong = replace(profile, check=replace(profile.check, frames=tuple(frames)))
    assert len(frame_faults(wrong)) == sum(len(frame.expect) for frame in frames)


def _other(value: float | str) -> float | str:
    return f"{value}x" if isinstance(value, str) else value * 1.001 + 0.001


def test_a_frame_that_cannot_be_read_is_a_fault() -> None:
    profile = next(one for one in PROFILES.values() if one.check.frames and one.wire == "sunspec")
    torn = replace(profile.check.frames[0], raw={"registers": [{"function": 3, "address": 0, "hex": "0g"}]})
    (fault,) = frame_faults(replace(profile, check=replace(profile.check, frames=(torn,))))
    assert "cannot be read" in fault.problem


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_reads_cover_each_value_whole_and_keep_the_limits(name: str) -> None:
    profile = PROFILES[name]
    reads = profile.reads()
    for register in registers_of(profile.points):
        covering = [
            block
            for block in reads
            if (block.unit_id, block.function) == (register.unit_id, register.function)
            and block.address <= register.address
            and register.address + register.count <= block.address + block.count
        ]
        assert len(covering) == 1, f"{register} in {covering}"
    widest = max((register.count for register in registers_of(profile.points)), default=1)
    assert all(block.count <= max(profile.limits.max_count, widest) for block in reads)


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_every_profile_is_honest_about_its_source(name: str) -> None:
    profile = PROFILES[name]
    assert profile.source_url.startswith("http") and len(profile.check.by) > 15
    assert (profile.check.status is Checked.FRAME) == bool(profile.check.frames)
    assert set(profile.metrics()) <= set(SCHEMAS[profile.kind])


def test_the_resolution_of_integers_is_as_in_the_table() -> None:
    """A guard of this file's own arithmetic: one raw step is one resolution."""
    for profile in PROFILES.values():
        for point in profile.points:
            if point.type in REGISTER_TYPES and point.scale_at is None and not point.is_text:
                step = to_raw_number(point, point.offset + resolution(point))
                assert math.isclose(abs(step), 1.0, rel_tol=1e-9), f"{profile.name}: {point.metric}"
