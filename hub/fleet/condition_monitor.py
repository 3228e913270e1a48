# SPDX-License-Identifier: Apache-2.0
"""Condition monitoring: opens tickets for faulty miners, detects control by other systems.

- A verified command of the hub that is found undone, with no command under way, is one observation. Two on the same miner
  mean control by another system (`miner_control.health.third_party_control`): the hub leaves that miner alone
  (`owner.changed`) until a person releases it.
- A container that runs tactics of its own, or a firmware with its own schedule enabled, is recorded as control by a third
  party, once per text, until it is switched off there. It is never overridden.
- The performance reference of each miner, against which the checks compare, is recorded once a day.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hub.config import Site
from hub.control.interlock import identity_mismatch_at
from hub.journal.recorder import Offload, Recorder
from hub.state.fold import HubState
from hub.state.site import SiteState
from hub.state.tickets import Rounds, TicketClosed, TicketOpened
from kernel.clock import Clock
from kernel.event import EventKind
from kernel.reading import Reading
from kernel.units import MS_PER_DAY, MS_PER_HOUR
from miner_control.fleet.command import intent_from_json
from miner_control.fleet.command_events import OwnerChanged
from miner_control.fleet.fleet import UNSURE
from miner_control.fleet.miner import State
from miner_control.fleet.observed import evidence, observed_of, reported_of
from miner_control.health.health import ANOTHER, HealthFinding, PerformanceReference, PoolRule, examine, may_be_over
from miner_control.health.health_events import ThirdPartyCleared, ThirdPartyDetected
from miner_control.health.performance_reference import RecentBehaviour, performance_references
from miner_control.health.third_party_control import (
    UNDONE_S,
    VerifiedCommand,
    against,
    container_tactics,
    reported_schedules,
    undone,
)
from miner_control.inventory.asset_register import AssetRegister
from miner_control.learning.batch import SETTLED_S
from telemetry.collect.source import Tier

OBSERVATION_MS = MS_PER_DAY
"""Observations older than this are discarded."""

SETTLED_MS = MS_PER_HOUR
"""After hashing for this long, a miner has reported every metric since, even those polled rarely."""

Findings = list[tuple[str, EventKind, Mapping[str, Any]]]


class ConditionDuty:
    """Examines all sites every `every_s`.

    `fresh_s` is the greatest age of a reading that is examined; `pools` gives the pools that a site may use.
    """

    name = "condition monitor"

    def __init__(
        self,
        state: HubState,
        recorder: Recorder,
        clock: Clock,
        offload: Offload,
        every_s: float,
        fresh_s: float,
        pools: Callable[[Site], PoolRule | None] = lambda site: None,
        ask_soon: Callable[[str, Tier], None] = lambda device, tier: None,
    ) -> None:
        self.every_s = every_s
        self._pools, self._ask_soon = pools, ask_soon
        self._silent: set[str] = set()
        self._mismatched: set[str] = set()
        self._ours: dict[str, tuple[AssetRegister, PoolRule | None]] = {}
        self._state, self._recorder, self._clock, self._offload = state, recorder, clock, offload
        self._fresh_ms = round(fresh_s * 1000)
        self._rounds: dict[str, Rounds] = {key: Rounds() for key in state.sites}
        self._recent = {
            key: RecentBehaviour(site.roster, SETTLED_S / site.config.simulated_speed_factor)
            for key, site in state.sites.items()
        }
        self._hashing_ms: dict[str, int] = {}
        self._undone_seen: dict[str, dict[int, tuple[VerifiedCommand, Reading]]] = {}

    async def do(self) -> None:
        """One round; findings are journalled and folded with the next record."""
        for site, kind, body in await self._offload(self.look, self._clock.now_ms()):
            self._recorder.emit(site, kind, body)
        silent = {
            device for site in self._state.sites.values() for device in site.silent if device in site.roster.index
        }
        # A miner that was silent may have been swapped, and a swapped one put back: neither waits for its daily poll.
        for device in sorted((self._silent - silent) | self._mismatched):
            self._ask_soon(device, Tier.DAILY)
        self._silent = silent

    def look(self, now_ms: int) -> Findings:
        """(site, event kind, body) of each change since the last round."""
        reported: Findings = []
        for site in self._state.sites.values():
            readings = self._readings(site, now_ms)
            usual = self._usual(site, now_ms)
            reported += [(site.key, kind, body) for kind, body in self._faulty(site, readings, usual)]
            if (day := self._recent[site.key].day(site.roster, now_ms)) is not None:
                reported.append((site.key, EventKind.PERFORMANCE_UPDATED, day))
            reported += [(site.key, EventKind.OWNER_CHANGED, body) for body in self._undone(site, readings, now_ms)]
            reported += [(site.key, EventKind.OWNER_CHANGED, body) for body in self._swapped(site, readings)]
            reported += [(site.key, kind, body) for kind, body in self._third_parties(site, readings)]
        return reported

    def _readings(self, site: SiteState, now_ms: int) -> dict[str, Reading]:
        table = self._state.snapshot.kind("miner")
        found = {device: table.reading(device) for device in site.roster.devices if device in table.index}
        return {device: reading for device, reading in found.items() if now_ms - reading.at_ms <= self._fresh_ms}

    def _usual(self, site: SiteState, now_ms: int) -> list[PerformanceReference]:
        """Performance reference of each unit, with the samples of this round."""
        roster, table = site.roster, self._state.snapshot.kind("miner")
        seen, asked = observed_of(roster, table, now_ms), site.standing.commanded(now_ms)
        reported = {
            name: reported_of(roster, table, name, now_ms) for name in ("mode", "temp_chip_max_c", "shares_accepted")
        }
        fresh_s = self._fresh_ms / 1000
        look = self._recent[site.key].look(roster, seen, asked, reported, site.usual, now_ms, fresh_s)
        return performance_references(site.usual, look, roster.group)

    def _faulty(
        self, site: SiteState, readings: Mapping[str, Reading], usual: Sequence[PerformanceReference]
    ) -> list[tuple[EventKind, TicketOpened | TicketClosed]]:
        findings: list[HealthFinding] = []
        readings = {device: self._evidence(reading) for device, reading in readings.items()}
        ours, index = self._pool_rule(site), site.roster.index
        for device, reading in readings.items():
            group = int(site.roster.group[index[device]])
            # A miner of another owner may use any pool.
            rule = ours if site.roster.ours[index[device]] else None
            findings += examine(reading, site.roster.groups[group].envelope, usual[index[device]], rule)
        findings += self._mismatches(site, readings)
        over = frozenset(
            (one.device, one.what)
            for one in site.tickets.tickets()
            if one.device in readings and may_be_over(one.what, readings[one.device], usual[index[one.device]])
        )
        return self._rounds[site.key].judge(site.tickets, findings, over)

    def _mismatches(self, site: SiteState, readings: Mapping[str, Reading]) -> list[HealthFinding]:
        """Findings for devices that do not match the asset register."""
        found = []
        for device, reading in readings.items():
            other = identity_mismatch_at(self._state, site, device)
            if other is not None:
                reported = {name: str(reading.values.get(name, "")) for name in ("serial", "mac")}
                remedy = "Scan the network and correct the inventory, or give it its address back"
                found.append(HealthFinding(device, ANOTHER, other.text, remedy, {"at_ms": reading.at_ms, **reported}))
        theirs = {device for device in self._mismatched if device.startswith(f"{site.key}/")}
        self._mismatched = (self._mismatched - theirs) | {one.device for one in found}
        return found

    def _swapped(self, site: SiteState, readings: Mapping[str, Reading]) -> list[OwnerChanged]:
        """Excludes a miner while another registered miner answers at its address."""
        reported: list[OwnerChanged] = []
        for device in readings:
            held = site.third_parties.get(device)
            other = identity_mismatch_at(self._state, site, device) if device in self._mismatched else None
            if other is not None and other.device and held is None:
                body: OwnerChanged = {
                    "device": device, "hands_off": True, "owner": ANOTHER, "words": other.text,
                    "evidence": {"answers": other.device}, "by": "hub",
                }  # fmt: skip
            elif held is not None and held.body.get("owner") == ANOTHER and (other is None or not other.device):
                text = "it answers as itself again"
                body = {"device": device, "hands_off": False, "owner": "the hub", "words": text, "by": "hub"}
            else:
                continue
            reported.append(body)
        return reported

    def _evidence(self, reading: Reading) -> Reading:
        """The part of a reading that may be judged: of a hashing miner, what it reported since it was first seen to hash."""
        device, uptime_s = reading.device, reading.number("uptime_s")
        if reading.get("state") != State.HASHING.value:
            self._hashing_ms.pop(device, None)
            return reading
        since_ms = self._hashing_ms.setdefault(device, reading.at_ms)
        if uptime_s is not None and reading.at_ms - uptime_s * 1000.0 > since_ms:
            # The miner restarted between two rounds.
            since_ms = self._hashing_ms[device] = reading.at_ms
        if reading.at_ms - since_ms > SETTLED_MS:
            return reading
        return evidence(self._state.snapshot.kind("miner"), device, since_ms)

    def _pool_rule(self, site: SiteState) -> PoolRule | None:
        """Allowed pools and workers; made anew when positions change, since worker names contain the position."""
        held = self._ours.get(site.key)
        if held is None or held[0] is not site.register:
            held = self._ours[site.key] = (site.register, self._pools(site.config))
        return held[1]

    def _undone(self, site: SiteState, readings: Mapping[str, Reading], now_ms: int) -> list[OwnerChanged]:
        asked = site.standing.commanded(now_ms)
        newest: dict[str, dict[str, Any]] = {}
        for body in list(site.receipts):
            newest.setdefault(str(body["device"]), body)
        found: list[OwnerChanged] = []
        for device, body in newest.items():
            unit, reading = site.roster.index.get(device), readings.get(device)
            if unit is None or reading is None or body["outcome"] != "verified" or asked.mode[unit] != UNSURE:
                continue
            done = VerifiedCommand(device, intent_from_json(body), int(body["at_ms"]))
            if not done.verified_ms < reading.at_ms <= done.verified_ms + UNDONE_S * 1000:
                continue
            observed = self._undone_seen.setdefault(device, {})
            if against(done.intent, reading):
                observed[done.verified_ms] = (done, reading)
            for at_ms in [at_ms for at_ms in observed if now_ms - at_ms > OBSERVATION_MS]:
                del observed[at_ms]
            parties = undone([one for one, _ in observed.values()], [seen for _, seen in observed.values()])
            if parties and not asked.excluded[unit]:
                (party,) = parties
                del self._undone_seen[device]
                found.append(
                    {
                        "device": device, "hands_off": True, "owner": party.who, "words": party.text,
                        "evidence": dict(party.evidence), "by": "hub",
                    }
                )  # fmt: skip
        return found

    def _third_parties(
        self, site: SiteState, readings: Mapping[str, Reading]
    ) -> list[tuple[EventKind, ThirdPartyDetected | ThirdPartyCleared]]:
        """Changes of control by firmware schedules and container tactics.

        A device that does not report its schedules keeps its last known state.
        """
        table = self._state.snapshot.kind("container")
        containers = [table.reading(device) for device in table.index if device.startswith(f"{site.key}/")]
        reported = [
            (one.device, reported_schedules(one)) for one in readings.values() if "schedules_json" in one.values
        ]
        reported += [(one.device, container_tactics(one)) for one in containers]
        found: list[tuple[EventKind, ThirdPartyDetected | ThirdPartyCleared]] = []
        for scope, parties in reported:
            before = site.third_parties.get(scope)
            if parties is None or (before is not None and before.kind != EventKind.THIRD_PARTY_DETECTED):
                continue
            text = "; ".join(party.text for party in parties)
            who = ", ".join(dict.fromkeys(party.who for party in parties))
            if parties and (before is None or before.body["words"] != text):
                shown = {name: value for party in parties for name, value in party.evidence.items()}
                detected: ThirdPartyDetected = {"scope": scope, "who": who, "words": text, "evidence": shown}
                found.append((EventKind.THIRD_PARTY_DETECTED, detected))
            elif not parties and before is not None:
                cleared: ThirdPartyCleared = {"scope": scope, "who": before.body["who"], "words": before.body["words"]}
                found.append((EventKind.THIRD_PARTY_CLEARED, cleared))
        return found
