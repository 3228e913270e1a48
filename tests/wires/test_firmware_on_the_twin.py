# SPDX-License-Identifier: Apache-2.0
"""Images over real sockets, through actuator and port: what came of each against what the twin truly runs."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from kernel.clock import system_clock
from kernel.receipt import Accepted, Receipt, Refused, Unknown, Unsupported, Verified
from miner_control.control.inrush import WINDOW_S
from miner_control.fleet.command import STOCK, InstallFirmware, Intent, RollBackFirmware
from miner_control.io.miner_socket import MinerPort
from miner_control.jobs.dry_run import DryRun, step_text
from telemetry.collect.source import Tier
from tests.builders.firmware_hands import ABLE, OURS, Hands, device, of, play
from tests.servers import count
from tests.twins import Twin, running_twin
from twin.firmware import STOCK_VERSION, TAKES_IMAGES
from twin.models import MODELS


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory):
    models = {name: 1.0 for name, model in MODELS.items() if model.dialect in ABLE}
    with running_twin(tmp_path_factory.mktemp("twin"), miners=4 * len(models), models=models, containers=0) as found:
        yield found


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
