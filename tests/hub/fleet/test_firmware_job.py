# SPDX-License-Identifier: Apache-2.0
"""Firmware through a running hub on real sockets: shelf, two persons, canary, what fails pauses it, and the way back."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest

from hub.app.live import start
from hub.fleet.firmware_store import FirmwareStore
from kernel.clock import system_clock
from kernel.errors import ConfigError
from tests.builders.firmware_image import make_image
from tests.builders.jobs import Person, hashing, prepared
from tests.hub_site import World, until, world

NEW = "Sat Nov 14 09:12:00 CST 2026"


def shelve(folder: Path, version: str) -> bytes:
    """An image for the site's Antminers on the hub's shelf."""
    data = make_image("antminer", version, 300_000)
    file = folder / "image.bin"
    file.write_bytes(data)
    FirmwareStore(folder / "data").add(
        file, hashlib.sha256(data).hexdigest(), version=version, dialect="antminer", model="*", source="the maker",
        added_ms=system_clock().now_ms(),
    )  # fmt: skip
    return data


@pytest.mark.timeout(240)
def test_an_image_goes_out_by_two_persons_stops_at_a_failing_canary_and_comes_back(tmp_path: Path) -> None:
    async def main(site: World) -> None:
        config = prepared(site)
        units = [miner["device"] for miner in site.ready["miners"]]
        image = shelve(tmp_path, NEW)

        async def run() -> list[str]:
            return [(await asyncio.to_thread(site.control, f"/truth?device={unit}"))["firmware"] for unit in units]

        (old,) = set(await run())
        async with start(config, tmp_path) as hub:
            anna, boris = Person(hub, "anna"), Person(hub, "boris")
            await hashing(hub, len(units))
            table = hub.wired.hub.components.state.snapshot.kind("miner")
            await until(
                "each tells its version", lambda: all(table.reading(u).get("firmware") == old for u in units), 60
            )
            body = {
                "name": "fw",
                "intent": f"firmware={NEW}",
                "where": {},
                "canary": 1,
                "wave_share": 1.0,
                "gap_s": 0.0,
            }
            dry = await anna.ask("POST", "/jobs", body | {"dry_run": True}, 201)
            assert dry["needs_two"] and f"{len(units)} cannot be restored" in " ".join(dry["preview"])
            shelve(tmp_path, old)
            reported = await anna.ask("POST", "/jobs", body | {"deadline_s": 10.0}, 201)
            assert "cannot be restored" not in " ".join(reported["preview"])
            book = hub.wired.hub.components.state.sites["alatau/north"].jobs
            ((canary,), others) = book.jobs[reported["id"]].plan.waves
            site.control("/fault", {"device": canary, "faults": ["image_ignored"]})

            async def state(*wanted: str) -> Any:
                found = await anna.state(reported["id"])
                return found if found["state"] in wanted else None

            await boris.ask("POST", f"/jobs/{reported['id']}/approve", {})
            found = await until("it stops", lambda: state("paused"), 90)
            assert found["outcomes"] == {"unknown": 1} and len(others) == len(units) - 1
            assert await _all(run, old), "nobody else was asked after a canary that came back with the old version"
            site.control("/fault", {"device": canary, "faults": []})
            await anna.ask("POST", f"/jobs/{reported['id']}/retry", {})
            await anna.ask("POST", f"/jobs/{reported['id']}/resume", {})
            await until("all of it", lambda: state("done"), 120)
            assert await _all(run, NEW)
            await anna.ask("POST", f"/jobs/{reported['id']}/restore", {})
            await until("back", lambda: _all(run, old), 120)
        reported_of = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("journal*"))
        assert image[:40] not in reported_of and NEW.encode() in reported_of

    with world(tmp_path, miners=4, miner_host="127.78.25.1", models={"antminer-s21": 1.0}) as site:
        asyncio.run(main(site))


async def _all(run: Any, version: str) -> bool:
    return set(await run()) == {version}


def test_an_image_that_was_changed_on_the_shelf_is_not_taken(tmp_path: Path) -> None:
    content = b"image" * 100
    (tmp_path / "image.bin").write_bytes(content)
    named = hashlib.sha256(content).hexdigest()
    FirmwareStore(tmp_path).add(
        tmp_path / "image.bin", named, version="1", dialect="*", model="*", source="test", added_ms=1
    )
    assert FirmwareStore(tmp_path).take(named) == content
    (tmp_path / "firmware" / f"{named}.bin").write_bytes(content[:-1] + b"X")
    with pytest.raises(ConfigError, match="is gone or was changed"):
        FirmwareStore(tmp_path).take(named)
