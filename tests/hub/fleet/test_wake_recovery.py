# SPDX-License-Identifier: Apache-2.0
"""Who does not come back after an order: rung by rung over real sockets, its PDU socket at last, and a report after it."""

import asyncio
from pathlib import Path

import pytest

from grid.order_book import Authority
from hub.app.live import start
from hub.app.replay import replay_folder
from hub.config import load
from kernel.clock import iso, system_clock
from tests.hub_site import World, until, world

LADDER = """
wake_recovery = { report_after_s = 6000.0, margin_factor = 4 }

[[sites.loads]]
name = "plug-3"
kind = "socket"
device = "container-1"
group = "pdu01"
index = 3
serves = { miners = ["miner-00003"] }
"""


@pytest.mark.timeout(480)
def test_a_hung_miner_is_cycled_and_a_dead_one_becomes_a_ticket(tmp_path: Path) -> None:
    async def main(site: World) -> None:
        held = site.config.read_text().replace("stale_after_s = 30.0", "stale_after_s = 6.0")
        held = held.replace("command_deadline_s = 60.0", "command_deadline_s = 6.0")
        ladder, _, loads = LADDER.partition("\n\n")
        held = held.replace('inventory = "inventory.csv"', f'inventory = "inventory.csv"{ladder}', 1)
        held = held.replace("[credentials.", f"{loads}\n[credentials.", 1)
        site.config.write_text(held)
        async with start(load(site.config, environment={}), tmp_path) as hub:
            here = hub.wired.hub.components.state.sites["alatau/north"]

            def counts() -> dict[str, int]:
                return dict(hub.ports.sites.status("north")["counts"])

            await until("all hash", lambda: counts()["hashing"] == 8, 60)
            by = Authority("control-room", ("alatau/north",))
            body = {"scope": "alatau/north", "power_w": 2_000.0, "until": iso(system_clock().now_ms() + 3_600_000)}
            order = await hub.messages.submit_order(body, by)
            await until("all sleep", lambda: counts()["asleep"] == 8, 60)
            await asyncio.sleep(4)  # The miners' minimum off-time at this pace.
            for name, faults in (("miner-00003", ["hung"]), ("miner-00005", ["refused"])):
                await asyncio.to_thread(site.control, "/fault", {"device": f"alatau/north/{name}", "faults": faults})
            await hub.messages.end_order(order["id"], by, "")
            # A miner that did not obey rests for 60 s, and for 120 s where it failed twice: on a slow machine it may.
            await until("the cycle cures the hung one", lambda: counts()["hashing"] == 7, 240)
            steps = [event.body for event in here.log if event.kind == "wake_recovery.step"]
            tried = [body["rung"] for body in steps if body["device"].endswith("00003")]
            assert "pdu" in tried and here.load_book.on("alatau/north/plug-3")[0] is True and not here.ladder.cycling

            def ticket() -> bool:
                return any(
                    one.device.endswith("00005") and one.what == "did not come back" for one in here.tickets.tickets()
                )

            await until("the dead one is a ticket", ticket, 60)
            report = await until("the report", lambda: hub.ports.fleet.restores("north"), 60)
            missing = [row["device"][-5:] for row in report[0]["missing"]]
            assert "00005" in missing and set(missing) <= {"00003", "00005"}, report
            assert report[0]["woken"] == 8 and report[0]["back"] == 8 - len(missing)
        replayed = await asyncio.to_thread(replay_folder, tmp_path)
        assert replayed.difference is None

    with world(tmp_path, miners=8, miner_host="127.78.26.1", models={"antminer-s21": 1}, feeders=1, pace=240.0) as site:
        asyncio.run(main(site))
