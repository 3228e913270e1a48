# SPDX-License-Identifier: Apache-2.0
"""Price files as people write them: read right, or refused with the place and the remedy."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from grid.price_table import TableFacts
from hub.cli.app import app
from hub.cli.price_file import curve_from
from kernel.curve import Curve
from kernel.errors import ConfigError
from kernel.span import local_day

MADRID = ZoneInfo("Europe/Madrid")
HOUR = 3_600_000


def written(folder: Path, text: str, name: str = "prices.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def read(path: Path, asked: TableFacts = TableFacts()) -> Curve:
    return curve_from(path, "price", asked)


def local_hours(first: date, days: int, zone: ZoneInfo = MADRID) -> list[datetime]:
    """Every hour of some civil days, in local time."""
    begin, end = local_day(first, zone).start_ms, local_day(first + timedelta(days=days - 1), zone).end_ms
    return [datetime.fromtimestamp(at / 1000, zone) for at in range(begin, end, HOUR)]


def counted(first: date, days: int) -> str:
    """As auctions write it: a date, the number of the hour from 1, and a text that knows no long day."""
    lines = ["Year,Month,Day,Hour,Price1,Datetime,Country"]
    for offset in range(days):
        day = first + timedelta(days=offset)
        span = local_day(day, MADRID)
        for hour in range((span.end_ms - span.start_ms) // HOUR):
            naive = datetime(day.year, day.month, day.day) + timedelta(hours=hour)
            lines.append(f"{day.year},{day.month}.0,{day.day}.0,{hour + 1}.0,{offset + hour / 100},{naive},Spain")
    return "\n".join(lines)


@pytest.mark.parametrize(("first", "rows"), [(date(2024, 3, 30), 71), (date(2024, 10, 26), 73)])
def test_counted_hours_of_short_and_long_days(tmp_path: Path, first: date, rows: int) -> None:
    path = written(tmp_path, counted(first, 3))
    with pytest.raises(ConfigError, match="--zone"):
        read(path)
    curve = read(path, TableFacts(zone=MADRID))
    assert len(curve.values) == rows
    assert bool(np.all(np.diff(curve.starts_ms) == HOUR))
    assert int(curve.starts_ms[0]) == local_day(first, MADRID).start_ms
    assert curve.values[24] == 1.0


@pytest.mark.parametrize("first", [date(2024, 3, 30), date(2024, 10, 26)])
@pytest.mark.parametrize("pattern", ["%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M"])
def test_local_times_are_read_in_the_zone(tmp_path: Path, first: date, pattern: str) -> None:
    hours = local_hours(first, 3)
    lines = ["at;EUR/MWh", *(f"{at.strftime(pattern)};{row},5" for row, at in enumerate(hours))]
    path = written(tmp_path, "\n".join(lines))
    with pytest.raises(ConfigError, match="no zone"):
        read(path)
    curve = read(path, TableFacts(zone=MADRID))
    assert [int(at.timestamp() * 1000) for at in hours] == curve.starts_ms.tolist()
    assert curve.unit == "EUR/MWh" and curve.values[1] == 1.5


def test_a_time_that_the_short_day_lacks_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "at,price\n2024-03-31 01:00,1\n2024-03-31 02:00,2\n2024-03-31 03:00,3")
    with pytest.raises(ConfigError, match="is no time of Europe/Madrid"):
        read(path, TableFacts(zone=MADRID))


def test_a_column_named_utc_needs_no_zone_and_precedes_local_time(tmp_path: Path) -> None:
    text = "Datetime (Local),Datetime (UTC),Price (EUR/MWhe)\n2024-01-01 01:00,2024-01-01 00:00,40\n"
    text += "2024-01-01 02:00,2024-01-01 01:00,-5"
    curve = read(written(tmp_path, text))
    assert int(curve.starts_ms[0]) == 1_704_067_200_000
    assert curve.unit == "EUR/MWh" and curve.values.tolist() == [40.0, -5.0]


def test_parquet_with_and_without_zone(tmp_path: Path) -> None:
    at = [datetime(2024, 1, 1, hour, tzinfo=UTC) for hour in range(3)]
    zoned, naive = tmp_path / "zoned.parquet", tmp_path / "naive.parquet"
    price = pa.array([1, 2, 3])
    pq.write_table(pa.table({"t": pa.array(at, pa.timestamp("ns", "Europe/Madrid")), "price": price}), zoned)
    pq.write_table(pa.table({"t": pa.array([a.replace(tzinfo=None) for a in at]), "price": price}), naive)
    assert int(read(zoned).starts_ms[0]) == 1_704_067_200_000
    with pytest.raises(ConfigError, match="no zone"):
        read(naive)
    assert int(read(naive, TableFacts(zone=MADRID)).starts_ms[0]) == 1_704_067_200_000 - HOUR


def hours(count: int, *, drop: tuple[int, ...] = (), twice: tuple[int, ...] = ()) -> list[str]:
    begin = datetime(2024, 1, 1, tzinfo=UTC)
    kept = [hour for hour in range(count) if hour not in drop for _ in range(1 + (hour in twice))]
    return [f"{(begin + timedelta(hours=hour)).isoformat()},{hour % 24 + hour / 1000}" for hour in kept]


def test_gaps_are_refused_or_filled_by_request_and_reported(tmp_path: Path) -> None:
    path = written(tmp_path, "\n".join(["at,price", *hours(96, drop=(50, 51))]))
    with pytest.raises(ConfigError, match="2 rows are missing"):
        read(path)
    with pytest.raises(ConfigError, match="2 rows are missing"):
        read(path, TableFacts(fill_h=1.0))
    curve = read(path, TableFacts(fill_h=2.0))
    assert len(curve.values) == 96 and "2 rows filled" in curve.source
    assert curve.values[50] == 2 + 26 / 1000


def test_numbers_that_are_none_and_rows_that_stand_twice(tmp_path: Path) -> None:
    rows = hours(72)
    rows[30] = rows[30].split(",")[0] + ",nan"
    path = written(tmp_path, "\n".join(["at,price", *rows]))
    with pytest.raises(ConfigError, match="is no number"):
        read(path)
    assert np.isfinite(read(path, TableFacts(fill_h=1.0)).values).all()
    with pytest.raises(ConfigError, match="occurs twice"):
        read(written(tmp_path, "\n".join(["at,price", *hours(48, twice=(7,))])))
    newest_first = written(tmp_path, "\n".join(["at,price", *reversed(hours(48))]))
    assert read(newest_first).values[1] == 1.001


def test_an_auction_that_went_from_hours_to_quarters(tmp_path: Path) -> None:
    begin = datetime(2025, 9, 29, 22, tzinfo=UTC)
    at = [begin + timedelta(hours=hour) for hour in range(24)]
    at += [begin + timedelta(minutes=1440 + 15 * quarter) for quarter in range(96)]
    lines = [f"{one.isoformat()},{row}" for row, one in enumerate(at)]
    curve = read(written(tmp_path, "\n".join(["at,price", *lines])))
    lengths = (curve.ends_ms - curve.starts_ms).tolist()
    assert lengths == [HOUR] * 24 + [HOUR // 4] * 96
    del lines[60:63]
    with pytest.raises(ConfigError, match="3 rows are missing"):
        read(written(tmp_path, "\n".join(["at,price", *lines])))


def test_several_columns_or_series_are_distinguished_by_the_caller(tmp_path: Path) -> None:
    wide = written(tmp_path, "utc,FR,DE\n2024-01-01T00:00,1,2\n2024-01-01T01:00,3,4\n")
    with pytest.raises(ConfigError, match="FR, DE"):
        read(wide)
    assert read(wide, TableFacts(column="DE")).values.tolist() == [2.0, 4.0]
    with pytest.raises(ConfigError, match="no column 'PL'"):
        read(wide, TableFacts(column="PL"))
    both = [f"{line},{land}" for land in ("Spain", "Portugal") for line in hours(80)]
    stacked = written(tmp_path, "\n".join(["at,price,land", *both]))
    with pytest.raises(ConfigError, match="Portugal, Spain"):
        read(stacked)
    assert len(read(stacked, TableFacts(rows="Spain")).values) == 80
    with pytest.raises(ConfigError, match="Norway"):
        read(stacked, TableFacts(rows="Norway"))


def test_another_currency_or_energy_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "utc,price_eur_per_mwh\n2024-01-01T00:00,1\n2024-01-01T01:00,2\n")
    assert read(path).unit == "EUR/MWh"
    with pytest.raises(ConfigError, match="is in EUR"):
        read(path, TableFacts(unit="USD/MWh"))
    small = written(tmp_path, "utc,price EUR/kWh\n2024-01-01T00:00,0.05\n2024-01-01T01:00,0.06\n")
    assert read(small).values.tolist() == [50.0, 60.0] and read(small).unit == "EUR/MWh"
    with pytest.raises(ConfigError, match="per KWH"):
        read(small, TableFacts(unit="EUR/MWh"))
    plain = written(tmp_path, "utc,price\n2024-01-01T00:00,18.5\n2024-01-01T01:00,19\n")
    curve = read(plain, TableFacts(unit="KZT/kWh"))
    assert curve.unit == "KZT/MWh" and curve.values.tolist() == [18_500.0, 19_000.0]


@pytest.mark.parametrize("text", ["", "at,price\n", "at,price\n2024-01-01T00:00Z,1,9\n", "price\n1\n2\n", "\x00\x01"])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"prices\.csv"):
        read(written(tmp_path, text))


def test_the_command_reads_an_auction_file_and_reports_what_it_took(tmp_path: Path) -> None:
    import json

    path = written(tmp_path, counted(date(2024, 10, 24), 5).replace("Price1", "EUR/MWh"), "omie.csv")
    ran = CliRunner().invoke(app, ["backtest", "--prices", str(path), "--zone", "Europe/Madrid", "--json"])
    assert ran.exit_code == 0, ran.output
    report = json.loads(ran.stdout.splitlines()[-1])
    assert report["odd_days"] == 1 and report["unit"] == "EUR/MWh"
    assert report["known"] == "the day before" and "simulated" in report["demand"]
    assert report["coupled"]["policies"]["planner"]["regret_pct"] >= -0.01
    low = CliRunner().invoke(
        app, ["backtest", "--prices", str(path), "--zone", "Europe/Madrid", "--hashprice", "0.001", "--json"]
    )
    assert low.exit_code != 0 and "in one money" in str(low.exception)
