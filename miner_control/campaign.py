# SPDX-License-Identifier: Apache-2.0
"""Bulk work on many miners: canary first, then waves, each only when the one before went well.

For work, never for an order: a canary does not delay a dispatcher, and while an order limits the site no further wave
leaves. A campaign is a fold over its own events (proposed, changed, waves, receipts), so that a restarted hub goes on where
it stood. It remembers what each unit was before, and restores to that; a retry asks those that failed and no others. Units
whose load it changed are held (the plan leaves them alone, an order does not) until somebody ends it.
"""

import fnmatch
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from kernel.errors import ConfigError, Fault
from miner_control.command import (
    WORK,
    Command,
    InstallFirmware,
    Intent,
    PowerPercent,
    PowerTarget,
    RollBackFirmware,
    SetCredential,
    SetMode,
    SetPools,
    Sleep,
    Wake,
    command,
    intent_from_json,
    intent_json,
    intent_text,
)
from miner_control.fleet import ASLEEP, UNSURE, Fleet
from miner_control.health import PoolRule, host_of

GOOD: Final = frozenset({"verified", "accepted"})
NEEDS_TWO: Final = (SetPools, SetCredential, InstallFirmware, RollBackFirmware)
CHANGES_LOAD: Final = (Sleep, Wake, SetMode, PowerTarget, PowerPercent)
LATE_MS: Final = 900_000
"""A command whose receipt is not there so long after its deadline was lost with the hub that sent it."""

UPLOAD_MS: Final = 15_000
"""What each image adds to that: few go at once, and a deadline runs only from when its own turn comes."""

Equip = Callable[[str, Intent], Intent]
"""(device, what the plan says) to what that device is asked: names filled in, nothing else."""


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
class Fits:
    """Which miners a campaign is for, beside being named: patterns of firmware (dialect) and model; "*" is any."""

    dialect: str = "*"
    model: str = "*"

    def why_not(self, firmware: str, model: str) -> str:
        if not fnmatch.fnmatchcase(firmware, self.dialect):
            return f"{firmware} is not {self.dialect}"
        return "" if fnmatch.fnmatchcase(model, self.model) else f"is no {self.model}"


@dataclass(frozen=True, slots=True)
class CampaignPlan:
    """What will be asked of whom, in which waves, who is left out and why, and what each unit was before: its mode index,
    for pools the list it had (`prior_pools`, without passwords), for firmware the image of what it ran (`prior_images`)."""

    id: str
    name: str
    asked_by: str
    intent: Intent
    waves: tuple[tuple[str, ...], ...]
    skipped: tuple[Skip, ...]
    prior: Mapping[str, int]
    rollout: Rollout
    deadline_s: float
    prior_pools: Mapping[str, SetPools]
    prior_images: Mapping[str, InstallFirmware]

    @property
    def needs_two(self) -> bool:
        """Whether a second person has to approve it before anything is sent."""
        return isinstance(self.intent, NEEDS_TWO)

    def preview(self) -> list[str]:
        """The plan as lines for people, before anything is sent."""
        lines = [f"{self.name}: {intent_text(self.intent)} on {sum(map(len, self.waves))} miners"]
        lines += [f"wave {at}: {len(wave)}" + (" (canary)" if at == 0 else "") for at, wave in enumerate(self.waves)]
        if isinstance(self.intent, SetPools) and (lost := len(self.prior) - len(self.prior_pools)):
            lines.append(f"{lost} cannot be restored: their pools are not known, or not on the allow list")
        if isinstance(self.intent, InstallFirmware) and (lost := len(self.prior) - len(self.prior_images)):
            lines.append(f"{lost} cannot be restored: the image of what they run is not on the shelf")
        lines += [f"left out: {count} {why}" for why, count in Counter(skip.why for skip in self.skipped).most_common()]
        return lines

    def to_json(self) -> dict[str, Any]:
        """The body of `campaign.proposed`."""
        return {
            "id": self.id, "name": self.name, "by": self.asked_by, "intent": intent_json(self.intent),
            "waves": [list(wave) for wave in self.waves], "skipped": [[skip.device, skip.why] for skip in self.skipped],
            "prior": dict(self.prior), "rollout": asdict(self.rollout), "deadline_s": self.deadline_s,
            "prior_pools": {device: intent_json(pools) for device, pools in self.prior_pools.items()},
            "prior_images": {device: intent_json(image) for device, image in self.prior_images.items()},
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "CampaignPlan":
        """The inverse of `to_json`."""
        pools = {str(d): intent_from_json(one) for d, one in body["prior_pools"].items()}
        images = {str(d): intent_from_json(one) for d, one in body.get("prior_images", {}).items()}
        return cls(
            id=str(body["id"]),
            name=str(body["name"]),
            asked_by=str(body["by"]),
            intent=intent_from_json(body["intent"]),
            waves=tuple(tuple(map(str, wave)) for wave in body["waves"]),
            skipped=tuple(Skip(str(device), str(why)) for device, why in body["skipped"]),
            prior={str(device): int(mode) for device, mode in body["prior"].items()},
            rollout=Rollout(**body["rollout"]),
            deadline_s=float(body["deadline_s"]),
            prior_pools={d: one for d, one in pools.items() if isinstance(one, SetPools)},
            prior_images={d: one for d, one in images.items() if isinstance(one, InstallFirmware)},
        )


def plan_campaign(
    name: str,
    fleet: Fleet,
    devices: Sequence[str],
    intent: Intent,
    *,
    campaign_id: str = "",
    rollout: Rollout | None = None,
    deadline_s: float = 300.0,
    pools: PoolRule | None = None,
    prior_pools: Mapping[str, SetPools] | None = None,
    prior_images: Mapping[str, InstallFirmware] | None = None,
    fits: Fits = Fits(),
    elsewhere: frozenset[str] = frozenset(),
    asked_by: str = "",
) -> CampaignPlan:
    """Who is asked, in which order: canaries spread over the models, then waves. Raises ConfigError with every fault:
    pools off the allow list, devices nobody knows, nobody left to ask."""
    place = f"campaign {name}"
    faults = [
        Fault(place, f"{device} is not in the register", "Correct the key")
        for device in devices
        if device not in fleet.roster.index
    ]
    if isinstance(intent, SetPools):
        listed = pools.hosts if pools is not None else frozenset()
        faults += [
            Fault(place, f"pool {host_of(pool.url)} is not on the allow list", "Allow it first, or correct it")
            for pool in intent.pools
            if host_of(pool.url) not in listed
        ]
    if faults:
        raise ConfigError(faults)
    chosen: list[str] = []
    skipped: list[Skip] = []
    for device in dict.fromkeys(devices):
        why = _why_not(fleet, fleet.roster.index[device], intent, fits, device in elsewhere)
        if why:
            skipped.append(Skip(device, why))
        else:
            chosen.append(device)
    if not chosen:
        why = "; ".join(f"{n} {why}" for why, n in Counter(skip.why for skip in skipped).most_common()) or "none named"
        raise ConfigError([Fault(place, f"nobody can be asked: {why}", "Name other miners, or wait")])
    spread = rollout or Rollout()
    kept = {device: one for device, one in (prior_pools or {}).items() if device in chosen}
    return CampaignPlan(
        id=campaign_id or name,
        name=name,
        asked_by=asked_by,
        intent=replace(intent, data=b"") if isinstance(intent, InstallFirmware) else intent,
        waves=_waves(fleet, chosen, spread),
        skipped=tuple(skipped),
        prior={device: int(fleet.mode[fleet.roster.index[device]]) for device in chosen},
        rollout=spread,
        deadline_s=deadline_s,
        prior_pools=kept,
        prior_images={device: one for device, one in (prior_images or {}).items() if device in chosen},
    )


def _why_not(fleet: Fleet, unit: int, intent: Intent, fits: Fits, elsewhere: bool) -> str:
    envelope = fleet.roster.groups[int(fleet.roster.group[unit])].envelope
    if stranger := fits.why_not(envelope.firmware, envelope.model):
        return stranger
    if type(intent).__name__ not in envelope.commands:
        return f"{envelope.firmware} has no {type(intent).__name__}"
    if not fleet.roster.ours[unit] or elsewhere:
        return "belongs to another owner" if not elsewhere else "in somebody else's hands"
    if not fleet.fresh[unit]:
        return "unreachable"
    if not fleet.can_command[unit] and not isinstance(intent, WORK):
        # It failed to obey lately and rests from changes of its load; pools and passwords are no such change.
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


@dataclass(frozen=True, slots=True)
class Wave:
    """Commands to be sent together, and why: `wave 0`, `retry 1`, `restore`."""

    step: str
    commands: tuple[Command, ...]


class Campaign:
    """A plan under way. `due` says what to send or why to pause and changes nothing; all that happens comes in by events:
    `changed`, `sent` (a wave left) and `heard` (a receipt)."""

    def __init__(self, plan: CampaignPlan, proposed_ms: int) -> None:
        self.plan = plan
        self.proposed_ms = proposed_ms
        self.approved_by = ""
        self.paused = ""
        self.ended = ""
        self.asked: set[str] = set()
        self._todo: list[str] = []
        self._wave = -1
        self._waiting: dict[str, tuple[str, int]] = {}
        self._outcome: dict[str, str] = {}
        self._wave_done_ms = proposed_ms
        self._retries = 0
        self._forgiven = -1

    # ---- what happened ----

    def changed(self, what: str, by: str, why: str) -> None:
        """Somebody (or the hub) did something to it. `what`: approved, paused, resumed, retry, restore, ended."""
        match what:
            case "approved" if by != self.plan.asked_by:
                self.approved_by = by
            case "paused":
                self.paused = why or "paused"
            case "resumed":
                self.paused, self._forgiven = "", self._wave
            case "retry" | "restore":
                self._todo.append(what)
            case "ended":
                self.ended = why or f"ended by {by}"

    def sent(self, step: str, commands: Mapping[str, str], at_ms: int) -> None:
        """A wave left: command id to device."""
        if step.startswith("wave"):
            self._wave += 1
        else:
            self._todo.pop(0)
            self._retries += step.startswith("retry")
        until_ms = at_ms + round(self.plan.deadline_s * 1000) + LATE_MS
        if isinstance(self.plan.intent, InstallFirmware):
            until_ms += UPLOAD_MS * len(commands)
        self._waiting.update({asked: (device, until_ms) for asked, device in commands.items()})
        self.asked.update(commands.values())
        self._wave_done_ms = at_ms

    def heard(self, command_id: str, outcome: str, at_ms: int) -> None:
        """The last receipt of one of its commands (`outcome` as in `receipt_json`)."""
        found = self._waiting.pop(command_id, None)
        if found is not None:
            self._outcome[found[0]] = outcome
            if not self._waiting:
                self._wave_done_ms = at_ms

    # ---- what follows ----

    def held(self) -> set[str]:
        """Units that the plan must leave alone: those whose load it changed, until it is ended."""
        return self.asked if isinstance(self.plan.intent, CHANGES_LOAD) and not self.ended else set()

    def waiting(self) -> frozenset[str]:
        """Ids of commands whose receipt is awaited."""
        return frozenset(self._waiting)

    def _may_act(self) -> bool:
        return not self.ended and (not self.plan.needs_two or bool(self.approved_by))

    def _under_way(self, now_ms: int) -> bool:
        return any(until_ms > now_ms for _, until_ms in self._waiting.values())

    def due(self, fleet: Fleet, now_ms: int, equip: Equip = lambda device, intent: intent) -> Wave | str | None:
        """What to send now; or why it has to pause, as text; None while nothing is to be done."""
        if not self._may_act() or self._under_way(now_ms):
            return None
        if self._todo:
            return self._asked_for(self._todo[0], fleet, now_ms, equip)
        if self.paused or self._wave + 1 >= len(self.plan.waves):
            return None
        if self._wave >= 0:
            last = self.plan.waves[self._wave]
            failed = [device for device in last if self._outcome.get(device) not in GOOD]
            if len(failed) > self.plan.rollout.failure_share * len(last) and self._forgiven < self._wave:
                return f"{len(failed)} of {len(last)} failed in wave {self._wave}"
            if now_ms - self._wave_done_ms < self.plan.rollout.gap_s * 1000:
                return None
        step, devices = f"wave {self._wave + 1}", self.plan.waves[self._wave + 1]
        units = [fleet.roster.index[device] for device in devices]
        if not isinstance(self.plan.intent, WORK) and bool((fleet.wanted[units] != fleet.mode[units]).any()):
            # The control step is asking some of them for something: a newer command would take the place of its own.
            return None
        return Wave(step, tuple(self._ask(dict.fromkeys(devices, self.plan.intent), now_ms, step, equip)))

    def _asked_for(self, todo: str, fleet: Fleet, now_ms: int, equip: Equip) -> Wave:
        if todo == "retry":
            step, asked = f"retry {self._retries + 1}", dict.fromkeys(self.failed(), self.plan.intent)
        else:
            # What it was before is said as it was: no name is filled in.
            step, asked, equip = "restore", self._before(fleet), lambda device, intent: intent
        return Wave(step, tuple(self._ask(asked, now_ms, step, equip)))

    def _ask(self, asked: Mapping[str, Intent], now_ms: int, step: str, equip: Equip) -> list[Command]:
        reason, deadline_s = f"campaign {self.plan.name}, {step}", self.plan.deadline_s
        return [
            command(now_ms, device, equip(device, intent), reason, deadline_s=deadline_s, priority=7)
            for device, intent in asked.items()
        ]

    def _before(self, fleet: Fleet) -> dict[str, Intent]:
        """Each unit that was asked back to what it was; units that are so already are not asked.

        A firmware that cannot wake into a mode wakes into the one it had: a second restore then asks for the mode.
        """
        found: dict[str, Intent] = {}
        if isinstance(self.plan.intent, InstallFirmware):
            # Firmwares keep no earlier release: the way back is the image of it. Where that is not at hand, the miner is
            # asked all the same, and its answer says why it cannot.
            return {device: self.plan.prior_images.get(device, RollBackFirmware()) for device in sorted(self.asked)}
        if isinstance(self.plan.intent, SetPools):
            return {d: self.plan.prior_pools[d] for d in sorted(self.asked) if d in self.plan.prior_pools}
        for device in (d for wave in self.plan.waves for d in wave if d in self.asked):
            unit, before = fleet.roster.index[device], self.plan.prior[device]
            if before == UNSURE or int(fleet.mode[unit]) == before:
                continue
            envelope = fleet.roster.groups[int(fleet.roster.group[unit])].envelope
            found[device] = Sleep() if before == ASLEEP else SetMode(envelope.modes[before].name)
            if before >= 0 and int(fleet.mode[unit]) == ASLEEP:
                found[device] = Wake()
        return found

    def failed(self) -> list[str]:
        """Units whose last word is no success; a retry asks these and no others."""
        return sorted(device for device, outcome in self._outcome.items() if outcome not in GOOD)

    def status(self, now_ms: int) -> dict[str, Any]:
        """How far it is: counts by outcome, waves, who failed, why it waits."""
        sent, waves = self._wave + 1, len(self.plan.waves)
        waiting = sum(until_ms > now_ms for _, until_ms in self._waiting.values())
        done = sent >= waves and not waiting and not self._todo
        state = "running"
        if self.ended:
            state = "ended"
        elif self.plan.needs_two and not self.approved_by:
            state = "awaits approval"
        elif self.paused and not done:
            state = "paused"
        elif done:
            state = "done"
        return {
            "id": self.plan.id, "name": self.plan.name, "by": self.plan.asked_by, "approved_by": self.approved_by,
            "intent": intent_text(self.plan.intent), "proposed_ms": self.proposed_ms, "state": state,
            "devices": sum(map(len, self.plan.waves)), "wave": sent, "waves": waves, "waiting": waiting,
            "outcomes": dict(Counter(self._outcome.values())), "failed": self.failed(),
            "skipped": dict(Counter(skip.why for skip in self.plan.skipped)), "paused": self.paused,
            "ended": self.ended, "holds": len(self.held()),
        }  # fmt: skip


class CampaignBook:
    """All campaigns of a site: a fold of `campaign.proposed`, `campaign.changed`, `campaign.wave` and `command.receipt`."""

    def __init__(self) -> None:
        self.campaigns: dict[str, Campaign] = {}
        self._of: dict[str, Campaign] = {}

    def apply(self, kind: str, body: Mapping[str, Any], at_ms: int) -> None:
        """Fold one event."""
        if kind == "command.receipt":
            if (campaign := self._of.pop(str(body["id"]), None)) is not None:
                campaign.heard(str(body["id"]), str(body["outcome"]), at_ms)
            return
        if kind == "campaign.proposed":
            self.campaigns[str(body["id"])] = Campaign(CampaignPlan.from_json(body), at_ms)
            return
        campaign = self.campaigns.get(str(body["id"]))
        if campaign is None:
            return
        if kind == "campaign.changed":
            campaign.changed(str(body["what"]), str(body["by"]), str(body.get("why", "")))
        elif kind == "campaign.wave":
            campaign.sent(str(body["step"]), body["commands"], at_ms)
            self._of |= dict.fromkeys(body["commands"], campaign)

    def held(self) -> frozenset[str]:
        """Units that the plan leaves alone."""
        return frozenset().union(*(one.held() for one in self.campaigns.values()))
