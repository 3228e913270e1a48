# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from kernel.event import Event
from kernel.reading import Reading
from kernel.receipt import Accepted, HubCause, Receipt, Refused, Unknown, Unreachable, Unsupported, Verified
from kernel.units import MS_PER_DAY
from miner_control.control.allocate import allocate
from miner_control.fleet.command import (
    CUT_SHORT,
    WITHDRAWN,
    Intent,
    Locate,
    Pool,
    PowerPercent,
    PowerTarget,
    Reboot,
    SetCredential,
    SetMode,
    SetPools,
    Sleep,
    SwitchLoad,
    Wake,
    command,
    command_json,
    hub_cause,
    intent_from_json,
    intent_json,
    receipt_json,
)
from miner_control.fleet.command_state import CommandState, mode_of
from miner_control.fleet.fleet import ASLEEP, UNSURE, fleet_of, urgent
from tests.builders.receipts import PROOF
from tests.miner_control.fleets import NOW_MS, envelope, roster, seen


class Story:
    """A standing and the events it is told, in order."""

    def __init__(self) -> None:
        self.standing = CommandState(roster([envelope()], 2))
        self.seq = 0

    def tell(self, kind: str, at_ms: int, body: dict[str, object]) -> None:
        self.seq += 1
        self.standing.apply(Event(kind, 1, "s", "hub", self.seq, at_ms, body))

    def ask(self, intent: Intent, at_ms: int = NOW_MS) -> dict[str, object]:
        body = command_json(command(at_ms, "h/s/m00000", intent, "test"))
        self.tell("command.issued", at_ms, body)
        return body

    def answer(self, body: dict[str, object], receipt: Receipt, at_ms: int = NOW_MS + 9000) -> None:
        reported = {"id": body["id"], "device": body["device"], "intent": body["intent"], **receipt_json(receipt)}
        self.tell("command.receipt", at_ms, reported)


def test_a_sleep_is_pending_until_its_receipt():
    story = Story()
    body = story.ask(Sleep())
    asked = story.standing.commanded(NOW_MS + 1)
    assert (asked.mode[0], asked.until_ms[0], asked.mode[1]) == (ASLEEP, NOW_MS + 120_000, UNSURE)
    story.answer(body, PROOF)
    asked = story.standing.commanded(NOW_MS + 10_000)
    assert asked.until_ms[0] == 0 and asked.put_to_sleep[0] and asked.since_ms[0] == NOW_MS + 9000
    assert not asked.excluded[0]


def test_a_poll_from_before_the_proof_does_not_undo_what_was_proven():
    """The sample that proves a command is the actuator's own; the ordinary poll comes seconds later."""
    story = Story()
    who = story.standing.roster
    before = replace(seen(who, mode=1), at_ms=np.full(2, NOW_MS + 5000))
    story.answer(story.ask(Sleep()), PROOF)
    found = fleet_of(who, before, story.standing.commanded(NOW_MS + 10_000), NOW_MS + 10_000)
    assert found.mode.tolist() == [ASLEEP, 1] and found.tally()["asleep"] == 1
    assert found.settled_w.tolist() == [20.0, 3000.0]
    shed = allocate(urgent(found), 1000.0)
    assert shed.units.tolist() == [1] and shed.modes.tolist() == [ASLEEP]
    after = replace(seen(who, mode=1), at_ms=np.full(2, NOW_MS + 9500))
    again = fleet_of(who, after, story.standing.commanded(NOW_MS + 10_000), NOW_MS + 10_000)
    assert again.mode.tolist() == [1, 1], "a later poll is believed, whatever was proven before"
    woken = Verified(Reading("h/s/m00000", "miner", NOW_MS + 70_000, {"state": "ramping"}), 9.0)
    asleep = replace(seen(who, mode=ASLEEP), at_ms=np.full(2, NOW_MS + 65_000))
    story.answer(story.ask(Wake(), NOW_MS + 60_000), woken, NOW_MS + 70_000)
    up = fleet_of(who, asleep, story.standing.commanded(NOW_MS + 71_000), NOW_MS + 71_000)
    assert up.power_w.tolist() == [3000.0, 20.0]


def test_a_mode_that_wakes_is_a_start():
    story = Story()
    story.answer(story.ask(Sleep()), PROOF)
    body = story.ask(SetMode("low"), NOW_MS + 1_000_000)
    story.answer(body, Verified(PROOF.reading, 1.0), NOW_MS + 1_001_000)
    asked = story.standing.commanded(NOW_MS + 1_002_000)
    assert asked.starts_used[0] == 1 and asked.since_ms[0] == NOW_MS + 1_001_000


def test_a_wake_may_wait_for_its_turn_without_being_asked_for_again():
    story = Story()
    story.ask(Wake())
    assert story.standing.commanded(NOW_MS + 600_000).until_ms[0] > NOW_MS + 600_000
    story.ask(Sleep(), NOW_MS + 700_000)
    assert story.standing.commanded(NOW_MS + 700_000).until_ms[0] == NOW_MS + 820_000


def test_a_refused_wake_leaves_it_asleep():
    story = Story()
    story.answer(story.ask(Sleep()), PROOF)
    story.answer(story.ask(Wake(), NOW_MS + 20_000), Refused("45", "no"), NOW_MS + 21_000)
    assert story.standing.commanded(NOW_MS + 22_000).put_to_sleep[0]


def test_failed_commands_lengthen_the_rest():
    story = Story()
    at_ms, rests = NOW_MS, []
    for _ in range(7):
        story.answer(story.ask(Sleep(), at_ms), Unknown("no proof"), at_ms)
        rest_s = 0
        while story.standing.commanded(at_ms + rest_s * 1000).excluded[0]:
            rest_s += 10
        rests.append(rest_s)
        at_ms += 10_000_000
    assert rests == [60, 120, 240, 480, 960, 1800, 1800]
    story.answer(story.ask(Sleep(), at_ms), PROOF, at_ms)
    story.answer(story.ask(Sleep(), at_ms + 1), Unknown("no proof"), at_ms)
    assert not story.standing.commanded(at_ms + 61_000).excluded[0]


@pytest.mark.parametrize("receipt", [Refused("45", "no"), Unreachable("gone"), Unsupported("cannot")])
def test_a_failed_command_leaves_the_old_mode_counting(receipt: Receipt):
    story = Story()
    story.answer(story.ask(SetMode("high")), Verified(PROOF.reading, 1.0))
    story.answer(story.ask(Sleep(), NOW_MS + 1), receipt)
    asked = story.standing.commanded(NOW_MS + 20_000)
    assert asked.on_mode[0] == 2 and not asked.put_to_sleep[0] and asked.excluded[0]


def test_what_the_hub_took_back_is_nobodys_fault():
    story = Story()
    story.answer(story.ask(Wake()), Unreachable(WITHDRAWN, HubCause.WITHDRAWN))
    assert not story.standing.commanded(NOW_MS + 10_000).excluded[0]


def test_an_old_receipt_does_not_end_a_newer_command():
    story = Story()
    first = story.ask(Wake())
    story.ask(Sleep(), NOW_MS + 1000)
    story.answer(first, Unknown("superseded"))
    assert story.standing.commanded(NOW_MS + 10_000).mode[0] == ASLEEP


def test_starts_are_counted_per_day():
    story = Story()
    for at_ms in (NOW_MS, NOW_MS + 1, NOW_MS + 2):
        story.ask(Wake(), at_ms)
    assert story.standing.commanded(NOW_MS + 3).starts_used[0] == 3
    assert story.standing.commanded(NOW_MS + MS_PER_DAY).starts_used[0] == 0


def test_a_person_may_hold_a_unit():
    story = Story()
    story.tell("owner.changed", NOW_MS, {"device": "h/s/m00001", "hands_off": True})
    assert story.standing.commanded(NOW_MS).excluded.tolist() == [False, True]


def test_replaying_the_events_stands_where_the_hub_stood():
    live, events = Story(), []
    live.standing, kept = CommandState(live.standing.roster), live.standing.apply
    original = live.standing.apply
    live.standing.apply = lambda event: (events.append(event), original(event))  # type: ignore[method-assign]
    live.answer(live.ask(Sleep()), PROOF)
    live.answer(live.ask(Wake(), NOW_MS + 50_000), Unknown("no proof"), NOW_MS + 200_000)
    again = CommandState(live.standing.roster)
    for event in events:
        again.apply(event)
    one, two = live.standing.commanded(NOW_MS + 210_000), again.commanded(NOW_MS + 210_000)
    assert all((getattr(one, name) == getattr(two, name)).all() for name in one.__slots__)
    assert kept is not None


@pytest.mark.parametrize(
    ("intent", "mode"),
    [
        (Sleep(), ASLEEP), (Wake(), 1), (SetMode("low"), 0), (SetMode("turbo"), None), (PowerTarget(3000.0), 1),
        (PowerTarget(100.0), 0), (PowerPercent(70.0), 0), (Locate(True), None),
    ],
)  # fmt: skip
def test_where_an_intent_leads(intent: Intent, mode: int | None):
    assert mode_of(intent, envelope(), UNSURE) == mode


@pytest.mark.parametrize(
    "intent",
    [
        Sleep(), Wake(), PowerTarget(2500.0), PowerPercent(80.0), SetMode("low"), Reboot(), Locate(False),
        SetPools((Pool("stratum+tcp://pool:3333", "acct.w1"),)), SwitchLoad(3, True),
    ],
)  # fmt: skip
def test_intents_survive_the_journal(intent: Intent):
    asked = command(NOW_MS, "h/s/m1", intent, "because", deadline_s=30.0, priority=0)
    assert intent_from_json(command_json(asked)) == intent


def test_no_password_reaches_the_journal():
    text = repr(intent_json(SetCredential("root", "s3cret"))) + repr(intent_json(SetPools((Pool("u", "w", "s3cret"),))))
    assert "s3cret" not in text
    assert intent_from_json(intent_json(SetCredential("root", "s3cret"))) == SetCredential("root", "")


def test_receipts_as_json():
    assert receipt_json(PROOF) == {
        "outcome": "verified", "took_s": 9.0, "sampled_ms": NOW_MS + 9000, "proof": {"state": "asleep", "power_w": 20.0},
    }  # fmt: skip
    assert receipt_json(Accepted("ok"))["outcome"] == "accepted"


def test_the_first_lowering_sets_the_mode_to_return_to_and_only_a_tick_clears_it():
    story = Story()
    for mode, before in (("low", "high"), (None, "low")):
        intent = Sleep() if mode is None else SetMode(mode)
        body = command_json(command(NOW_MS, "h/s/m00000", intent, "order 7", restore_mode=before))
        assert body["restore_mode"] == before
        story.tell("command.issued", NOW_MS, body)
        story.answer(body, PROOF)
    names = story.standing.roster.envelope(0).names
    assert story.standing.commanded(NOW_MS).restore.tolist() == [names.index("high"), UNSURE]
    story.standing.restored(["h/s/m00000", "h/s/unknown"])
    assert story.standing.commanded(NOW_MS).restore.tolist() == [UNSURE, UNSURE]


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ({"outcome": "unknown", "text": CUT_SHORT}, HubCause.CUT_SHORT),
        ({"outcome": "unreachable", "text": WITHDRAWN}, HubCause.WITHDRAWN),
        ({"outcome": "unreachable", "text": f"{WITHDRAWN}: not ours"}, HubCause.BARRED),
        ({"outcome": "unreachable", "text": "connection refused"}, None),
        (receipt_json(Unreachable("any words", HubCause.SUPERSEDED)), HubCause.SUPERSEDED),
    ],
)
def test_what_the_hub_did_itself_is_known_of_old_journals_and_new(body, cause):
    assert hub_cause(body) is cause
