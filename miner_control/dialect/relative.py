# SPDX-License-Identifier: Apache-2.0
"""Relatives: forked, relabelled and foreign firmwares that speak the cgminer API (4028). Read only.

Their statistics have the shape of the Antminer's or less; what they leave out is Missing. They are counted as load and never
commanded: no write interface of theirs is known here.
"""

from collections.abc import Generator, Mapping
from typing import Any

from kernel.reading import Field
from kernel.receipt import Receipt, Unsupported
from miner_control.dialect import antminer_stats, cgminer
from miner_control.dialect.gather import also, gather
from miner_control.fleet.command import Intent
from miner_control.fleet.driver import Access, Answer, Request
from telemetry.collect.source import Tier

COMMANDS = ("summary", "stats", "pools")


class Relative:
    """Any firmware with the cgminer API whose own interface is not known."""

    name = "cgminer"

    def supports(self) -> frozenset[str]:
        return frozenset()

    def decode(self, answers: Mapping[str, Any], tier: Tier = Tier.DAILY) -> dict[str, Field]:
        """Values from parsed answers by command: summary, stats, pools, devs, version."""
        return antminer_stats.decode(cgminer.documents(answers), tier)

    def read(self, access: Access, tier: Tier, now_ms: int) -> Generator[Request, Answer, Mapping[str, Field]]:
        answers = yield from gather(access, COMMANDS, again=tier is Tier.DAILY)
        if tier is Tier.DAILY:
            yield from also(access, answers, "version")
        return self.decode(answers, tier)

    def prepare(self, access: Access, now_ms: int) -> Generator[Request, Answer, None]:
        """Nothing to prepare."""
        yield from ()

    def carry_out(self, access: Access, intent: Intent, now_ms: int) -> Generator[Request, Answer, Receipt]:
        """Unsupported, whatever is asked; nothing is sent."""
        yield from ()
        return Unsupported(f"{type(intent).__name__}: this firmware is only read, its write interface is not known")
