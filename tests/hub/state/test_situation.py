# SPDX-License-Identifier: Apache-2.0
"""Situation: made once an instant, read-only, each meter fresh by one rule, limits and holds of this site alone."""

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest

from grid.limit import Limit, Priority
from hub.config.models import Polling
from hub.state import situation as module
from hub.state.curve_body import curve_to_json
from hub.state.situation import Freshness, planned_limits
from kernel.curve import Curve
from kernel.reading import Absence, Missing
from kernel.span import Span
from miner_control.fleet.command import Wake, command
from scheduling.problem.exogenous import AMBIENT
from tests.builders.spine import FEEDER_METER, KEY, METER, T0_MS, Spine, unit


@pytest.mark.parametrize(("poll_s", "fresh_s"), [(1.0, 15.0), (5.0, 15.0), (10.0, 30.0)])
def test_a_meter_is_fresh_for_three_of_its_polls_and_fifteen_seconds_at_least(poll_s: float, fresh_s: float) -> None:
    config = Spine().config
    found = Freshness.of(config.model_copy(update={"polling": Polling(meter_s=poll_s)}))
    assert found == Freshness(miner_s=60.0, meter_s=fresh_s)


def test_a_meter_is_fresh_up_to_the_limit_and_not_beyond() -> None:
    spine = Spine()
    never = spine.at().meters[f"{KEY}/meter"]
    assert never.last is None and isinstance(never.power_w, Missing) and not spine.at().meter_fresh
    spine.meter(25_000.0)
    at_limit, beyond = spine.at(T0_MS + 15_000), spine.at(T0_MS + 15_001)
    assert at_limit.main_w == 25_000.0 and at_limit.meter_fresh
    assert beyond.main_w is None and not beyond.meter_fresh and beyond.meters_w == {}
    (stale,) = beyond.meters.values()
    assert isinstance(stale.power_w, Missing) and stale.power_w.reason is Absence.STALE
    assert stale.last == (T0_MS, 25_000.0)


def test_a_site_without_a_main_meter_waits_for_none() -> None:
    spine = Spine(meters=FEEDER_METER)
    assert spine.at().meter_fresh and spine.at().main_w is None


def test_a_feeder_meter_does_not_stand_for_the_main_one() -> None:
    spine = Spine(meters=METER + FEEDER_METER)
    spine.meter(9_000.0, "meter-f1")
    assert spine.at().meters_w == {f"{KEY}/f1": 9_000.0} and not spine.at().meter_fresh


@pytest.mark.parametrize(("age_s", "fresh"), [(60.0, True), (60.001, False)])
def test_a_miner_is_fresh_by_the_configured_age(age_s: float, fresh: bool) -> None:
    spine = Spine()
    spine.hear(mode="sleep")
    spine.later(age_s)
    now = spine.at()
    assert bool(now.fleet.fresh.all()) is fresh
    assert now.fleet.power_w.sum() == (8 * 20.0 if fresh else 8 * 3000.0), "silence counts as load"


def test_one_is_made_for_an_instant_and_a_position(monkeypatch: pytest.MonkeyPatch) -> None:
    spine, made = Spine(), []
    plain = module.situation_at
    monkeypatch.setattr(module, "situation_at", lambda *given: made.append(given[2]) or plain(*given))
    first = spine.at()
    assert spine.at() is first and made == [T0_MS]
    assert spine.situations.at(spine.site, T0_MS + 1000, within_ms=1000) is first
    later = spine.at(T0_MS + 1000)
    assert later is not first and later.now_ms == T0_MS + 1000
    assert spine.situations.at(spine.site, T0_MS, within_ms=5000) is not later, "none of the future"
    spine.meter(25_000.0)
    assert spine.at(T0_MS).position == 1 and spine.at(T0_MS).main_w == 25_000.0, "news are never passed over"


def test_its_arrays_are_read_only_and_not_the_state_s_own() -> None:
    spine = Spine()
    spine.hear()
    now = spine.at()
    for part in (now.seen, now.asked, now.fleet):
        for one in fields(part):
            value = getattr(part, one.name)
            if isinstance(value, np.ndarray):
                with pytest.raises(ValueError, match="read-only"):
                    value[...] = value


def test_units_of_a_job_are_left_alone_unless_an_order_holds_now(monkeypatch: pytest.MonkeyPatch) -> None:
    spine = Spine()
    spine.hear()
    monkeypatch.setattr(spine.site, "jobs", SimpleNamespace(held=lambda: frozenset({unit(1), "hub/site/gone"})))
    assert spine.excluded() == [1] and not spine.at().under_order
    spine.order(20_000.0, 600.0, after_s=60.0)
    assert spine.excluded() == [1], "the order has not begun"
    spine.later(60.0)
    assert spine.at().under_order and spine.excluded() == []
    spine.later(600.0)
    assert not spine.at().under_order and spine.excluded() == [1]


def test_limits_are_those_of_this_site_and_its_feeders(monkeypatch: pytest.MonkeyPatch) -> None:
    spine = Spine()
    ours = [Limit(scope, 1.0, Span(T0_MS, T0_MS + 1), Priority.DISPATCHER, "order", "") for scope in (KEY, f"{KEY}/f1")]
    theirs = [
        Limit(scope, 1.0, Span(T0_MS, T0_MS + 1), Priority.DISPATCHER, "order", "")
        for scope in (f"{KEY}2", "hub/other/f1")
    ]
    monkeypatch.setattr(spine.state.book, "limits", lambda now_ms: [*theirs, *ours])
    assert [one for one in planned_limits(spine.state, spine.site, T0_MS) if one.rule == "order"] == ours
    monkeypatch.setattr(spine.state.book, "limits", lambda now_ms: theirs)
    assert not module.ordered(spine.state, spine.site, T0_MS)


def test_a_hot_day_lowers_what_the_transformer_carries() -> None:
    spine = Spine("transformer = { rated_va = 30000, assumed_ambient_c = 40.0 }")
    (assumed,) = [one for one in spine.at().limits if one.rule == "transformer"]
    assert assumed.priority is Priority.SAFETY and assumed.scope == KEY and "40 C" in assumed.reason
    assert assumed not in spine.at().planned_limits, "the planner follows the weather itself"
    air = Curve(AMBIENT, "C", np.array([T0_MS]), np.array([T0_MS + 3_600_000]), np.array([-10.0]), T0_MS - 1, "test")
    spine.say("price.curve", curve_to_json(air), site="hub")
    (cold,) = [one for one in spine.at().limits if one.rule == "transformer"]
    assert spine.at().ambient_c == -10.0 and cold.power_w > 1.2 * assumed.power_w


def test_the_chip_s_temperature_is_the_board_s_where_the_chip_has_none_and_never_an_old_one() -> None:
    spine = Spine()
    spine.hear(0, temp_board_max_c=101.0)
    spine.hear(1, temp_board_max_c=70.0, temp_chip_max_c=88.0)
    chip = spine.at().chip
    assert chip.known.tolist() == [True, True] + [False] * 6 and chip.chip_c[:2].tolist() == [101.0, 88.0]
    spine.later(60.0)
    assert bool(spine.at().chip.known[0])
    spine.later(0.001)
    assert not bool(spine.at().chip.known.any())


def test_starts_of_the_day_are_kept_within_the_configured_number() -> None:
    spine = Spine()
    spine.site.starts_cap = 1
    spine.hear(mode="sleep")
    assert bool(spine.at().fleet.may_wake.all())
    spine.done(command(spine.now_ms, unit(0), Wake(), "test"))
    spine.later(3_600.0)
    spine.hear(mode="sleep")
    assert np.flatnonzero(~spine.at().fleet.may_wake).tolist() == [0]


def test_heat_duty_and_draw_are_of_the_miners() -> None:
    spine = Spine("heat_min_w = 5000\nother_load_share = 0.1")
    spine.hear()
    assert spine.at().heat_w == 5000.0
    assert spine.at().drawn_w == pytest.approx(8 * 3000.0 * 1.1)
