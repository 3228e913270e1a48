# SPDX-License-Identifier: Apache-2.0
"""Uploads of firmware images: how many at once, what goes before them, what a stalled one costs."""

import asyncio
import resource
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from hub.app.virtual_time import VirtualLoop
from kernel.clock import Clock, system_clock
from kernel.receipt import Accepted, Receipt, Refused, Unknown, Unreachable, Verified
from miner_control.control.actuator import Actuator
from miner_control.dialect import DIALECTS
from miner_control.fleet.command import InstallFirmware, Intent, Sleep, command
from miner_control.fleet.driver import Access
from miner_control.fleet.envelope import Envelope, Mode
from miner_control.fleet.miner import Miner
from miner_control.io import exchanges as wire
from miner_control.io.exchanges import Exchanges
from miner_control.io.miner_socket import MinerPort
from telemetry.collect.source import Tier
from tests.builders.commands import carry_out, journalled
from tests.builders.firmware_hands import ABLE, Hands, of, play
from tests.miner_control.miners import clock_of, in_virtual_time
from tests.servers import count
from tests.twins import running_twin
from twin.models import MODELS


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory):
    models = {name: 1.0 for name, model in MODELS.items() if model.dialect in ABLE}
    with running_twin(tmp_path_factory.mktemp("twin"), miners=4 * len(models), models=models, containers=0) as found:
        yield found


# --- many at once -----------------------------------------------------------------------------------------------------


class Slow:
    """A driver that is busy with an image for a minute, and counts how many are at once."""

    def __init__(self, name: str, seen: list[int], clock: Clock) -> None:
        self.device = self.lane = name
        self.kind, self._seen, self._runs, self._clock = "miner", seen, "old", clock

    async def carry_out(self, intent: Intent, deadline_s: float) -> Receipt:
        self._seen.append(self._seen[-1] + 1)
        await asyncio.sleep(60.0)
        self._seen.append(self._seen[-1] - 1)
        self._runs = intent.version if isinstance(intent, InstallFirmware) else self._runs
        return Accepted()

    async def read(self, tier: Tier) -> Any:
        from kernel.reading import Reading

        return Reading(self.device, "miner", self._clock.now_ms() + 1, {"firmware": self._runs})


def test_four_uploads_at_once_and_no_more() -> None:
    loop = VirtualLoop()
    clock = clock_of(loop)

    async def main() -> tuple[list[Receipt], int]:
        seen = [0]
        drivers = {f"h/s/{at}": Slow(f"h/s/{at}", seen, clock) for at in range(20)}
        envelope = Envelope(
            "M", "F", (Mode("n", 1.0, 1.0),), "n", 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, commands=frozenset({"InstallFirmware"})
        )
        actuator = Actuator(drivers, clock, lambda device: envelope, lambda *reported: None)
        asked = [command(1, device, of("antminer"), "test", deadline_s=100.0) for device in drivers]
        receipts = await carry_out(actuator, journalled(asked))
        return list(receipts.values()), max(seen)

    receipts, most = in_virtual_time(main(), loop)
    assert most == 4
    assert all(isinstance(one, Verified) for one in receipts), (
        "the deadline runs from when each is sent, not from the queue"
    )


def test_many_miners_share_one_image(tmp_path: Path) -> None:
    """20 miners and an image of 16 MB: what the hub holds grows by far less than a second image."""
    miners, size = count(20, 100), 16 << 20
    models = {"antminer-s21": 1.0, "braiins-s21-pro": 1.0, "whatsminer-m50s": 1.0}
    with running_twin(tmp_path, miners=miners, models=models, containers=0) as twin:
        images = {dialect: of(dialect, size=size) for dialect in ("antminer", "braiins", "whatsminer")}

        async def main(hands: Hands) -> tuple[list[Receipt], int, int]:
            intents = {reported["device"]: images[reported["dialect"]] for reported in twin.miners}
            tracemalloc.start()
            before, rss = tracemalloc.get_traced_memory()[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            receipts = await hands.order(intents, 60.0)  # type: ignore[arg-type]
            grown = tracemalloc.get_traced_memory()[1] - before
            tracemalloc.stop()
            return list(receipts.values()), grown, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - rss

        receipts, grown, rss_kib = play(twin, main)
    assert [type(one).__name__ for one in receipts] == ["Verified"] * miners, receipts
    assert grown < size // 4, f"{grown} bytes"
    assert rss_kib < size // 1024, f"{rss_kib} KiB"


def test_polls_of_others_go_on_while_images_are_sent(tmp_path: Path) -> None:
    """The loop is never held by an image: a neighbour is read all the while."""
    models = {"antminer-s21": 1.0, "whatsminer-m50s": 1.0}
    with running_twin(tmp_path, miners=6, models=models, containers=0) as twin:
        stock = [reported["device"] for reported in twin.miners if reported["dialect"] == "antminer"]
        other = next(reported["device"] for reported in twin.miners if reported["dialect"] == "whatsminer")

        async def main(hands: Hands) -> tuple[dict[str, Receipt], float]:
            image, worst_s, loop = of("antminer", size=24 << 20), 0.0, asyncio.get_running_loop()
            sending = asyncio.create_task(hands.order(dict.fromkeys(stock, image), 60.0))
            while not sending.done():
                began_s = loop.time()
                await hands.ports[other].read(Tier.FAST)
                worst_s = max(worst_s, loop.time() - began_s)
            return await sending, worst_s

        receipts, worst_s = play(twin, main)
    assert all(isinstance(one, Verified) for one in receipts.values()), receipts
    assert worst_s < 2.0


def test_a_shed_goes_before_an_image_on_its_way(tmp_path: Path) -> None:
    with running_twin(tmp_path, miners=1, models={"antminer-s21": 1.0}, containers=0) as twin:
        unit = twin.miners[0]["device"]

        async def main(hands: Hands) -> tuple[Receipt, Receipt]:
            image = command(1, unit, of("antminer", size=64 << 20), "campaign")
            begun = hands.actuator.start(journalled([image]))[image.id]
            await asyncio.sleep(0.02)
            shed = command(2, unit, Sleep(), "shed", deadline_s=20.0, priority=0)
            receipts = await carry_out(hands.actuator, journalled([shed]))
            return await begun, receipts[shed.id]

        image, shed = play(twin, main)
        assert isinstance(image, Unknown | Unreachable), image
        assert twin.truth(unit)["asleep"] is True, shed


@pytest.mark.parametrize("lingers", [True, False])
def test_a_refusal_after_the_first_bytes_is_reported(lingers: bool) -> None:
    """A web server that finds the body too large reads no more of it; some close at once, some read on for a while."""
    heard = 0

    async def peer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large")
        await writer.drain()
        while lingers and (chunk := await reader.read(1 << 16)):
            heard += len(chunk)
        writer.close()

    async def main() -> Receipt:
        server = await asyncio.start_server(peer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        miner = Miner("h/s/m", "Bitaxe", "bitaxe", "127.0.0.1", (("http", port),), "F1")
        lines = Exchanges()
        try:
            hand = MinerPort(miner, DIALECTS["bitaxe"], Access("", "", {"http": port}), system_clock(), lines)
            return await hand.carry_out(of("bitaxe", size=64 << 20), 20.0)
        finally:
            lines.close()
            server.close()

    receipt = asyncio.run(asyncio.wait_for(main(), 15.0))
    if lingers:
        assert receipt == Refused("413", "too large") and heard < 64 << 20
    else:
        # A reset may overtake the answer: then nobody knows, and it is said so.
        assert isinstance(receipt, Refused | Unknown), receipt


def test_a_stalled_upload_releases_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that accepts, reads nothing and says nothing."""
    monkeypatch.setattr(wire, "STALL_S", 0.3)

    async def main() -> Receipt:
        server = await asyncio.start_server(lambda reader, writer: asyncio.sleep(30), "127.0.0.1", 0, limit=1024)
        port = server.sockets[0].getsockname()[1]
        miner = Miner("h/s/m", "Bitaxe", "bitaxe", "127.0.0.1", (("http", port),), "F1")
        lines = Exchanges()
        try:
            hand = MinerPort(miner, DIALECTS["bitaxe"], Access("", "", {"http": port}), system_clock(), lines)
            return await hand.carry_out(of("bitaxe", size=32 << 20), 30.0)
        finally:
            lines.close()
            server.close()

    receipt = asyncio.run(asyncio.wait_for(main(), 10.0))
    assert isinstance(receipt, Unknown) and "nothing of the upload" in receipt.text, receipt
