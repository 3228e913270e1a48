# SPDX-License-Identifier: Apache-2.0
"""What is learnt from the make-believe machines is within 10 % of their truth."""

from dataclasses import replace

import numpy as np
import pytest

from miner_control.fleet.command import Locate, Sleep, Wake
from miner_control.fleet.envelope import Provenance
from miner_control.learning.dynamics import (
    Dynamics,
    Episode,
    Estimate,
    Steady,
    Track,
    episodes,
    estimate,
    learn,
    refine,
    sleep_times,
    wake_times,
    watts_from_meter,
)
from tests.builders.ramps import UNITS, truth
from tests.miner_control.fleets import NOW_MS, envelope
from twin.machines import Machines
from twin.models import MODELS


def watched(name: str, step_s: int = 5) -> tuple[dict[str, Track], list[tuple[str, object, int]]]:
    """Units of one model put to sleep after a quarter of an hour and woken half an hour later, polled each `step_s`."""
    machines = Machines([MODELS[name]] * UNITS, rng=np.random.default_rng(5), now_ms=NOW_MS)
    looks: list[list[tuple[int, float, float]]] = [[] for _ in range(UNITS)]
    commands: list[tuple[str, object, int]] = []
    for at_s in range(600, 5200, step_s):
        now_ms = NOW_MS + at_s * 1000
        machines.advance(now_ms)
        for unit in range(UNITS):
            if at_s == 900:
                machines.sleep(unit, now_ms)
                commands.append((f"h/s/m{unit}", Sleep(), now_ms))
            if at_s == 2700:
                machines.wake(unit, now_ms)
                commands.append((f"h/s/m{unit}", Wake(), now_ms))
            look = machines.look(unit)
            looks[unit].append((now_ms, look.power_w, look.hashrate_hs))
    tracks = {}
    for unit, seen in enumerate(looks):
        columns = np.array(seen)
        reported = np.ones(len(seen), dtype=np.bool_)
        tracks[f"h/s/m{unit}"] = Track(columns[:, 0].astype(np.int64), columns[:, 1], reported, columns[:, 2], reported)
    return tracks, commands


@pytest.mark.parametrize("name", ["antminer-s21", "whatsminer-m50s", "luxos-s19k-pro", "braiins-s21-pro"])
def test_ramps_and_standby_are_learnt_within_ten_per_cent(name: str):
    tracks, commands = watched(name)
    model = MODELS[name]
    key = (model.name, model.dialect)
    found = learn(episodes(commands, tracks, dict.fromkeys(tracks, key)))[key]  # type: ignore[arg-type]
    down_s, up_s, lost_s = truth(name)
    assert found.ramp_down_s and found.ramp_up_s and found.start_lost_s and found.sleep_w
    assert found.ramp_up_s.value == pytest.approx(up_s, rel=0.10)
    assert found.start_lost_s.value == pytest.approx(lost_s, rel=0.10)
    assert found.ramp_down_s.value == pytest.approx(down_s, rel=0.10, abs=2.5)
    assert found.sleep_w.value == pytest.approx(model.sleep_w, rel=0.10)
    assert found.ramp_up_s.count == UNITS and found.ramp_up_s.confidence >= 0.6

    better = refine(envelope(ramp_up_s=9999.0), found)
    assert better.ramp_up_s == found.ramp_up_s.value and better.provenance is Provenance.LEARNT


def test_watts_and_hashes_per_mode_are_learnt_within_ten_per_cent():
    model = MODELS["whatsminer-m50s"]
    machines = Machines([model] * 12, rng=np.random.default_rng(3), now_ms=NOW_MS)
    rows = []
    for at, mode in enumerate(("low", "normal", "high")):
        for unit in range(12):
            machines.set_mode(unit, mode, NOW_MS + at * 3_600_000)
        for minute in range(30, 60):
            machines.advance(NOW_MS + at * 3_600_000 + minute * 60_000)
            rows += [(unit, mode, machines.look(unit)) for unit in range(12)]
    reported = np.ones(len(rows), dtype=np.bool_)
    steady = Steady(
        ("m", "antminer"), np.array([unit for unit, _, _ in rows]), tuple(mode for _, mode, _ in rows),
        np.array([look.power_w for *_, look in rows]), reported, np.array([look.hashrate_hs for *_, look in rows]), reported,
    )  # fmt: skip
    found = learn([], [steady])["m", "antminer"]
    assert found.mode_power_w and found.mode_hashrate_hs
    for name, power, rate in model.modes:
        assert found.mode_power_w[name].value == pytest.approx(model.power_w * power, rel=0.10)
        assert found.mode_hashrate_hs[name].value == pytest.approx(model.hashrate_hs * rate, rel=0.10)
    better = refine(envelope(power_w=3000.0, rate_ths=100.0), found)
    assert better.mode("low").power_w == found.mode_power_w["low"].value


def test_miners_without_power_reports_are_identified_by_the_meter():
    rng = np.random.default_rng(2)
    counts = np.column_stack((rng.integers(20, 60, 40), rng.integers(0, 40, 40), np.ones(40)))
    meter_w = counts @ np.array([3250.0, 2500.0, 15_000.0]) * 1.0 + rng.normal(0, 800, 40)
    found = watts_from_meter(counts, meter_w)
    assert found[0] and found[1]
    assert found[0].value == pytest.approx(3250.0, rel=0.03) and found[1].value == pytest.approx(2500.0, rel=0.03)
    always_together = np.column_stack((counts[:, 0], counts[:, 0], np.ones(40)))
    assert watts_from_meter(always_together, meter_w)[:2] == [None, None]
    assert watts_from_meter(counts[:2], meter_w[:2]) == [None, None, None]


def test_what_did_not_settle_teaches_nothing():
    at_ms = NOW_MS + np.arange(0, 300_000, 5000)
    reported = np.ones(len(at_ms), dtype=np.bool_)
    rising = np.linspace(0, 60e12, len(at_ms))
    track = Track(at_ms, np.full(len(at_ms), 3000.0), reported, rising, reported)
    assert wake_times(Episode(("m", "f"), "d", Wake(), NOW_MS, track)) is None
    assert sleep_times(Episode(("m", "f"), "d", Sleep(), NOW_MS, track)) is None
    untold = replace(track, has_power=~reported, has_hashrate=~reported)
    assert sleep_times(Episode(("m", "f"), "d", Sleep(), NOW_MS, untold)) is None


def test_other_commands_end_an_episode():
    at_ms = NOW_MS + np.arange(0, 600_000, 5000)
    reported = np.ones(len(at_ms), dtype=np.bool_)
    track = Track(at_ms, np.full(len(at_ms), 3000.0), reported, np.zeros(len(at_ms)), reported)
    commands = [("d", Sleep(), NOW_MS + 60_000), ("d", Locate(True), NOW_MS + 120_000), ("e", Sleep(), NOW_MS)]
    found = episodes(commands, {"d": track}, {"d": ("m", "f")})
    assert [(one.sent_ms, len(one.track.at_ms)) for one in found] == [(NOW_MS + 60_000, 13)]


def test_little_or_scattered_evidence_changes_nothing():
    declared = envelope()
    assert estimate([]) is None
    once = Dynamics(ramp_up_s=Estimate(100.0, 0.0, 1))
    scattered = Dynamics(ramp_up_s=Estimate(100.0, 90.0, 9))
    assert refine(declared, once) == declared and refine(declared, scattered) == declared
    crossing = Dynamics(mode_power_w={"low": Estimate(9000.0, 1.0, 50)})
    assert refine(declared, crossing).modes == declared.modes
