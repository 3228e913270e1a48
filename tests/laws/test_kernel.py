# SPDX-License-Identifier: Apache-2.0
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.curve import Curve
from kernel.ids import business_id, device_key, parse_device_key
from kernel.metric import SCHEMAS, TEXT_METRICS
from kernel.money import Money, Unit, decimal_to_int, int_to_decimal, split
from kernel.reading import MISSING, Absence, Reading, batch_of
from kernel.span import Slots, Span

weights = st.lists(st.integers(0, 10**9), min_size=1, max_size=50).filter(lambda w: sum(w) > 0)


@given(st.integers(-(10**15), 10**15), weights)
def test_a_split_is_exact_and_each_part_within_one_of_its_share(total, parts):
    shares = split(total, parts)
    assert sum(shares) == total
    for share, weight in zip(shares, parts, strict=True):
        assert abs(Fraction(share) - Fraction(total * weight, sum(parts))) < 1
        assert share == 0 or (share > 0) == (total > 0)


@given(st.integers(-(10**18), 10**18), st.integers(0, 12))
def test_decimal_text_round_trips(amount, scale):
    assert decimal_to_int(int_to_decimal(amount, scale), scale) == amount


@pytest.mark.parametrize("text", ["1e-8", "nan", "", "0.123456789", "1,5", "--1", "१"])
def test_money_refuses_what_is_no_plain_decimal(text):
    with pytest.raises(ValueError, match="amount"):
        decimal_to_int(text, 8)


def test_units_do_not_add():
    with pytest.raises(ValueError, match="recorded rate"):
        Money(1, Unit.SAT) + Money(1, Unit.TIYN)


@given(st.integers(0, 2**48 - 1), st.lists(st.text(max_size=20), min_size=1, max_size=4))
def test_a_business_id_is_repeatable_and_sorts_by_time(at_ms, key):
    made = business_id(at_ms, *key)
    assert made == business_id(at_ms, *key)
    assert made.version == 7 and made.int >> 80 == at_ms
    assert made != business_id(at_ms, *key, "again")


@given(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True))
def test_device_keys_round_trip(part):
    assert parse_device_key(device_key("hub", part, part)) == ("hub", part, part)


numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
miner_fields = st.fixed_dictionaries(
    {},
    optional={
        name: st.one_of(
            st.sampled_from([m for r, m in MISSING.items() if r is not Absence.NOT_ASKED]),
            st.text(max_size=8) if name in TEXT_METRICS["miner"] else numbers,
        )
        for name in ("power_w", "hashrate_hs", "state", "error_text", "fan_max_rpm")
    },
)


@given(st.lists(miner_fields, min_size=1, max_size=8))
def test_rows_to_columns_and_back_lose_nothing(rows):
    readings = [Reading(f"h/s/d{i}", "miner", i, row) for i, row in enumerate(rows)]
    batch = batch_of("miner", list(SCHEMAS["miner"]), TEXT_METRICS["miner"], readings)
    for reading, back in zip(readings, batch.readings(), strict=True):
        assert back.device == reading.device and back.at_ms == reading.at_ms
        assert dict(back.values) == dict(reading.values)


def test_an_unknown_metric_is_refused_by_name():
    with pytest.raises(KeyError, match="colour"):
        batch_of("miner", list(SCHEMAS["miner"]), frozenset(), [Reading("h/s/d", "miner", 0, {"colour": 1.0})])


@st.composite
def curves(draw):
    lengths = draw(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 100)), min_size=1, max_size=12))
    starts, ends, at = [], [], 0
    for gap, length in lengths:
        at += gap
        starts.append(at)
        at += length
        ends.append(at)
    values = draw(st.lists(st.floats(-1e6, 1e6), min_size=len(starts), max_size=len(starts)))
    return Curve("c", "u", np.array(starts, np.int64), np.array(ends, np.int64), np.array(values), 0, "test")


@given(curves(), st.lists(st.integers(-50, 1500), min_size=2, max_size=20, unique=True))
def test_a_curve_on_slots_is_the_mean_of_what_it_covers(curve, edges):
    slots = Slots(np.array(sorted(edges), dtype=np.int64))
    mean, covered = curve.on_slots(slots)
    for index, slot in enumerate(slots):
        found = [curve.at(at) for at in range(slot.start_ms, slot.end_ms)]
        present = [value for value in found if value is not None]
        assert covered[index] == pytest.approx(len(present) / len(found))
        if present:
            assert mean[index] == pytest.approx(sum(present) / len(present), rel=1e-9, abs=1e-6)


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(0, 10**6), st.integers(1, 10**6))
def test_overlap_is_symmetric_and_inside_both(a, b, c, d):
    first, second = Span(a, a + b), Span(c, c + d)
    shared = first.overlap(second)
    assert shared == second.overlap(first)
    if shared:
        assert first.holds(shared.start_ms) and second.holds(shared.start_ms)
