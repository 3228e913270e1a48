# SPDX-License-Identifier: Apache-2.0
"""Job on many miners: canary first, then waves, each only after the one before succeeded.

Jobs are for maintenance, never for an order: a canary does not delay a dispatcher, and while an order limits the site no
further wave is sent. A job is a fold over its own events (proposed, changed, waves, receipts), so that a restarted hub
continues it. It keeps the former mode of each unit, and restores that; a retry goes to the failed units and no others. Units
whose load it changed are held (excluded from the plan, not from orders) until a person ends it.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kernel.event import EventKind
from kernel.receipt import HubCause
from miner_control.fleet.command import (
    LOAD_NEUTRAL,
    Command,
    InstallFirmware,
    Intent,
    PowerPercent,
    PowerTarget,
    RollBackFirmware,
    SetMode,
    SetPools,
    Sleep,
    Wake,
    command,
    hub_cause,
    intent_text,
)
from miner_control.fleet.fleet import ASLEEP, UNSURE, Fleet
from miner_control.jobs.job_plan import JobPlan

GOOD: Final = frozenset({"verified", "accepted"})
CHANGES_LOAD: Final = (Sleep, Wake, SetMode, PowerTarget, PowerPercent)
AGAIN: Final = " again"
"""Suffix of a step that repeats the commands which the hub itself had cut short."""

Equip = Callable[[str, Intent], Intent]
"""(device, planned intent) to the intent for that device: names filled in, nothing else."""


@dataclass(frozen=True, slots=True)
class Wave:
    """Commands to be sent together, with their step: `wave 0`, `retry 1`, `restore`, `wave 0 again`."""

    step: str
    commands: tuple[Command, ...]


class Job:
    """A job in progress. `due` returns the commands to send or the reason to pause and changes nothing; all changes come by
    events: `changed`, `sent` (a wave was sent) and `received` (a receipt)."""

    def __init__(self, plan: JobPlan, proposed_ms: int) -> None:
        self.plan = plan
        self.proposed_ms = proposed_ms
        self.approved_by = ""
        self.paused = ""
        self.ended = ""
        self.commanded: set[str] = set()
        self._todo: list[str] = []
        self._wave = -1
        self._step = ""
        self._waiting: dict[str, str] = {}
        self._cut_short: set[str] = set()
        self._outcome: dict[str, str] = {}
        self._wave_done_ms = proposed_ms
        self._retries = 0
        self._forgiven = -1

    # ---- what happened ----

    def changed(self, what: str, by: str, why: str) -> None:
        """Fold a change by a person or the hub. `what`: approved, paused, resumed, retry, restore, ended."""
        match what:
            case "approved" if by != self.plan.requested_by:
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
        """Fold a wave that was sent: command id to device."""
        if not step.endswith(AGAIN):
            if step.startswith("wave"):
                self._wave += 1
            else:
                self._todo.pop(0)
                self._retries += step.startswith("retry")
        if step.endswith(AGAIN) or step == "restore":
            self._cut_short.clear()
        self._step = step.removesuffix(AGAIN)
        self._waiting.update(commands)
        self._cut_short.difference_update(commands.values())
        self.commanded.update(commands.values())
        self._wave_done_ms = at_ms

    def received(self, command_id: str, outcome: str, at_ms: int, cause: HubCause | None = None) -> None:
        """Fold the last receipt of one of its commands; `cause` as read by `hub_cause`."""
        device = self._waiting.pop(command_id, None)
        if device is None:
            return
        if cause in (HubCause.WITHDRAWN, HubCause.CUT_SHORT):
            self._cut_short.add(device)
        else:
            self._outcome[device] = outcome
        if not self._waiting:
            self._wave_done_ms = at_ms

    # ---- what follows ----

    def held(self) -> set[str]:
        """Units excluded from the plan: those whose load the job changed, until it is ended."""
        return self.commanded if isinstance(self.plan.intent, CHANGES_LOAD) and not self.ended else set()

    def waiting(self) -> frozenset[str]:
        """Ids of commands whose receipt is awaited."""
        return frozenset(self._waiting)

    def _may_act(self) -> bool:
        return not self.ended and (not self.plan.needs_two or bool(self.approved_by))

    def due(self, fleet: Fleet, now_ms: int, equip: Equip = lambda device, intent: intent) -> Wave | str | None:
        """The wave to send now; or the reason to pause, as text; None while nothing is due."""
        if not self._may_act() or self._waiting:
            return None
        if self._todo:
            return self._requested(self._todo[0], fleet, now_ms, equip)
        if self.paused:
            return None
        if self._cut_short:
            return self._once_more(fleet, now_ms, equip)
        if self._wave + 1 >= len(self.plan.waves):
            return None
        if self._wave >= 0:
            last = self.plan.waves[self._wave]
            failed = [d for d in last if d in fleet.roster.index and self._outcome.get(d) not in GOOD]
            if len(failed) > self.plan.rollout.failure_share * len(last) and self._forgiven < self._wave:
                return f"{len(failed)} of {len(last)} failed in wave {self._wave}"
            if now_ms - self._wave_done_ms < self.plan.rollout.gap_s * 1000:
                return None
        return self._wave_of(f"wave {self._wave + 1}", self.plan.waves[self._wave + 1], fleet, now_ms, equip)

    def _wave_of(self, step: str, devices: Iterable[str], fleet: Fleet, now_ms: int, equip: Equip) -> Wave | None:
        # Units that left the register since the plan was made are skipped.
        commanded = dict.fromkeys((device for device in devices if device in fleet.roster.index), self.plan.intent)
        units = [fleet.roster.index[device] for device in commanded]
        if not isinstance(self.plan.intent, LOAD_NEUTRAL) and bool((fleet.wanted[units] != fleet.mode[units]).any()):
            # The control step has a pending command for some of them, which a newer command would replace.
            return None
        return Wave(step, tuple(self._ask(commanded, now_ms, step, equip)))

    def _once_more(self, fleet: Fleet, now_ms: int, equip: Equip) -> Wave | None:
        """Repeat the commands cut short by the hub's own stop, or withdrawn for an order before they were sent."""
        step = f"{self._step}{AGAIN}"
        if self._step == "restore":
            return self._restore(step, self._cut_short, fleet, now_ms)
        return self._wave_of(step, sorted(self._cut_short), fleet, now_ms, equip)

    def _requested(self, todo: str, fleet: Fleet, now_ms: int, equip: Equip) -> Wave:
        if todo == "restore":
            return self._restore(todo, self.commanded, fleet, now_ms)
        step, commanded = f"retry {self._retries + 1}", dict.fromkeys(self.failed(), self.plan.intent)
        return Wave(step, tuple(self._ask(commanded, now_ms, step, equip)))

    def _restore(self, step: str, devices: Container[str], fleet: Fleet, now_ms: int) -> Wave:
        """Restore the former state; no name is filled in."""
        before = self._before(fleet)
        commanded = {device: before[device] for device in before if device in devices}
        return Wave(step, tuple(self._ask(commanded, now_ms, step, lambda device, intent: intent)))

    def _ask(self, commanded: Mapping[str, Intent], now_ms: int, step: str, equip: Equip) -> list[Command]:
        reason, deadline_s = f"campaign {self.plan.name}, {step}", self.plan.deadline_s
        return [
            command(now_ms, device, equip(device, intent), reason, deadline_s=deadline_s, priority=7)
            for device, intent in commanded.items()
        ]

    def _before(self, fleet: Fleet) -> dict[str, Intent]:
        """The intent that restores each commanded unit; units already in their former state are left out.

        A firmware that cannot wake into a mode wakes into its last one: a second restore then commands the mode.
        """
        found: dict[str, Intent] = {}
        if isinstance(self.plan.intent, InstallFirmware):
            # Firmwares keep no earlier release: it is restored by its image. Where that is missing, the miner is commanded
            # to roll back all the same, and its answer gives the reason of a refusal.
            return {device: self.plan.prior_images.get(device, RollBackFirmware()) for device in sorted(self.commanded)}
        if isinstance(self.plan.intent, SetPools):
            return {d: self.plan.prior_pools[d] for d in sorted(self.commanded) if d in self.plan.prior_pools}
        for device in (d for wave in self.plan.waves for d in wave if d in self.commanded and d in fleet.roster.index):
            unit, before = fleet.roster.index[device], self.plan.prior[device]
            if before == UNSURE or int(fleet.mode[unit]) == before:
                continue
            envelope = fleet.roster.groups[int(fleet.roster.group[unit])].envelope
            found[device] = Sleep() if before == ASLEEP else SetMode(envelope.modes[before].name)
            if before >= 0 and int(fleet.mode[unit]) == ASLEEP:
                found[device] = Wake()
        return found

    def failed(self) -> list[str]:
        """Units whose last outcome is no success; a retry goes to these and no others."""
        return sorted(device for device, outcome in self._outcome.items() if outcome not in GOOD)

    def status(self) -> dict[str, Any]:
        """Progress of the job: state, counts by outcome, waves, failed units, reason of a pause."""
        sent, waves = self._wave + 1, len(self.plan.waves)
        waiting = len(self._waiting) + len(self._cut_short)
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
            "id": self.plan.id, "name": self.plan.name, "by": self.plan.requested_by, "approved_by": self.approved_by,
            "intent": intent_text(self.plan.intent), "proposed_ms": self.proposed_ms, "state": state,
            "devices": sum(map(len, self.plan.waves)), "wave": sent, "waves": waves, "waiting": waiting,
            "outcomes": dict(Counter(self._outcome.values())), "failed": self.failed(),
            "skipped": dict(Counter(skip.why for skip in self.plan.skipped)), "paused": self.paused,
            "ended": self.ended, "holds": len(self.held()),
        }  # fmt: skip


class JobBook:
    """All jobs of a site: a fold of `job.proposed`, `job.changed`, `job.wave` and `command.receipt`."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self._of: dict[str, Job] = {}

    def apply(self, kind: str, body: Mapping[str, Any], at_ms: int) -> None:
        """Fold one event."""
        if kind == EventKind.COMMAND_RECEIPT:
            if (job := self._of.pop(str(body["id"]), None)) is not None:
                job.received(str(body["id"]), str(body["outcome"]), at_ms, hub_cause(body))
            return
        if kind == EventKind.JOB_PROPOSED:
            self.jobs[str(body["id"])] = Job(JobPlan.from_json(body), at_ms)
            return
        job = self.jobs.get(str(body["id"]))
        if job is None:
            return
        if kind == EventKind.JOB_CHANGED:
            job.changed(str(body["what"]), str(body["by"]), str(body.get("why", "")))
        elif kind == EventKind.JOB_WAVE:
            job.sent(str(body["step"]), body["commands"], at_ms)
            self._of |= dict.fromkeys(body["commands"], job)

    def held(self) -> frozenset[str]:
        """Units excluded from the plan."""
        return frozenset().union(*(one.held() for one in self.jobs.values()))
