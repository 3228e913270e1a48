# SPDX-License-Identifier: Apache-2.0
"""What the hub commands is no alarm: every shipped rule through orders and restarts, at real pace; and what is a fault is one.

In virtual time, with polls, ticks and judgements as often as at a live site: an hour and a half takes seconds.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import telemetry.alarm.alarm
from hub.config import CONFIGS
from hub.control.designed import designed_at
from miner_control.control.changing import settling_s
from telemetry.alarm.condition import Judged
from telemetry.alarm.rule import AlarmRule, load_rules
from tests.hub.control.commanded_site import EPOCH_MS, KEY, MODELS, Commanded, lived
from twin.spec import TwinSpec

SHIPPED = {rule.id: rule for rule in load_rules(sorted((CONFIGS / "alarms").glob("*.toml")))}
SPEC: dict[str, Any] = {
    "hub": "alatau", "site": "north", "miners": 20, "seed": 3, "models": MODELS, "faults": {}, "feeders": 2, "rack_size": 5,
}  # fmt: skip
SETTLED_S = 900.0
"""After a start of the hub: its first plan is made and carried out."""
LONG_S = 2100.0
"""Longer than the slowest ramp with its margin and the longest delay of a rule after it."""


@pytest.fixture
def judged_rules(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Rules that had something to judge: a scope of which they said that it raises or clears."""
    found: set[str] = set()
    plain = telemetry.alarm.alarm.judged

    def spy(rule: AlarmRule, *rest: Any) -> Judged:
        judged = plain(rule, *rest)
        if bool((judged.raises | judged.clears).any()):
            found.add(rule.id)
        return judged

    monkeypatch.setattr(telemetry.alarm.alarm, "judged", spy)
    return found


def quiet(made: Commanded, judged_rules: set[str]) -> None:
    """No alarm came onto the operator's list, and no rule was quiet for want of anything to judge."""
    unheard = set(SHIPPED) - judged_rules
    assert not unheard, (
        f"the simulated site has nothing for {sorted(unheard)}: give it a device that reports what they judge "
        "(tests/hub/commanded_site.py)"
    )
    assert set(made.state.alarms.rules) == set(SHIPPED)
    assert made.annunciated() == []
    assert made.state.alarms.alarms() == []


def test_an_order_to_nothing_its_end_and_restarts_raise_no_alarm(tmp_path: Path, judged_rules: set[str]) -> None:
    made = Commanded(tmp_path, TwinSpec(**SPEC))

    async def story(site: Commanded) -> None:
        await asyncio.sleep(SETTLED_S)
        assert site.modes().get("asleep", 0) == 0
        await site.order(8_000.0, 1500.0)
        await asyncio.sleep(40.0)
        await site.restart()
        await asyncio.sleep(1400.0)
        assert site.modes()["asleep"] > 17 and site.meter_w() < 8_000.0, site.modes()
        # Under the inrush limit the wakes take minutes; the hub is away in the midst of them.
        await asyncio.sleep(200.0)
        waking = site.modes()
        assert waking.get("asleep", 0) > 3 and waking.get("ramping", 0) > 1, waking
        await site.restart(down_s=90.0)
        await asyncio.sleep(LONG_S + 600.0)
        assert site.modes().get("asleep", 0) == 0
        quiet(site, judged_rules)

    lived(made, story)


def test_a_cap_by_lower_modes_its_end_and_restarts_raise_no_alarm(tmp_path: Path, judged_rules: set[str]) -> None:
    made = Commanded(tmp_path, TwinSpec(**SPEC))

    async def story(site: Commanded) -> None:
        await asyncio.sleep(SETTLED_S)
        await site.order(0.8 * site.meter_w(), LONG_S + 300.0)
        await asyncio.sleep(30.0)
        assert site.modes().get("ramping", 0) > 2, "some restart in their lower mode"
        await site.restart()
        await asyncio.sleep(LONG_S + 200.0)
        assert site.modes().get("lowered", 0) > 2
        await asyncio.sleep(90.0)
        await site.restart()
        await asyncio.sleep(LONG_S)
        quiet(site, judged_rules)

    lived(made, story)


def test_what_is_a_fault_is_an_alarm_in_the_midst_of_a_change_too(tmp_path: Path) -> None:
    """Heat beyond a limit while the modes change, meters that still disagree after it, a rack's switch while all sleep, a miner
    that stays silent after its wake should have settled."""
    made = Commanded(tmp_path, TwinSpec(**SPEC | {"models": {"auradine-at2880": 1}, "miners": 26}))

    async def story(site: Commanded) -> None:
        world = site.world.site

        def faulty(device: str, *faults: str) -> None:
            world.set_faults(world.by_device[device], set(faults), site.clock.now_ms())

        def raised(rule: str) -> dict[str, float]:
            """Scope to the seconds at which it came onto the list last."""
            return {
                str(body["scope"]): (at_ms - EPOCH_MS) / 1000.0 for at_ms, body in site.shown() if body["rule"] == rule
            }

        await asyncio.sleep(SETTLED_S)
        capped_s = site.loop.time()
        await site.order(0.85 * site.meter_w(), 1200.0)
        site.ratios["meter-f1"] = 0.5
        await asyncio.sleep(1100.0)
        assert capped_s + 300.0 < raised("meters-disagree")[KEY] < capped_s + 1100.0
        site.ratios.clear()
        await asyncio.sleep(600.0)

        await site.order(8_000.0, 900.0)
        await asyncio.sleep(400.0)
        rack = [unit.place.device for unit in world.units if unit.place.rack == "f2-r01"]
        for device in rack:
            faulty(device, "refused")
        lost_s = site.loop.time()
        await asyncio.sleep(300.0)
        assert lost_s + 175.0 < raised("rack-silent")[f"{KEY}/f2-r01"] < lost_s + 300.0
        for device in rack:
            faulty(device)
        await asyncio.sleep(330.0)
        assert not raised("miner-silent"), "the rack covers its miners"
        woken = min(designed_at(site.state, site.clock.now_ms())["starting"])
        faulty(woken, "refused")
        silent_s = site.loop.time()
        await asyncio.sleep(60.0)
        hot = max(designed_at(site.state, site.clock.now_ms())["starting"] - {woken})
        machines, at = world.machines, world.by_device[hot].index
        load = machines.want_w[at] / machines.nominal_w[at]
        machines.fault_heat_c[at] = 98.0 - machines.weather.at(site.clock.now_ms()) - machines.place_c[at] - 45.0 * load
        while hot not in raised("miner-chip-hot"):
            assert site.loop.time() < silent_s + 1000.0
            await asyncio.sleep(10.0)
        assert hot in designed_at(site.state, site.clock.now_ms())["starting"], "heat waits for nothing"
        await asyncio.sleep(silent_s + 1300.0 - site.loop.time())
        # 180 s without an answer are no fault yet: the wake has minutes from its receipt to settle.
        assert 400.0 < settling_s(site.site.envelope(woken), "Wake") < 600.0
        assert silent_s + 300.0 < raised("miner-silent")[woken] < silent_s + 600.0

    lived(made, story)
