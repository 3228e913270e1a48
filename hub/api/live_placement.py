# SPDX-License-Identifier: Apache-2.0
"""Where miners stand and what stands around them, as the API asks and answers, over the rooms of a running hub."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import hub.query.schema as shape
from hub.control.runtime import Components
from hub.fleet.feeder_mapping import proof_asked, proven_facts, pulse_lines
from hub.fleet.ip_report import slots_asked, walk_lines
from hub.fleet.placement import fact_line, facts_asked
from hub.query.auxiliaries import auxiliary_lines
from hub.state.fold import SiteState
from kernel.errors import ConfigError, Fault
from miner_control.inventory.asset_register import Fact, facts_body
from miner_control.inventory.position import by_presses


class PlaceDesk:
    """Reads are from memory; acts return once the journal holds them."""

    def __init__(self, components: Components) -> None:
        self._components = components
        self._desk = asyncio.Lock()

    def facts(self, site: str, device: str | None) -> list[dict[str, Any]]:
        here = self._site(site)
        if device is not None and f"{here.key}/{device}" not in here.roster.index:
            raise shape.NotThere(f"no miner {device[:60]!r} in {site}")
        found = [fact for fact in here.register.facts if device is None or fact.device == f"{here.key}/{device}"]
        return [fact_line(fact) for fact in sorted(found, key=lambda fact: (fact.from_ms, fact.device, fact.what))]

    async def learn(self, site: str, body: Mapping[str, Any], by: str) -> dict[str, Any]:
        here = self._site(site)
        async with self._desk:
            asked = facts_asked(here, self._components.state.sites, body, self._components.clock.now_ms())
            return await self._learn(here, asked, by, body.get("dry_run") is True)

    async def _learn(self, here: SiteState, asked: Sequence[Fact], by: str, dry: bool) -> dict[str, Any]:
        """Journal what is news of some facts of one source."""
        news = here.register.learn(asked).facts[len(here.register.facts) :]
        if news and not dry:
            await self._components.recorder.commit(here.key, "fact.learnt", facts_body(news, by))
        return {"dry_run": dry, "known": len(asked) - len(news), "learnt": [fact_line(fact) for fact in news]}

    def around(self, site: str) -> dict[str, Any]:
        here = self._site(site)
        now = self._components.situations.at(here, self._components.clock.now_ms())
        return auxiliary_lines(self._components.state.snapshot, here, now)

    # ---- walks along the slots ----

    def walk(self, site: str) -> dict[str, Any]:
        return walk_lines(self._components.state, self._site(site), self._listens)

    async def begin_walk(self, site: str, body: Mapping[str, Any], by: str) -> dict[str, Any]:
        here = self._site(site)
        async with self._desk:
            if not self._listens:
                raise ConfigError([Fault("ip_report.listen", "is not set: no button is heard", "Set it in hub.toml")])
            if here.key in self._components.state.buttons.walks:
                raise ConfigError([Fault("walk", "is under way", "End or cancel it first")])
            slots = [list(slot) for slot in slots_asked(here, body)]
            await self._components.recorder.commit(here.key, "walk.begun", {"by": by, "slots": slots})
        return self.walk(site)

    async def end_walk(self, site: str, by: str, dry: bool) -> dict[str, Any]:
        here = self._site(site)
        async with self._desk:
            walk = self._components.state.buttons.walks.get(here.key)
            if walk is None:
                raise shape.NotThere(f"no walk is under way at {site}")
            facts, faults = by_presses(here.register, walk.presses, walk.slots)
            ended = bool(facts) and not dry
            reported = await self._learn(here, facts, by, dry)
            if ended:
                await self._components.recorder.commit(here.key, "walk.ended", {"by": by, "why": "ended"})
        lines = [{"place": fault.place, "problem": fault.problem, "remedy": fault.remedy} for fault in faults]
        return {**reported, "faults": lines, "ended": ended}

    async def cancel_walk(self, site: str, by: str) -> dict[str, Any]:
        here = self._site(site)
        async with self._desk:
            if here.key not in self._components.state.buttons.walks:
                raise shape.NotThere(f"no walk is under way at {site}")
            await self._components.recorder.commit(here.key, "walk.ended", {"by": by, "why": "cancelled"})
        return self.walk(site)

    @property
    def _listens(self) -> bool:
        return self._components.config.ip_report.listen is not None

    # ---- rack pulses ----

    def pulses(self, site: str) -> dict[str, Any]:
        return pulse_lines(self._site(site))

    async def prove(self, site: str, body: Mapping[str, Any], by: str) -> dict[str, Any]:
        here = self._site(site)
        async with self._desk:
            asked = proof_asked(self._components.state, here, body, by, self._components.clock.now_ms())
            await self._components.recorder.commit(here.key, "pulse.asked", asked)
        return pulse_lines(here)

    async def stop_proof(self, site: str, by: str, why: str) -> dict[str, Any]:
        here = self._site(site)
        async with self._desk:
            if here.pulses.running is None:
                raise shape.NotThere(f"no rack is proven at {site}")
            body = {"id": here.pulses.running.id, "step": "stopped", "by": by, "why": why}
            await self._components.recorder.commit(here.key, "pulse.step", body)
        return pulse_lines(here)

    async def apply_pulses(self, site: str, by: str, dry: bool) -> dict[str, Any]:
        here = self._site(site)
        async with self._desk:
            return await self._learn(here, proven_facts(here), by, dry)

    def _site(self, name: str) -> SiteState:
        for site in self._components.state.sites.values():
            if site.config.name == name:
                return site
        raise shape.NotThere(f"no site {name!r}")
