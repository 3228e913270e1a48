# SPDX-License-Identifier: Apache-2.0
"""Work in the field that needs sockets of its own: a scan of a network, and the dry run of one command."""

import asyncio
import resource
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hub.config import Config
from hub.wiring.devices import credential
from hub.wiring.plugins import DIALECTS
from kernel.clock import system_clock
from kernel.receipt import Receipt
from miner_control.fleet.command import Intent
from miner_control.fleet.driver import Access
from miner_control.fleet.miner import Miner
from miner_control.inventory.discover import Found, Targets
from miner_control.io.exchanges import Exchanges
from miner_control.io.miner_socket import MinerPort
from miner_control.io.scan import scan
from miner_control.jobs.dry_run import DryRun, secrets_of, step_text

IN_FLIGHT = 1024


def scan_network(asked: Targets, ports: Mapping[int, int] | None, progress: Callable[[int, int], None]) -> list[Found]:
    """Who listens in the ranges asked, in a loop of its own; nothing is written to any device."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4 * IN_FLIGHT)), hard))
    return asyncio.run(scan(asked, system_clock(), ports=ports, in_flight=IN_FLIGHT, progress=progress))


def dry_run_of(config: Config, folder: Path, miner: Miner, intent: Intent) -> tuple[Sequence[str], Receipt]:
    """(wire steps as lines, what the dialect would make of them) of one command; its writes are kept back."""

    async def play() -> tuple[Sequence[str], Receipt]:
        account, password = credential(config, miner.credential, folder)
        access = Access(account, password, dict(miner.ports))
        dialect = DryRun(DIALECTS.find(miner.dialect, f"miner {miner.device}"))
        exchanges = Exchanges()
        try:
            receipt = await MinerPort(miner, dialect, access, system_clock(), exchanges).carry_out(intent, 30.0)
        finally:
            exchanges.close()
        return [step_text(step, access, secrets_of(intent)) for step in dialect.steps], receipt

    return asyncio.run(play())
