# SPDX-License-Identifier: Apache-2.0
"""Laws of energy: what is cut and summed is what was there, whatever the samples did."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.span import Slots, Span, even_slots
from telemetry.energy.energy_register import RegisterTerms, Samples, pieces_of
from telemetry.energy.series import energy_on_slots, on_slots
from tests.servers import count

T0 = 1_767_225_600_000
HOUR = 3_600_000


@st.composite
def wild_samples(draw: st.DrawFn) -> Samples:
    """Registers with gaps, resets, wrong values, missing fields and instants that go back."""
    size = draw(st.integers(0, 40))
    steps = draw(st.lists(st.integers(-60_000, 600_000), min_size=size, max_size=size))
    energy = draw(st.lists(st.floats(0, 5000), min_size=size, max_size=size))
    power = draw(st.lists(st.floats(-1e5, 1e5), min_size=size, max_size=size))
    reported = draw(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=size, max_size=size))
    rising = draw(st.booleans())
    counts = np.cumsum(energy) if rising else np.array(energy)
    return Samples(
        T0 + np.cumsum(np.array(steps, dtype=np.int64)) if size else np.zeros(0, dtype=np.int64),
        np.array(counts, dtype=np.float64),
        np.array([a for a, _ in reported], dtype=np.bool_),
        np.array(power, dtype=np.float64),
        np.array([b for _, b in reported], dtype=np.bool_),
    )


@given(wild_samples(), st.lists(st.integers(1, 719), max_size=8, unique=True))
@settings(max_examples=count(120, 2000), deadline=None)
def test_any_cut_of_a_range_sums_to_the_whole(samples: Samples, cuts: list[int]) -> None:
    pieces = pieces_of(samples, RegisterTerms(most_w=1e6))
    assert (pieces.energy_uwh >= 0).all()
    assert (pieces.ends_ms > pieces.starts_ms).all()
    assert (pieces.starts_ms[1:] >= pieces.ends_ms[:-1]).all(), "no time counts twice"

    edges = [T0 - HOUR, *(T0 - HOUR + minute * 60_000 for minute in sorted(cuts)), T0 + 11 * HOUR]
    whole = on_slots(pieces, Slots(np.array([edges[0], edges[-1]], dtype=np.int64)))
    parts = on_slots(pieces, Slots(np.array(edges, dtype=np.int64)))
    assert int(parts.energy_uwh.sum()) == int(whole.energy_uwh[0])
    assert (parts.energy_uwh >= 0).all()
    assert (parts.coverage <= 1 + 1e-12).all() and (parts.coverage <= parts.reported + 1e-12).all()
    for first, last in itertools.pairwise(edges):
        alone = on_slots(pieces, Slots(np.array([first, last], dtype=np.int64)))
        index = edges.index(first)
        assert alone.energy_uwh[0] == parts.energy_uwh[index], "a slot does not depend on the range asked"


@given(
    st.lists(st.floats(0, 30_000), min_size=2, max_size=200),
    st.sets(st.integers(1, 198)),
    st.integers(0, 10**9),
)
@settings(max_examples=count(80, 2000), deadline=None)
def test_a_rising_register_is_counted_whole_however_many_samples_are_lost(
    power_w: list[float], lost: set[int], first_wh: int
) -> None:
    minute_wh = np.array(power_w) / 60
    counts = np.floor(first_wh + np.cumsum(minute_wh))
    kept = np.array([i for i in range(len(counts)) if i not in lost or i in (0, len(counts) - 1)])
    samples = Samples(
        T0 + kept * 60_000,
        counts[kept],
        np.ones(len(kept), dtype=np.bool_),
        np.zeros(len(kept)),
        np.zeros(len(kept), dtype=np.bool_),
    )
    energy = energy_on_slots(samples, even_slots(Span(T0, T0 + 4 * HOUR), 900))
    assert energy.total_wh() == counts[-1] - counts[0]
