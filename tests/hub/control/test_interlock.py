# SPDX-License-Identifier: Apache-2.0
"""Where the hub must not command it sends nothing: every byte that leaves for the miners is read on its way there."""

import asyncio
import csv
import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hub.app.live import Running, start
from hub.cli.app import app
from hub.config import load
from hub.fleet.placement import FactsRequest
from hub.wiring import reading
from kernel.actor import Actor, Channel
from kernel.clock import system_clock
from miner_control.fleet.command import Locate, Sleep, command
from telemetry.collect.source import Tier
from tests.builders.commands import carry_out, journalled
from tests.builders.requests import read
from tests.hub_site import World, until, world
from twin.models import MODELS

LOGIN = "POST /api/v1/auth/login HTTP/1.1"
"""Braiins OS answers no read without it."""
DIALECTS = ("luxos", "whatsminer", "vnish", "braiins", "antminer")
READS = {
    b"stats", b"summary", b"pools", b"devs", b"devdetails", b"version", b"config", b"coin", b"edevs", b"get_version",
    b"get_psu", b"get_miner_info", b"get_error_code", b"status", b"temps", b"fans", b"profiles", b"events", b"atm", b"profileget",
    b"tempctrl", b"limits", b"powertargetget", b"rate", b"warning", b"get_psu_info", b"power", b"voltageget", b"autotunerget",
    b"groups", b"tunerstatus", b"session",
}  # fmt: skip


class Taps:
    """Stands between hub and miners: passes all bytes on, and keeps what the hub sent, by miner."""

    def __init__(self) -> None:
        self.sent: dict[str, list[bytes]] = defaultdict(list)
        self._servers: list[asyncio.Server] = []

    async def tap(self, inventory: Path) -> None:
        with inventory.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            ports = dict(pair.split("=") for pair in row["ports"].split())
            taken = {name: await self._open(row["device"], row["host"], int(port)) for name, port in ports.items()}
            row["host"], row["ports"] = "127.0.0.1", " ".join(f"{name}={port}" for name, port in taken.items())
        with inventory.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    async def _open(self, device: str, host: str, port: int) -> int:
        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, kept: list[bytes]) -> None:
            while chunk := await source.read(65_536):
                kept.append(chunk)
                sink.write(chunk)
            sink.close()

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            sent: list[bytes] = []
            try:
                back, forth = await asyncio.open_connection(host, port)
                await asyncio.gather(pump(reader, forth, sent), pump(back, writer, []))
            except OSError:
                writer.close()
            finally:
                self.sent[device].append(b"".join(sent))

        server = await asyncio.start_server(relay, "127.0.0.1", 0)
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    def close(self) -> None:
        for server in self._servers:
            server.close()

    def beyond_reading(self, device: str) -> set[str]:
        """What was sent to a miner that is no plain read: its first line, or its command."""
        return {reported for request in self.sent[device] if request and (reported := _no_read(request))} - {LOGIN}


def _no_read(request: bytes) -> str:
    line = request.partition(b"\r\n")[0]
    if line.endswith(b"HTTP/1.1"):
        return "" if line.startswith(b"GET ") else line.decode()
    try:
        body = json.loads(request)
    except ValueError:
        return request.hex()
    words = str(body.get("command", body.get("cmd", ""))).encode().split(b"+")
    return "" if set(words) <= READS and "enc" not in body else str(body.get("command", body))


async def heard_of(hub: Running, count: int) -> None:
    """All have told who they are: at once, and not some time in the first half minute."""
    components = hub.wired.hub.components
    table = components.state.snapshot.kind("miner")
    for device in components.state.sites["alatau/north"].roster.devices:
        components.collector.poll_soon(device, Tier.DAILY)

    def named() -> bool:
        reported = [table.reading(device).get("serial") for device in table.index]
        return sum(isinstance(one, str) for one in reported) == count

    await until("all told who they are", named, 60)


def site_of(tmp_path: Path, host: str):  # type: ignore[no-untyped-def]
    models = {next(name for name, one in MODELS.items() if one.dialect == dialect): 1.0 for dialect in DIALECTS}
    return world(tmp_path, miners=10, miner_host=host, models=models, feeders=1)


def insert(site: World, line: str) -> None:
    site.config.write_text(site.config.read_text().replace("[[sites]]", f"[[sites]]\n{line}", 1))


@pytest.mark.timeout(120)
def test_a_site_that_only_observes_is_sent_nothing_but_reads(tmp_path: Path) -> None:
    """Neither a login that is made beforehand, nor what is asked of its hands directly, nor the plan's wishes."""

    async def main(site: World) -> None:
        taps = Taps()
        await taps.tap(tmp_path / "inventory.csv")
        insert(site, "observe_only = true")
        async with start(load(site.config, environment={}), tmp_path) as hub:
            await heard_of(hub, 10)
            components = hub.wired.hub.components
            ready = hub.wired.hub.components.health
            await until("the duty that makes tokens beforehand had its turn", lambda: "ready alatau/north" in ready)
            devices = components.state.sites["alatau/north"].roster.devices
            now_ms = system_clock().now_ms()
            asked = [command(now_ms, device, Sleep(), "test", deadline_s=5.0) for device in devices]
            receipts = await carry_out(components.actuators["alatau/north"], journalled(asked))
            assert {receipt.text for receipt in receipts.values()} == {
                "withdrawn before it was sent: north only observes"
            }
            await asyncio.sleep(3.0)
        taps.close()
        assert len(taps.sent) == 10
        assert not {device: reported for device in taps.sent if (reported := taps.beyond_reading(device))}
        truth = await asyncio.to_thread(site.control, "/truth")
        assert truth["writes"] == 0

    with site_of(tmp_path, "127.78.40.1") as site:
        asyncio.run(main(site))


@pytest.mark.timeout(120)
def test_another_party_s_miners_are_counted_and_never_commanded(tmp_path: Path) -> None:
    """By the inventory, and from a fact said while the hub runs on; ours beside them are commanded as ever."""

    async def main(site: World) -> None:
        taps, inventory = Taps(), tmp_path / "inventory.csv"
        await taps.tap(inventory)
        lines = inventory.read_text().splitlines()
        owner = lines[0].split(",").index("owner")
        rows = [line.split(",") for line in lines[1:]]
        for row in rows[:4]:
            row[owner] = "hoster"
        dialect = lines[0].split(",").index("dialect")
        most = Counter(row[dialect] for row in rows[4:]).most_common(1)[0][0]
        swapped = [row for row in rows[4:] if row[dialect] == most][:2]
        for column in map(lines[0].split(",").index, ("host", "ports")):
            # Leases ended: each stands now where the other is expected.
            swapped[0][column], swapped[1][column] = swapped[1][column], swapped[0][column]
        inventory.write_text("\n".join([lines[0], *(",".join(row) for row in rows)]) + "\n")
        theirs, ours = [row[0] for row in rows[:4]], [row[0] for row in rows[4:]]
        insert(site, 'third_party_owners = ["hoster", "acme"]')
        async with start(load(site.config, environment={}), tmp_path) as hub:
            await heard_of(hub, 10)
            components, key = hub.wired.hub.components, "alatau/north"
            here, actuator = components.state.sites[key], components.actuators[key]

            async def locate(device: str) -> object:
                asked = command(system_clock().now_ms(), f"{key}/{device}", Locate(True), "test", deadline_s=10.0)
                return (await carry_out(actuator, journalled([asked])))[asked.id]

            reported = str(getattr(await locate(theirs[0]), "text", ""))
            assert reported.startswith(
                "withdrawn before it was sent: belongs to hoster, of the third_party_owners of north"
            )
            first = next(row[0] for row in rows[4:] if row not in swapped)
            assert not str(getattr(await locate(first), "text", "")).startswith("withdrawn")
            reported = str(getattr(await locate(swapped[0][0]), "text", ""))
            assert f"{swapped[1][0]} answers at its address" in reported
            shown = hub.ports.fleet.miner("north", theirs[0])
            assert shown["owner"] == "hoster" and shown["why"].startswith("belongs to hoster")
            body = {"facts": [{"device": first, "what": "owner", "value": "acme"}], "source": "contract 7"}
            await hub.ports.assets.record("north", read(FactsRequest, body), Actor("anna", "operator", Channel.REST))
            await until("the register says so", lambda: not here.roster.ours[here.roster.index[f"{key}/{first}"]])
            reported = str(getattr(await locate(first), "text", ""))
            assert "belongs to acme" in reported and "contract 7, from " in reported
            fleet = hub.ports.fleet.fleet("north")
            assert all(fleet["power_w"][fleet["devices"].index(device)] > 0 for device in theirs)
        taps.close()
        assert all(not taps.beyond_reading(device) for device in theirs)
        assert any(taps.beyond_reading(device) for device in ours), "the taps see what is more than a read"
        reported = CliRunner().invoke(app, ["miners", "show", str(tmp_path), f"{key}/{first}", "--json"])
        place = json.loads(reported.output)["place"]
        assert place["owner"].startswith("acme (contract 7, from ") and place["barred"].startswith("belongs to acme")
        reported = CliRunner().invoke(app, ["miners", "list", str(tmp_path)])
        assert reported.exit_code == 0 and "owner" in reported.output and "hoster" in reported.output
        state = reading(tmp_path / "data")
        asked = {e.body["device"].rpartition("/")[2] for _, e in state.events(["command.issued"])}
        assert not asked & set(theirs)

    with site_of(tmp_path, "127.78.41.1") as site:
        asyncio.run(main(site))
