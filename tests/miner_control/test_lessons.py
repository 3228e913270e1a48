# SPDX-License-Identifier: Apache-2.0
"""From journal to envelope: batches and events of a make-believe day teach what the machines do."""

import numpy as np
import pytest

from hub.twin.models import MODELS
from hub.twin.physics import Machines
from kernel.errors import ConfigError
from kernel.event import Event
from kernel.metric import SCHEMAS, TEXT_METRICS
from kernel.reading import MISSING, Reading, ReadingBatch, Reason, batch_of
from kernel.receipt import Unknown, Verified
from miner_control.command import Intent, Sleep, Wake, command, command_json, receipt_json
from miner_control.envelope import Provenance
from miner_control.lessons import commands_of, lessons, lessons_text, read_lessons, refined
from tests.miner_control.fleets import NOW_MS, envelope

UNITS, STEP_S = 5, 20
MODEL = MODELS["whatsminer-m50s"]
KEY = ("Whatsminer M50S", "whatsminer")


def day() -> tuple[list[ReadingBatch], list[Event]]:
    """An hour awake, half an hour asleep, an hour awake again; one unit's sleep ends Unknown."""
    machines = Machines([MODEL] * UNITS, rng=np.random.default_rng(4), now_ms=NOW_MS)
    batches, events = [], []

    def ask(unit: int, intent: Intent, now_ms: int, good: bool) -> None:
        asked = command(now_ms - 7000, f"h/s/m{unit}", intent, "test")
        reading = Reading(asked.device, "miner", now_ms + 9000, {})
        receipt = Verified(reading, 9.0) if good else Unknown("no proof")
        body = {"id": str(asked.id), "device": asked.device, "intent": type(intent).__name__, **receipt_json(receipt)}
        for kind, each in (("command.issued", command_json(asked)), ("command.receipt", body)):
            events.append(Event(kind, 1, "s", "hub", len(events) + 1, now_ms, each))

    for at_s in range(1200, 8400, STEP_S):
        now_ms = NOW_MS + at_s * 1000
        machines.advance(now_ms)
        for unit in range(UNITS):
            if at_s == 3600:
                machines.sleep(unit, now_ms)
                ask(unit, Sleep(), now_ms, good=unit > 0)
            if at_s == 5400:
                machines.wake(unit, now_ms)
                ask(unit, Wake(), now_ms, good=True)
        rows = []
        for unit in range(UNITS):
            look = machines.look(unit)
            power = look.power_w if unit != 1 else MISSING[Reason.NOT_REPORTED]
            values = {"state": look.state, "mode": look.mode, "power_w": power, "hashrate_hs": look.hashrate_hs}
            rows.append(Reading(f"h/s/m{unit}", "miner", now_ms, values))
        batches.append(batch_of("miner", list(SCHEMAS["miner"]), TEXT_METRICS["miner"], rows))
    return batches, events


def test_from_the_journal_to_the_envelope():
    batches, events = day()
    assert len(commands_of(events)) == 2 * UNITS - 1, "what was not verified teaches nothing"
    found = lessons(batches, events, {f"h/s/m{unit}": KEY for unit in range(UNITS)})
    learnt = found[KEY]
    assert learnt.ramp_up_s and learnt.sleep_w and learnt.mode_power_w and learnt.mode_hashrate_hs
    assert learnt.ramp_up_s.count == UNITS and learnt.sleep_w.count == UNITS - 2
    assert learnt.sleep_w.value == pytest.approx(MODEL.sleep_w, rel=0.1)
    assert learnt.mode_power_w["normal"].value == pytest.approx(MODEL.power_w, rel=0.1)
    assert learnt.mode_hashrate_hs["normal"].value == pytest.approx(MODEL.hashrate_hs, rel=0.1)

    again = read_lessons(lessons_text(found))
    assert again == found
    better = refined({KEY: envelope(ramp_up_s=1.0), ("other", "x"): envelope("other")}, again)
    assert better[KEY].ramp_up_s == learnt.ramp_up_s.value and better[KEY].provenance is Provenance.LEARNT
    assert better["other", "x"] == envelope("other")


def test_a_file_that_cannot_be_read_is_named():
    with pytest.raises(ConfigError, match="cannot be read"):
        read_lessons("{}")
    with pytest.raises(ConfigError, match=r"learnt\[0\]"):
        read_lessons('{"learnt": [{"model": "m", "ramp_up_s": {"value": "x"}}]}')
