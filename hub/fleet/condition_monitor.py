# SPDX-License-Identifier: Apache-2.0
"""Watches over the miners beside the control loop: sick ones become tickets, foreign hands are named and not fought.

A command of ours that was verified and is found undone, with nothing of ours under way, is a sighting; twice on one miner
is somebody else's hand (`miner_control.health.third_party_control`). Such a miner is left alone (`owner.changed`) until a
person releases it. A container that runs tactics of its own, or a firmware whose own schedule is on, is named
(`hand.seen`), once for each wording, until it is switched off (`hand.gone`).

What is usual of each miner is told once a day (`usual.learnt`): the checks compare with it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hub.config import Site
from hub.control.interlock import stranger_at
from hub.journal.recorder import Offload, Recorder
from hub.state.fold import HubState, SiteState
from hub.state.tickets import Rounds
from kernel.clock import Clock
from kernel.reading import Reading
from kernel.units import MS_PER_DAY, MS_PER_HOUR
from miner_control.fleet.command import intent_from_json
from miner_control.fleet.fleet import UNSURE
from miner_control.fleet.miner import State
from miner_control.fleet.observed import evidence, observed_of, reported_of
from miner_control.health.health import ANOTHER, HealthFinding, PerformanceReference, PoolRule, examine, may_be_over
from miner_control.health.performance_reference import RecentBehaviour, usuals
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

SIGHT_MS = MS_PER_DAY
"""Sightings older than this prove nothing about today."""

SETTLED_MS = MS_PER_HOUR
"""Who has hashed for so long told everything since, whatever is asked how seldom."""

Told = list[tuple[str, str, dict[str, Any]]]


class ConditionDuty:
    """One round each `every_s`; `fresh_s`: how old a reading may be to be examined; `pools`: which are ours at a site."""

    name = "watch"

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
        self._strangers: set[str] = set()
        self._ours: dict[str, tuple[AssetRegister, PoolRule | None]] = {}
        self._state, self._recorder, self._clock, self._offload = state, recorder, clock, offload
        self._fresh_ms = round(fresh_s * 1000)
        self._rounds: dict[str, Rounds] = {key: Rounds() for key in state.sites}
        self._lately = {
            key: RecentBehaviour(site.roster, SETTLED_S / site.config.pace) for key, site in state.sites.items()
        }
        self._hashing_ms: dict[str, int] = {}
        self._sighted: dict[str, dict[int, tuple[VerifiedCommand, Reading]]] = {}

    async def do(self) -> None:
        """One round; what it found is told, and folded with the next record."""
        for site, kind, body in await self._offload(self.look, self._clock.now_ms()):
            self._recorder.tell(site, kind, body)
        silent = {
            device for site in self._state.sites.values() for device in site.silent if device in site.roster.index
        }
        # Who was away may be another by now, and who is another may be itself again: neither waits for its daily poll.
        for device in sorted((self._silent - silent) | self._strangers):
            self._ask_soon(device, Tier.DAILY)
        self._silent = silent

    def look(self, now_ms: int) -> Told:
        """(site, event kind, body) of everything that is new."""
        reported: Told = []
        for site in self._state.sites.values():
            readings = self._readings(site, now_ms)
            usual = self._usual(site, now_ms)
            reported += [(site.key, kind, body) for kind, body in self._faulty(site, readings, usual)]
            if (day := self._lately[site.key].day(site.roster, now_ms)) is not None:
                reported.append((site.key, "usual.learnt", day))
            reported += [(site.key, "owner.changed", body) for body in self._undone(site, readings, now_ms)]
            reported += [(site.key, "owner.changed", body) for body in self._mistaken(site, readings)]
            reported += [(site.key, kind, body) for kind, body in self._acting(site, readings)]
        return reported

    def _readings(self, site: SiteState, now_ms: int) -> dict[str, Reading]:
        table = self._state.snapshot.kind("miner")
        found = {device: table.reading(device) for device in site.roster.devices if device in table.index}
        return {device: reading for device, reading in found.items() if now_ms - reading.at_ms <= self._fresh_ms}

    def _usual(self, site: SiteState, now_ms: int) -> list[PerformanceReference]:
        """What is usual of each unit, with what this round adds to it."""
        roster, table = site.roster, self._state.snapshot.kind("miner")
        seen, asked = observed_of(roster, table, now_ms), site.standing.asked(now_ms)
        reported = {
            name: reported_of(roster, table, name, now_ms) for name in ("mode", "temp_chip_max_c", "shares_accepted")
        }
        fresh_s = self._fresh_ms / 1000
        look = self._lately[site.key].look(roster, seen, asked, reported, site.usual, now_ms, fresh_s)
        return usuals(site.usual, look, roster.group)

    def _faulty(
        self, site: SiteState, readings: Mapping[str, Reading], usual: Sequence[PerformanceReference]
    ) -> list[tuple[str, dict[str, Any]]]:
        findings: list[HealthFinding] = []
        readings = {device: self._evidence(reading) for device, reading in readings.items()}
        ours, index = self._pool_rule(site), site.roster.index
        for device, reading in readings.items():
            group = int(site.roster.group[index[device]])
            # Whose miner it is not ours to command may hash where its owner likes.
            rule = ours if site.roster.ours[index[device]] else None
            findings += examine(reading, site.roster.groups[group].envelope, usual[index[device]], rule)
        findings += self._strange(site, readings)
        over = frozenset(
            (one.device, one.what)
            for one in site.tickets.tickets()
            if one.device in readings and may_be_over(one.what, readings[one.device], usual[index[one.device]])
        )
        return self._rounds[site.key].judge(site.tickets, findings, over)

    def _strange(self, site: SiteState, readings: Mapping[str, Reading]) -> list[HealthFinding]:
        """Who is not the one that the register means."""
        found = []
        for device, reading in readings.items():
            other = stranger_at(self._state, site, device)
            if other is not None:
                reported = {name: str(reading.values.get(name, "")) for name in ("serial", "mac")}
                remedy = "Scan the network and correct the inventory, or give it its address back"
                found.append(HealthFinding(device, ANOTHER, other.words, remedy, {"at_ms": reading.at_ms, **reported}))
        theirs = {device for device in self._strangers if device.startswith(f"{site.key}/")}
        self._strangers = (self._strangers - theirs) | {one.device for one in found}
        return found

    def _mistaken(self, site: SiteState, readings: Mapping[str, Reading]) -> list[dict[str, Any]]:
        """Miners at whose address another miner of the register answers are left alone, until they are themselves again."""
        reported = []
        for device in readings:
            held = site.hands.get(device)
            other = stranger_at(self._state, site, device) if device in self._strangers else None
            if other is not None and other.device and held is None:
                body = {
                    "hands_off": True,
                    "owner": ANOTHER,
                    "words": other.words,
                    "evidence": {"answers": other.device},
                }
            elif held is not None and held.body.get("owner") == ANOTHER and (other is None or not other.device):
                body = {"hands_off": False, "owner": "the hub", "words": "it answers as itself again"}
            else:
                continue
            reported.append({"device": device, **body, "by": "hub"})
        return reported

    def _evidence(self, reading: Reading) -> Reading:
        """What may be judged of a reading: of one that hashes, what it told since it was first seen to hash."""
        device, uptime_s = reading.device, reading.number("uptime_s")
        if reading.get("state") != State.HASHING.value:
            self._hashing_ms.pop(device, None)
            return reading
        since_ms = self._hashing_ms.setdefault(device, reading.at_ms)
        if uptime_s is not None and reading.at_ms - uptime_s * 1000.0 > since_ms:
            # It restarted between two rounds.
            since_ms = self._hashing_ms[device] = reading.at_ms
        if reading.at_ms - since_ms > SETTLED_MS:
            return reading
        return evidence(self._state.snapshot.kind("miner"), device, since_ms)

    def _pool_rule(self, site: SiteState) -> PoolRule | None:
        """Which pools and workers are ours; made again when miners stand elsewhere, for workers are named by place."""
        held = self._ours.get(site.key)
        if held is None or held[0] is not site.register:
            held = self._ours[site.key] = (site.register, self._pools(site.config))
        return held[1]

    def _undone(self, site: SiteState, readings: Mapping[str, Reading], now_ms: int) -> list[dict[str, Any]]:
        asked = site.standing.asked(now_ms)
        newest: dict[str, dict[str, Any]] = {}
        for body in list(site.receipts):
            newest.setdefault(str(body["device"]), body)
        found = []
        for device, body in newest.items():
            unit, reading = site.roster.index.get(device), readings.get(device)
            if unit is None or reading is None or body["outcome"] != "verified" or asked.mode[unit] != UNSURE:
                continue
            done = VerifiedCommand(device, intent_from_json(body), int(body["at_ms"]))
            if not done.verified_ms < reading.at_ms <= done.verified_ms + UNDONE_S * 1000:
                continue
            sighted = self._sighted.setdefault(device, {})
            if against(done.intent, reading):
                sighted[done.verified_ms] = (done, reading)
            for at_ms in [at_ms for at_ms in sighted if now_ms - at_ms > SIGHT_MS]:
                del sighted[at_ms]
            hands = undone([one for one, _ in sighted.values()], [seen for _, seen in sighted.values()])
            if hands and not asked.hands_off[unit]:
                (hand,) = hands
                del self._sighted[device]
                found.append(
                    {
                        "device": device, "hands_off": True, "owner": hand.who, "words": hand.words,
                        "evidence": dict(hand.evidence), "by": "hub",
                    }
                )  # fmt: skip
        return found

    def _acting(self, site: SiteState, readings: Mapping[str, Reading]) -> list[tuple[str, dict[str, Any]]]:
        """Firmwares and containers that act by rules of their own: new, otherwise, or no more.

        Who does not say stays as it is known.
        """
        table = self._state.snapshot.kind("container")
        containers = [table.reading(device) for device in table.index if device.startswith(f"{site.key}/")]
        reported = [
            (one.device, reported_schedules(one)) for one in readings.values() if "schedules_json" in one.values
        ]
        reported += [(one.device, container_tactics(one)) for one in containers]
        found: list[tuple[str, dict[str, Any]]] = []
        for scope, hands in reported:
            before = site.hands.get(scope)
            if hands is None or (before is not None and before.kind != "hand.seen"):
                continue
            words = "; ".join(hand.words for hand in hands)
            who = ", ".join(dict.fromkeys(hand.who for hand in hands))
            if hands and (before is None or before.body["words"] != words):
                evidence = {name: value for hand in hands for name, value in hand.evidence.items()}
                found.append(("hand.seen", {"scope": scope, "who": who, "words": words, "evidence": evidence}))
            elif not hands and before is not None:
                found.append(("hand.gone", {name: before.body[name] for name in ("scope", "who", "words")}))
        return found
