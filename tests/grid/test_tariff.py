# SPDX-License-Identifier: Apache-2.0
"""All-in prices: windows of the site's own day, days of 23 and 25 hours, unknown and unconfirmed editions."""

from pathlib import Path

import numpy as np
import pytest

from grid.tariff import all_in, load
from kernel.clock import from_iso
from kernel.curve import Curve
from kernel.errors import ConfigError
from kernel.span import Span, even_slots

FOLDER = Path("configs/tariffs")


def day(first: str, last: str, step_s: float = 3600):  # type: ignore[no-untyped-def]
    return even_slots(Span(from_iso(first), from_iso(last)), step_s)


def test_time_of_use_in_the_sites_zone() -> None:
    tariff = load((FOLDER / "example_time_of_use.toml").read_text(), "example")
    monday = day("2026-01-05T00:00:00+05:00", "2026-01-06T00:00:00+05:00")
    price = all_in(tariff, monday)
    expected = [18.0] * 7 + [26.0] * 16 + [18.0]
    assert price.price_per_wh * 1000 == pytest.approx(np.array(expected) + 3.6)
    assert price.demand_per_w == pytest.approx(1.2) and price.draft == () and price.covered.min() == 1
    halves = day("2026-01-05T06:30:00+05:00", "2026-01-05T08:30:00+05:00")
    assert all_in(tariff, halves).parts_per_wh["energy"] * 1000 == pytest.approx([22.0, 26.0])
    saturday = day("2026-01-10T18:00:00+05:00", "2026-01-10T21:00:00+05:00")
    assert all_in(tariff, saturday).parts_per_wh["energy"] * 1000 == pytest.approx([18, 22, 22])


def test_market_network_fee_and_tax_by_hand() -> None:
    tariff = load((FOLDER / "kz_wholesale.toml").read_text(), "kz")
    slots = day("2025-03-04T00:00:00+05:00", "2025-03-04T04:00:00+05:00")
    market = Curve(
        "price/day_ahead",
        "KZT/MWh",
        slots.starts_ms[:3],
        slots.edges_ms[1:4],
        np.array([20_000.0, 10_000.0, 0.0]),
        0,
        "test",
    )
    price = all_in(tariff, slots, market)
    network = 3.106 + 0.348 + 0.108
    by_hand = [(energy + network) * 1.12 + 2.0 for energy in (20.0, 10.0, 0.0)]
    assert price.price_per_wh[:3] * 1000 == pytest.approx(by_hand)
    assert price.covered.tolist() == [1, 1, 1, 0], "an hour without a price is not covered; it is not free"
    assert set(price.draft) == {"transmission", "dispatching", "balancing", "mining_fee"}


def test_an_unknown_rate_is_an_error_and_not_guessed() -> None:
    tariff = load((FOLDER / "kz_wholesale.toml").read_text(), "kz")
    slots = day("2026-03-04T00:00:00+05:00", "2026-03-04T01:00:00+05:00")
    market = Curve("p", "KZT/MWh", slots.starts_ms, slots.edges_ms[1:], np.array([1.0]), 0, "test")
    with pytest.raises(ConfigError, match="vat.*unknown"):
        all_in(tariff, slots, market)
    with pytest.raises(ConfigError, match="there is none"):
        all_in(tariff, slots)
    euro = Curve("p", "EUR/MWh", slots.starts_ms, slots.edges_ms[1:], np.array([1.0]), 0, "test")
    with pytest.raises(ConfigError, match="EUR/MWh"):
        all_in(tariff, slots, euro)
    early = day("2020-03-04T00:00:00+05:00", "2020-03-04T01:00:00+05:00")
    with pytest.raises(ConfigError, match="no edition"):
        all_in(tariff, early, market)


BERLIN = """
name = "b"
currency = "EUR"
zone = "Europe/Berlin"
[[component]]
key = "energy"
kind = "per_kwh"
[[component.edition]]
amount = 1.0
valid_from = 2025-01-01
source = "test"
sure = "A"
[[component.edition.window]]
from = "02:30"
until = "05:00"
amount = 3.0
"""


def test_days_of_23_and_25_hours() -> None:
    tariff = load(BERLIN, "b")
    spring = day("2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00", 900)
    assert len(spring) == 92
    assert all_in(tariff, spring).price_per_wh.sum() * 1000 == pytest.approx(92 + 2 * 4 * 2), "03:00 to 05:00"
    autumn = day("2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00", 900)
    assert len(autumn) == 100
    assert all_in(tariff, autumn).price_per_wh.sum() * 1000 == pytest.approx(100 + 2 * (2 + 2 + 8)), "02:30 twice"


def test_all_faults_of_a_file_at_once() -> None:
    text = """
currency = "EUR"
zone = "Mars/Olympus"
[[component]]
key = "a"
kind = "per_moon"
[[component]]
key = "b"
kind = "percent"
of = ["c"]
[[component.edition]]
amount = 1
valid_from = 2025-01-01
source = "s"
sure = "A"
[[component]]
key = "c"
kind = "per_kwh"
[[component.edition]]
amount = "much"
valid_from = "soon"
sure = "Z"
[[component.edition.window]]
days = "someday"
from = "07:00"
until = "06:00"
amount = 1
"""
    with pytest.raises(ConfigError) as caught:
        load(text, "t.toml")
    reported = str(caught.value)
    for word in ("name", "Mars/Olympus", "per_moon", "valid_from", "source", "'Z'", "'much'", "someday", "before it"):
        assert word in reported, word
