# SPDX-License-Identifier: Apache-2.0
"""Campaigns through the running hub: proposed by somebody, approved where two are needed, sent wave by wave, journalled.

A wave and its commands are in the journal before a byte leaves, like every tick. While an order limits the site no further
wave leaves; what an operator holds is commanded all the same where an order needs it (`hub.state.situation`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from hub.config.observe_only import no_commands
from hub.config.request import Request, ShortText, example
from hub.fleet.provisioning import Provisions
from hub.journal.issue import issue
from hub.journal.recorder import Offload, Recorder
from hub.state.fold import HubState
from hub.state.site import SiteState
from hub.state.situation import SiteSituation, Situations, ordered
from kernel.clock import Clock
from kernel.errors import ConfigError, Fault
from kernel.event import EventKind
from kernel.ids import business_id
from miner_control.control.actuator import Actuator
from miner_control.fleet.command import InstallFirmware, Intent, Pool, SetPools, deadline_of
from miner_control.health.health import PoolRule, host_of, pools_of
from miner_control.jobs.job import Job, Wave
from miner_control.jobs.job_events import JobChanged, JobWave
from miner_control.jobs.job_plan import JobPlan, Rollout, plan_job

WHERE = ("rack", "model", "feeder", "firmware", "state")
ROLLOUT = ("canary", "wave_share", "failure_share", "gap_s")
DEADLINE_S = 300.0
ACTS = ("paused", "resumed", "retry", "restore", "ended")


class JobRequest(Request):
    """Bulk work as a person asks for it."""

    model_config = example({"name": "quiet row", "intent": "mode=low", "where": {"rack": "r03"}})

    name: ShortText = Field(description="Give 1 to 100 characters")
    intent: ShortText = Field(
        description="Give sleep, mode=low, pools=NAME, firmware=VERSION ... in 1 to 100 characters"
    )
    devices: list[str] | None = Field(default=None, min_length=1, description='Give ["m00001", "m00002"], or where')
    where: dict[Literal["rack", "model", "feeder", "firmware", "state"], str] | None = Field(
        default=None, description=f"Patterns of {', '.join(WHERE)}; {{}} is every miner"
    )
    canary: int | None = Field(default=None, strict=True, ge=0, description="Give a whole number of miners")
    wave_share: float | None = Field(default=None, gt=0, le=1, description="Give 0.2 for a fifth")
    failure_share: float | None = Field(default=None, ge=0, le=1, description="Give 0.2 for a fifth")
    gap_s: float | None = Field(default=None, ge=0, description="Give seconds")
    deadline_s: float | None = Field(default=None, ge=10, le=86_400, description="Give seconds of 10 to 86400")
    dry_run: bool = Field(default=False, description="true: only show the waves")

    @model_validator(mode="after")
    def _one_of_both(self) -> "JobRequest":
        if (self.devices is None) == (self.where is None):
            raise ValueError("give devices or where, one of both")
        return self

    def rollout(self) -> Rollout:
        """The rollout, with defaults for what is not given."""
        given = {name: value for name in ROLLOUT if (value := getattr(self, name)) is not None}
        return replace(Rollout(), **given)


def proposed(
    state: HubState,
    site: SiteState,
    provisions: Provisions,
    request: JobRequest,
    by: str,
    now: SiteSituation,
) -> JobPlan:
    """The plan of a request. Raises ConfigError with every fault; nothing is kept of it."""
    if site.config.observe_only:
        raise ConfigError([Fault("observe_only", no_commands(site.config), "Command nothing there, or take it over")])
    devices = _devices(site, provisions, request, now)
    name, deadline_s = request.name, request.deadline_s
    intent, fits = provisions.intent(request.intent)
    provisions.armed(intent)
    rule = provisions.pool_rule(site.config)
    return plan_job(
        name,
        now.fleet,
        devices,
        intent,
        job_id=str(business_id(now.now_ms, "campaign", site.key, name))[-12:],
        rollout=request.rollout(),
        deadline_s=max(DEADLINE_S, deadline_of(intent)) if deadline_s is None else deadline_s,
        pools=rule,
        prior_pools=_pools_now(state, devices, rule) if isinstance(intent, SetPools) else None,
        prior_images=_images_now(state, devices, provisions) if isinstance(intent, InstallFirmware) else None,
        fits=fits,
        elsewhere=frozenset(site.roster.devices[unit] for unit in np.flatnonzero(site.standing.held).tolist()),
        requested_by=by,
    )


def _devices(site: SiteState, provisions: Provisions, request: JobRequest, now: SiteSituation) -> list[str]:
    """Keys of the named miners, or of those of the site that fit `where`."""
    if request.devices is not None:
        return [one if one.startswith(f"{site.key}/") else f"{site.key}/{one}" for one in request.devices]
    where: dict[str, str] = dict((request.where or {}).items())
    return [device for device in site.roster.devices if provisions.stands(device, now.fleet, where)]


def _pools_now(state: HubState, devices: Sequence[str], rule: PoolRule | None) -> dict[str, SetPools]:
    """Last reported pools of these miners, where all are on the allow list: the target of a restore."""
    table, hosts = state.snapshot.kind("miner"), rule.hosts if rule is not None else frozenset()
    found = {}
    for device in devices:
        if device not in table.index:
            continue
        pools = [Pool(url, user) for url, user in pools_of(table.reading(device)) if user]
        if pools and all(host_of(pool.url) in hosts for pool in pools):
            found[device] = SetPools(tuple(pools))
    return found


def _images_now(state: HubState, devices: Sequence[str], provisions: Provisions) -> dict[str, InstallFirmware]:
    """Stored images of the versions that these miners report: the target of a restore."""
    table, images = state.snapshot.kind("miner"), provisions.shelf.images()
    reported = {device: table.reading(device).get("firmware") for device in devices if device in table.index}
    found = {device: provisions.image_of(device, firmware, images) for device, firmware in reported.items()}
    return {device: image for device, image in found.items() if image is not None}


def refusal(job: Job, what: str, by: str) -> str:
    """Why an act on a campaign is refused; "" where it may be."""
    if job.ended:
        return f"is over: {job.ended}"
    if what == "approved":
        if not job.plan.needs_two:
            return "needs no second person"
        return "was asked by the same person: somebody else must approve it" if by == job.plan.requested_by else ""
    if what == "retry" and not job.failed():
        return "has no failures to ask again"
    return ""


class JobDuty:
    """Sends what is due, site by site. `every_s` is also how soon a campaign begins after it was proposed."""

    name = "fleet jobs"

    def __init__(
        self,
        situations: Situations,
        recorder: Recorder,
        clock: Clock,
        offload: Offload,
        provisions: Provisions,
        actuators: Mapping[str, Actuator],
        every_s: float,
    ) -> None:
        self.every_s = every_s
        self._state, self._situations = situations.state, situations
        self._recorder, self._clock, self._offload = recorder, clock, offload
        self._provisions, self._actuators = provisions, actuators

    async def do(self) -> None:
        """One turn over all campaigns that are not ended."""
        for site in self._state.sites.values():
            for job in list(site.jobs.jobs.values()):
                if not job.ended:
                    await self._turn(site, job)

    async def _turn(self, site: SiteState, job: Job) -> None:
        now_ms = self._clock.now_ms()
        if site.config.observe_only:
            return
        if ordered(self._state, site, now_ms):
            # What has not left is taken back: a miner that waits for its image can be shed as any other.
            self._actuators[site.key].withdraw(job.waiting())
            return
        fleet = self._situations.at(site, now_ms).fleet
        due = job.due(fleet, now_ms, self._provisions.named)
        if due is None:
            return
        if isinstance(due, Wave):
            try:
                armed = [replace(c, intent=await self._arm(c.intent)) for c in due.commands]
            except ConfigError as error:
                due = "; ".join(f"{fault.place} {fault.problem}" for fault in error.faults)
        if isinstance(due, str):
            reported = JobChanged(id=job.plan.id, name=job.plan.name, what="paused", by="hub", why=due)
            await self._recorder.commit(site.key, EventKind.JOB_CHANGED, reported)
            return
        asked = {str(one.id): one.device for one in armed}
        wave = JobWave(id=job.plan.id, name=job.plan.name, step=due.step, commands=asked)
        self._recorder.emit(site.key, EventKind.JOB_WAVE, wave)
        self._actuators[site.key].start(await issue(self._recorder, site.key, armed))

    async def _arm(self, intent: Intent) -> Intent:
        return await self._offload(self._provisions.armed, intent)
