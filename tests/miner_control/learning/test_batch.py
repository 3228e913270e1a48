# SPDX-License-Identifier: Apache-2.0
"""From journal to envelope: batches and events of a make-believe day teach what the machines do."""

import numpy as np
import pytest

from kernel.errors import ConfigError
from kernel.event import Event
from kernel.metric import SCHEMAS, TEXT_METRICS
from kernel.reading import MISSING, Absence, Reading, ReadingBatch, batch_of
from kernel.receipt import Unknown, Verified
from miner_control.fleet.command import Command, Intent, Reboot, Sleep, Wake, command, command_json, receipt_json
from miner_control.fleet.envelope import Provenance
from miner_control.learning.batch import commands_of, identification, identification_text, read_identification, refined
from miner_control.learning.dynamics import Track, episodes
from miner_control.learning.windows import Followed
from tests.miner_control.fleets import NOW_MS, envelope
from twin.machines import Machines
from twin.models import MODELS

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
            power = look.power_w if unit != 1 else MISSING[Absence.NOT_REPORTED]
            values = {"state": look.state, "mode": look.mode, "power_w": power, "hashrate_hs": look.hashrate_hs}
            rows.append(Reading(f"h/s/m{unit}", "miner", now_ms, values))
        batches.append(batch_of("miner", list(SCHEMAS["miner"]), TEXT_METRICS["miner"], rows))
    return batches, events


def test_from_the_journal_to_the_envelope():
    batches, events = day()
    assert len(commands_of(events)) == 2 * UNITS - 1, "what was not verified teaches nothing"
    found = identification(batches, events, {f"h/s/m{unit}": KEY for unit in range(UNITS)})
    learnt = found[KEY]
    assert learnt.ramp_up_s and learnt.sleep_w and learnt.mode_power_w and learnt.mode_hashrate_hs
    assert learnt.ramp_up_s.count == UNITS and learnt.sleep_w.count == UNITS - 2
    assert learnt.sleep_w.value == pytest.approx(MODEL.sleep_w, rel=0.1)
    assert learnt.mode_power_w["normal"].value == pytest.approx(MODEL.power_w, rel=0.1)
    assert learnt.mode_hashrate_hs["normal"].value == pytest.approx(MODEL.hashrate_hs, rel=0.1)

    again = read_identification(identification_text(found))
    assert again == found
    better = refined({KEY: envelope(ramp_up_s=1.0), ("other", "x"): envelope("other")}, again)
    assert better[KEY].ramp_up_s == learnt.ramp_up_s.value and better[KEY].provenance is Provenance.LEARNT
    assert better["other", "x"] == envelope("other")


def test_a_file_that_cannot_be_read_is_named():
    with pytest.raises(ConfigError, match="cannot be read"):
        read_identification("{}")
    with pytest.raises(ConfigError, match=r"learnt\[0\]"):
        read_identification('{"learnt": [{"model": "m", "ramp_up_s": {"value": "x"}}]}')


def test_a_start_that_a_restart_cut_short_teaches_nothing():
    followed = Followed(3600.0)
    seq = 0

    def tell(kind: str, asked: Command, at_ms: int, **more: object) -> None:
        nonlocal seq
        seq += 1
        followed.apply(Event(kind, 1, "h/s", "hub", seq, at_ms, {**command_json(asked), **more}))

    for unit, cut_short in (("h/s/m1", True), ("h/s/m2", False)):
        woken = command(NOW_MS, unit, Wake(), "test")
        tell("command.issued", woken, NOW_MS)
        tell("command.receipt", woken, NOW_MS + 9000, outcome="verified", took_s=9.0, sampled_ms=NOW_MS + 9000)
        if cut_short:
            tell("command.issued", command(NOW_MS + 300_000, unit, Reboot(), "test"), NOW_MS + 300_000)
    assert [one.device for one in followed.over(NOW_MS + 7_200_000)] == ["h/s/m2"]
    at_ms = NOW_MS + 1000 * np.arange(600, dtype=np.int64)
    full = np.full(600, 3000.0)
    track = Track(at_ms, full, full > 0, full, full > 0)
    asked = [("h/s/m1", Wake(), NOW_MS), ("h/s/m1", Reboot(), NOW_MS + 300_000), ("h/s/m2", Wake(), NOW_MS)]
    found = episodes(asked, {"h/s/m1": track, "h/s/m2": track}, {"h/s/m1": KEY, "h/s/m2": KEY})
    assert [one.device for one in found] == ["h/s/m2"]
