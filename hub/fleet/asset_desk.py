# SPDX-License-Identifier: Apache-2.0
"""Asset desk: dated facts on position, feeder and owner of miners, and the auxiliary loads of a site."""

from collections.abc import Sequence
from typing import Any

from hub.control.runtime import Components
from hub.fleet.placement import FactsRequest, fact_line, facts_asked
from hub.state.site import SiteState
from kernel.actor import Actor
from kernel.errors import NotFound
from kernel.event import EventKind
from miner_control.inventory.asset_register import Fact, facts_body


class AssetDesk:
    """Each act returns once the journal holds it. Raises NotFound for an unknown site or miner."""

    def __init__(self, components: Components) -> None:
        self._components, self._state = components, components.state

    def facts(self, site: str, device: str | None) -> list[dict[str, Any]]:
        """`device, what, value, from, source`, oldest first; of one miner where it is named."""
        here = self._state.site(site)
        if device is not None and f"{here.key}/{device}" not in here.roster.index:
            raise NotFound(f"no miner {device[:60]!r} in {site}")
        found = [fact for fact in here.register.facts if device is None or fact.device == f"{here.key}/{device}"]
        return [fact_line(fact) for fact in sorted(found, key=lambda fact: (fact.from_ms, fact.device, fact.what))]

    async def record(self, site: str, request: FactsRequest, by: Actor) -> dict[str, Any]:
        """Record facts (`hub.fleet.placement.facts_asked`) unless `dry_run`: `dry_run, known, recorded`.

        Raises ConfigError with every fault; then nothing is recorded.
        """
        here = self._state.site(site)
        async with self._components.turn:
            asked = facts_asked(here, self._state.sites, request, self._components.clock.now_ms())
            return await self.take(here, asked, by, request.dry_run)

    async def take(self, here: SiteState, facts: Sequence[Fact], by: Actor, dry: bool) -> dict[str, Any]:
        """Journal those facts of one source that are new, unless `dry`. The caller holds `Components.turn`."""
        news = here.register.learn(facts).facts[len(here.register.facts) :]
        if news and not dry:
            await self._components.recorder.commit(
                here.key, EventKind.ASSET_FACT_RECORDED, by.on(facts_body(news, by.person))
            )
        return {"dry_run": dry, "known": len(facts) - len(news), "recorded": [fact_line(fact) for fact in news]}
