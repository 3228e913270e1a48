# SPDX-License-Identifier: Apache-2.0
"""A site of three miners whose readings a test writes, with the condition monitor over it."""

import asyncio
from pathlib import Path
from typing import Any

from hub.config import load
from hub.fleet.condition_monitor import ConditionDuty
from hub.journal.recorder import Recorder, at_once
from hub.state.fold import HubState
from hub.state.situation import Freshness, SiteSituation, Situations, situation_at
from hub.wiring.state import catalogue, empty_state
from kernel.clock import Clock
from kernel.reading import Reading
from miner_control.fleet.command import Intent, Sleep, command, command_json
from telemetry.io.journal_sqlite import SqliteJournal, open_journal
from tests.telemetry.store.journal_cases import T0_MS

SITE = """
[hub]
name = "hub"
[[sites]]
name = "site"
operator = "North Mining LLP"
zone = "Asia/Almaty"
import_cap_w = 4e6
inventory = "inventory.csv"
[[sites.feeders]]
name = "f1"
cap_w = 2e6
"""
INVENTORY = """device,model,dialect,host,ports,feeder
m1,Whatsminer M50S,whatsminer,127.0.0.1,rpc=4028,f1
m2,Whatsminer M50S,whatsminer,127.0.0.2,rpc=4028,f1
"""


class World:
    """A hub's state and recorder on a clock moved by hand, and the watch over it."""

    def __init__(self, folder: Path, inventory: str = INVENTORY, site: str = SITE) -> None:
        (folder / "hub.toml").write_text(site)
        (folder / "inventory.csv").write_text(inventory)
        self.now_ms = T0_MS
        self.clock = Clock(lambda: self.now_ms, lambda: self.now_ms / 1000)
        self.journal: SqliteJournal = open_journal(folder / "data")
        self.state: HubState = empty_state(load(folder / "hub.toml", environment={}), catalogue())
        self.recorder = Recorder(self.journal, self.clock, self.state.apply, at_once())
        self.watch = ConditionDuty(self.state, self.recorder, self.clock, at_once(), 60.0, 600.0)
        self.site = self.state.sites["hub/site"]
        self.situations = Situations(self.state, Freshness(60.0))

    def at(self, now_ms: int, stale_s: float) -> SiteSituation:
        return situation_at(self.state, self.site, now_ms, Freshness(stale_s))

    def heard(self, device: str, **values: Any) -> None:
        reported = {"state": "hashing", "mode": "normal", "power_w": 3200.0, "hashrate_hs": 126e12, **values}
        self.recorder.enqueue([Reading(f"hub/site/{device}", "miner", self.now_ms, reported)])

    def round(self, after_s: float = 60.0) -> None:
        asyncio.run(self.recorder.flush())
        self.now_ms += 1000
        asyncio.run(self.watch.do())
        asyncio.run(self.recorder.flush())
        self.now_ms += round(after_s * 1000)

    def verified(self, device: str, intent: Intent = Sleep(), outcome: str = "verified") -> None:
        made = command(self.now_ms, f"hub/site/{device}", intent, "plan")
        self.recorder.emit("hub/site", "command.issued", command_json(made))
        self.now_ms += 5000
        receipt = {**command_json(made), "outcome": outcome, "took_s": 5.0, "sampled_ms": self.now_ms}
        self.recorder.emit("hub/site", "command.receipt", receipt)
        asyncio.run(self.recorder.flush())
        self.now_ms += 5000

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        return [dict(event.body) for _, event in self.journal.events(list(kinds))]
