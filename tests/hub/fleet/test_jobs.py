# SPDX-License-Identifier: Apache-2.0
"""Bulk work through a running hub on real sockets: two persons, canary and waves, restart, orders first, secrets unwritten."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hub.app.live import start
from hub.cli.app import app
from hub.wiring import reading
from kernel.clock import iso, system_clock
from kernel.errors import ConfigError
from miner_control.fleet.command import CUT_SHORT
from tests.builders.jobs import Person, hashing, prepared
from tests.hub_site import World, until, world


def models() -> dict[str, float]:
    from twin.models import MODELS as KNOWN

    chosen = {}
    for dialect in ("antminer", "luxos", "braiins"):
        chosen[next(name for name, model in KNOWN.items() if model.dialect == dialect)] = 1.0
    return chosen


def receipts(folder: Path, text: str) -> set[str]:
    """Devices of a stopped hub's receipts for pools that say this."""
    reported = reading(folder / "data").events(["command.receipt"])
    return {
        event.body["device"]
        for _, event in reported
        if event.body["intent"] == "SetPools" and event.body.get("text") == text
    }


@pytest.mark.timeout(240)
def test_pools_by_two_persons_through_a_restart_and_back(tmp_path: Path) -> None:
    async def pools_of(site: World) -> list[list[str]]:
        devices = [miner["device"] for miner in site.ready["miners"]]
        units = [await asyncio.to_thread(site.control, f"/truth?device={device}") for device in devices]
        return [unit["pools"][0] for unit in units]

    async def main(site: World) -> None:
        config = prepared(site)
        body = {"name": "to main", "intent": "pools=main", "where": {}, "canary": 3, "wave_share": 0.5, "gap_s": 4.0}
        async with start(config, tmp_path) as hub:
            anna, boris = Person(hub, "anna"), Person(hub, "boris")
            await hashing(hub, 12)
            dry = await anna.ask("POST", "/jobs", body | {"dry_run": True}, 201)
            assert dry["needs_two"] and dry["preview"][1] == "wave 0: 3 (canary)"
            assert await anna.ask("GET", "/jobs") == []
            reported = await anna.ask("POST", "/jobs", body, 201)
            faults = await anna.ask("POST", f"/jobs/{reported['id']}/approve", {}, 422)
            assert "somebody else" in faults["faults"][0]["problem"]
            await asyncio.sleep(2.5)
            assert (await anna.state(reported["id"]))["state"] == "awaits approval"
            await boris.ask("POST", f"/jobs/{reported['id']}/approve", {})

            async def canaries() -> Any:
                found = await anna.state(reported["id"])
                return found if found["outcomes"].get("verified") == 3 else None

            await until("the canary is through", canaries, 60)
            changed = [pool for pool in await pools_of(site) if "eu.pool" in pool[0]]
            assert len(changed) >= 3 and all("{" not in user and "x" in user for _, user in changed)

            async def on_the_way() -> bool:
                return bool((await anna.state(reported["id"]))["waiting"])

            await until("a wave is on its way", on_the_way, 60)
        cut_short = receipts(tmp_path, CUT_SHORT)
        assert cut_short, "the hub stopped in the middle of a wave"
        async with start(config, tmp_path) as hub:
            anna = Person(hub, "anna")

            async def done() -> Any:
                found = await anna.state(reported["id"])
                return found if found["state"] == "done" else None

            found = await until("it goes on after a restart", done, 90)
            assert found["outcomes"] == {"verified": 12}, repr(found)
            journal = hub.wired.hub.components.recorder.journal
            steps = [event.body for _, event in journal.events(["job.wave"])]
            again = next(one for one in steps if one["step"].endswith("again"))
            assert set(again["commands"].values()) == cut_short, "and none but those is asked twice"
            assert sum(len(one["commands"]) for one in steps) == 12 + len(cut_short)
            assert found["approved_by"] == "boris" and found["holds"] == 0
            assert all("eu.pool.example" in url for url, _ in await pools_of(site))
            await anna.ask("POST", f"/jobs/{reported['id']}/restore", {})
            await until(
                "each has its old pool", lambda: asyncio.wait_for(_all_old(pools_of(site)), 20), 60,
            )  # fmt: skip

    async def _all_old(asked: Any) -> bool:
        return all(url == "stratum+tcp://pool.invalid:3333" for url, _ in await asked)

    with world(tmp_path, miners=12, miner_host="127.78.20.1", models=models()) as site:
        asyncio.run(main(site))


@pytest.mark.timeout(240)
def test_held_by_a_campaign_yet_an_order_comes_first_and_a_password_is_rotated(tmp_path: Path) -> None:
    async def main(site: World) -> None:
        config = prepared(site)
        async with start(config, tmp_path) as hub:
            anna, boris = Person(hub, "anna"), Person(hub, "boris")
            await hashing(hub, 12)
            components = hub.wired.hub.components
            here = components.state.sites["alatau/north"]
            names = [device.rpartition("/")[2] for device in here.roster.devices[:2]]
            asleep = {"name": "repair", "intent": "sleep", "devices": names, "canary": 0, "wave_share": 1.0}
            reported = await anna.ask("POST", "/jobs", asleep, 201)

            async def slept() -> Any:
                return (await anna.state(reported["id"]))["outcomes"].get("verified") == 2

            await until("two sleep", slept, 60)
            await asyncio.sleep(6)
            miners = [await anna.ask("GET", f"/miners/{name}") for name in names]
            assert [miner["state"] for miner in miners] == ["asleep", "asleep"], "the plan leaves them alone"

            until_at = iso(system_clock().now_ms() + 3_600_000)
            order = await anna.ask("POST", "/orders", {"power_w": 15_000.0, "until": until_at}, 201)
            work = {"name": "later", "intent": "locate", "where": {}, "canary": 0, "wave_share": 1.0, "gap_s": 0.0}
            waits = await anna.ask("POST", "/jobs", work, 201)
            await asyncio.sleep(4)
            assert (await anna.state(waits["id"]))["wave"] == 0, "no wave leaves while an order limits the site"
            await anna.ask("DELETE", f"/orders/{order['id']}")

            async def located() -> Any:
                return (await anna.state(waits["id"]))["state"] == "done"

            await until("then it goes", located, 120)
            await anna.ask("POST", f"/jobs/{reported['id']}/end", {"why": "repaired"})
            await until("the plan has them again", lambda: not here.jobs.held())

            stock = [miner.device for miner in hub.wired.registers[here.key].miners if miner.dialect == "braiins"]
            rotate = {
                "name": "rotate",
                "intent": "credential=newer",
                "devices": stock,
                "canary": 0,
                "wave_share": 1.0,
                "deadline_s": 60.0,
            }
            reported = await anna.ask("POST", "/jobs", rotate, 201)
            await boris.ask("POST", f"/jobs/{reported['id']}/approve", {})

            async def rotated() -> Any:
                found = await anna.state(reported["id"])
                return found if found["state"] in ("done", "paused") else None

            found = await until("rotated", rotated, 90)
            assert found["outcomes"] == {"accepted": len(stock)}, found
            assert here.credentials == dict.fromkeys(stock, "newer")
        async with start(config, tmp_path) as hub:
            here = hub.wired.hub.components.state.sites["alatau/north"]
            assert here.credentials == dict.fromkeys(stock, "newer"), "known again from the journal"
            anna = Person(hub, "anna")
            work = {"name": "who", "intent": "locate", "devices": stock, "canary": 0, "wave_share": 1.0}

            def heard() -> bool:
                # What was under way when the hub stopped is unknown, and such a unit rests for a minute.
                counts, asked = (
                    hub.ports.sites.status("north")["counts"],
                    here.standing.commanded(system_clock().now_ms()),
                )
                rests = any(asked.excluded[here.roster.index[device]] for device in stock)
                return counts["unknown"] + counts["unreachable"] == 0 and not rests

            await until("they are heard, and none rests", heard, 90)
            reported = await anna.ask("POST", "/jobs", work, 201)

            async def opened() -> Any:
                return (await anna.state(reported["id"]))["outcomes"].get("accepted") == len(stock)

            await until("the new password opens them", opened, 60)
        bodies = [str(event.body) for _, event in reading(tmp_path / "data").events(None)]
        assert any("newer" in body for body in bodies) and not any("a newer secret" in body for body in bodies)

    with world(tmp_path, miners=12, miner_host="127.78.21.1", models=models()) as site:
        asyncio.run(main(site))


def test_bad_proposals_are_reported_all_at_once(tmp_path: Path) -> None:
    from hub.fleet.jobs import JobRequest
    from hub.fleet.provisioning import Provisions
    from tests.builders.requests import read

    with world(tmp_path, miners=12, miner_host="127.78.22.1") as site:
        config = prepared(site)
    provisions = Provisions(config, tmp_path, tmp_path / "data", {})
    body = {"name": "", "intent": 7, "devices": "all", "wave_share": 0, "deadline_s": 1, "colour": "red"}
    with pytest.raises(ConfigError) as caught:
        read(JobRequest, body)
    assert sorted(fault.place for fault in caught.value.faults) == [
        "colour", "deadline_s", "devices", "intent", "name", "wave_share",
    ]  # fmt: skip
    for text, problem in (
        ("pools=thieves", "stands not in hub.toml"),
        ("firmware=9", "stands not on the shelf"),
        ("dance", "is none"),
    ):
        with pytest.raises(ConfigError, match=problem):
            provisions.intent(text)


def test_an_image_enters_the_shelf_only_with_its_hash(tmp_path: Path) -> None:
    (tmp_path / "hub.toml").write_text(
        '[hub]\nname = "h"\n[[sites]]\nname = "s"\noperator = "o"\nzone = "Asia/Almaty"\nimport_cap_w = 1e6\n'
        '[[sites.feeders]]\nname = "f1"\ncap_w = 1e6\n'
    )
    image = tmp_path / "fw.bin"
    image.write_bytes(b"firmware " * 1000)
    right = hashlib.sha256(image.read_bytes()).hexdigest()
    run = CliRunner().invoke
    words = [
        "firmware",
        "add",
        str(tmp_path / "hub.toml"),
        str(image),
        "--version",
        "2.0",
        "--dialect",
        "antminer",
        "--model",
        "S19*",
    ]
    wrong = run(app, [*words, "--sha256", "0" * 64])
    assert isinstance(wrong.exception, ConfigError) and "hashes to" in str(wrong.exception)
    assert run(app, [*words, "--sha256", right]).exit_code == 0
    again = run(app, [*words, "--sha256", right])
    assert isinstance(again.exception, ConfigError) and "already" in str(again.exception)
    listed = run(app, ["firmware", "list", str(tmp_path / "hub.toml"), "--json"])
    assert right in listed.stdout

    from hub.fleet.firmware_store import FirmwareStore

    shelf = FirmwareStore(tmp_path / "data")
    assert shelf.take(right) == image.read_bytes() and shelf.named(right[:8]).version == "2.0"
    (tmp_path / "data" / "firmware" / f"{right}.bin").write_bytes(b"changed")
    with pytest.raises(ConfigError, match="was changed"):
        FirmwareStore(tmp_path / "data").take(right)
