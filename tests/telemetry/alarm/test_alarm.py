# SPDX-License-Identifier: Apache-2.0
import time
from dataclasses import replace
from pathlib import Path

import pytest

from kernel.errors import ConfigError
from kernel.reading import Reading
from kernel.span import Span
from telemetry.alarm.alarm import AlarmBook, AlarmState, Change
from telemetry.alarm.condition import Places
from telemetry.alarm.kpi import kpis
from telemetry.alarm.rule import AlarmRule, Priority, load_rules
from telemetry.collect.snapshot import Snapshot
from tests.builders.alarms import PLACES, SHIPPED, Plant
from tests.telemetry.store.journal_cases import T0_MS, batch


@pytest.fixture
def shipped() -> dict[str, AlarmRule]:
    return {rule.id: rule for rule in load_rules(SHIPPED)}


def test_the_shipped_rules_are_valid_and_each_has_an_action(shipped: dict[str, AlarmRule]) -> None:
    assert len(shipped) >= 15
    assert all(rule.action and rule.text for rule in shipped.values())
    assert {rule.priority for rule in shipped.values()} == set(Priority)


def test_delay_hysteresis_acknowledgement_and_return(shipped: dict[str, AlarmRule]) -> None:
    plant = Plant([shipped["miner-chip-hot"]])  # above 95, clears at 90, on after 30 s, off after 120 s
    hot = {"m1": {"temp_chip_max_c": 97.0}}
    plant.hear("miner", hot)
    assert plant.judge() == []
    plant.now_ms += 29_000
    plant.hear("miner", hot)
    assert plant.judge() == []
    assert plant.judge(1.0) == [("raised", "m1")]
    assert plant.one().state is AlarmState.UNACKNOWLEDGED and plant.one().value == 97.0

    plant.hear("miner", {"m1": {"temp_chip_max_c": 93.0}})
    assert plant.judge(200.0) == [], "within the dead band it stands"
    plant.tell(plant.book.acknowledge("miner-chip-hot", "hub/site/m1", "operator-1"))
    assert plant.one().state is AlarmState.ACKNOWLEDGED and plant.one().who == "operator-1"
    plant.hear("miner", {"m1": {"temp_chip_max_c": 85.0}})
    assert plant.judge() == []
    plant.now_ms += 119_000
    plant.hear("miner", {"m1": {"temp_chip_max_c": 85.0}})
    assert plant.judge() == []
    assert plant.judge(2.0) == [("cleared", "m1")]
    assert plant.book.alarms(annunciated=False) == []


def test_an_alarm_that_returned_stays_until_it_is_acknowledged(shipped: dict[str, AlarmRule]) -> None:
    plant = Plant([shipped["meter-frequency-low"]])
    for frequency in [49.7] * 3 + [50.0] * 8:
        plant.now_ms += 10_000
        plant.hear("meter", {"main": {"frequency_hz": frequency}})
        plant.judge()
    assert plant.one().state is AlarmState.RETURNED
    plant.tell(plant.book.acknowledge("meter-frequency-low", "hub/site/main", "operator-1"))
    assert plant.book.alarms(annunciated=False) == []


def test_a_value_that_is_missing_or_old_neither_raises_nor_clears(shipped: dict[str, AlarmRule]) -> None:
    plant = Plant([shipped["miner-chip-hot"]])
    plant.hear("miner", {"m1": {"temp_chip_max_c": 97.0}})
    plant.judge()
    assert plant.judge(30.0) == [("raised", "m1")]
    assert plant.judge(1000.0) == [], "silence is no return to normal"
    assert plant.one().active


def test_silence_raises_and_a_dead_rack_is_one_alarm(shipped: dict[str, AlarmRule]) -> None:
    plant = Plant([shipped["miner-silent"], shipped["rack-silent"]])
    everybody = {f"m{i}": {"power_w": 3000.0} for i in range(20)}
    plant.hear("miner", everybody)
    assert plant.judge() == []
    plant.now_ms += 181_000
    plant.hear("miner", {name: value for name, value in everybody.items() if int(name[1:]) >= 7})
    reported = plant.judge()
    assert ("raised", "rack-0") in reported and len(reported) == 8
    assert [alarm.scope for alarm in plant.book.alarms()] == ["hub/site/rack-0"], "seven miners are covered"
    assert len(plant.book.alarms(annunciated=False)) == 8
    assert plant.book.roll_up()["hub/site"] == {"critical": 1}

    plant.hear("miner", {name: value for name, value in everybody.items() if int(name[1:]) != 3})
    plant.judge()
    plant.now_ms += 61_000
    plant.hear("miner", {name: value for name, value in everybody.items() if int(name[1:]) != 3})
    reported = plant.judge()
    assert ("cleared", "rack-0") in reported and ("unsuppressed", "m3") in reported
    left = {alarm.scope.rpartition("/")[2]: alarm.state for alarm in plant.book.alarms()}
    assert left == {"rack-0": AlarmState.RETURNED, "m3": AlarmState.UNACKNOWLEDGED}


def test_no_device_is_reported_silent_for_longer_than_the_hub_has_run(shipped: dict[str, AlarmRule]) -> None:
    """A hub that was off for an hour raises nothing of that hour, and what stood before it stands until it is heard."""
    rules = [rule for rule in shipped.values() if rule.id in ("miner-silent", "rack-silent")]
    plant = Plant(rules)
    plant.hear("miner", {f"m{i}": {"power_w": 3000.0} for i in range(20)})
    plant.now_ms += 3_600_000
    for listening_s in (0.0, 5.0, 29.0):
        assert plant.tell(plant.book.judge(plant.snapshot, plant.now_ms, None, listening_s)) == []
        plant.now_ms += 5_000
    plant.hear("miner", {f"m{i}": {"power_w": 3000.0} for i in range(10)})
    raised = set()
    for listening_s in range(60, 400, 10):
        plant.now_ms += 10_000
        plant.hear("miner", {f"m{i}": {"power_w": 3000.0} for i in range(10)})
        raised |= set(plant.tell(plant.book.judge(plant.snapshot, plant.now_ms, None, float(listening_s))))
    assert ("raised", "rack-1") in raised and ("raised", "rack-0") not in raised
    standing = plant.book.alarms(annunciated=False)
    plant.now_ms += 3_600_000
    assert plant.tell(plant.book.judge(plant.snapshot, plant.now_ms, None, 1.0)) == []
    assert plant.book.alarms(annunciated=False) == standing


def test_a_curtailed_miner_raises_nothing_and_comes_back_by_itself(shipped: dict[str, AlarmRule]) -> None:
    plant = Plant([shipped["miner-under-hashing"]])
    low = {"m1": {"hashrate_hs": 1e12, "hashrate_nominal_hs": 1e14}}
    curtailed = {"curtailed": {"hub/site/m1"}}
    for _ in range(10):
        plant.hear("miner", low)
        plant.judge(100.0, curtailed)
    assert plant.book.alarms() == []
    assert plant.one().state is AlarmState.SUPPRESSED and plant.one().suppressed == "curtailed"
    plant.hear("miner", low)
    assert plant.judge(10.0) == [], "what began under a command has its whole delay once it is over"
    reported = []
    for _ in range(9):
        plant.hear("miner", low)
        reported.append(plant.judge(100.0))
    assert reported == [[]] * 8 + [[("unsuppressed", "m1")]]
    assert [alarm.state for alarm in plant.book.alarms()] == [AlarmState.UNACKNOWLEDGED]
    for _ in range(5):
        plant.hear("miner", {"m1": {"hashrate_hs": 1e14, "hashrate_nominal_hs": 1e14}})
        plant.judge(100.0)
    assert plant.one().state is AlarmState.RETURNED


def test_what_was_suppressed_all_its_life_needs_no_acknowledgement(shipped: dict[str, AlarmRule]) -> None:
    plant = Plant([shipped["miner-under-hashing"]])
    curtailed = {"curtailed": {"hub/site/m1"}}
    for rate in [1e12] * 12 + [1e14] * 6:
        plant.hear("miner", {"m1": {"hashrate_hs": rate, "hashrate_nominal_hs": 1e14}})
        plant.judge(100.0, curtailed)
    assert plant.book.alarms(annunciated=False) == []


def test_shelving_needs_an_end_and_a_reason_and_ends(shipped: dict[str, AlarmRule]) -> None:
    plant = Plant([shipped["meter-silent"]])
    plant.hear("meter", {"main": {"power_w": 1.0}})
    plant.judge()
    assert plant.judge(40.0) == [("raised", "main")]
    key = ("meter-silent", "hub/site/main")
    with pytest.raises(ValueError, match="reason"):
        plant.book.shelve(*key, "op", " ", plant.now_ms + 60_000, plant.now_ms)
    with pytest.raises(ValueError, match="7 days"):
        plant.book.shelve(*key, "op", "calibration", plant.now_ms + 30 * 86_400_000, plant.now_ms)
    with pytest.raises(KeyError):
        plant.book.shelve("no-such", "x", "op", "why", plant.now_ms + 60_000, plant.now_ms)
    plant.tell(plant.book.shelve(*key, "op", "calibration", plant.now_ms + 60_000, plant.now_ms))
    assert plant.book.alarms() == [] and plant.one().state is AlarmState.SHELVED and plant.one().why == "calibration"
    assert plant.judge(61.0) == [("unshelved", "main")]
    assert [alarm.state for alarm in plant.book.alarms()] == [AlarmState.UNACKNOWLEDGED]
    plant.tell(plant.book.out_of_service(*key, "op", "in the laboratory"))
    assert plant.book.alarms() == [] and plant.one().state is AlarmState.OUT_OF_SERVICE
    plant.tell(plant.book.in_service(*key, "op"))
    assert len(plant.book.alarms()) == 1


def test_rates_are_measured_over_their_window(shipped: dict[str, AlarmRule]) -> None:
    plant = Plant([shipped["miner-heats-fast"]])  # 0.5 C/s over 20 s
    reported = []
    for step in range(12):
        plant.hear(
            "miner", {"m1": {"temp_board_max_c": 60.0 + 0.2 * 5 * step}, "m2": {"temp_board_max_c": 60.0 + 5 * step}}
        )
        reported += plant.judge()
        plant.now_ms += 5000
    assert reported == [("raised", "m2")]


def test_main_meter_against_the_feeders(shipped: dict[str, AlarmRule]) -> None:
    plant = Plant([shipped["meters-disagree"]])  # 3 % for 300 s
    reported = []
    for step in range(80):
        lost = 0.02 if step < 30 else 0.05
        whole = 1e6
        half = whole * (1 - lost) / 2
        plant.hear("meter", {"main": {"power_w": whole}, "f1": {"power_w": half}, "f2": {"power_w": half}})
        reported += [(step, *change) for change in plant.judge()]
        plant.now_ms += 10_000
    # What moved within the age of the readings proves nothing: three steps, then the delay.
    assert reported == [(63, "raised", "site")]
    assert plant.one().value == pytest.approx(0.05)


def test_metered_generation_belongs_to_the_main_meter(shipped: dict[str, AlarmRule]) -> None:
    places = replace(PLACES, role={**PLACES.role, "hub/site/solar": "generation"})
    plant = Plant([shipped["meters-disagree"]], places)
    half_w = 1e6 * (1 - 0.02) / 2
    for step in range(80):
        solar = {} if step == 40 else {"power_w": 4e5}
        plant.hear(
            "meter", {"main": {"power_w": 6e5}, "f1": {"power_w": half_w}, "f2": {"power_w": half_w}, "solar": solar}
        )
        assert plant.judge() == []
        plant.now_ms += 10_000


def test_a_sum_with_a_hole_in_it_is_not_judged(shipped: dict[str, AlarmRule]) -> None:
    plant = Plant([shipped["meters-disagree"]])
    for _ in range(100):
        plant.hear("meter", {"main": {"power_w": 1e6}, "f1": {"power_w": 5e5}, "f2": {}})
        plant.hear("meter", {"f2": {"frequency_hz": 50.0}})
        assert plant.judge(10.0) == []


def test_all_faults_of_all_files_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(
        """
        [[rule]]
        id = "one"
        kind = "toaster"
        priority = "urgent"
        text = "x"
        colour = "red"
        when = { type = "threshold", metric = "power_w", high = 1.0 }
        [[rule]]
        id = "two"
        kind = "miner"
        priority = "low"
        text = "x"
        action = "y"
        when = { type = "threshold", metric = "no_metric", high = 1.0, low = 2.0 }
        [[rule]]
        id = "three"
        kind = "miner"
        priority = "low"
        text = "x"
        action = "y"
        on_delay_s = -1
        covers = ["nobody"]
        when = { type = "pattern", group = "street", share = 0.5, min_devices = 1, of = { type = "stale", after_s = 1 } }
        [[rule]]
        id = "four"
        kind = "miner"
        priority = "low"
        text = "x"
        action = "y"
        suppressed_by = ["weather"]
        when = { type = "dream" }
        """
    )
    (tmp_path / "b.toml").write_text("this is = = no toml")
    with pytest.raises(ConfigError) as refused:
        load_rules([tmp_path / "a.toml", tmp_path / "b.toml"])
    text = str(refused.value)
    for word in ("toaster", "urgent", "colour", "action is missing", "no_metric", "either high or low", "on_delay_s",
                 "weather", "b.toml"):  # fmt: skip
        assert word in text, word
    assert all(fault.remedy for fault in refused.value.faults)


def test_ten_thousand_miners_are_judged_quickly(shipped: dict[str, AlarmRule]) -> None:
    rules = [rule for rule in shipped.values() if rule.kind == "miner"]
    snapshot = Snapshot()
    values = {"temp_chip_max_c": 70.0, "temp_board_max_c": 65.0, "temp_inlet_c": 25.0, "hashrate_hs": 1e14,
              "hashrate_nominal_hs": 1e14, "boards_hashing": 3.0, "boards_expected": 3.0}  # fmt: skip
    rows = [Reading(f"hub/site/m{i}", "miner", T0_MS, values) for i in range(10_000)]
    snapshot.update(batch("miner", rows))
    places = Places(rack={f"hub/site/m{i}": f"hub/site/rack-{i // 100}" for i in range(10_000)})
    book = AlarmBook(rules, places)
    book.judge(snapshot, T0_MS)
    start = time.process_time()
    for step in range(5):
        assert book.judge(snapshot, T0_MS + step * 1000) == []
    assert (time.process_time() - start) / 5 < 0.25


def test_figures_of_the_alarms_themselves() -> None:
    span = Span(T0_MS, T0_MS + 3_600_000)
    changes: list[tuple[int, Change]] = []

    def say(at_s: float, what: str, scope: str = "hub/site/m1", **more: object) -> None:
        body = {"rule": "r", "scope": scope, "what": what, "priority": "high", **more}
        changes.append((T0_MS + round(at_s * 1000), body))

    for at_s in (0, 20, 40):  # chatters
        say(at_s, "raised")
        say(at_s + 10, "cleared")
    say(60, "acknowledged", who="op")
    for i in range(15):  # a flood
        say(1200 + i, "raised", f"hub/site/f{i}")
    say(2000, "raised", "hub/site/quiet", suppressed="curtailed")
    for what, reason in (("raised", "changing"), ("unsuppressed", ""), ("suppressed", "asleep"), ("unsuppressed", "")):
        say(2050, what, "hub/site/late", suppressed=reason)
    say(2100, "shelved", "hub/site/f1", until_ms=0)
    found = kpis(changes, span, T0_MS + 2 * 86_400_000)
    assert found.raised == 19 and found.per_ten_minutes_mean == 19 / 6 and found.per_ten_minutes_most == 15
    assert found.flood_share == pytest.approx(1 / 6)
    assert found.chattering == (("r", "hub/site/m1"),)
    assert found.bad_actors[0] == ("r at hub/site/m1", 3) and found.bad_actors_share == pytest.approx(12 / 19)
    assert found.median_acknowledged_after_s == 60.0
    assert found.standing == 16 and found.suppressed == 2 and found.shelved_now == 1, (
        "what is suppressed stands on no list"
    )
    assert found.by_priority == {"high": 19}
