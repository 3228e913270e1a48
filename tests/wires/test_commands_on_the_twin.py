# SPDX-License-Identifier: Apache-2.0
"""Commands over real sockets, for every dialect: receipts against the twin's truth, dry runs, and a scan of the site."""

import argparse
import asyncio
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.actuation import FAULTS, Bench, play
from hub.cli.field import add_to
from kernel.clock import system_clock
from kernel.reading import Reading
from kernel.receipt import Accepted, Unreachable, Verified
from miner_control.control.actuator import Actuator
from miner_control.dialect import DIALECTS
from miner_control.fleet.command import Intent, Pool, SetPools, Sleep
from miner_control.fleet.driver import Access
from miner_control.fleet.miner import Miner
from miner_control.health.third_party_control import ThirdParty, VerifiedCommand, against, undone
from miner_control.inventory.discover import targets
from miner_control.inventory.identify import CGMINER, FLUX, FRAMED, WEB
from miner_control.io.exchanges import Exchanges
from miner_control.io.miner_socket import MinerPort
from miner_control.io.scan import scan
from miner_control.jobs.dry_run import DryRun, secrets_of, step_text
from telemetry.collect.source import Tier
from tests.servers import count, free_port
from tests.twins import Twin, running_twin
from twin.models import MODELS

ALL = dict.fromkeys(MODELS, 1.0)


def test_every_receipt_equals_the_truth(tmp_path: Path):
    faults = {name: 3 * share for name, share in FAULTS.items()}
    with running_twin(tmp_path, miners=count(140, 2000), models=ALL, faults=faults, containers=0, feeders=4) as twin:
        options = argparse.Namespace(inrush_w_per_s=2_000_000.0, in_flight=500, seed=1, deadline_s=8.0)
        found = asyncio.run(play(twin.ready, options))
    assert len(found["dialects"]) == 10
    assert (found["false_verified"], found["false_unknown"]) == (0, 0), found["examples"]
    assert found["receipts"]["refused"] and found["receipts"]["unknown"]
    assert found["restore"] == {"verified": found["receipts"]["verified"]}
    assert found["open_most_per_miner"] == 1


def test_another_manager_is_named_and_no_one_else(tmp_path: Path):
    """One miner is woken again by somebody else each time we put it to sleep, 3 s after."""
    models = {"whatsminer-m50s": 1.0}
    with running_twin(tmp_path, miners=4, models=models, containers=0, pace=10.0) as twin:
        ours = [miner["device"] for miner in twin.miners]
        twin.fault({"device": ours[0], "faults": ["foreign"]})

        async def main() -> list[ThirdParty]:
            bench = Bench(twin.ready, 1e9, 100)
            done: list[VerifiedCommand] = []
            readings: list[Reading] = []
            for _ in range(2):
                receipts = await bench.order(Sleep(), ours, 20.0, 0)
                for device, receipt in receipts.items():
                    assert isinstance(receipt, Verified), (device, receipt)
                    done.append(VerifiedCommand(device, Sleep(), receipt.reading.at_ms))
                async with asyncio.timeout(60):
                    awake = False
                    while not awake:
                        await asyncio.sleep(0.25)
                        readings += [await bench.ports[device].read(Tier.FAST) for device in ours]
                        awake = against(Sleep(), readings[-len(ours)])
            await bench.actuator.close()
            bench.exchanges.close()
            return undone(done, readings)

        hands = asyncio.run(main())
    assert [(hand.scope, hand.who) for hand in hands] == [(ours[0], "another manager")]


def test_later_commands_need_not_wait_for_prepared_sessions(tmp_path: Path):
    """A hub that stops hands its LuxOS sessions back; those of one that was killed lapse, and until then nobody commands."""
    models = {next(name for name, one in MODELS.items() if one.dialect == "luxos"): 1.0}
    with running_twin(tmp_path, miners=4, models=models, containers=0, pace=10.0) as twin:
        ours = [miner["device"] for miner in twin.miners]

        async def main() -> None:
            first, second = (Bench(twin.ready, 1e9, 100) for _ in range(2))
            stopping = Actuator(first.ports, first.clock, first.envelopes.__getitem__, lambda *reported: None)
            assert await stopping.make_ready(ours) == 4
            refused = await second.order(Sleep(), ours[:1], 1.5, 0)
            assert isinstance(refused[ours[0]], Unreachable) and "session" in refused[ours[0]].text
            await stopping.close()
            receipts = await second.order(Sleep(), ours, 20.0, 0)
            assert all(isinstance(receipt, Verified) for receipt in receipts.values()), receipts
            for bench in (first, second):
                bench.exchanges.close()

        asyncio.run(main())


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory):
    with running_twin(tmp_path_factory.mktemp("twin"), miners=28, models=ALL, containers=0) as found:
        yield found


def rehearsed(twin: Twin, dialect: str, intent: Intent) -> tuple[list[str], object]:
    reported = twin.first(dialect)
    miner = Miner(
        reported["device"],
        reported["model"],
        dialect,
        reported["host"],
        tuple(reported["ports"].items()),
        reported["feeder"],
    )
    access = Access(twin.ready["accounts"].get(dialect, "root"), twin.ready["password"], dict(miner.ports))
    play = DryRun(DIALECTS[dialect])

    async def main() -> object:
        exchanges = Exchanges()
        try:
            return await MinerPort(miner, play, access, system_clock(), exchanges).carry_out(intent, 10.0)
        finally:
            exchanges.close()

    receipt = asyncio.run(main())
    return [step_text(step, access, secrets_of(intent)) for step in play.steps], receipt


@pytest.mark.parametrize("dialect", [name for name, each in DIALECTS.items() if each.supports()])
@pytest.mark.parametrize(
    "intent", [Sleep(), SetPools((Pool("stratum+tcp://p.example:1", "w", "hunter-2"),))], ids=["sleep", "pools"]
)
def test_a_dry_run_shows_the_writes_and_sends_none(twin: Twin, dialect: str, intent: Intent):
    before = twin.truth(twin.first(dialect)["device"])
    steps, receipt = rehearsed(twin, dialect, intent)
    after = twin.truth(twin.first(dialect)["device"])
    assert any(step.startswith("WRITE") for step in steps), steps
    assert (after["writes"], after["asleep"], after["pools"]) == (before["writes"], False, before["pools"])
    assert isinstance(receipt, Accepted), (receipt, steps)
    text = "\n".join(steps)
    assert twin.ready["password"] not in text and "hunter-2" not in text
    assert not re.search(r'"(session|token)"\s*:\s*"(?!\*\*\*)', text)


def test_the_site_is_found_by_a_scan(tmp_path: Path):
    rpc, http, v3 = free_port(), free_port(), free_port()
    ports = {"rpc_port": rpc, "http_port": http, "v3_port": v3, "miner_host": "127.97.0.1"}
    with running_twin(tmp_path, miners=56, models=ALL, containers=0, **ports) as twin:
        asked = targets(["127.97.0.0/24"], ["127.0.0.0/8"])
        redirected = {CGMINER: rpc, FRAMED: v3, WEB: http, FLUX: http}
        found = asyncio.run(scan(asked, system_clock(), ports=redirected))
        named = {one.host: one.identity.dialect for one in found if one.identity is not None}
        truth = {miner["host"]: miner["dialect"] for miner in twin.miners}
        wrong = {truth[host]: named.get(host) for host in truth if named.get(host) != truth[host]}
        assert not wrong and len(named) == 56


def test_the_scan_command_writes_an_inventory_and_then_finds_nothing_new(tmp_path: Path):
    import typer

    app = typer.Typer()
    add_to(app)
    rpc, http = free_port(), free_port()
    ports = {"rpc_port": rpc, "http_port": http, "v3_port": free_port(), "miner_host": "127.98.0.1"}
    with running_twin(tmp_path, miners=20, models={"antminer-s21": 1.0, "whatsminer-m50s": 1.0}, containers=0, **ports):
        file = tmp_path / "inventory.csv"
        argv = ["scan", "127.98.0.0/27", "--allow", "127.0.0.0/8", "--inventory", str(file)]
        argv += ["--port", f"4028={rpc}", "--port", f"80={http}"]
        first = CliRunner().invoke(app, [*argv, "--write", "--json"])
        assert first.exit_code == 0, first.output
        assert len(file.read_text().splitlines()) == 21
        again = CliRunner().invoke(app, argv)
        assert again.exit_code == 0 and "20 miners" in again.output and "new" not in again.output
