# SPDX-License-Identifier: Apache-2.0
"""Images over real sockets, through actuator and port: what came of each against what the twin truly runs."""

import asyncio
import contextlib
import hashlib
import resource
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from hub.app.virtual_time import VirtualLoop
from kernel.clock import Clock, system_clock
from kernel.receipt import Accepted, Receipt, Refused, Unknown, Unreachable, Unsupported, Verified
from miner_control.control.actuator import Actuator
from miner_control.control.inrush import WINDOW_S
from miner_control.dialect import DIALECTS
from miner_control.fleet.command import STOCK, InstallFirmware, Intent, RollBackFirmware, Sleep, command
from miner_control.fleet.driver import Access
from miner_control.fleet.envelope import Envelope, Mode
from miner_control.fleet.miner import Miner
from miner_control.io import exchanges as wire
from miner_control.io.exchanges import Exchanges
from miner_control.io.miner_socket import MinerPort
from miner_control.jobs.dry_run import DryRun, step_text
from telemetry.collect.source import Tier
from tests.builders.commands import carry_out, journalled
from tests.builders.firmware_image import make_image
from tests.miner_control.miners import clock_of, in_virtual_time
from tests.servers import count
from tests.twins import Twin, running_twin
from twin.firmware import STOCK_VERSION, TAKES_IMAGES
from twin.models import MODELS

ABLE = sorted(name for name, dialect in DIALECTS.items() if "InstallFirmware" in dialect.supports())
OURS = {"antminer": "Sat Nov 14 09:12:00 CST 2026"}


def of(dialect: str, version: str = "", size: int = 200_000) -> InstallFirmware:
    """An image that this dialect's units take."""
    version = version or OURS.get(dialect, "9.9.9")
    data = make_image(dialect, version, size)
    return InstallFirmware(version, hashlib.sha256(data).hexdigest(), data)


class Hands:
    """An actuator over the real ports of a twin."""

    def __init__(self, twin: Twin, able: frozenset[str] | None = None, **how: Any) -> None:
        self.exchanges = Exchanges()
        self.ports = {reported["device"]: self._port(twin, reported) for reported in twin.miners}
        every = frozenset(name for dialect in DIALECTS.values() for name in dialect.supports())
        envelope = Envelope(
            "M",
            "F",
            (Mode("normal", 3500.0, 2e14),),
            "normal",
            20.0,
            1.0,
            1.0,
            1.0,
            1.0,
            1.0,
            commands=every if able is None else able,
        )
        self.actuator = Actuator(
            self.ports, system_clock(), lambda device: envelope, lambda *receipt: None, pace_s=(0.05, 0.2), **how
        )
        self._tick = 0

    def _port(self, twin: Twin, reported: dict[str, Any]) -> MinerPort:
        dialect = reported["dialect"]
        miner = Miner(
            reported["device"],
            reported["model"],
            dialect,
            reported["host"],
            tuple(reported["ports"].items()),
            reported["feeder"],
        )
        access = Access(twin.ready["accounts"].get(dialect, "root"), twin.ready["password"], dict(miner.ports))
        return MinerPort(miner, DIALECTS[dialect], access, system_clock(), self.exchanges)

    async def order(self, intents: dict[str, Intent], deadline_s: float = 20.0) -> dict[str, Receipt]:
        self._tick += 1
        asked = [
            command(self._tick, device, intent, "test", deadline_s=deadline_s) for device, intent in intents.items()
        ]
        receipts = await carry_out(self.actuator, journalled(asked))
        return {one.device: receipts[one.id] for one in asked}

    async def order_until_heard(self, intents: dict[str, Intent]) -> dict[str, Receipt]:
        """Ordered for 3 s, and for longer to whom a busy machine kept from answering in that time."""
        receipts = await self.order(intents, 3.0)
        unheard = {
            device: intents[device]
            for device, receipt in receipts.items()
            if isinstance(receipt, Unknown) and "no answer since" in receipt.text
        }
        return receipts | (await self.order(unheard, 30.0) if unheard else {})


@contextlib.asynccontextmanager
async def hands_on(twin: Twin, **how: Any) -> AsyncIterator[Hands]:
    hands = Hands(twin, **how)
    try:
        yield hands
    finally:
        await hands.actuator.close()
        hands.exchanges.close()


def play(twin: Twin, main: Callable[[Hands], Awaitable[Any]], **how: Any) -> Any:
    async def all_of_it() -> Any:
        async with hands_on(twin, **how) as hands:
            return await main(hands)

    return asyncio.run(all_of_it())


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory):
    models = {name: 1.0 for name, model in MODELS.items() if model.dialect in ABLE}
    with running_twin(tmp_path_factory.mktemp("twin"), miners=4 * len(models), models=models, containers=0) as found:
        yield found


def device(twin: Twin, dialect: str, at: int) -> str:
    return [reported["device"] for reported in twin.miners if reported["dialect"] == dialect][at]


@pytest.mark.parametrize("dialect", ABLE)
def test_an_image_is_installed_and_the_one_before_installed_again(twin: Twin, dialect: str) -> None:
    unit = device(twin, dialect, 0)
    old = twin.truth(unit)["firmware"]

    async def main(hands: Hands) -> list[Receipt]:
        reported = []
        for intent in (of(dialect), of(dialect), of(dialect, old)):
            reported.append((await hands.order({unit: intent}))[unit])
        return reported

    there, again, back = play(twin, main)
    assert isinstance(there, Verified), there
    assert OURS.get(dialect, "9.9.9") in str(there.reading.get("firmware"))
    assert isinstance(again, Verified) and again.took_s == 0.0, "it runs it already: nothing is written"
    assert isinstance(back, Verified), back
    truth = twin.truth(unit)
    assert truth["firmware"] == old and truth["writes"] == 2


def test_faults_of_an_image_are_never_taken_for_success(twin: Twin) -> None:
    """One unit of each dialect, and one fault after another."""
    units = {dialect: device(twin, dialect, 1) for dialect in ABLE}
    old = {dialect: twin.truth(unit)["firmware"] for dialect, unit in units.items()}
    right: dict[str, Intent] = {dialect: of(dialect) for dialect in ABLE}
    others: dict[str, Intent] = dict.fromkeys(ABLE, of("luxos"))
    unsigned: dict[str, Intent] = {key: InstallFirmware("9.9.9", "0" * 64, of(key).data) for key in ABLE}
    steps = (("image_refused", right), ("image_corrupt", right), ("", others), ("", unsigned),
             ("image_ignored", right), ("deaf", right), ("image_bricks", right))  # fmt: skip

    async def main(hands: Hands) -> list[dict[str, Receipt]]:
        reported = []
        for fault, images in steps:
            twin.fault({"devices": list(units.values()), "faults": [fault] if fault else []})
            before = {dialect: twin.truth(unit)["writes"] for dialect, unit in units.items()}
            intents = {units[dialect]: image for dialect, image in images.items()}
            receipts = await (
                hands.order(intents, 3.0) if fault == "image_bricks" else hands.order_until_heard(intents)
            )
            reported.append({dialect: receipts[unit] for dialect, unit in units.items()})
            after = {dialect: twin.truth(unit)["writes"] for dialect, unit in units.items()}
            assert all(after[key] == before[key] for key, one in reported[-1].items() if isinstance(one, Refused))
        return reported

    refused, corrupt, other, unproven, ignored, deaf, bricked = play(twin, main, uploads=len(ABLE))
    for dialect in ABLE:
        for found, word in ((refused, "signature"), (corrupt, "checksum"), (other, "luxos"), (unproven, "agreed on")):
            one = found[dialect]
            assert isinstance(one, Refused) and word in one.text, (dialect, word, one)
        for found, word in ((ignored, old[dialect]), (deaf, old[dialect]), (bricked, "no answer since")):
            one = found[dialect]
            assert isinstance(one, Unknown) and word in one.text, (dialect, word, one)
        assert not twin.truth(units[dialect])["board_up"]
    assert {*TAKES_IMAGES} == {*ABLE}


@pytest.mark.parametrize("dialect", ["braiins", "vnish"])
def test_back_to_the_makers_own_firmware(twin: Twin, dialect: str) -> None:
    unit, stubborn = device(twin, dialect, 2), device(twin, dialect, 3)
    twin.fault({"device": stubborn, "faults": ["image_ignored"]})

    async def main(hands: Hands) -> tuple[Receipt, Receipt, Any, Any]:
        for each in (unit, stubborn):
            hands.ports[each].access.account = "root"  # the maker's pages know only this one
        earlier = (await hands.order({unit: RollBackFirmware()}))[unit]
        receipts = await hands.order_until_heard({unit: RollBackFirmware(STOCK), stubborn: RollBackFirmware(STOCK)})
        reported = await hands.ports[unit].read(Tier.FAST)
        still = await hands.ports[stubborn].read(Tier.FAST)
        return earlier, receipts[unit], receipts[stubborn], (reported, still)

    earlier, back, ignored, (reported, still) = play(twin, main)
    assert isinstance(earlier, Unsupported) and "install its image" in earlier.text
    assert isinstance(back, Verified) and back.reading.get("firmware") == STOCK_VERSION, back
    assert twin.truth(unit)["firmware"] == STOCK_VERSION
    assert isinstance(ignored, Unknown) and twin.truth(stubborn)["firmware"] in ignored.text, ignored
    assert reported.number("hashrate_hs") is not None and still.number("power_w") is not None, "both are read on"


def test_a_device_without_uploads_is_refused_before_a_byte_is_sent(tmp_path: Path) -> None:
    models = {name: 1.0 for name, model in MODELS.items() if model.dialect not in ABLE}
    with running_twin(tmp_path, miners=len(models), models=models, containers=0) as twin:
        before = {reported["device"]: twin.truth(reported["device"])["answers"] for reported in twin.miners}

        async def main(hands: Hands) -> dict[str, str]:
            receipts = await hands.order(dict.fromkeys(hands.ports, of("luxos")))
            asked = {key: await port.carry_out(of("luxos"), 5.0) for key, port in hands.ports.items()}
            return {key: f"{receipts[key]} {asked[key]}" for key in asked}

        reported = play(twin, main, able=frozenset({"Sleep"}))
        words = {"luxos": "updaterun", "auradine": "firmware-upgrade", "avalon": "neither an upload"}
        for miner in twin.miners:
            text = reported[miner["device"]]
            assert text.count("Unsupported") == text.count(words[miner["dialect"]]) == 2, text
        assert {key: twin.truth(key)["answers"] for key in before} == before


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


def steepest_between_looks(rises: list[tuple[float, float]]) -> float:
    """The steepest rise (W/s) over any window that begins and ends with a look: what rose between two looks came in between,
    however long a busy machine kept us from looking."""
    most_w = 0.0
    for first, (from_s, _) in enumerate(rises):
        inside = (risen_w for at_s, risen_w in rises[first + 1 :] if at_s - from_s <= WINDOW_S)
        most_w = max(most_w, sum(inside))
    return most_w / WINDOW_S


def test_restarts_after_images_keep_the_inrush_limit(tmp_path: Path) -> None:
    """Rises of single units summed from the twin's truth, over any window: an image is small here and a start takes a second,
    so that nothing but the limit spreads them."""
    miners, limit_w_per_s = count(24, 500), count(12_000, 100_000)
    models = {"antminer-s21": 1.0, "braiins-s21-pro": 1.0, "whatsminer-m50s": 1.0}
    with running_twin(tmp_path, miners=miners, models=models, containers=0) as twin:
        images = {dialect: of(dialect) for dialect in ("antminer", "braiins", "whatsminer")}
        intents: dict[str, Intent] = {reported["device"]: images[reported["dialect"]] for reported in twin.miners}

        async def main(hands: Hands) -> tuple[list[Receipt], list[tuple[float, float]]]:
            loop, rises = asyncio.get_running_loop(), []
            before: list[float] = twin.ask("GET", "/truth?all=1")["power_w"]
            orders = asyncio.create_task(hands.order(intents, 30.0))
            end_s = loop.time() + 2.0
            while not orders.done() or loop.time() < end_s:
                reported = await asyncio.to_thread(twin.ask, "GET", "/truth?all=1")
                risen_w = sum(max(0.0, now - was) for now, was in zip(reported["power_w"], before, strict=True))
                rises.append((reported["at_ms"] / 1000, risen_w))
                before = reported["power_w"]
                end_s = end_s if orders.done() else loop.time() + 2.0
                await asyncio.sleep(0.1)
            return list((await orders).values()), rises

        receipts, rises = play(twin, main, inrush_w_per_s=limit_w_per_s, uploads=20)
        runs = [twin.truth(reported["device"])["firmware"] for reported in twin.miners]
    assert all(isinstance(one, Verified) for one in receipts), receipts
    assert all(images[reported["dialect"]].version in ran for reported, ran in zip(twin.miners, runs, strict=True))
    assert sum(risen for _, risen in rises) > 2_500.0 * miners, "each of them rose"
    steepest = steepest_between_looks(rises)
    assert 0.2 * limit_w_per_s < steepest <= limit_w_per_s, steepest


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


@pytest.mark.parametrize("dialect", ABLE)
def test_a_dry_run_of_an_image_reads_and_writes_nothing(twin: Twin, dialect: str) -> None:
    reported = next(miner for miner in twin.miners if miner["dialect"] == dialect)
    before, image = twin.truth(reported["device"]), of(dialect, size=31_457_280)

    async def main(hands: Hands) -> tuple[Receipt, list[str]]:
        port = hands.ports[reported["device"]]
        played = DryRun(port.dialect)
        dry = MinerPort(port.miner, played, port.access, system_clock(), hands.exchanges)
        receipt = await dry.carry_out(image, 10.0)
        return receipt, [step_text(step, port.access) for step in played.steps]

    receipt, lines = play(twin, main)
    assert isinstance(receipt, Accepted), receipt
    assert "... 31457280 bytes of firmware" in lines[-1] and "TWIN" not in "".join(lines)
    after = twin.truth(reported["device"])
    assert (after["writes"], after["firmware"]) == (before["writes"], before["firmware"])


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
