# SPDX-License-Identifier: Apache-2.0
"""Rules that say which way, and what a designed state excuses: while it holds, when it ends, in groups and in balances."""

import dataclasses
from pathlib import Path

import pytest

from kernel.errors import ConfigError
from telemetry.alarm.alarm import AlarmState
from telemetry.alarm.condition import Places
from telemetry.alarm.rule import DIRECTIONS, AlarmRule, Difference, Rate, load_rules
from tests.builders.alarms import SHIPPED, Plant

M1 = "hub/site/m1"


@pytest.fixture
def shipped() -> dict[str, AlarmRule]:
    return {rule.id: rule for rule in load_rules(SHIPPED)}


def rate_rule(shipped: dict[str, AlarmRule], direction: str, **more: float) -> AlarmRule:
    when = Rate("temp_board_max_c", 0.5, 20.0, direction)
    return dataclasses.replace(shipped["miner-heats-fast"], when=when, **more)  # type: ignore[arg-type]


def course(plant: Plant, degrees: list[float], designed: dict[str, set[str]] | None = None) -> list[str]:
    """What the board of m1 tells each 5 s, and what came of it."""
    reported = []
    for board_c in degrees:
        plant.hear("miner", {"m1": {"temp_board_max_c": board_c}})
        reported += [what for what, _ in plant.judge(0.0, designed)]
        plant.now_ms += 5000
    return reported


HEATING = [30.0 + 4.0 * step for step in range(10)]
COOLING = HEATING[::-1]


@pytest.mark.parametrize(
    ("direction", "heats", "cools"), [("rising", True, False), ("falling", False, True), ("either", True, True)]
)
def test_a_rate_has_a_sign(shipped: dict[str, AlarmRule], direction: str, heats: bool, cools: bool) -> None:
    for degrees, raises, value in ((HEATING, heats, 0.8), (COOLING, cools, -0.8)):
        plant = Plant([rate_rule(shipped, direction)])
        assert ("raised" in course(plant, degrees)) is raises
        if raises:
            assert plant.one().value == pytest.approx(value), "shown with its sign"


def test_a_board_that_cools_after_a_sleep_is_no_fire(shipped: dict[str, AlarmRule]) -> None:
    plant = Plant([shipped["miner-heats-fast"]])
    assert course(plant, COOLING) == []


def test_a_rate_runs_through_its_delays(shipped: dict[str, AlarmRule]) -> None:
    """Between the ends of two windows the rate is what it was: a delay longer than a judgement would never be over."""
    plant = Plant([rate_rule(shipped, "rising", on_delay_s=30.0)])
    reported = course(plant, [30.0 + 4.0 * step for step in range(20)])
    assert reported == ["raised"]


def test_no_rate_is_measured_across_what_is_excused(shipped: dict[str, AlarmRule]) -> None:
    plant = Plant([shipped["miner-heats-fast"]])
    course(plant, [30.0] * 10)
    assert course(plant, HEATING, {"starting": {M1}}) == []
    assert course(plant, [HEATING[-1]] * 10) == [], "what had settled by then is no rise after it"
    assert course(plant, [HEATING[-1] + 4.0 * step for step in range(10)]) == ["raised"]


def rule_file(tmp_path: Path, when: str) -> Path:
    path = tmp_path / "a.toml"
    path.write_text(
        f'[[rule]]\nid = "one"\nkind = "miner"\npriority = "low"\ntext = "x"\naction = "y"\nwhen = {{ {when} }}\n'
    )
    return path


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ('type = "rate", metric = "temp_board_max_c", per_s = 0.5, window_s = 20', ("direction is missing", "rising, falling")),
        ('type = "rate", metric = "temp_board_max_c", per_s = 0.5, window_s = 20, direction = "up"', ("'up'", "rising, falling")),
        ('type = "rate", metric = "temp_board_max_c", per_s = -0.5, window_s = 20, direction = "rising"', ("per_s is -0.5",)),
        ('type = "difference", metric = "hashrate_hs", reference = "hashrate_nominal_hs", over_share = 0.2',
         ("direction is missing", "below, above")),
        ('type = "difference", metric = "hashrate_hs", reference = "hashrate_nominal_hs", over_share = 0.2, direction = "down"',
         ("'down'", "below, above")),
        ('type = "pattern", group = "rack", share = 0.5, min_devices = 2, of = { type = "difference", metric = "hashrate_hs",'
         ' reference = "hashrate_nominal_hs", over_share = 0.2 }', ("direction is missing",)),
        ('type = "threshold", metric = "power_w", high = 1, load_least = 5', ("go together",)),
        ('type = "threshold", metric = "power_w", high = 1, load_metric = "weight", load_least = 5', ("no metric 'weight'",)),
    ],
)  # fmt: skip
def test_a_rule_without_its_direction_is_refused(tmp_path: Path, when: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as refused:
        load_rules([rule_file(tmp_path, when)])
    assert len(refused.value.faults) == 1
    assert all(word in str(refused.value) for word in words), refused.value


def test_every_condition_that_compares_needs_a_direction(shipped: dict[str, AlarmRule]) -> None:
    assert set(DIRECTIONS) == {Rate, Difference}
    for shape in DIRECTIONS:
        assert dataclasses.fields(shape)[
            [each.name for each in dataclasses.fields(shape)].index("direction")
        ].default is (dataclasses.MISSING)
    rising = shipped["miner-heats-fast"].when
    assert isinstance(rising, Rate) and rising.direction == "rising"


# --- designed states ----------------------------------------------------------------------------------------------------


def silent(plant: Plant, designed: dict[str, set[str]], heard: set[str], seconds: int) -> list[tuple[str, str]]:
    """What is judged each 10 s while some are heard; all of `designed` holds all the time."""
    reported = []
    for _ in range(seconds // 10):
        plant.hear("miner", {name: {"power_w": 3000.0} for name in heard})
        reported += plant.judge(10.0, designed)
    return reported


def test_a_rack_counts_none_whose_silence_is_designed(shipped: dict[str, AlarmRule]) -> None:
    """A rack that restarts for our command is silent and no fault; the same rack asleep, and its switch lost, is one."""
    everybody = {f"m{i}" for i in range(10)}
    keys = {f"hub/site/{name}" for name in everybody}
    rules = [shipped["miner-silent"], shipped["rack-silent"]]

    plant = Plant(rules)
    silent(plant, {}, everybody, 10)
    reported = silent(plant, {"changing": keys}, set(), 400)
    assert ("raised", "rack-0") not in reported and plant.book.alarms() == []
    reported = silent(plant, {}, set(), 10)
    assert ("raised", "rack-0") in reported, "who has settled and is still silent is missing"
    assert [alarm.scope for alarm in plant.book.alarms()] == ["hub/site/rack-0"]

    plant = Plant(rules)
    silent(plant, {"asleep": keys, "curtailed": keys}, everybody, 10)
    assert ("raised", "rack-0") in silent(plant, {"asleep": keys, "curtailed": keys}, set(), 200)

    plant = Plant(rules)
    some = {f"hub/site/m{i}" for i in range(6)}
    silent(plant, {}, everybody, 10)
    reported = silent(plant, {"changing": some}, set(), 200)
    assert ("raised", "rack-0") in reported, "the four that nobody commanded are all silent"


def test_what_stands_of_a_rack_is_not_over_because_its_miners_are_commanded(shipped: dict[str, AlarmRule]) -> None:
    everybody = {f"m{i}" for i in range(10)}
    plant = Plant([shipped["rack-silent"]])
    silent(plant, {}, everybody, 10)
    assert silent(plant, {}, set(), 200) == [("raised", "rack-0")]
    assert silent(plant, {"changing": {f"hub/site/{name}" for name in everybody}}, set(), 300) == []
    assert plant.one().active


def test_a_silence_within_a_change_is_over_with_it(shipped: dict[str, AlarmRule]) -> None:
    plant = Plant([shipped["miner-silent"]])
    silent(plant, {}, {"m1"}, 10)
    reported = silent(plant, {"changing": {M1}}, set(), 300)
    assert reported == [("raised", "m1")] and plant.one().suppressed == "changing"
    assert silent(plant, {"changing": {M1}}, {"m1"}, 20) == []
    assert silent(plant, {}, {"m1"}, 60) == [("cleared", "m1")], "it never came onto the list"
    assert plant.book.alarms(annunciated=False) == []


def test_what_was_on_the_list_keeps_its_acknowledgement_and_its_end(shipped: dict[str, AlarmRule]) -> None:
    low, well = ({"m1": {"hashrate_hs": rate, "hashrate_nominal_hs": 1e14}} for rate in (1e12, 1e14))
    asleep = {"asleep": {M1}}

    def lived(acknowledged: bool) -> Plant:
        plant = Plant([shipped["miner-under-hashing"]])
        for _ in range(10):
            plant.hear("miner", low)
            plant.judge(100.0)
        assert plant.one().state is AlarmState.UNACKNOWLEDGED
        if acknowledged:
            plant.tell(plant.book.acknowledge("miner-under-hashing", M1, "operator-1"))
        for _ in range(3):
            plant.hear("miner", low)
            plant.judge(100.0, asleep)
        assert plant.one().state is AlarmState.SUPPRESSED
        return plant

    plant = lived(acknowledged=True)
    for _ in range(10):
        plant.hear("miner", low)
        plant.judge(100.0)
    assert plant.one().state is AlarmState.ACKNOWLEDGED and plant.one().who == "operator-1", (
        "a sleep of ours asks nobody again"
    )

    plant = lived(acknowledged=False)
    for _ in range(5):
        plant.hear("miner", well)
        plant.judge(100.0, asleep)
    assert plant.one().state is AlarmState.RETURNED, "what nobody has acknowledged is not forgotten under a sleep"


def test_a_power_factor_at_a_tiny_load_is_not_judged(shipped: dict[str, AlarmRule]) -> None:
    plant = Plant([shipped["meter-power-factor"]])
    reported = []
    for power_w in [3_000.0] * 20 + [300_000.0] * 20:
        plant.hear("meter", {"main": {"power_factor": 0.6, "power_w": power_w}})
        reported += [(power_w, what) for what, _ in plant.judge(60.0)]
    assert reported == [(300_000.0, "raised")]
    for _ in range(40):
        plant.hear("meter", {"main": {"power_factor": 0.99, "power_w": 3_000.0}})
        assert plant.judge(60.0) == [], "nor does it clear"


BALANCE = Places(role={"hub/site/main": "main", "hub/site/f1": "feeder", "hub/site/f2": "feeder"})


def test_meters_that_are_read_one_after_another_may_differ_by_what_moves(shipped: dict[str, AlarmRule]) -> None:
    """20 kW a second for ten minutes, the feeders read 4 s after the main meter: 5 % apart all the time."""
    plant = Plant([shipped["meters-disagree"]], BALANCE)
    for step in range(300):
        power_w = 1.5e6 - 4_000.0 * min(step, 275)
        late_w = 1.5e6 - 4_000.0 * min(step + 20, 275)
        plant.hear(
            "meter", {"main": {"power_w": power_w}, "f1": {"power_w": late_w / 2}, "f2": {"power_w": late_w / 2}}
        )
        assert plant.judge(2.0) == []
    for _ in range(200):
        plant.hear("meter", {"main": {"power_w": 4e5}, "f1": {"power_w": 1.5e5}, "f2": {"power_w": 2e5}})
        plant.judge(2.0)
    assert plant.one().active and plant.one().value == pytest.approx(0.125), "what stays apart is a fault"


def test_a_transformer_at_no_load_is_no_disagreement(shipped: dict[str, AlarmRule]) -> None:
    plant = Plant([shipped["meters-disagree"]], BALANCE)
    for _ in range(100):
        plant.hear("meter", {"main": {"power_w": 60_000.0}, "f1": {"power_w": 28_750.0}, "f2": {"power_w": 28_750.0}})
        assert plant.judge(10.0) == [], "2,500 W of 60 kW"


def test_the_balance_of_a_site_asleep_by_command_is_not_judged(shipped: dict[str, AlarmRule]) -> None:
    plant = Plant([shipped["meters-disagree"]], BALANCE)
    idle = {"main": {"power_w": 90_000.0}, "f1": {"power_w": 36_000.0}, "f2": {"power_w": 36_000.0}}
    for _ in range(100):
        plant.hear("meter", idle)
        plant.judge(10.0, {"curtailed": {"hub/site"}})
    assert plant.book.alarms() == [] and plant.one().suppressed == "curtailed"
    for _ in range(32):
        plant.hear("meter", idle)
        plant.judge(10.0)
    assert [alarm.rule for alarm in plant.book.alarms()] == ["meters-disagree"]
