# SPDX-License-Identifier: Apache-2.0
"""One small site from journal to actuator, in memory, on a clock that the test moves.

Eight miners of 3000 W (1800 W in their low mode, 20 W asleep) on two feeders, a main meter, a connection of 40 kW.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np

from grid.order import read_order
from grid.order_book import Authority
from hub.config import load
from hub.control.runtime import Components, Hub
from hub.control.tick import TickResult, TickSettings, decide
from hub.journal.recorder import Recorder, at_once
from hub.state.fold import HubState
from hub.state.site import SiteState
from hub.state.situation import Freshness, SiteSituation, Situations
from hub.wiring.state import empty_state
from kernel.clock import Clock, iso
from kernel.event import Event
from kernel.reading import Reading
from kernel.receipt import Receipt, Verified
from miner_control.control.actuator import Actuator
from miner_control.fleet.command import Command, Intent, command_json
from miner_control.fleet.driver import MinerDriver
from telemetry.collect.source import Tier
from tests.builders.memory_journal import MemoryJournal
from tests.miner_control.fleets import envelope

T = TypeVar("T")

T0_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z"""
KEY = "hub/site"
BY = Authority("grid", (KEY,))
MINERS = 8
NORMAL_W, LOW_W, ASLEEP_W = 3000.0, 1800.0, 20.0

_HUB = """
[hub]
name = "hub"
[control]
command_deadline_s = 90.0
stale_after_s = 60.0
[[sites]]
name = "site"
operator = "North Mining LLP"
zone = "Asia/Almaty"
import_cap_w = 40000
inventory = "inventory.csv"
third_party_owners = ["hoster"]
{site}
[[sites.feeders]]
name = "f1"
cap_w = 20000
[[sites.feeders]]
name = "f2"
cap_w = 20000
{meters}
"""
METER = '[[sites.meters]]\nname = "meter"\nrole = "main"\nprofile = "eastron_sdm630"\nhost = "192.0.2.1"\n'
FEEDER_METER = METER.replace('"meter"', '"meter-f1"').replace('"main"', '"feeder"') + 'feeder = "f1"\n'


def unit(at: int) -> str:
    """The device key of a miner: 0 to 3 are on feeder f1, 4 to 7 on f2."""
    return f"{KEY}/m{at}"


class Obedient(MinerDriver):
    """A miner that does at once what it is asked; `sent` keeps each intent."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name, self._clock = name, clock
        self.sent: list[Intent] = []

    device = property(lambda self: self._name)
    kind = property(lambda self: "miner")
    lane = property(lambda self: self._name)

    async def carry_out(self, intent: Intent, deadline_s: float) -> Receipt:
        self.sent.append(intent)
        return Verified(Reading(self._name, "miner", self._clock.now_ms(), {}), 0.1)

    async def read(self, tier: Tier) -> Reading:
        return Reading(self._name, "miner", self._clock.now_ms(), {})


class Spine:
    """The site; `site` and `meters` are lines of the configuration, `owners` maps a miner's number to its owner."""

    def __init__(
        self,
        site: str = "",
        meters: str = METER,
        *,
        owners: Mapping[int, str] | None = None,
        **traits: Any,
    ) -> None:
        lines = [
            f"m{at},m,antminer,192.0.2.{at + 10},rpc=4028,f{1 + at // 4},{(owners or {}).get(at, '')}"
            for at in range(MINERS)
        ]
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "inventory.csv").write_text(
                "\n".join(["device,model,dialect,host,ports,feeder,owner", *lines])
            )
            path = Path(folder) / "hub.toml"
            path.write_text(_HUB.format(site=site, meters=meters))
            self.config = load(path, environment={})
            models: Any = SimpleNamespace(envelopes=lambda pairs: {pair: envelope(**traits) for pair in pairs})
            self.state: HubState = empty_state(self.config, models)
        self.now_ms = T0_MS
        self.clock = Clock(lambda: self.now_ms, lambda: self.now_ms / 1000)
        self.journal = MemoryJournal()
        journal: Any = self.journal
        self.recorder = Recorder(journal, self.clock, self.state.apply, at_once())
        self.situations = Situations(self.state, Freshness.of(self.config))
        self.site: SiteState = self.state.sites[KEY]
        self.settings = TickSettings.of(self.config)
        self.miners = {device: Obedient(device, self.clock) for device in self.site.roster.devices}
        self.receipts: list[tuple[Command, Receipt]] = []

    # ---- what is heard ----

    def hear(self, *units: int, mode: str = "normal", power_w: float | None = None, **values: Any) -> None:
        """Readings of miners (all, where none is named) in a mode."""
        state = "asleep" if mode == "sleep" else "hashing"
        drawn_w = {"normal": NORMAL_W, "low": LOW_W, "high": 1.18 * NORMAL_W, "sleep": ASLEEP_W}[mode]
        reported = {
            "state": state, "mode": mode, "power_w": drawn_w if power_w is None else power_w,
            "hashrate_hs": 0.0 if mode == "sleep" else 1e14, **values,
        }  # fmt: skip
        self.recorder.enqueue([Reading(unit(at), "miner", self.now_ms, reported) for at in units or range(MINERS)])
        asyncio.run(self.recorder.flush())

    def meter(self, power_w: float, name: str = "meter") -> None:
        self.recorder.enqueue([Reading(f"{KEY}/{name}", "meter", self.now_ms, {"power_w": power_w})])
        asyncio.run(self.recorder.flush())

    def say(self, kind: str, body: Mapping[str, Any], site: str = KEY) -> Event:
        """An event, journalled and folded."""
        return asyncio.run(self.recorder.commit(site, kind, body))

    def done(self, command: Command, outcome: str = "verified", after_s: float = 5.0, **more: Any) -> None:
        """A command that was issued now, and what came of it."""
        self.say("command.issued", command_json(command))
        self.later(after_s)
        receipt = {"outcome": outcome, "sampled_ms": self.now_ms, **more}
        self.say("command.receipt", {**command_json(command), **receipt})

    def plan(self, power_w: float, hours: int = 2) -> None:
        """A plan of one power at the meter from now on."""
        edges = [self.now_ms + at * 3_600_000 for at in range(hours + 1)]
        self.say(
            "plan.made", {"id": "p1", "edges_ms": edges, "power_w": [power_w] * hours, "reasons": ["price"] * hours}
        )

    def order(
        self, power_w: float, for_s: float = 3600.0, *, after_s: float = 0.0, scope: str = KEY, **more: Any
    ) -> str:
        """An accepted order; its id."""
        start, until = self.now_ms + round(after_s * 1000), self.now_ms + round((after_s + for_s) * 1000)
        body = {"scope": scope, "power_w": power_w, "from": iso(start), "until": iso(until), **more}
        order, happenings = self.state.book.receive(
            read_order(body, BY.who, "rest", self.now_ms), BY, self.now_ms, body
        )
        for kind, made in happenings:
            self.say(kind, made)
        return order

    def later(self, by_s: float) -> None:
        self.now_ms += round(by_s * 1000)

    # ---- what comes of it ----

    def at(self, now_ms: int | None = None) -> SiteSituation:
        return self.situations.at(self.site, self.now_ms if now_ms is None else now_ms)

    def excluded(self) -> list[int]:
        """Numbers of the units that a person, another owner, a job or a failed command keeps from being commanded."""
        return np.flatnonzero(self.at().asked.excluded).tolist()

    def returning(self) -> list[int]:
        """Numbers of the units that have a mode to return to."""
        return np.flatnonzero(self.at().asked.restore >= 0).tolist()

    def decide(self) -> TickResult:
        """The control step as it would be now; nothing is journalled."""
        return decide(self.state, self.site, self.at(), self.settings)

    def fold(self, result: TickResult) -> None:
        """Journal a tick and its commands without sending them."""
        self.recorder.emit(KEY, "tick.decided", result.body)
        for made in result.commands:
            self.recorder.emit(KEY, "command.issued", command_json(made))
        asyncio.run(self.recorder.flush(required=True))

    def asked(self) -> dict[int, Intent]:
        """What a step now asks of which miner."""
        return {int(one.device.rpartition("/m")[2]): one.intent for one in self.decide().commands}

    def kinds(self) -> list[str]:
        return [one.content.kind for one in self.journal.held if isinstance(one.content, Event)]

    def bodies(self, *kinds: str) -> list[Mapping[str, Any]]:
        return [event.body for _, event in self.journal.events(kinds)]

    # ---- the running hub ----

    def hub(self) -> Hub:
        """A hub over this site that was not started, for use inside `run`."""
        nothing: Any = SimpleNamespace()
        return Hub(
            Components(
                config=self.config, clock=self.clock, offload=at_once(), recorder=self.recorder, state=self.state,
                situations=self.situations, collector=nothing, actuators={KEY: self._actuator()},
            )
        )  # fmt: skip

    def _actuator(self) -> Actuator:
        def on_receipt(command: Command, receipt: Receipt, at_ms: int) -> None:
            self.receipts.append((command, receipt))

        return Actuator(self.miners, self.clock, self.site.envelope, on_receipt)

    def sent(self) -> dict[int, list[Intent]]:
        """What reached each miner."""
        return {at: self.miners[unit(at)].sent for at in range(MINERS) if self.miners[unit(at)].sent}


def lived(story: Callable[[], Awaitable[T]]) -> T:
    """Run a story to its end, with what it set in motion."""

    async def main() -> T:
        found = await story()
        for _ in range(20):
            await asyncio.sleep(0)
        return found

    return asyncio.run(main())


def numbers(devices: Iterable[str]) -> list[int]:
    """The numbers of device keys."""
    return sorted(int(device.rpartition("/m")[2]) for device in devices)
