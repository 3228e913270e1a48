# SPDX-License-Identifier: Apache-2.0
import asyncio
import socket

import numpy as np
import pytest

from kernel.clock import system_clock
from miner_control.inventory.asset_register import AssetRegister, register_of
from miner_control.inventory.position import (
    PlanRow,
    Press,
    by_address,
    by_presses,
    facts_of_pulses,
    judge_pulse,
    mismatches,
    read_press,
)
from miner_control.io.ip_report import listen


def register() -> AssetRegister:
    rows = [
        {"device": f"m{at}", "model": "Antminer S21", "dialect": "antminer", "host": f"10.0.0.{at}", "feeder": "f1",
         "mac": f"aa:bb:cc:00:00:0{at}"}
        for at in range(1, 6)
    ]  # fmt: skip
    return register_of([(f"row {at}", row) for at, row in enumerate(rows)], "hub", "north")


def test_an_address_plan_places_miners():
    facts, lost = by_address(register(), [PlanRow("10.0.0.1", 2, "r1", "f1"), PlanRow("10.0.0.3", 2, "r2", "f2")], 5)
    placed = register().learn(facts).miners
    assert [(m.rack, m.position, m.feeder) for m in placed] == [
        ("r1", "1", "f1"), ("r1", "2", "f1"), ("r2", "1", "f2"), ("r2", "2", "f2"), ("", "", "f1"),
    ]  # fmt: skip
    assert lost == ["hub/north/m5"]


@pytest.mark.parametrize(
    ("payload", "press"),
    [
        (b"10.0.0.5,AA:BB:CC:00:11:22", Press("10.0.0.5", "aa:bb:cc:00:11:22", 7)),
        (b"IP:10.0.0.5MAC:aa:bb:cc:00:11:22\x00", Press("10.0.0.5", "aa:bb:cc:00:11:22", 7)),
        (b"aa-bb-cc-00-11-22 999.1.1.1", Press("192.0.2.1", "aa:bb:cc:00:11:22", 7)),
        (b"hello", None),
        (b"\xff" * 60_000, None),
    ],
)
def test_what_a_button_sends(payload: bytes, press: Press | None):
    assert read_press(payload, "192.0.2.1", 7) == press


def test_a_walk_along_the_rack():
    slots = [("r1", "1", "f1"), ("r1", "2", "f1"), ("r1", "3", "f2")]
    presses = [
        Press(f"10.0.0.{at}", f"aa:bb:cc:00:00:0{at}", at_ms) for at, at_ms in ((2, 10), (2, 11), (1, 20), (3, 30))
    ]
    facts, faults = by_presses(register(), presses, slots)
    assert not faults
    placed = {m.device[-2:]: (m.position, m.feeder) for m in register().learn(facts).miners if m.rack}
    assert placed == {"m2": ("1", "f1"), "m1": ("2", "f1"), "m3": ("3", "f2")}
    assert by_presses(register(), presses[:2], slots) == ([], by_presses(register(), presses[:2], slots)[1])
    assert "1 buttons were pressed for 3 slots" in str(by_presses(register(), presses[:2], slots)[1][0])
    stranger = [*presses[:3], Press("10.9.9.9", "00:00:00:00:00:99", 40)]
    facts, faults = by_presses(register(), stranger, slots)
    assert len(facts) == 6 and "not in the register" in str(faults[0])


def test_buttons_are_heard_over_udp():
    async def main() -> list[Press]:
        heard: list[Press] = []
        ear = await listen(heard.append, system_clock(), port=0)
        port = ear.get_extra_info("sockname")[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
            for text in (b"10.0.0.5,AA:BB:CC:00:11:22", b"garbage", b"10.0.0.6,AA:BB:CC:00:11:23"):
                mouth.sendto(text, ("127.0.0.1", port))
        for _ in range(1_000):
            if len(heard) == 2:
                break
            await asyncio.sleep(0.01)
        ear.close()
        return heard

    assert [press.host for press in asyncio.run(main())] == ["10.0.0.5", "10.0.0.6"]


def samples(rng: np.random.Generator, level_w: np.ndarray) -> np.ndarray:
    return level_w[:, None] + rng.normal(0, 1500, (len(level_w), 20))


def test_a_pulsed_rack_is_found_on_its_feeder():
    rng = np.random.default_rng(1)
    feeders, level = ["f1", "f2", "f3"], np.array([500_000.0, 400_000.0, 450_000.0])
    drift = np.array([3000.0, -2000.0, 1000.0])

    def pulse(rack: str, declared: str, at: int, fell_w: float, expected_w: float):
        fall = np.zeros(3)
        fall[at] = fell_w
        return judge_pulse(
            rack, declared, expected_w, feeders, samples(rng, level), samples(rng, level + drift - fall),
            samples(rng, level + 2 * drift),
        )  # fmt: skip

    right = pulse("r1", "f2", 1, 60_000.0, 62_000.0)
    assert right.agrees and right.feeder == "f2" and right.moved_w == pytest.approx(60_000.0, rel=0.05)
    wrong = pulse("r2", "f1", 2, 60_000.0, 62_000.0)
    half = pulse("r3", "f1", 0, 25_000.0, 62_000.0)
    nowhere = pulse("r4", "f1", 0, 0.0, 62_000.0)
    assert (wrong.feeder, half.feeder, nowhere.feeder) == ("f3", "f1", "")
    text = "\n".join(str(fault) for fault in mismatches([right, wrong, half, nowhere]))
    assert "rack r1" not in text
    assert "r2: is on f3, the register has f1" in text and "not all its miners" in text and "no feeder moved" in text
    facts = facts_of_pulses([right, wrong, nowhere], {"r2": ["hub/north/m1"]}, 9)
    assert [(fact.device, fact.value, fact.source) for fact in facts] == [("hub/north/m1", "f3", "rack pulse")]


def test_a_fall_that_does_not_stand_out_of_the_noise_proves_nothing():
    rng = np.random.default_rng(3)
    level = np.array([500_000.0, 400_000.0])
    during = samples(rng, level - [30_000.0, 0.0])
    restless = rng.normal(0, 60_000, (2, 20))
    noisy = judge_pulse(
        "r1", "f1", 60_000.0, ["f1", "f2"], samples(rng, level) + restless, during, samples(rng, level) - restless
    )
    assert noisy.feeder == "" and noisy.moved_w > 0.3 * 60_000.0
