# SPDX-License-Identifier: Apache-2.0
"""The life of an order: decided, journalled, applied; the same after a restart; never undying, never doubled."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from grid.limit import Priority, cap_at
from grid.order import Change, read_change, read_order
from grid.order_book import Authority, Happening, OrderBook
from grid.order_entry import LIVE, OVER, Phase
from grid.signature import sign
from kernel.clock import from_iso, iso
from kernel.errors import ConfigError
from kernel.event import Event, EventKind
from tests.builders.signing import SEED, public_key
from tests.servers import count

NOW_MS = from_iso("2026-01-05T10:00:00Z")
MIN_MS = 60_000
SITE = "h1/alma"
KEGOC = Authority("kegoc", (SITE,))
PEOPLE = Authority("aida", (SITE,), Priority.OPERATOR)


class Desk:
    """A book with its journal: what the runtime does around it."""

    def __init__(self) -> None:
        self.book = self.empty()
        self.journal: list[Event] = []

    @staticmethod
    def empty() -> OrderBook:
        return OrderBook({SITE: 3e6, f"{SITE}/feeder-1": 1e6})

    def say(self, happenings: list[Happening], at_ms: int) -> None:
        for kind, body in happenings:
            assert isinstance(kind, EventKind)
            event = Event(kind, 1, "alma", "dispatch", len(self.journal) + 1, at_ms, json.loads(json.dumps(body)))
            self.journal.append(event)
            self.book.apply(event)

    def order(self, body: dict[str, Any], by: Authority = KEGOC, now_ms: int = NOW_MS) -> str:
        order_id, happenings = self.book.receive(read_order(body, by.who, "rest", now_ms), by, now_ms, body)
        self.say(happenings, now_ms)
        return order_id

    def tick(self, now_ms: int, power_w: float | None = None) -> None:
        self.say(self.book.tick(now_ms, {} if power_w is None else {SITE: (now_ms, power_w)}), now_ms)

    def phase(self, order_id: str) -> Phase:
        entry = self.book.get(order_id)
        assert entry
        return entry.phase

    def why(self, order_id: str) -> str:
        entry = self.book.get(order_id)
        assert entry
        return entry.why

    def rebuilt(self) -> OrderBook:
        book = self.empty()
        for event in self.journal:
            book.apply(event)
            book.apply(event)  # a second delivery changes nothing
        return book


def ask(power_w: float = 1e6, minutes: float = 60, start_ms: int = NOW_MS, **more: Any) -> dict[str, Any]:
    body = {"scope": SITE, "power_w": power_w, "from": iso(start_ms), "until": iso(start_ms + round(minutes * MIN_MS))}
    return body | more


def test_all_phases_of_an_order_by_the_meter() -> None:
    desk = Desk()
    order = desk.order(ask(start_ms=NOW_MS + 10 * MIN_MS, reference="D-1", reason="line 5 out"))
    assert desk.phase(order) is Phase.ACCEPTED
    assert cap_at(desk.book.limits(NOW_MS), SITE, NOW_MS) is None
    assert len(desk.book.limits(NOW_MS)) == 1

    desk.tick(NOW_MS + 10 * MIN_MS, 2.5e6)
    assert desk.phase(order) is Phase.ACTING
    cap = cap_at(desk.book.limits(NOW_MS), SITE, NOW_MS + 11 * MIN_MS)
    assert cap and cap.power_w == 1e6 and cap.binding.reason == "line 5 out" and cap.binding.rule == "order D-1"

    desk.tick(NOW_MS + 11 * MIN_MS, 0.99e6)
    assert desk.phase(order) is Phase.HOLDING
    desk.tick(NOW_MS + 70 * MIN_MS, 0.99e6)
    assert desk.phase(order) is Phase.EXPIRED
    assert desk.book.limits(NOW_MS + 70 * MIN_MS) == []
    assert [event.kind for event in desk.journal] == [
        "order.received",
        "order.accepted",
        "order.phase",
        "order.phase",
        "order.ended",
    ]


def test_an_order_limits_nothing_from_its_end_on_also_before_a_tick_has_ended_it() -> None:
    desk = Desk()
    order = desk.order(ask(minutes=60))
    assert len(desk.book.limits(NOW_MS + 60 * MIN_MS - 1)) == 1
    assert desk.book.limits(NOW_MS + 60 * MIN_MS) == [] and desk.phase(order) is Phase.ACCEPTED


def test_only_a_sample_after_the_begin_shows_obedience() -> None:
    desk = Desk()
    order = desk.order(ask())
    desk.say(desk.book.tick(NOW_MS + 5, {SITE: (NOW_MS - 1, 0.1e6)}), NOW_MS + 5)
    assert desk.phase(order) is Phase.ACTING
    desk.say(desk.book.tick(NOW_MS + 6, {SITE: (NOW_MS, 0.1e6)}), NOW_MS + 6)
    assert desk.phase(order) is Phase.HOLDING


def test_a_retry_is_the_same_order_also_after_a_change_and_a_restart() -> None:
    desk = Desk()
    first = desk.order(ask(reference="D-1"))
    assert desk.order(ask(reference="D-1"), now_ms=NOW_MS + 5000) == first
    desk.say(desk.book.change(first, Change(0.5e6, None, None), KEGOC, NOW_MS + 6000), NOW_MS + 6000)
    said = len(desk.journal)
    assert desk.order(ask(reference="D-1"), now_ms=NOW_MS + 7000) == first
    desk.book = desk.rebuilt()
    assert desk.order(ask(reference="D-1"), now_ms=NOW_MS + 8000) == first
    assert len(desk.journal) == said
    assert len(desk.book.limits(NOW_MS)) == 1


def test_a_reference_with_other_contents_is_refused_and_the_first_remains() -> None:
    desk = Desk()
    first = desk.order(ask(reference="D-1"))
    second = desk.order(ask(power_w=2e6, reference="D-1"), now_ms=NOW_MS + 1000)
    assert second != first and desk.phase(second) is Phase.REFUSED and "D-1" in desk.why(second)
    assert desk.phase(first) is Phase.ACCEPTED


def test_without_a_reference_the_same_ask_after_its_end_is_a_new_order() -> None:
    desk = Desk()
    first = desk.order(ask())
    desk.say(desk.book.end(first, KEGOC, "all clear", NOW_MS + 1000), NOW_MS + 1000)
    second = desk.order(ask(), now_ms=NOW_MS + 2000)
    assert second != first and desk.phase(second) is Phase.ACCEPTED


@pytest.mark.parametrize(
    ("body", "by", "why"),
    [
        (ask(scope="h1/other"), KEGOC, "may not give orders"),
        (ask(), Authority("stranger", ("h1/other",)), "stranger may not give orders"),
        (ask(power_w=3e9), KEGOC, "check the unit"),
        (ask(minutes=60 * 24 * 60), KEGOC, "the longest is"),
        (ask(start_ms=NOW_MS - 120 * MIN_MS), KEGOC, "it was over"),
        (ask(start_ms=NOW_MS + 90 * 24 * 60 * MIN_MS), KEGOC, "ahead"),
        (ask(expires=iso(NOW_MS - 1)), KEGOC, "after it expired"),
        (ask(issued=iso(NOW_MS + 10 * MIN_MS)), KEGOC, "in the future"),
        (ask(issued=iso(NOW_MS - 60 * MIN_MS)), KEGOC, "older than"),
        (ask(signature="00"), KEGOC, "no public key"),
        (ask(), Authority("kegoc", (SITE,), must_sign=True), "must sign"),
    ],
)
def test_refused_with_the_reason(body: dict[str, Any], by: Authority, why: str) -> None:
    desk = Desk()
    order = desk.order(body, by)
    assert desk.phase(order) is Phase.REFUSED and why in desk.why(order)
    assert desk.book.limits(NOW_MS) == []


def test_signed_orders_replay_and_forgery() -> None:
    desk = Desk()
    by = Authority("kegoc", (SITE,), public_key=public_key(), must_sign=True)
    good = sign(SEED, ask(reference="D-1", nonce="n1", issued=iso(NOW_MS)))
    order = desk.order(good, by)
    entry = desk.book.get(order)
    assert entry and entry.order.signed and entry.phase is Phase.ACCEPTED

    forged = desk.order(good | {"power_w": 2.9e6, "reference": "D-2", "nonce": "n2"}, by)
    assert "does not fit" in desk.why(forged)
    replayed = desk.order(sign(SEED, ask(reference="D-3", nonce="n1", issued=iso(NOW_MS))), by)
    assert "replay" in desk.why(replayed)
    naked = desk.order(sign(SEED, ask(reference="D-4")), by)
    assert "needs nonce" in desk.why(naked)
    desk.say(desk.book.end(order, by, "", NOW_MS + 1), NOW_MS + 1)
    assert desk.phase(order) is Phase.ACCEPTED, "an unsigned end of who must sign is not an end"
    end = sign(SEED, {"end": order, "nonce": "n9", "issued": iso(NOW_MS)})
    desk.say(desk.book.end(order, by, "", NOW_MS + 1, end), NOW_MS + 1)
    assert desk.phase(order) is Phase.RELEASED


def test_overlapping_orders_narrow_and_are_noted() -> None:
    desk = Desk()
    desk.order(ask(power_w=1e6, minutes=120))
    second = desk.order(ask(power_w=2e6, minutes=180))
    entry = desk.book.get(second)
    assert entry and "narrowed" in entry.notes[0]
    limits = desk.book.limits(NOW_MS)
    powers = [cap.power_w if (cap := cap_at(limits, SITE, NOW_MS + m * MIN_MS)) else None for m in (60, 150, 181)]
    assert powers == [1e6, 2e6, None]


def test_change_at_every_phase_and_its_refusals() -> None:
    desk = Desk()
    order = desk.order(ask())
    desk.tick(NOW_MS, 0.9e6)
    assert desk.phase(order) is Phase.HOLDING
    desk.say(desk.book.change(order, Change(0.5e6, NOW_MS + 90 * MIN_MS, None), KEGOC, NOW_MS + 1), NOW_MS + 1)
    assert desk.phase(order) is Phase.ACTING, "narrowed below what the meter had shown"
    entry = desk.book.get(order)
    assert entry and entry.order.power_w == 0.5e6 and entry.caps == ((NOW_MS, 1e6), (NOW_MS + 1, 0.5e6))

    desk.say(desk.book.change(order, Change(0.8e6, None, None), PEOPLE, NOW_MS + 2), NOW_MS + 2)
    entry = desk.book.get(order)
    assert entry and entry.order.power_w == 0.5e6 and "not loosen" in entry.notes[-1]
    desk.say(desk.book.change(order, Change(None, NOW_MS, None), KEGOC, NOW_MS + 3), NOW_MS + 3)
    entry = desk.book.get(order)
    assert entry and "end the order instead" in entry.notes[-1]

    desk.say(desk.book.end(order, PEOPLE, "told by phone", NOW_MS + 4), NOW_MS + 4)
    assert desk.phase(order) is Phase.RELEASED and "told by phone" in desk.why(order)
    desk.say(desk.book.change(order, Change(0.1e6, None, None), KEGOC, NOW_MS + 5), NOW_MS + 5)
    assert desk.book.limits(NOW_MS + 5) == []
    assert desk.book.end(order, KEGOC, "", NOW_MS + 6) == []


WHY = "alma only observes"


def observing_book(desk: Desk) -> OrderBook:
    """The journal's book as a hub folds it that only observes at the site."""
    book = OrderBook({SITE: 3e6, f"{SITE}/feeder-1": 1e6}, observing={SITE: WHY})
    for event in desk.journal:
        book.apply(event)
    return book


def test_a_site_that_only_observes_takes_no_order_and_no_change_and_ends_what_is_live() -> None:
    desk = Desk()
    acting, later = desk.order(ask(reference="D-1")), desk.order(ask(start_ms=NOW_MS + 10 * MIN_MS, reference="D-2"))
    desk.tick(NOW_MS, 0.9e6)
    desk.book = observing_book(desk)
    for scope in (SITE, f"{SITE}/feeder-1"):
        refused = desk.order(ask(scope=scope))
        assert desk.phase(refused) is Phase.REFUSED and desk.why(refused) == WHY
    stranger = desk.order(ask(power_w=2e6), Authority("stranger", ("h1/other",)))
    assert "may not give orders" in desk.why(stranger), "who may not ask is not told what the site does"
    desk.say(desk.book.change(acting, Change(0.5e6, None, None), KEGOC, NOW_MS + 1), NOW_MS + 1)
    entry = desk.book.get(acting)
    assert entry and entry.order.power_w == 1e6 and WHY in entry.notes[-1]
    assert desk.order(ask(start_ms=NOW_MS + 10 * MIN_MS, reference="D-2"), now_ms=NOW_MS + 2) == later
    assert desk.phase(later) is Phase.CANCELLED, "the same order again is not answered as one that stands"
    desk.tick(NOW_MS + 1000, 2.5e6)
    assert desk.phase(acting) is Phase.RELEASED and WHY in desk.why(acting)
    entry = desk.book.get(acting)
    assert entry and entry.order.span.end_ms == NOW_MS + 1000 and entry.observed_ms is None
    assert desk.book.live() == [] and desk.book.limits(NOW_MS) == []
    again = desk.order(ask(reference="D-1"), now_ms=NOW_MS + 2000)
    assert again == acting and desk.phase(again) is Phase.RELEASED


def test_a_live_order_of_an_observing_site_can_be_ended_by_its_issuer() -> None:
    desk = Desk()
    order = desk.order(ask())
    desk.book = observing_book(desk)
    desk.say(desk.book.end(order, KEGOC, "all clear", NOW_MS + 1), NOW_MS + 1)
    assert desk.phase(order) is Phase.RELEASED and "all clear" in desk.why(order)


def test_an_order_that_was_live_while_its_site_observed_is_ended_before_it_is_carried_out() -> None:
    desk = Desk()
    first = desk.order(ask(reference="D-1"))
    desk.book.stepped(SITE, NOW_MS + 500, observing=True)
    second = desk.order(ask(scope=f"{SITE}/feeder-1", reference="D-2"), now_ms=NOW_MS + 700)
    desk.book.restarted()
    third = desk.order(ask(reference="D-3"), now_ms=NOW_MS + 1000)
    marks = [entry.observed_ms if (entry := desk.book.get(one)) else None for one in (first, second, third)]
    assert marks == [NOW_MS + 500, NOW_MS + 700, None], "what came since the start is a commanding hub's"
    desk.tick(NOW_MS + 1100)
    assert [desk.phase(one) for one in (first, second, third)] == [Phase.RELEASED, Phase.RELEASED, Phase.ACTING]
    assert "not carried out later" in desk.why(first)


def test_an_order_that_a_commanding_step_took_up_since_is_left_alone() -> None:
    desk = Desk()
    order = desk.order(ask())
    desk.book.stepped(SITE, NOW_MS + 500, observing=True)
    desk.book.stepped(SITE, NOW_MS + 1000, observing=False)
    desk.book.restarted()
    desk.tick(NOW_MS + 1100)
    assert desk.phase(order) is Phase.ACTING


def test_all_faults_of_a_body_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        read_order(
            {"scope": 7, "power_w": -1, "until": "soon", "sense": "at_least", "colour": "red", "emergency": "yes"},
            "kegoc",
            "rest",
            NOW_MS,
        )
    places = {fault.place for fault in caught.value.faults}
    assert places >= {f"order.{name}" for name in ("scope", "power_w", "until", "sense", "colour", "emergency")}
    assert all(fault.remedy for fault in caught.value.faults)
    with pytest.raises(ConfigError):
        read_change({"scope": "x"})


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=count(200, 5000), deadline=None)
@given(
    st.dictionaries(st.sampled_from([*ask(), "reference", "issued", "nonce", "signature", "expires"]), json_values)
    | json_values
)
def test_whatever_comes_is_an_order_or_faults(body: Any) -> None:
    try:
        order = read_order(body, "kegoc", "rest", NOW_MS)
    except ConfigError as error:
        assert error.faults
        return
    Desk().book.receive(order, KEGOC, NOW_MS, body)


class Orders(RuleBasedStateMachine):
    """Any sequence of asks, changes, ends, ticks and restarts."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.now_ms = NOW_MS

    @rule(power_w=st.floats(0, 3.5e6), start=st.integers(-20, 40), minutes=st.integers(1, 90), ref=st.integers(0, 6))
    def ask(self, power_w: float, start: int, minutes: int, ref: int) -> None:
        body = ask(power_w, minutes, self.now_ms + start * MIN_MS, reference=f"D-{ref}" if ref else "")
        self.desk.order(body, now_ms=self.now_ms)

    @rule(pick=st.integers(0, 20), power_w=st.none() | st.floats(0, 3e6), later=st.none() | st.integers(-10, 60))
    def change(self, pick: int, power_w: float | None, later: int | None) -> None:
        entries = self.desk.book.entries()
        if entries:
            end_ms = None if later is None else self.now_ms + later * MIN_MS
            order_id = entries[pick % len(entries)].order.id
            by = KEGOC if pick % 2 else PEOPLE
            self.desk.say(self.desk.book.change(order_id, Change(power_w, end_ms, None), by, self.now_ms), self.now_ms)

    @rule(pick=st.integers(0, 20))
    def end(self, pick: int) -> None:
        entries = self.desk.book.entries()
        if entries:
            order_id = entries[pick % len(entries)].order.id
            self.desk.say(self.desk.book.end(order_id, PEOPLE, "", self.now_ms), self.now_ms)
            assert self.desk.phase(order_id) in OVER

    @rule(minutes=st.integers(1, 30), power_w=st.none() | st.floats(0, 3e6))
    def time_passes(self, minutes: int, power_w: float | None) -> None:
        self.now_ms += minutes * MIN_MS
        self.desk.tick(self.now_ms, power_w)
        assert all(entry.order.span.end_ms > self.now_ms for entry in self.desk.book.live())

    @rule()
    def restart(self) -> None:
        self.desk.book = self.desk.rebuilt()

    @invariant()
    def the_book_is_what_its_events_say(self) -> None:
        rebuilt = self.desk.rebuilt()
        assert rebuilt.entries() == self.desk.book.entries()
        assert rebuilt.limits(self.now_ms) == self.desk.book.limits(self.now_ms)

    @invariant()
    def nothing_is_lost_doubled_or_undying(self) -> None:
        received = [event.body["order"]["id"] for event in self.desk.journal if event.kind == "order.received"]
        assert len(received) == len(set(received)) == len(self.desk.book)
        assert all(entry.phase in LIVE | OVER for entry in self.desk.book.entries())
        ended = [event.body["id"] for event in self.desk.journal if event.kind == "order.ended"]
        assert len(ended) == len(set(ended))


TestOrders = Orders.TestCase
TestOrders.settings = settings(max_examples=count(30, 500), stateful_step_count=25, deadline=None)
