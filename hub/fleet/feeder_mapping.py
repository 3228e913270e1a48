# SPDX-License-Identifier: Apache-2.0
"""Racks proven against their feeders' meters by the running hub: one after the other sleeps for a while and is woken again.

Steps and commands are in the journal before a byte leaves, like every tick. Nothing is begun while an order limits the
site; an order that comes between goes before all: the rack is commanded as the order needs it, proves nothing, and is woken by
the plan, or where there is none by the pulse once the order is over.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pydantic import Field, field_validator

from hub.config.request import Request, ShortText, example
from hub.journal.issue import issue
from hub.journal.recorder import Recorder
from hub.state.fold import HubState
from hub.state.site import SiteState
from hub.state.situation import Situations, ordered
from kernel.clock import MS_PER_S, Clock
from kernel.errors import ConfigError, Fault
from kernel.event import EventKind
from kernel.ids import business_id
from miner_control.control.actuator import Actuator
from miner_control.fleet.command import Sleep, Wake, command
from miner_control.fleet.fleet import ASLEEP, Fleet
from miner_control.inventory.asset_register import Fact
from miner_control.inventory.feeder_mapping import (
    LEAST_SHARE,
    FeederMappingRun,
    Judged,
    Rack,
    can_pulse,
    drop_w,
    is_back,
    judge,
)
from miner_control.inventory.inventory_events import FeederMappingJudged, FeederMappingRequested
from miner_control.inventory.position import facts_of_pulses, mismatches

OFF_S: Final = 60.0
REST_S: Final = 120.0
"""Between two racks the plan has the site for so long."""
READY_S: Final = 1800.0
"""A rack is waited for so long until enough of it hashes calmly. Sites that live faster wait less, here and there."""
OFF_RANGE_S: Final = (5.0, 1800.0)
MOST_RACKS: Final = 500
PRIORITY: Final = 7


class FeederMappingRequest(Request):
    """Racks that are to be proven, one after the other."""

    model_config = example({"racks": ["r1", "r2"], "off_s": 60.0})

    racks: list[ShortText] = Field(
        min_length=1, max_length=MOST_RACKS, description=f"Name 1 to {MOST_RACKS} racks of the inventory, each once"
    )
    off_s: float = Field(
        default=OFF_S, strict=False, ge=OFF_RANGE_S[0], le=OFF_RANGE_S[1],
        description=f"Give seconds of {OFF_RANGE_S[0]:.0f} to {OFF_RANGE_S[1]:.0f}: how long each rack sleeps",
    )  # fmt: skip

    @field_validator("racks")
    @classmethod
    def _once(cls, racks: list[str]) -> list[str]:
        if len(set(racks)) < len(racks):
            raise ValueError("names one twice")
        return racks


def proof_asked(
    state: HubState, site: SiteState, request: FeederMappingRequest, by: str, now_ms: int
) -> FeederMappingRequested:
    """The body of `feeder_mapping.requested` for a request. Raises ConfigError with every fault."""
    racks, off_s = request.racks, request.off_s
    known = sorted({miner.rack for miner in site.register.miners if miner.rack})
    faults = [
        Fault("racks", f"no rack {rack[:40]!r}", f"Known: {', '.join(known[:20]) or 'none'}")
        for rack in racks
        if rack not in known
    ]
    for load in site.around.loads:
        # Cooling that serves nobody else would be off when its miners are to wake.
        alone = [r for r in racks if load.feeds and all(state.miners[device].rack == r for device in load.feeds)]
        if alone and off_s > site.around.run_on_s / 2:
            problem = (
                f"is too long for rack {alone[0]}: {load.name} stops {site.around.run_on_s:.0f} s after it fell asleep"
            )
            faults.append(Fault("off_s", problem, "Give less than half of that"))
    faults += [Fault("site", problem, remedy) for problem, remedy in _hindered(state, site, now_ms)]
    if faults:
        raise ConfigError(faults)
    made = str(business_id(now_ms, "proof", site.key, *racks))[-12:]
    return {"id": made, "by": by, "racks": racks, "off_s": off_s}


def _hindered(state: HubState, site: SiteState, now_ms: int) -> list[tuple[str, str]]:
    """(problem, remedy) of a site that cannot be proven now."""
    found = []
    if site.config.observe_only:
        found.append(("is observe-only", "Nothing is commanded there: take observe_only out first"))
    if not site.feeder_meters:
        found.append(("has no feeder's meter", 'Name one with role = "feeder"'))
    if ordered(state, site, now_ms):
        found.append(("is limited by an order", "Ask again when it has ended"))
    if site.pulses.running is not None:
        found.append(("proves other racks already", "Wait for it, or stop it"))
    return found


def pulse_lines(site: SiteState) -> dict[str, Any]:
    """The run under way, the newest result of each rack, and every mismatch, for API and command line."""
    book = site.pulses
    results = [one.result for one in book.judged.values() if one.outcome == "judged" and one.result is not None]
    return {
        "running": None if book.running is None else book.running.status(),
        "racks": [{**one.to_json(), "at_ms": one.at_ms, "agrees": agrees(one)} for one in book.judged.values()],
        "mismatches": [
            {"rack": fault.place.removeprefix("rack "), "problem": fault.problem, "remedy": fault.remedy}
            for fault in mismatches(results)
        ],
    }


def agrees(one: Judged) -> bool | None:
    """Whether a rack is on the feeder of the register; None where its test proved nothing."""
    return one.result.agrees if one.outcome == "judged" and one.result is not None else None


def proven_facts(site: SiteState) -> list[Fact]:
    """The feeders that pulses have proven, of those miners that slept in them. A rack of which only a part moved a feeder, or
    more than it has, proves no single miner."""
    facts: list[Fact] = []
    for one in site.pulses.judged.values():
        result = one.result
        if one.outcome == "judged" and result is not None and 0.7 <= result.moved_w / result.expected_w <= 1.3:
            facts += facts_of_pulses([result], {one.rack: one.devices}, one.at_ms)
    return facts


@dataclass(frozen=True, slots=True)
class _Paces:
    """How long a rack's units take: down, up, and least off, in ms."""

    down_ms: int
    up_ms: int
    off_ms: int


class FeederMappingDuty:
    """Takes the proof of each site a step further. `deadline_s` as in the control step."""

    name = "feeder mapping"

    def __init__(
        self,
        situations: Situations,
        recorder: Recorder,
        clock: Clock,
        actuators: Mapping[str, Actuator],
        every_s: float,
        deadline_s: float,
    ) -> None:
        self.every_s = every_s
        self._state, self._situations = situations.state, situations
        self._recorder, self._clock, self._actuators = recorder, clock, actuators
        self._deadline_s = deadline_s

    async def do(self) -> None:
        """One turn."""
        for site in self._state.sites.values():
            if site.pulses.running is not None:
                await self._turn(site, site.pulses.running)

    async def _turn(self, site: SiteState, proof: FeederMappingRun) -> None:
        now_ms, rack = self._clock.now_ms(), proof.now
        if ordered(self._state, site, now_ms):
            if rack is not None and not rack.spoilt:
                await self._step(site, proof, "spoilt", {"why": "an order limits the site"})
                if site.schedule is not None and site.schedule.at(now_ms) is not None:
                    # Order and plan have the rack from here on, like every other that an order put to sleep.
                    await self._judge(site, proof, rack, self._situations.at(site, now_ms).fleet)
            return
        fleet = self._situations.at(site, now_ms).fleet
        if rack is None:
            await self._next(site, proof, fleet)
        elif rack.waiting:
            return
        elif rack.step == "begun":
            await self._lay_down(site, proof, rack, fleet)
        elif rack.step == "asleep":
            paces = _paces(fleet, _units(fleet, rack.commanded))
            off_ms = max(round(proof.off_s * MS_PER_S), paces.off_ms)
            if rack.spoilt or now_ms - rack.received_ms >= paces.down_ms + off_ms:
                await self._wake(site, proof, rack, fleet)
        elif rack.step == "woken":
            await self._await_back(site, proof, rack, fleet)
        elif now_ms - rack.at_ms["back"] >= proof.off_s * MS_PER_S:
            await self._judge(site, proof, rack, fleet)

    async def _next(self, site: SiteState, proof: FeederMappingRun, fleet: Fleet) -> None:
        name = proof.next_rack
        if name is None:
            body = {"id": proof.id, "by": "hub", "why": proof.stopped or "all racks had their turn"}
            await self._recorder.commit(site.key, EventKind.FEEDER_MAPPING_ENDED, body)
            return
        waited_s = (
            (fleet.now_ms - (proof.done[-1].at_ms if proof.done else 0)) / MS_PER_S * site.config.simulated_speed_factor
        )
        if waited_s < REST_S:
            return
        here = [miner for miner in site.register.miners if miner.rack == name]
        units = _units(fleet, [miner.device for miner in here])
        able = can_pulse(fleet, site.starts_cap)
        chosen = [unit for unit in units if able[unit]]
        whole_w = float(fleet.power_w[np.array(units, dtype=np.int64)].sum())
        if not chosen or drop_w(fleet, chosen) < LEAST_SHARE * whole_w:
            since_ms = proof.done[-1].at_ms if proof.done else proof.requested_ms
            if (fleet.now_ms - since_ms) / MS_PER_S * site.config.simulated_speed_factor < READY_S:
                return
            why = f"only {len(chosen)} of its {len(units)} miners hash and can be put to sleep now"
            await self._say(site, proof, Judged(name, "skipped", why, fleet.now_ms, (), None))
            return
        reported = {"rack": name, "declared": Counter(miner.feeder for miner in here).most_common(1)[0][0]}
        await self._step(site, proof, "begun", {**reported, "devices": [fleet.devices[unit] for unit in chosen]})

    async def _lay_down(self, site: SiteState, proof: FeederMappingRun, rack: Rack, fleet: Fleet) -> None:
        if rack.spoilt:
            await self._judge(site, proof, rack, fleet)
            return
        if fleet.now_ms - rack.at_ms["begun"] < proof.off_s * MS_PER_S:
            return
        units = _units(fleet, rack.devices)
        awake = [unit for unit in units if fleet.fresh[unit] and fleet.mode[unit] > ASLEEP]
        if len(awake) < LEAST_SHARE * len(units):
            why = f"only {len(awake)} of {len(units)} were on when it was to sleep"
            await self._say(site, proof, Judged(rack.name, "skipped", why, fleet.now_ms, (), None))
            return
        await self._send(site, proof, rack, "asleep", awake, fleet, {"expected_w": drop_w(fleet, awake)})

    async def _wake(self, site: SiteState, proof: FeederMappingRun, rack: Rack, fleet: Fleet) -> None:
        asleep = [unit for unit in _units(fleet, rack.commanded) if fleet.mode[unit] == ASLEEP]
        await self._send(site, proof, rack, "woken", asleep, fleet, {})

    async def _await_back(self, site: SiteState, proof: FeederMappingRun, rack: Rack, fleet: Fleet) -> None:
        """Watched again once all hash; one that does not come back is waited for no longer than twice its ramp."""
        units = _units(fleet, rack.commanded)
        late = fleet.now_ms - rack.received_ms >= 2 * _paces(fleet, units).up_ms + round(
            self._situations.freshness.miner_s * MS_PER_S
        )
        if rack.spoilt:
            await self._judge(site, proof, rack, fleet)
        elif late or is_back(fleet, units, rack.expected_w):
            await self._step(site, proof, "back", {})

    async def _judge(self, site: SiteState, proof: FeederMappingRun, rack: Rack, fleet: Fleet) -> None:
        feeders = sorted(site.feeder_meters)
        if rack.spoilt:
            await self._say(site, proof, judge(rack, feeders, [], [], [], fleet.now_ms))
            return
        at_ms, traces = rack.at_ms, [self._state.traces[site.feeder_meters[name]] for name in feeders]
        down_ms = _paces(fleet, _units(fleet, rack.commanded)).down_ms
        slept_ms = at_ms["woken"] - max(round(proof.off_s * MS_PER_S), 1)
        during_ms = max(slept_ms, at_ms["asleep"] + down_ms)
        spans = ((at_ms["begun"], at_ms["asleep"]), (during_ms, at_ms["woken"]), (at_ms["back"], fleet.now_ms + 1))
        before, during, after = ([trace.between(*span)[1] for trace in traces] for span in spans)
        await self._say(site, proof, judge(rack, feeders, before, during, after, fleet.now_ms))

    async def _send(
        self,
        site: SiteState,
        proof: FeederMappingRun,
        rack: Rack,
        step: str,
        units: Sequence[int],
        fleet: Fleet,
        more: Mapping[str, Any],
    ) -> None:
        intent, reason = Sleep() if step == "asleep" else Wake(), f"pulse of rack {rack.name}"
        made = [
            command(fleet.now_ms, fleet.devices[u], intent, reason, deadline_s=self._deadline_s, priority=PRIORITY)
            for u in units
        ]
        asked = {str(one.id): one.device for one in made}
        body = {"id": proof.id, "step": step, "commands": asked, **more}
        self._recorder.emit(site.key, EventKind.FEEDER_MAPPING_STEP, body)
        self._actuators[site.key].start(await issue(self._recorder, site.key, made))

    async def _step(self, site: SiteState, proof: FeederMappingRun, step: str, more: Mapping[str, Any]) -> None:
        await self._recorder.commit(site.key, EventKind.FEEDER_MAPPING_STEP, {"id": proof.id, "step": step, **more})

    async def _say(self, site: SiteState, proof: FeederMappingRun, judged: Judged) -> None:
        body: FeederMappingJudged = {"id": proof.id, **judged.to_json()}
        await self._recorder.commit(site.key, EventKind.FEEDER_MAPPING_JUDGED, body)


def _units(fleet: Fleet, devices: Sequence[str]) -> list[int]:
    return [fleet.roster.index[device] for device in devices]


def _paces(fleet: Fleet, units: Sequence[int]) -> _Paces:
    envelopes = [fleet.roster.envelope(unit) for unit in units]
    longest_s = [
        max((getattr(one, name) for one in envelopes), default=0.0)
        for name in ("ramp_down_s", "ramp_up_s", "min_off_s")
    ]
    return _Paces(*(round(one_s * MS_PER_S) for one_s in longest_s))
