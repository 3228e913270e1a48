# SPDX-License-Identifier: Apache-2.0
"""Fold: the same records give the same state, each counts once, and what is learnt stays within its range."""

from typing import Any

import pytest

from grid.limit import Priority
from kernel.event import Event
from kernel.reading import MISSING, Absence, Reading
from miner_control.fleet.command import SetCredential, Sleep, Wake, command, command_json
from telemetry.store.journal import Record
from tests.builders.spine import FEEDER_METER, KEY, METER, T0_MS, Spine, unit


def tick(overhead_seen: float | None, **more: Any) -> dict[str, Any]:
    return {"tick_ms": T0_MS, "changes": [], "overhead_seen": overhead_seen, **more}


def test_a_record_counts_once() -> None:
    spine = Spine()
    spine.say("command.issued", command_json(command(T0_MS, unit(0), Wake(), "test")))
    spine.say("tick.decided", tick(1.2))
    spine.say("clock.stepped", {"seconds": 0.0}, site="hub")
    site, log = spine.site, len(spine.site.log)
    once = (
        site.issued,
        site.overhead_factor,
        site.standing.commanded(T0_MS).starts_used.tolist(),
        spine.state.position,
    )
    for record in spine.journal.held:
        spine.state.apply(record)
    again = (
        site.issued,
        site.overhead_factor,
        site.standing.commanded(T0_MS).starts_used.tolist(),
        spine.state.position,
    )
    assert once == again and once[0] == 1 and once[2][0] == 1 and len(site.log) == log


def test_the_newest_record_is_not_folded_twice() -> None:
    """The one at the position itself: what a restart folds first after a checkpoint."""
    spine = Spine()
    spine.say("command.issued", command_json(command(T0_MS, unit(0), Sleep(), "test")))
    (record,) = spine.journal.held
    spine.state.apply(record)
    assert spine.site.issued == 1
    spine.state.apply(Record(2, record.content))
    assert spine.site.issued == 2 and spine.state.position == 2, "a later record is a record of its own"


def test_a_restart_folds_the_journal_to_the_same_state() -> None:
    lived, again = Spine(), Spine()
    lived.hear()
    lived.meter(25_000.0)
    lived.order(15_000.0)
    lived.fold(lived.decide())
    for record in lived.journal.held:
        again.state.apply(record)
    assert again.state.position == lived.state.position and again.site.unanswered == lived.site.unanswered
    again.now_ms = lived.now_ms
    assert again.decide().body == lived.decide().body


@pytest.mark.parametrize(("seen", "taken"), [(1.2, 1.2), (1.0, 1.0), (1.6, 1.6), (0.4, 1.0), (3.0, 1.6), (-1.0, 1.0)])
def test_overhead_is_learnt_slowly_and_within_its_range(seen: float, taken: float) -> None:
    spine = Spine("other_load_share = 0.1")
    assert spine.site.overhead_factor == pytest.approx(1.1)
    spine.say("tick.decided", tick(seen))
    assert spine.site.overhead_factor == pytest.approx(1.1 + 0.05 * (taken - 1.1))


def test_overhead_that_was_not_seen_teaches_nothing() -> None:
    spine = Spine("other_load_share = 0.1")
    spine.say("tick.decided", tick(None))
    spine.say("tick.decided", {"tick_ms": T0_MS, "changes": []})
    assert spine.site.overhead_factor == pytest.approx(1.1)


def test_a_meter_without_a_value_leaves_no_sample() -> None:
    spine = Spine(meters=METER + FEEDER_METER)
    spine.meter(25_000.0)
    spine.meter(9_000.0, "meter-f1")
    spine.later(1.0)
    spine.recorder.enqueue([Reading(f"{KEY}/meter", "meter", spine.now_ms, {"power_w": MISSING[Absence.UNREACHABLE]})])
    spine.meter(9_100.0, "meter-f1")
    assert spine.state.traces[f"{KEY}/meter"].last() == (T0_MS, 25_000.0)
    assert spine.state.traces[f"{KEY}/meter-f1"].last() == (T0_MS + 1000, 9_100.0)


def test_only_the_main_meter_makes_the_peak() -> None:
    spine = Spine(meters=METER + FEEDER_METER)
    for _ in range(3):
        spine.meter(9_000.0, "meter-f1")
        spine.later(900.0)
    assert spine.site.peak.highest_w(spine.now_ms) == 0.0
    for _ in range(3):
        spine.meter(25_000.0)
        spine.later(900.0)
    assert spine.site.peak.highest_w(spine.now_ms) == 25_000.0


def test_a_command_waits_for_its_own_receipt() -> None:
    spine = Spine()
    first, second = (command(T0_MS, unit(at), Sleep(), "test") for at in (0, 1))
    spine.say("command.issued", command_json(first))
    spine.done(second)
    assert set(spine.site.unanswered) == {str(first.id)} and spine.site.outcomes == {"verified": 1}
    assert spine.site.receipts[0]["device"] == unit(1)


def test_silence_is_remembered_until_the_device_returns() -> None:
    spine = Spine()
    for kind, held in (("source.silent", 1), ("source.returned", 0)):
        spine.say(kind, {"device": unit(3), "why": "timeout", "silent_s": 3.0})
        assert len(spine.site.silent) == held


def test_a_credential_changes_only_where_the_device_took_it() -> None:
    spine = Spine()
    for at, (outcome, held) in enumerate((("refused", {}), ("unknown", {}), ("accepted", {unit(0): "new"}))):
        spine.done(command(T0_MS + at, unit(0), SetCredential("root", "secret", "new"), "test"), outcome)
        assert spine.site.credentials == held


def test_a_takeover_is_held_until_it_is_released() -> None:
    spine = Spine()
    spine.hear()
    spine.say("owner.changed", {"device": unit(2), "hands_off": True, "owner": "vendor", "why": "undid us twice"})
    assert spine.excluded() == [2] and not bool(spine.at().fleet.can_command[2]) and spine.site.third_parties
    spine.say("owner.changed", {"device": unit(2), "hands_off": False, "owner": "", "why": "released"})
    assert bool(spine.at().fleet.can_command[2]) and not spine.site.third_parties


def test_what_always_holds_is_the_connection_and_the_breakers() -> None:
    limits = {one.rule: one for one in Spine().site.standing_limits()}
    assert limits["connection"].power_w == 40_000.0 and limits["connection"].priority is Priority.SAFETY
    assert limits["connection"].scope == KEY
    for feeder in ("f1", "f2"):
        one = limits[f"feeder {feeder}"]
        assert (one.scope, one.power_w, one.priority) == (f"{KEY}/{feeder}", 20_000.0, Priority.FEEDER)


def test_a_tick_marks_the_orders_of_a_site_that_only_observes() -> None:
    spine = Spine()
    order = spine.order(20_000.0)
    spine.say("tick.decided", tick(None))
    entry = spine.state.book.get(order)
    assert entry is not None and entry.observed_ms is None
    watching = Spine("observe_only = true")
    watching.later(0.007)
    spine.say("tick.decided", watching.decide().body)
    entry = spine.state.book.get(order)
    assert entry is not None and entry.observed_ms == T0_MS + 7


def test_a_tick_ends_the_return_of_the_units_that_it_names() -> None:
    spine = Spine()
    for at in (0, 1):
        spine.say("command.issued", command_json(command(T0_MS, unit(at), Sleep(), "limit", restore_mode="normal")))
    assert spine.returning() == [0, 1]
    spine.say("tick.decided", tick(None, restored=[unit(0)]))
    assert spine.returning() == [1]


def test_events_of_another_site_change_nothing_here() -> None:
    spine = Spine()
    body = command_json(command(T0_MS, unit(0), Sleep(), "test"))
    spine.say("command.issued", body, site="hub/other")
    assert spine.site.issued == 0 and spine.state.position == 1
    newest = spine.state.newest
    assert newest is not None and newest[0] == 1 and isinstance(newest[1], Event)
