# SPDX-License-Identifier: Apache-2.0
"""Feeder mapping as persons start, stop and apply it: racks proven against their feeders' meters."""

from typing import Any

from hub.control.runtime import Components
from hub.fleet.asset_desk import AssetDesk
from hub.fleet.feeder_mapping import FeederMappingRequest, proof_asked, proven_facts, pulse_lines
from kernel.actor import Actor
from kernel.errors import NotFound
from kernel.event import EventKind
from miner_control.inventory.inventory_events import FeederMappingStep


class FeederMappingDesk:
    """Each act returns once the journal holds it. Raises NotFound for an unknown site, or where no rack is under proof."""

    def __init__(self, components: Components, assets: AssetDesk) -> None:
        self._components, self._state, self._assets = components, components.state, assets

    def status(self, site: str) -> dict[str, Any]:
        """`running, racks, mismatches` (`hub.fleet.feeder_mapping.pulse_lines`)."""
        return pulse_lines(self._state.site(site))

    async def start(self, site: str, request: FeederMappingRequest, by: Actor) -> dict[str, Any]:
        """Begin to prove racks (`hub.fleet.feeder_mapping.proof_asked`); as `status`. Raises ConfigError with every fault."""
        here = self._state.site(site)
        async with self._components.turn:
            asked = proof_asked(self._state, here, request, by.person, self._components.clock.now_ms())
            await self._components.recorder.commit(here.key, EventKind.FEEDER_MAPPING_REQUESTED, by.on(asked))
        return pulse_lines(here)

    async def stop(self, site: str, by: Actor, why: str) -> dict[str, Any]:
        """Prove no further rack; the one that sleeps is woken. As `status`."""
        here = self._state.site(site)
        async with self._components.turn:
            if here.pulses.running is None:
                raise NotFound(f"no rack is proven at {site}")
            body: FeederMappingStep = {"id": here.pulses.running.id, "step": "stopped", "by": by.person, "why": why}
            await self._components.recorder.commit(here.key, EventKind.FEEDER_MAPPING_STEP, by.on(body))
        return pulse_lines(here)

    async def apply(self, site: str, by: Actor, dry: bool) -> dict[str, Any]:
        """Record the proven feeders as facts, unless `dry`."""
        here = self._state.site(site)
        async with self._components.turn:
            return await self._assets.take(here, proven_facts(here), by, dry)
