# SPDX-License-Identifier: Apache-2.0
"""Job plan, made before anything is sent: waves with canaries first, units left out with reasons, former state of each."""

import fnmatch
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from kernel.errors import ConfigError, Fault
from miner_control.fleet.command import (
    LOAD_NEUTRAL,
    InstallFirmware,
    Intent,
    RollBackFirmware,
    SetCredential,
    SetPools,
    Wake,
    intent_from_json,
    intent_json,
    intent_text,
)
from miner_control.fleet.fleet import Fleet
from miner_control.health.health import PoolRule, host_of
from miner_control.jobs.job_events import JobProposed

NEEDS_TWO: Final = (SetPools, SetCredential, InstallFirmware, RollBackFirmware)


@dataclass(frozen=True, slots=True)
class Rollout:
    """Spread of a job: `canary` units first, then waves of `wave_share` of the rest; it pauses where more than
    `failure_share` of a wave failed. `gap_s` passes between the end of a wave and the next one."""

    canary: int = 3
    wave_share: float = 0.2
    failure_share: float = 0.1
    gap_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Skip:
    """A unit that a job leaves out, with the reason."""

    device: str
    why: str


@dataclass(frozen=True, slots=True)
class Fits:
    """Miners that a job applies to, among the named ones: patterns of firmware (dialect) and model; "*" is any."""

    dialect: str = "*"
    model: str = "*"

    def unfit_reason(self, firmware: str, model: str) -> str:
        if not fnmatch.fnmatchcase(firmware, self.dialect):
            return f"{firmware} is not {self.dialect}"
        return "" if fnmatch.fnmatchcase(model, self.model) else f"is no {self.model}"


@dataclass(frozen=True, slots=True)
class JobPlan:
    """Units and waves of a job, units left out with reasons, and the former state of each: its mode index, for pools its
    list (`prior_pools`, without passwords), for firmware the image of its version (`prior_images`)."""

    id: str
    name: str
    requested_by: str
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
        """Whether a second person must approve it before anything is sent."""
        return isinstance(self.intent, NEEDS_TWO)

    def preview(self) -> list[str]:
        """The plan as lines for people, before anything is sent."""
        lines = [f"{self.name}: {intent_text(self.intent)} on {sum(map(len, self.waves))} miners"]
        lines += [f"wave {at}: {len(wave)}" + (" (canary)" if at == 0 else "") for at, wave in enumerate(self.waves)]
        if isinstance(self.intent, SetPools) and (lost := len(self.prior) - len(self.prior_pools)):
            lines.append(f"{lost} cannot be restored: their pools are not known, or not on the allow list")
        if isinstance(self.intent, InstallFirmware) and (lost := len(self.prior) - len(self.prior_images)):
            lines.append(f"{lost} cannot be restored: the image of what they run is not in the firmware store")
        lines += [f"left out: {count} {why}" for why, count in Counter(skip.why for skip in self.skipped).most_common()]
        return lines

    def to_json(self) -> JobProposed:
        """The body of `job.proposed`."""
        return {
            "id": self.id, "name": self.name, "by": self.requested_by, "intent": intent_json(self.intent),
            "waves": [list(wave) for wave in self.waves], "skipped": [[skip.device, skip.why] for skip in self.skipped],
            "prior": dict(self.prior), "rollout": asdict(self.rollout), "deadline_s": self.deadline_s,
            "prior_pools": {device: intent_json(pools) for device, pools in self.prior_pools.items()},
            "prior_images": {device: intent_json(image) for device, image in self.prior_images.items()},
        }  # fmt: skip

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "JobPlan":
        """The inverse of `to_json`."""
        pools = {str(d): intent_from_json(one) for d, one in body["prior_pools"].items()}
        images = {str(d): intent_from_json(one) for d, one in body.get("prior_images", {}).items()}
        return cls(
            id=str(body["id"]),
            name=str(body["name"]),
            requested_by=str(body["by"]),
            intent=intent_from_json(body["intent"]),
            waves=tuple(tuple(map(str, wave)) for wave in body["waves"]),
            skipped=tuple(Skip(str(device), str(why)) for device, why in body["skipped"]),
            prior={str(device): int(mode) for device, mode in body["prior"].items()},
            rollout=Rollout(**body["rollout"]),
            deadline_s=float(body["deadline_s"]),
            prior_pools={d: one for d, one in pools.items() if isinstance(one, SetPools)},
            prior_images={d: one for d, one in images.items() if isinstance(one, InstallFirmware)},
        )


def plan_job(
    name: str,
    fleet: Fleet,
    devices: Sequence[str],
    intent: Intent,
    *,
    job_id: str = "",
    rollout: Rollout | None = None,
    deadline_s: float = 300.0,
    pools: PoolRule | None = None,
    prior_pools: Mapping[str, SetPools] | None = None,
    prior_images: Mapping[str, InstallFirmware] | None = None,
    fits: Fits = Fits(),
    elsewhere: frozenset[str] = frozenset(),
    requested_by: str = "",
) -> JobPlan:
    """Plan a job: canaries spread over the models, then waves. Raises ConfigError with every fault: pools off the allow
    list, unknown devices, no unit left to command."""
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
        raise ConfigError([Fault(place, f"no miner can be commanded: {why}", "Name other miners, or wait")])
    spread = rollout or Rollout()
    kept = {device: one for device, one in (prior_pools or {}).items() if device in chosen}
    return JobPlan(
        id=job_id or name,
        name=name,
        requested_by=requested_by,
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
    if reason := fits.unfit_reason(envelope.firmware, envelope.model):
        return reason
    if type(intent).__name__ not in envelope.commands:
        return f"{envelope.firmware} has no {type(intent).__name__}"
    if not fleet.roster.ours[unit] or elsewhere:
        return "belongs to another owner" if not elsewhere else "controlled by another system or person"
    if not fleet.fresh[unit]:
        return "unreachable"
    if not fleet.can_command[unit] and not isinstance(intent, LOAD_NEUTRAL):
        # It failed a command lately and rests from load changes; pools and passwords are none.
        return "held back"
    if isinstance(intent, Wake) and not fleet.may_wake[unit]:
        return "rests, has no start left today, or is faulty"
    return ""


def _waves(fleet: Fleet, devices: Sequence[str], rollout: Rollout) -> tuple[tuple[str, ...], ...]:
    if not devices:
        return ()
    lanes: dict[int, list[str]] = {}
    for device in devices:
        lanes.setdefault(int(fleet.roster.group[fleet.roster.index[device]]), []).append(device)
    # One of each model in turn: canaries of a single model prove little.
    turns = sorted((at, group, device) for group, lane in lanes.items() for at, device in enumerate(lane))
    ordered = [device for _, _, device in turns]
    canary = ordered[: rollout.canary] if rollout.canary and len(ordered) > rollout.canary else []
    rest = ordered[len(canary) :]
    size = max(1, round(rollout.wave_share * len(rest)))
    waves = [tuple(rest[at : at + size]) for at in range(0, len(rest), size)]
    return ((tuple(canary),) if canary else ()) + tuple(waves)
