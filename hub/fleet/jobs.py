# SPDX-License-Identifier: Apache-2.0
"""Campaigns through the running hub: proposed by somebody, approved where two are needed, sent wave by wave, journalled.

A wave and its commands are in the journal before a byte leaves, like every tick. While an order limits the site no further
wave leaves; what an operator holds is commanded all the same where an order needs it (`hub.control.tick.fleet_at`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hub.config.observe_only import no_commands
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


def proposed(
    state: HubState,
    site: SiteState,
    provisions: Provisions,
    body: Mapping[str, Any],
    by: str,
    now: SiteSituation,
) -> JobPlan:
    """The plan that a request makes: `name`, `intent`, `devices` or `where`, rollout, `deadline_s`.

    Raises ConfigError with every fault; nothing is remembered of it.
    """
    faults = _unknown_keys(body)
    if site.config.observe_only:
        faults.append(Fault("observe_only", no_commands(site.config), "Command nothing there, or take it over"))
    name, text = body.get("name"), body.get("intent")
    faults += [
        Fault(key, "is missing or no text", "Write 1 to 100 characters")
        for key, found in (("name", name), ("intent", text))
        if not isinstance(found, str) or not 0 < len(found.strip()) <= 100
    ]
    rollout = _rollout(body, faults)
    deadline_s = body.get("deadline_s")
    if deadline_s is not None and not _is_deadline(deadline_s):
        faults.append(Fault("deadline_s", "is no number of 10 to 86400", "Give seconds"))
    devices = _devices(site, provisions, body, now, faults)
    if faults:
        raise ConfigError(faults)
    intent, fits = provisions.intent(str(text))
    provisions.armed(intent)
    rule = provisions.pool_rule(site.config)
    return plan_job(
        str(name).strip(),
        now.fleet,
        devices,
        intent,
        job_id=str(business_id(now.now_ms, "campaign", site.key, str(name)))[-12:],
        rollout=rollout,
        deadline_s=max(DEADLINE_S, deadline_of(intent)) if deadline_s is None else float(deadline_s),
        pools=rule,
        prior_pools=_pools_now(state, devices, rule) if isinstance(intent, SetPools) else None,
        prior_images=_images_now(state, devices, provisions) if isinstance(intent, InstallFirmware) else None,
        fits=fits,
        elsewhere=frozenset(site.roster.devices[unit] for unit in np.flatnonzero(site.standing.held).tolist()),
        asked_by=by,
    )


def _is_deadline(found: object) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and 10 <= found <= 86_400


def _unknown_keys(body: Mapping[str, Any]) -> list[Fault]:
    known = ("name", "intent", "devices", "where", "deadline_s", "dry_run", *ROLLOUT)
    return [Fault(key[:60], "is not understood", f"Use {', '.join(known)}") for key in body if key not in known]


def _rollout(body: Mapping[str, Any], faults: list[Fault]) -> Rollout:
    given: dict[str, Any] = {}
    for key in ROLLOUT:
        if key in body:
            value = body[key]
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                faults.append(Fault(key, "is no number of at least 0", "Give a number, or leave it out"))
            elif key.endswith("_share") and not (value <= 1 and (value > 0 or key != "wave_share")):
                faults.append(Fault(key, "is no share above 0 and at most 1", "Write 0.2 for a fifth"))
            else:
                given[key] = int(value) if key == "canary" else float(value)
    return replace(Rollout(), **given)


def _devices(
    site: SiteState, provisions: Provisions, body: Mapping[str, Any], now: SiteSituation, faults: list[Fault]
) -> list[str]:
    """Those named, or those of the site that fit `where`; one of both."""
    listed, where = body.get("devices"), body.get("where")
    if (listed is None) == (where is None):
        faults.append(Fault("devices", "and where: give one of both", 'Name devices, or where = {"rack": "r01"}'))
        return []
    if listed is not None:
        if not isinstance(listed, list) or not listed or not all(isinstance(one, str) for one in listed):
            faults.append(Fault("devices", "is no list of names", 'Write ["m00001", "m00002"]'))
            return []
        return [one if one.startswith(f"{site.key}/") else f"{site.key}/{one}" for one in listed]
    if not isinstance(where, dict) or not all(key in WHERE and isinstance(v, str) for key, v in where.items()):
        faults.append(Fault("where", "is not understood", f"Use {', '.join(WHERE)} with texts; {{}} is every miner"))
        return []
    return [device for device in site.roster.devices if provisions.stands(device, now.fleet, where)]


def _pools_now(state: HubState, devices: Sequence[str], rule: PoolRule | None) -> dict[str, SetPools]:
    """What these miners told of their pools last, where all of it is on the allow list: what a restore goes back to."""
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
    """The images of what these miners told that they run, where they stand on the shelf: what a restore goes back to."""
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
        return "was asked by the same person: somebody else must approve it" if by == job.plan.asked_by else ""
    if what == "retry" and not job.failed():
        return "has no failures to ask again"
    return ""


class JobDuty:
    """Sends what is due, site by site. `every_s` is also how soon a campaign begins after it was proposed."""

    name = "campaigns"

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
