# SPDX-License-Identifier: Apache-2.0
"""From a command's issue until its unit has settled: what is excused, for how long, and what is not."""

import pickle

import pytest

from kernel.receipt import Accepted, Receipt, Refused, Unknown, Unreachable, Verified
from miner_control.control.auxiliary_load import Load, LoadKind
from miner_control.control.changing import AFTER_S, Changing, settling_s
from miner_control.fleet.command import (
    WITHDRAWN,
    InstallFirmware,
    Intent,
    Locate,
    Pool,
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
    receipt_json,
)
from miner_control.fleet.fleet import UNSURE
from tests.builders.receipts import PROOF
from tests.miner_control.fleets import NOW_MS, envelope, roster

ROSTER = roster([envelope()], 3)
DOWN_S, UP_S = ROSTER.envelope(0).ramp_down_s, ROSTER.envelope(0).ramp_up_s
SLEEP_S, START_S = 1.5 * DOWN_S + AFTER_S, 1.5 * (DOWN_S + UP_S) + AFTER_S
SOCKET = Load("s1", LoadKind.SOCKET, "h/s/pdu", 1, "f0", 0.0, frozenset({"h/s/m00002"}))
PUMP = Load("p1", LoadKind.PUMP, "h/s/pdu", 2, "f0", 2000.0, frozenset({"h/s/m00000"}))
LOADS = {load.key: load for load in (SOCKET, PUMP)}


class Story:
    """The fold, and the commands that it is told of."""

    def __init__(self) -> None:
        self.changing = Changing(len(ROSTER))

    def ask(self, intent: Intent, at_s: float = 0.0, device: str = "h/s/m00000") -> dict[str, object]:
        at_ms = NOW_MS + round(at_s * 1000)
        body = command_json(command(at_ms, device, intent, "test"))
        self.changing.apply("command.issued", body, at_ms, ROSTER, LOADS)
        return body

    def answer(self, body: dict[str, object], receipt: Receipt, at_s: float) -> None:
        at_ms = NOW_MS + round(at_s * 1000)
        self.changing.apply("command.receipt", {**body, **receipt_json(receipt)}, at_ms, ROSTER, LOADS)

    def at(self, at_s: float) -> tuple[list[int], list[int]]:
        """(units that are changing, those that may come up)."""
        now_ms = NOW_MS + round(at_s * 1000)
        # As a restart or a checkpoint finds it.
        found: Changing = pickle.loads(pickle.dumps(self.changing))
        return found.changing(now_ms).nonzero()[0].tolist(), found.starting(now_ms).nonzero()[0].tolist()


def test_a_sleep_changes_from_its_issue_until_it_has_settled() -> None:
    story = Story()
    assert story.at(0) == ([], [])
    asked = story.ask(Sleep())
    assert story.at(0.001) == story.at(3600) == ([0], []), "as long as nobody knows what became of it"
    story.answer(asked, PROOF, 20.0)
    assert story.at(20.0 + SLEEP_S - 1) == ([0], []) and story.at(20.0 + SLEEP_S + 1) == ([], [])


@pytest.mark.parametrize(
    "intent",
    [
        Wake(), SetMode("low"), PowerTarget(2000.0), Reboot(), InstallFirmware("2", "00"),
        SetPools((Pool("stratum+tcp://p:1", "u"),)),
    ],
    ids=lambda intent: type(intent).__name__,
)  # fmt: skip
def test_what_may_restart_the_miner_has_its_fall_and_its_start_to_settle(intent: Intent) -> None:
    story = Story()
    asked = story.ask(intent)
    assert story.at(300) == ([0], [0]), "a wake waits for minutes under the inrush limit"
    story.answer(asked, PROOF, 300.0)
    assert story.at(300 + START_S - 1) == ([0], [0]) and story.at(300 + START_S + 1) == ([], [])
    assert settling_s(ROSTER.envelope(0), type(intent).__name__) == START_S


@pytest.mark.parametrize("receipt", [Refused("45", "no"), Unreachable("no answer"), Unreachable(f"{WITHDRAWN}: newer")])
def test_what_came_to_nothing_excuses_nothing(receipt: Receipt) -> None:
    story = Story()
    story.answer(story.ask(SetMode("low")), receipt, 120.0)
    assert story.at(121) == ([], []) and story.changing.mode().tolist() == [UNSURE] * 3


def test_a_setting_that_a_newer_command_overtook_may_have_been_taken() -> None:
    """The miner runs in it until the next setting; a sleep and a wake between change nothing of that."""
    story = Story()
    first = story.ask(SetMode("low"))
    second = story.ask(Sleep(), 5.0)
    story.answer(first, Unknown("superseded by a newer command"), 5.0)
    story.answer(second, PROOF, 20.0)
    story.answer(story.ask(Wake(), 900.0), PROOF, 901.0)
    assert story.changing.mode().tolist() == [0, UNSURE, UNSURE]
    story.answer(story.ask(SetMode("normal"), 3000.0), PROOF, 3010.0)
    assert story.changing.mode()[0] == ROSTER.envelope(0).names.index("normal")


def test_a_sleep_ends_a_start_and_a_start_that_waits_is_none_of_it() -> None:
    story = Story()
    story.answer(story.ask(Wake()), PROOF, 1.0)
    story.answer(story.ask(Sleep(), 30.0), PROOF, 40.0)
    assert story.at(41) == ([0], []) and story.at(40 + SLEEP_S + 1) == ([], [])


def test_blinking_and_passwords_move_nothing() -> None:
    story = Story()
    for intent in (Locate(True), SetCredential("root", "secret", "new")):
        story.answer(story.ask(intent), Accepted(), 1.0)
    assert story.at(2) == ([], [])


def test_a_socket_moves_the_miner_behind_it_and_a_pump_none() -> None:
    story = Story()
    asked = story.ask(SwitchLoad(1, False), device=SOCKET.key)
    story.ask(SwitchLoad(2, False), device=PUMP.key)
    story.ask(Sleep(), device="h/s/nobody")
    assert story.at(1) == ([2], [2])
    story.answer(asked, Verified(PROOF.reading, 1.0), 10.0)
    assert story.at(11) == ([2], [2]) and story.at(11 + START_S) == ([], [])
