# SPDX-License-Identifier: Apache-2.0
"""Bulk work on many miners: canary first, then waves, each only when the one before went well.

For work, never for an order: a canary does not delay a dispatcher. A campaign is a fold over its own events (started,
receipts, paused, resumed), so that a restarted hub goes on where it stood. It remembers what each unit was before, and
restores to that; a retry asks those that failed and no others.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from kernel.errors import ConfigError, Fault
from miner_control.command import (
    Command,
    InstallFirmware,
    Intent,
    RollBackFirmware,
    SetCredential,
    SetMode,
    SetPools,
    Sleep,
    Wake,
    command,
    intent_text,
)
from miner_control.fleet import ASLEEP, UNSURE, Fleet
from miner_control.health import PoolRule, host_of

GOOD: Final = frozenset({"verified", "accepted"})
NEEDS_TWO: Final = (SetPools, SetCredential, InstallFirmware, RollBackFirmware)


@dataclass(frozen=True, slots=True)
class Rollout:
    """How a campaign spreads: `canary` units first, then waves of `wave_share` of the rest; it pauses where more than
    `failure_share` of a wave failed. `gap_s` passes between the end of a wave and the next one."""

    canary: int = 3
    wave_share: float = 0.2
    failure_share: float = 0.1
    gap_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Skip:
    """A unit that a campaign leaves out, and why."""

    device: str
    why: str


@dataclass(frozen=True, slots=True)
class CampaignPlan:
    """What will be asked of whom, in which waves, who is left out and why, and what each unit was before."""

    name: str
    intent: Intent
    waves: tuple[tuple[str, ...], ...]
    skipped: tuple[Skip, ...]
    prior: Mapping[str, int]
    rollout: Rollout
    deadline_s: float

    def preview(self) -> list[str]:
        """The plan as lines for people, before anything is sent."""
        lines = [f"{self.name}: {intent_text(self.intent)} on {sum(map(len, self.waves))} miners"]
        lines += [f"wave {at}: {len(wave)}" + (" (canary)" if at == 0 else "") for at, wave in enumerate(self.waves)]
        lines += [f"left out: {count} {why}" for why, count in Counter(skip.why for skip in self.skipped).most_common()]
        return lines


def plan_campaign(
    name: str,
    fleet: Fleet,
    devices: Sequence[str],
    intent: Intent,
    *,
    rollout: Rollout | None = None,
    deadline_s: float = 300.0,
    pools: PoolRule | None = None,
    asked_by: str = "",
    approved_by: str = "",
) -> CampaignPlan:
    """Who is asked, in which order: canaries spread over the models, then waves. Raises ConfigError with every fault:
    pools off the allow list, work that needs a second person and has none, devices nobody knows."""
    faults = [
        Fault(f"campaign {name}", f"{device} is not in the register", "Correct the key")
        for device in devices
        if device not in fleet.roster.index
    ]
    if isinstance(intent, SetPools):
        listed = pools.hosts if pools is not None else frozenset()
        faults += [
            Fault(
                f"campaign {name}",
                f"pool {host_of(pool.url)} is not on the allow list",
                "Allow it first, or correct it",
            )
            for pool in intent.pools
            if host_of(pool.url) not in listed
        ]
    if isinstance(intent, NEEDS_TWO) and (not approved_by or approved_by == asked_by):
        faults.append(
            Fault(f"campaign {name}", f"{type(intent).__name__} needs a second person", "Let somebody else approve it")
        )
    if faults:
        raise ConfigError(faults)
    chosen: list[str] = []
    skipped: list[Skip] = []
    for device in dict.fromkeys(devices):
        why = _why_not(fleet, fleet.roster.index[device], intent)
        if why:
            skipped.append(Skip(device, why))
        else:
            chosen.append(device)
    spread = rollout or Rollout()
    prior = {device: int(fleet.mode[fleet.roster.index[device]]) for device in chosen}
    return CampaignPlan(name, intent, _waves(fleet, chosen, spread), tuple(skipped), prior, spread, deadline_s)


def _why_not(fleet: Fleet, unit: int, intent: Intent) -> str:
    envelope = fleet.roster.groups[int(fleet.roster.group[unit])].envelope
    if type(intent).__name__ not in envelope.commands:
        return f"{envelope.firmware} has no {type(intent).__name__}"
    if not fleet.roster.ours[unit]:
        return "belongs to another owner"
    if not fleet.fresh[unit]:
        return "unreachable"
    if not fleet.can_command[unit]:
        return "held back"
    if isinstance(intent, Wake) and not fleet.may_wake[unit]:
        return "rests, has no start left today, or is sick"
    return ""


def _waves(fleet: Fleet, devices: Sequence[str], rollout: Rollout) -> tuple[tuple[str, ...], ...]:
    if not devices:
        return ()
    lanes: dict[int, list[str]] = {}
    for device in devices:
        lanes.setdefault(int(fleet.roster.group[fleet.roster.index[device]]), []).append(device)
    # One of each model in turn: canaries that are all of one kind prove little.
    turns = sorted((at, group, device) for group, lane in lanes.items() for at, device in enumerate(lane))
    ordered = [device for _, _, device in turns]
    canary = ordered[: rollout.canary] if rollout.canary and len(ordered) > rollout.canary else []
    rest = ordered[len(canary) :]
    size = max(1, round(rollout.wave_share * len(rest)))
    waves = [tuple(rest[at : at + size]) for at in range(0, len(rest), size)]
    return ((tuple(canary),) if canary else ()) + tuple(waves)


class Campaign:
    """A plan under way. `due` gives the commands to send now; `heard` takes receipts; all of it is journalled by the caller."""

    def __init__(self, plan: CampaignPlan, started_ms: int) -> None:
        self.plan = plan
        self.started_ms = started_ms
        self.paused = ""
        self._wave = -1
        self._waiting: dict[UUID, str] = {}
        self._outcome: dict[str, str] = {}
        self._wave_done_ms = started_ms
        self._retries = 0
        self._forgiven = -1

    def due(self, now_ms: int) -> list[Command]:
        """The next wave, where its time has come; empty while one is under way, paused, or all are done."""
        if self.paused or self._waiting or self._wave + 1 >= len(self.plan.waves):
            return []
        if self._wave >= 0:
            failed = [d for d in self.plan.waves[self._wave] if self._outcome.get(d) not in GOOD]
            most = self.plan.rollout.failure_share * len(self.plan.waves[self._wave])
            if len(failed) > most and self._forgiven < self._wave:
                self.paused = f"{len(failed)} of {len(self.plan.waves[self._wave])} failed in wave {self._wave}"
                return []
            if now_ms - self._wave_done_ms < self.plan.rollout.gap_s * 1000:
                return []
        self._wave += 1
        return self._ask(self.plan.waves[self._wave], self.plan.intent, now_ms, f"wave {self._wave}")

    def _ask(self, devices: Sequence[str], intent: Intent, now_ms: int, step: str) -> list[Command]:
        asked = [
            command(
                now_ms,
                device,
                intent,
                f"campaign {self.plan.name}, {step}",
                deadline_s=self.plan.deadline_s,
                priority=7,
            )
            for device in devices
        ]
        self._waiting.update({one.id: one.device for one in asked})
        return asked

    def heard(self, command_id: UUID, outcome: str, now_ms: int) -> None:
        """The last receipt of one of its commands (`outcome` as in `receipt_json`)."""
        device = self._waiting.pop(command_id, None)
        if device is not None:
            self._outcome[device] = outcome
            if not self._waiting:
                self._wave_done_ms = now_ms

    def abort(self, why: str) -> None:
        """No further wave; what was sent takes its course (the actuator can withdraw what was not)."""
        self.paused = why or "aborted"

    def resume(self) -> None:
        """Go on with the next wave, whatever the last one brought: a person has looked."""
        self.paused = ""
        self._forgiven = self._wave

    def _failed_now(self) -> set[str]:
        return {device for device, outcome in self._outcome.items() if outcome not in GOOD}

    def retry(self, now_ms: int) -> list[Command]:
        """Ask those that failed once more, and no others."""
        self._retries += 1
        return self._ask(sorted(self._failed_now()), self.plan.intent, now_ms, f"retry {self._retries}")

    def restore(self, fleet: Fleet, now_ms: int) -> list[Command]:
        """Bring every unit that was asked back to what it was before; units that are so already are not asked."""
        found: list[Command] = []
        for device in (d for wave in self.plan.waves[: self._wave + 1] for d in wave):
            unit, before = fleet.roster.index[device], self.plan.prior[device]
            if before == UNSURE or int(fleet.mode[unit]) == before:
                continue
            envelope = fleet.roster.groups[int(fleet.roster.group[unit])].envelope
            intent: Intent = Sleep() if before == ASLEEP else SetMode(envelope.modes[before].name)
            if before >= 0 and int(fleet.mode[unit]) == ASLEEP:
                intent = Wake()
            found += self._ask([device], intent, now_ms, "restore")
        return found

    def status(self) -> dict[str, Any]:
        """How far it is: counts by outcome, waves, who is missing, why it waits."""
        total = sum(map(len, self.plan.waves))
        return {
            "name": self.plan.name,
            "intent": intent_text(self.plan.intent),
            "devices": total,
            "wave": self._wave + 1,
            "waves": len(self.plan.waves),
            "waiting": len(self._waiting),
            "outcomes": dict(Counter(self._outcome.values())),
            "failed": sorted(self._failed_now()),
            "skipped": dict(Counter(skip.why for skip in self.plan.skipped)),
            "paused": self.paused,
            "done": self._wave + 1 >= len(self.plan.waves) and not self._waiting,
        }
