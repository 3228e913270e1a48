# SPDX-License-Identifier: Apache-2.0
"""Prices believed or refused, hashprice by its formula, the price folder with all faults and lines."""

from pathlib import Path

import numpy as np
import pytest

from grid.hashprice import hashprice, hashprice_curve, load_subsidies, reward_curve, subsidy_sat_at
from grid.io.price_file import PriceFolder, read
from grid.price_plausibility import PriceRules, check, choose
from kernel.clock import from_iso
from kernel.curve import Curve
from kernel.errors import ConfigError
from kernel.ids import sha256_hex

NOW_MS = from_iso("2026-01-05T00:00:00Z")
HOUR_MS = 3_600_000
RULES = PriceRules("KZT/MWh", low=-20_000, high=100_000, step_max=60_000, stale_s=36 * 3600, ahead_s=3600)


def curve(values: list[float], known_at_ms: int = NOW_MS, unit: str = "KZT/MWh", start_ms: int = NOW_MS) -> Curve:
    starts = start_ms + HOUR_MS * np.arange(len(values), dtype=np.int64)
    return Curve("price", unit, starts, starts + HOUR_MS, np.array(values, dtype=float), known_at_ms, "test")


def test_a_plausible_curve_is_accepted_and_an_absurd_one_is_refused_with_reasons() -> None:
    assert check(curve([10_000, 20_000, -500]), RULES, NOW_MS) == []
    faults = check(curve([10_000, 150_000, -30_000]), RULES, NOW_MS)
    assert [word in str(faults) for word in ("above", "below", "jumps")] == [True] * 3
    assert "2026-01-05T01:00" in faults[1].problem
    assert "unit" in check(curve([1.0], unit="USD/MWh"), RULES, NOW_MS)[0].problem
    assert "future" in check(curve([1.0], known_at_ms=NOW_MS + HOUR_MS), RULES, NOW_MS)[0].problem


def test_the_last_plausible_curve_is_kept_and_the_refusal_reported() -> None:
    good, bad = curve([10_000] * 48), curve([9e9] * 48, known_at_ms=NOW_MS + HOUR_MS)
    chosen = choose([good, bad], "price", RULES, NOW_MS + 2 * HOUR_MS)
    assert chosen.curve is good and chosen.stale and "refused" in chosen.why
    assert choose([good, bad], "price", RULES, NOW_MS).why == "", "what is not known yet is not seen"
    assert "40.0 h ago" in choose([good], "price", RULES, NOW_MS + 40 * HOUR_MS).why
    assert "ends at" in choose([curve([1.0])], "price", RULES, NOW_MS).why
    nothing = choose([], "price", RULES, NOW_MS)
    assert nothing.curve is None and nothing.why


def test_hashprice_by_hand() -> None:
    # (3.125 + 0.0625) BTC * 100 000 USD * 86 400 s / (1e14 * 2^32) = 6.41e-14 USD/(H/s)/day = 64.1 USD/PH/s/day
    value = hashprice(3.1875, 100_000.0, 1e14)
    assert value == pytest.approx(3.1875 * 100_000 * 86_400 / (1e14 * 4_294_967_296), rel=1e-15)
    assert value * 1e15 == pytest.approx(64.1222, abs=1e-3)
    with pytest.raises(ValueError):
        hashprice(1, 1, 0)


def test_subsidy_file_and_the_curve_over_a_halving() -> None:
    text = Path("configs/tariffs/bitcoin_subsidy.toml").read_text()
    subsidies, block_s = load_subsidies(text, "bitcoin_subsidy.toml")
    assert [subsidy_sat_at(subsidies, h) for h in (0, 209_999, 210_000, 839_999, 840_000)] == [
        5_000_000_000,
        5_000_000_000,
        2_500_000_000,
        625_000_000,
        312_500_000,
    ]
    assert all(one.subsidy_sat == 50 * 10**8 >> one.height_from // 210_000 for one in subsidies)
    fees = curve([1_000_000] * 4, unit="SAT/block")
    reward = reward_curve(fees, subsidies, 839_994, NOW_MS, block_s)
    assert reward.values.tolist() == [626_000_000, 313_500_000, 313_500_000, 313_500_000]
    price = curve([100_000.0] * 2, unit="USD/BTC")
    made = hashprice_curve(price, curve([1e14] * 3, unit="1"), reward, source="test", currency="USD")
    assert made and made.unit == "USD/(H/s)/day" and len(made.values) == 2
    assert made.values[0] == pytest.approx(hashprice(6.26, 100_000, 1e14))
    apart = curve([1.0], start_ms=NOW_MS + 100 * HOUR_MS)
    assert hashprice_curve(apart, price, reward, source="test", currency="USD") is None
    with pytest.raises(ConfigError) as caught:
        load_subsidies("block_s = 0\n[[subsidy]]\nheight_from = -1\n[[subsidy]]\nheight_from=1\nsubsidy_sat=5\n", "x")
    assert [fault.place for fault in caught.value.faults] == [
        "x:1, block_s", "x, block_s_source", "x:3, subsidy.0.height_from", "x:2, subsidy.0.subsidy_sat", "x:2, subsidy.0.source",
        "x:4, subsidy.1.source",
    ]  # fmt: skip


GOOD = """# name: price/day_ahead
# unit: KZT/kWh
# known_at: 2026-01-04T13:00:00+05:00
# zone: Asia/Almaty
start,value
2026-01-05T00:00:00,14.25
2026-01-05T01:00:00+05:00,13.5
2026-01-05T02:00:00,
2026-01-05T03:00:00,12
"""


def test_a_good_file() -> None:
    found, faults = read(GOOD.encode(), "a.csv", NOW_MS)
    assert faults == [] and found
    assert found.unit == "KZT/MWh" and found.values.tolist() == [14250, 13500, 12000]
    assert found.known_at_ms == from_iso("2026-01-04T08:00:00Z")
    assert found.span.start_ms == from_iso("2026-01-04T19:00:00Z") and found.at(NOW_MS - 3 * HOUR_MS) is None
    assert found.evidence == sha256_hex(GOOD.encode())


def test_every_fault_with_its_line() -> None:
    text = (
        "# name: price\n# zone: Europe/Berlin\n# known_at: 2026-01-04\nstart,end,value\n"
        "2026-01-05T00:00:00,2026-01-05T01:00:00,1,2\n"
        "yesterday,2026-01-05T01:00:00,1\n"
        "2026-01-05T01:00:00,2026-01-05T01:00:00,1\n"
        "2026-01-05T02:00:00,2026-01-05T03:00:00,NaN\n"
        "2026-01-05T02:30:00,2026-01-05T04:00:00,1\n"
        "2025-10-26T02:30:00,2025-10-26T03:30:00,1\n"
        '2026-01-05T05:00:00,2026-01-05T06:00:00,"1,5"\n'
    )
    found, faults = read(text.encode(), "b.csv", NOW_MS)
    assert found is None
    places = [fault.place.split()[0] for fault in faults]
    assert {"b.csv:", "b.csv:5", "b.csv:6", "b.csv:7", "b.csv:8", "b.csv:9", "b.csv:10", "b.csv:11"} <= set(places)
    assert "twice or never" in str(faults) and "known_at" in str(faults) and "unit" in str(faults)


@pytest.mark.parametrize(
    "raw", [b"", b"\xff\xfe", b"# name: a\n# unit: b\nx,y\n1,2\n", b"# name: a\n# unit: b\nstart,value\n"]
)
def test_a_file_without_a_curve_reports_why(raw: bytes) -> None:
    found, faults = read(raw, "c.csv", NOW_MS)
    assert found is None and faults and all(fault.remedy for fault in faults)


def test_the_23_and_the_25_hour_day() -> None:
    head = "# name: p\n# unit: EUR/MWh\n# zone: Europe/Berlin\nstart,value\n"
    spring = head + "".join(f"2026-03-29T{h:02d}:00:00,{h}\n" for h in range(24) if h != 2)
    found, faults = read(spring.encode(), "s.csv", NOW_MS)
    assert faults == [] and found and len(found.values) == 23 and found.span.hours == 23
    doubled = head + "".join(f"2026-10-25T{h:02d}:00:00,{h}\n" for h in (0, 1, 2, 2, 3))
    found, faults = read(doubled.encode(), "d.csv", NOW_MS)
    assert found is None and [fault.place for fault in faults] == ["d.csv:7 start", "d.csv:8 start"]
    reported = (
        head
        + "2026-10-25T01:00:00,1\n2026-10-25T02:00:00+02:00,2\n2026-10-25T02:00:00+01:00,3\n2026-10-25T03:00:00,4\n"
    )
    found, faults = read(reported.encode(), "e.csv", NOW_MS)
    assert faults == [] and found and found.values.tolist() == [1, 2, 3, 4] and found.span.hours == 4


def test_a_folder_returns_each_version_once(tmp_path: Path) -> None:
    feed = PriceFolder(tmp_path / "prices")
    assert feed.poll(NOW_MS)[0].faults and feed.poll(NOW_MS) == []
    (tmp_path / "prices").mkdir()
    (tmp_path / "prices" / "a.csv").write_text(GOOD)
    first = feed.poll(NOW_MS)
    assert len(first) == 1 and first[0].curve and first[0].raw == GOOD.encode()
    assert feed.poll(NOW_MS) == []
    (tmp_path / "prices" / "a.csv").write_text(GOOD.replace("14.25", "fourteen"))
    broken = feed.poll(NOW_MS)
    assert broken[0].curve is None and ":6 value" in broken[0].faults[0].place
    assert feed.poll(NOW_MS) == []
    (tmp_path / "prices" / "a.csv").write_text(GOOD)
    assert feed.poll(NOW_MS)[0].curve
