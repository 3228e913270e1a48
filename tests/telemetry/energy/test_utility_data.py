# SPDX-License-Identifier: Apache-2.0
import sqlite3
from dataclasses import replace
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from kernel.clock import from_iso
from kernel.errors import ConfigError
from kernel.span import Span, even_slots, local_day
from telemetry.energy.energy_register import Samples
from telemetry.energy.series import SlotEnergy, energy_on_slots
from telemetry.energy.utility_data import OURS, Layout, MeteredSeries, compared, read_metered, slots_of
from telemetry.io.billing_sqlite import BillingStore

DEVICE = "hub/site/main"
ALMATY = Layout(
    zone="Asia/Almaty",
    time_column="Время",
    time_format="%d.%m.%Y %H:%M",
    value_column="Активная, кВт*ч",
    unit="kWh",
    length_s=1800,
    meters={"Ввод-1": DEVICE},
    meter_column="Точка",
)
DAY = Span(from_iso("2026-05-01T00:00:00+05:00"), from_iso("2026-05-02T00:00:00+05:00"))


def test_a_file_with_decimal_commas_and_local_time() -> None:
    text = (
        "Точка;Время;Активная, кВт*ч\n"
        "Ввод-1;01.05.2026 00:00;1\u00a0234,5\n"
        "Ввод-1;01.05.2026 00:30;0,001\n"
        "Ввод-1;01.05.2026 01:30;12\n"
    )
    (series,) = read_metered(text, ALMATY)
    assert series.device == DEVICE and series.length_ms == 1_800_000
    assert series.starts_ms.tolist() == [DAY.start_ms, DAY.start_ms + 1_800_000, DAY.start_ms + 5_400_000]
    assert series.energy_uwh.tolist() == [1_234_500_000_000, 1_000_000, 12_000_000_000]
    assert [len(slots) for slots in slots_of(series)] == [2, 1]
    (ended,) = read_metered(text, replace(ALMATY, stamp="end"))
    assert ended.starts_ms[0] == DAY.start_ms - 1_800_000


def test_the_repeated_hour_is_recognised_by_its_order_and_the_skipped_one_is_a_fault() -> None:
    zone = ZoneInfo("Europe/Berlin")
    layout = Layout("Europe/Berlin", "t", "%Y-%m-%d %H:%M", "e", "kWh", 900, {"": DEVICE}, delimiter=",", decimal=".")
    autumn = local_day(date(2026, 10, 25), zone)
    steps = list(range(autumn.start_ms, autumn.end_ms, 900_000))
    assert len(steps) == 100
    from kernel.clock import to_datetime

    lines = [f"{to_datetime(at).astimezone(zone):%Y-%m-%d %H:%M},{n}" for n, at in enumerate(steps)]
    (series,) = read_metered("t,e\n" + "\n".join(lines), layout)
    assert series.starts_ms.tolist() == steps
    assert series.energy_uwh.tolist() == [n * 1_000_000_000 for n in range(100)]
    with pytest.raises(ConfigError, match="does not exist"):
        read_metered("t,e\n2026-03-29 02:15,1\n", layout)


def test_every_wrong_line_is_named_and_nothing_is_taken() -> None:
    text = (
        "Точка;Время;Активная, кВт*ч\n"
        "Ввод-1;01.05.2026 00:00;1,5\n"
        "Ввод-9;01.05.2026 00:00;1,5\n"
        "Ввод-1;2026-05-01 00:30;1,5\n"
        "Ввод-1;01.05.2026 01:00;н/д\n"
        "Ввод-1;01.05.2026 01:30;-4\n"
        "Ввод-1;01.05.2026 01:40;4\n"
        "Ввод-1;01.05.2026 00:00;1,5\n"
    )
    with pytest.raises(ConfigError) as refused:
        read_metered(text, ALMATY, "may.csv")
    reported = [str(fault) for fault in refused.value.faults]
    assert len(reported) == 6
    for number, word in (
        (3, "Ввод-9"),
        (4, "is not as"),
        (5, "no number"),
        (6, "cannot be"),
        (7, "no edge"),
        (8, "twice"),
    ):
        assert any(f"may.csv line {number}" in one and word in one for one in reported), word
    with pytest.raises(ConfigError, match="no column"):
        read_metered("a;b\n1;2\n", ALMATY)
    with pytest.raises(ConfigError, match="no interval"):
        read_metered("Точка;Время;Активная, кВт*ч\n", ALMATY)


def ours(lost: tuple[int, int] | None = None) -> SlotEnergy:
    """A day of ours by the minute, with a different power each half hour, perhaps with minutes lost."""
    minutes = np.arange(0, 24 * 60 + 1)
    power_w = 1e6 + 2e5 * np.sin(np.arange(24 * 60) // 30 * 1.7)
    counts = np.concatenate(([0.0], np.cumsum(power_w / 60)))
    kept = np.ones(len(minutes), dtype=np.bool_)
    if lost:
        kept[lost[0] : lost[1]] = False
    ok = np.ones(int(kept.sum()), dtype=np.bool_)
    samples = Samples(DAY.start_ms + minutes[kept] * 60_000, np.floor(counts[kept]), ok, np.zeros(len(ok)), ~ok)
    return energy_on_slots(samples, even_slots(DAY, 1800))


def theirs(factor: float = 1.0, shift: int = 0) -> MeteredSeries:
    whole = ours()
    return MeteredSeries(
        DEVICE, whole.slots.starts_ms, 1_800_000, np.roll(np.rint(whole.energy_uwh * factor).astype(np.int64), shift)
    )


def test_what_agrees_has_no_discrepancy() -> None:
    found = compared(theirs(), ours())
    assert found.discrepancies == () and found.intervals == 48 and found.ours_uwh == found.theirs_uwh


def test_differences_are_explained_by_what_we_know() -> None:
    bridged = compared(theirs(), ours(lost=(100, 400)))
    assert bridged.discrepancies and all("bridged" in one.why for one in bridged.discrepancies)
    assert abs(bridged.ours_uwh - bridged.theirs_uwh) <= 1_000_000, "the sum is right all the same"

    ratio = compared(theirs(factor=0.5), ours())
    assert len(ratio.discrepancies) == 48 and "0.5 times ours" in ratio.general

    clock = compared(theirs(shift=2), ours())
    assert "+2 intervals" in clock.general

    fault = (Span(DAY.start_ms, DAY.start_ms + 1_800_000), "fault: phase L2 lost (act no. 9)")
    wrong = theirs()
    wrong.energy_uwh[0] += 50_000_000_000
    wrong.energy_uwh[9] += 50_000_000_000
    found = compared(wrong, ours(), unfit=[fault])
    assert [one.why for one in found.discrepancies] == ["fault: phase L2 lost (act no. 9)", ""]
    assert found.discrepancies[0].difference_wh == 50_000.0
    with pytest.raises(ValueError, match="no figure of ours"):
        compared(replace(theirs(), starts_ms=theirs().starts_ms + 86_400_000), ours())


def test_versions_stand_side_by_side_and_nothing_is_overwritten(tmp_path: Path) -> None:
    store = BillingStore(tmp_path / "billing.sqlite")
    first = theirs()
    assert store.put("utility", first, made_ms=1000, evidence="aa") == 48
    assert store.put("utility", first, made_ms=2000, evidence="bb") == 0, "the same file again is no version"
    second = theirs()
    second.energy_uwh[3] += 7
    assert store.put("utility", second, made_ms=3000, evidence="cc") == 1
    assert store.put(OURS, first, made_ms=1500, evidence="") == 48

    newest = store.get("utility", DEVICE, DAY, length_ms=1_800_000)
    assert newest is not None and newest.energy_uwh.tolist() == second.energy_uwh.tolist()
    then = store.get("utility", DEVICE, DAY, as_of_ms=2500, length_ms=1_800_000)
    assert then is not None and then.energy_uwh.tolist() == first.energy_uwh.tolist()
    versions = store.versions("utility", DEVICE, int(first.starts_ms[3]), 1_800_000)
    assert [(v, made, evidence) for v, _, made, evidence in versions] == [(1, 1000, "aa"), (2, 3000, "cc")]
    assert store.get("utility", "hub/site/other", DAY) is None
    store.close()

    raw = sqlite3.connect(tmp_path / "billing.sqlite")
    for statement in ("DELETE FROM energy", "UPDATE energy SET energy_uwh=0"):
        with pytest.raises(sqlite3.IntegrityError, match="never"):
            raw.execute(statement)
    raw.close()


def test_a_broken_billing_file_is_refused_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "b.sqlite").write_bytes(b"not a database, by any means" * 100)
    with pytest.raises(ConfigError, match=r"b\.sqlite"):
        BillingStore(tmp_path / "b.sqlite")
