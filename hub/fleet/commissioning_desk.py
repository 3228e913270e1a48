# SPDX-License-Identifier: Apache-2.0
"""Commissioning by IP-report buttons: a walk along slots, from its beginning to the recorded positions."""

from typing import Any

from hub.control.runtime import Components
from hub.fleet.asset_desk import AssetDesk
from hub.fleet.ip_report import CommissioningRequest, slots_asked, walk_lines
from kernel.actor import Actor
from kernel.errors import ConfigError, Fault, NotFound
from kernel.event import EventKind
from miner_control.inventory.inventory_events import CommissioningBegun, CommissioningEnded
from miner_control.inventory.position import by_presses


class CommissioningDesk:
    """Each act returns once the journal holds it. Raises NotFound for an unknown site, or where no walk is under way."""

    def __init__(self, components: Components, assets: AssetDesk) -> None:
        self._components, self._state, self._assets = components, components.state, assets

    def walk(self, site: str) -> dict[str, Any]:
        """`listening, commissioning, presses`: progress, and the last buttons pressed (`hub.fleet.ip_report.walk_lines`)."""
        return walk_lines(self._state, self._state.site(site), self._listens)

    async def begin(self, site: str, request: CommissioningRequest, by: Actor) -> dict[str, Any]:
        """Begin a walk along slots (`hub.fleet.ip_report.slots_asked`); as `walk`. Raises ConfigError with every fault."""
        here = self._state.site(site)
        async with self._components.turn:
            if not self._listens:
                raise ConfigError([Fault("ip_report.listen", "is not set: no button is heard", "Set it in hub.toml")])
            if here.key in self._state.buttons.walks:
                raise ConfigError([Fault("walk", "is under way", "End or cancel it first")])
            slots = [list(slot) for slot in slots_asked(here, request)]
            begun = CommissioningBegun(by=by.person, slots=slots)
            await self._components.recorder.commit(here.key, EventKind.COMMISSIONING_BEGUN, by.on(begun))
        return self.walk(site)

    async def end(self, site: str, by: Actor, dry: bool) -> dict[str, Any]:
        """Record the presses as facts: `dry_run, known, recorded, faults, ended`. A walk that gives no fact goes on."""
        here = self._state.site(site)
        async with self._components.turn:
            walk = self._state.buttons.walks.get(here.key)
            if walk is None:
                raise NotFound(f"no walk is under way at {site}")
            facts, faults = by_presses(here.register, walk.presses, walk.slots)
            ended = bool(facts) and not dry
            recorded = await self._assets.take(here, facts, by, dry)
            if ended:
                await self._components.recorder.commit(
                    here.key, EventKind.COMMISSIONING_ENDED, by.on(CommissioningEnded(by=by.person, why="ended"))
                )
        lines = [{"place": fault.place, "problem": fault.problem, "remedy": fault.remedy} for fault in faults]
        return {**recorded, "faults": lines, "ended": ended}

    async def cancel(self, site: str, by: Actor) -> dict[str, Any]:
        """Discard the presses; as `walk`."""
        here = self._state.site(site)
        async with self._components.turn:
            if here.key not in self._state.buttons.walks:
                raise NotFound(f"no walk is under way at {site}")
            await self._components.recorder.commit(
                here.key, EventKind.COMMISSIONING_ENDED, by.on(CommissioningEnded(by=by.person, why="cancelled"))
            )
        return self.walk(site)

    @property
    def _listens(self) -> bool:
        return self._components.config.ip_report.listen is not None
