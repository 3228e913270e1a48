# SPDX-License-Identifier: Apache-2.0
"""Actuator: wakes, restarts and pumps keep the inrush limit, and who goes first."""

# SPDX-License-Identifier: Apache-2.0
import asyncio
import time
from itertools import pairwise

import pytest

from hub.app.virtual_time import VirtualLoop
from kernel.clock import system_clock
from kernel.receipt import Unreachable, Verified
from miner_control.control.actuator import SUPERSEDED
from miner_control.control.auxiliary_load import Load, LoadKind
from miner_control.control.inrush import WINDOW_S, Inrush
from miner_control.fleet.command import (
    WITHDRAWN,
    InstallFirmware,
    Intent,
    Reboot,
    Sleep,
    SwitchLoad,
    Wake,
)
from tests.builders.actuation import Site, play
from tests.builders.commands import carry_out, journalled
from tests.miner_control.fleets import envelope
from tests.miner_control.miners import EPOCH_MS, clock_of, in_virtual_time


def test_a_shed_overtakes_wakes_that_wait_for_the_inrush():
    async def story(site: Site) -> None:
        for miner in site.miners.values():
            miner.state, miner.power_w = "asleep", 20.0
        wakes = [site.ask(at, Wake()) for at in range(50)]
        site.actuator.start(journalled(wakes))
        await asyncio.sleep(10.0)
        sheds = [site.ask(at, Sleep(), EPOCH_MS + 10_000, priority=0) for at in range(25, 50)]
        await carry_out(site.actuator, journalled(sheds))
        assert site.miners["h/s/m49"]._now_s() < 30.0

    site = play(["obeys"] * 50, story, inrush_w_per_s=3000.0)
    woken = [at for at in range(50) if any(isinstance(i, Wake) for _, i in site.miners[f"h/s/m{at}"].writes)]
    assert len(woken) <= 25
    kinds = {(asked.intent, type(receipt)) for asked, receipt in site.receipts if asked.device == "h/s/m49"}
    assert kinds == {(Wake(), Unreachable), (Sleep(), Verified)}
    withdrawn = next(
        receipt for asked, receipt in site.receipts if asked.device == "h/s/m49" and asked.intent == Wake()
    )
    assert isinstance(withdrawn, Unreachable) and withdrawn.text == f"{WITHDRAWN}: {SUPERSEDED}"


@pytest.mark.parametrize("intent", [Wake(), Reboot()])
def test_wakes_and_reboots_keep_the_inrush_limit(intent: Intent):
    async def story(site: Site) -> None:
        for miner in site.miners.values():
            miner.state, miner.power_w = "asleep", 20.0
        await carry_out(
            site.actuator, journalled([site.ask(at, intent, deadline_s=300.0) for at in range(len(site.miners))])
        )

    site = play(["obeys"] * 30, story, inrush_w_per_s=6000.0)
    times = sorted(miner.writes[0][0] for miner in site.miners.values())
    rise_w = envelope().mode("normal").power_w - envelope().sleep_w
    for start_s in times:
        inside = sum(1 for at_s in times if start_s <= at_s < start_s + 1.0)
        assert (inside - 1) * rise_w <= 6000.0 + 1e-6
    if intent == Wake():
        assert all(isinstance(receipt, Verified) for _, receipt in site.receipts)


def test_a_row_that_comes_back_together_is_woken_under_the_inrush_limit():
    """A switch was down for a minute: all are asked again, and none of them out of turn."""

    async def story(site: Site) -> None:
        for miner in site.miners.values():
            miner.state, miner.power_w = "asleep", 20.0
        await carry_out(
            site.actuator, journalled([site.ask(at, Wake(), deadline_s=300.0) for at in range(len(site.miners))])
        )

    site = play(["dead for a minute"] * 150, story, inrush_w_per_s=6000.0)
    times = sorted(miner.writes[0][0] for miner in site.miners.values())
    rise_w = envelope().mode("normal").power_w - envelope().sleep_w
    assert times[0] >= 60.0
    for start_s in times:
        inside = sum(1 for at_s in times if start_s <= at_s < start_s + 1.0)
        assert (inside - 1) * rise_w <= 6000.0 + 1e-6
    assert all(isinstance(receipt, Verified) for _, receipt in site.receipts)


def test_after_a_stall_of_the_loop_no_wake_is_made_up_for():
    """Real time on purpose: a stall is what a busy machine does. 100 W at 5 kW/s are 20 ms apart, however late it is."""

    async def story() -> list[float]:
        inrush, let_go = Inrush(5_000.0, system_clock()), []

        async def one() -> None:
            await inrush.wait(100.0)
            let_go.append(time.monotonic())

        tasks = [asyncio.create_task(one()) for _ in range(10)]
        await asyncio.sleep(0.03)
        time.sleep(0.1)
        await asyncio.gather(*tasks)
        return let_go

    let_go = asyncio.run(story())
    assert len(let_go) == 10
    assert min(later - sooner for sooner, later in pairwise(let_go)) >= 0.019


@pytest.mark.parametrize("row_s", [1.0, 60.0, 300.0])
def test_restarts_that_come_up_together_stay_within_the_limit(row_s: float):
    """Boards that all come up at the same full minute, and wakes in between: no window rises above the limit."""
    limit_w_per_s, rise_w, loop = 20_000.0, 3_000.0, VirtualLoop()
    clock, rises = clock_of(loop), []

    async def main() -> None:
        inrush = Inrush(limit_w_per_s, clock)

        async def restart() -> None:
            await inrush.wait_to_restart(rise_w)
            up_s = row_s - loop.time() % row_s
            loop.call_later(up_s, lambda: rises.append(loop.time()))
            inrush.came_up(rise_w, up_s)

        async def wake() -> None:
            await inrush.wait(rise_w)
            rises.append(loop.time())

        tasks = [asyncio.create_task(restart()) for _ in range(100)]
        for _ in range(1_000):
            tasks.append(asyncio.create_task(wake()))
            await asyncio.sleep(0.1)
        await asyncio.gather(*tasks)
        await asyncio.sleep(row_s + 1.0)
        assert inrush.restarting_w == 0.0

    in_virtual_time(main(), loop)
    assert len(rises) == 1_100
    steepest = max(sum(start_s <= at_s < start_s + WINDOW_S for at_s in rises) for start_s in rises)
    assert steepest * rise_w / WINDOW_S <= limit_w_per_s
    assert row_s != 60.0 or steepest * rise_w / WINDOW_S > 0.75 * limit_w_per_s, "the room is used"


def test_a_withdrawn_restart_frees_its_share_of_the_limit():
    async def story() -> float:
        inrush = Inrush(2_000.0, system_clock())
        await inrush.wait_to_restart(4_000.0)
        waiting = [asyncio.create_task(inrush.wait_to_restart(4_000.0)) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert inrush.restarting_w == 4_000.0, "one at a time where two would be too much"
        waiting[0].cancel()
        inrush.came_up(4_000.0)
        await asyncio.sleep(0.01)
        assert inrush.restarting_w == 4_000.0, "the next one's"
        waiting[1].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return inrush.restarting_w

    assert asyncio.run(story()) == 0.0


def test_a_miner_that_refuses_to_restart_takes_no_room_and_a_silent_one_only_for_its_ramp():
    async def story(site: Site) -> None:
        for trait in ("refuses", "dead", "obeys"):
            began_s = asyncio.get_running_loop().time()
            asked = [
                site.ask(at, Reboot(), deadline_s=60.0) for at, m in enumerate(site.miners.values()) if m.trait == trait
            ]
            await carry_out(site.actuator, journalled(asked))
            took_s[trait] = asyncio.get_running_loop().time() - began_s

    took_s: dict[str, float] = {}
    play(["refuses"] * 20 + ["dead"] * 20 + ["obeys"] * 8, story, inrush_w_per_s=6000.0)
    assert took_s["refuses"] < 20 * 0.9 and took_s["dead"] < 60.0 + 20 * 0.9
    assert took_s["obeys"] >= envelope().ramp_up_s, "two rounds of four: the second waits until the first is up"


def test_images_that_wait_for_a_free_upload_keep_no_room_from_a_reboot():
    able = envelope(commands=frozenset({"InstallFirmware", "Reboot"}))

    async def story(site: Site) -> None:
        image = InstallFirmware("2.0", "0" * 64, b"x")
        site.actuator.start(journalled([site.ask(at, image, deadline_s=60.0) for at in range(20)]))
        await asyncio.sleep(1.0)
        await carry_out(site.actuator, journalled([site.ask(20, Reboot(), deadline_s=60.0)]))
        rebooted_s.append(asyncio.get_running_loop().time())

    rebooted_s: list[float] = []
    loop = VirtualLoop()
    site = Site(["obeys"] * 21, loop, inrush_w_per_s=6000.0, uploads=2)
    site.actuator._envelope_of = lambda device: able
    for at in range(20):
        site.miners[f"h/s/m{at}"].answer_s = 20.0

    async def main() -> None:
        await story(site)
        await site.actuator.close()

    in_virtual_time(main(), loop)
    assert rebooted_s[0] < 30.0, "two images on their way, room for four: the reboot is the third"


def test_the_urgent_are_first_where_room_for_a_restart_is_waited_for():
    loop = VirtualLoop()
    went: list[str] = []

    async def main() -> None:
        inrush = Inrush(2_000.0, clock_of(loop))

        async def one(name: str, priority: int) -> None:
            await inrush.wait_to_restart(4_000.0, priority)
            went.append(name)
            inrush.came_up(4_000.0)

        await inrush.wait_to_restart(4_000.0)
        names = [("first image", 9), ("image", 9), ("reboot", 5)]
        tasks = [asyncio.create_task(one(*name)) for name in names]
        await asyncio.sleep(60.0)
        assert went == []
        inrush.came_up(4_000.0)
        await asyncio.gather(*tasks)

    in_virtual_time(main(), loop)
    assert went == ["first image", "reboot", "image"]


def test_a_pump_that_starts_takes_its_turn():
    """Two pumps of 50 kW under 20 kW/s: the second starts when the first has been let in."""

    async def story(site: Site) -> None:
        await carry_out(
            site.actuator, journalled([site.ask(at, SwitchLoad(1, True), deadline_s=5.0) for at in range(2)])
        )
        await carry_out(
            site.actuator, journalled([site.ask(at, SwitchLoad(1, False), deadline_s=5.0) for at in range(2)])
        )

    loop = VirtualLoop()
    site = Site(["obeys"] * 2, loop, inrush_w_per_s=20_000.0)
    pump = Load("pump", LoadKind.PUMP, "h/s/c", 1, "f1", 50_000.0, frozenset({"h/s/m"})).envelope()
    site.actuator._envelope_of = lambda device: pump

    async def main() -> None:
        await story(site)
        await site.actuator.close()

    in_virtual_time(main(), loop)
    first, second = (miner.writes for miner in site.miners.values())
    assert second[0][0] - first[0][0] >= 50_000.0 / 20_000.0
    assert second[1][0] - first[1][0] < 0.1, "off goes at once"
