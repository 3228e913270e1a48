# SPDX-License-Identifier: Apache-2.0
"""Job desk: bulk work as it is proposed, approved, paused, retried, restored and ended by persons."""

from typing import Any

from hub.control.runtime import Components
from hub.fleet.jobs import ACTS, JobRequest, proposed, refusal
from hub.fleet.provisioning import Provisions
from kernel.actor import Actor
from kernel.errors import ConfigError, Fault, NotFound
from kernel.event import EventKind
from miner_control.jobs.job_events import JobChanged


class JobDesk:
    """Each act returns once the journal holds it. Raises NotFound for an unknown site or job."""

    def __init__(self, components: Components, provisions: Provisions) -> None:
        self._components, self._state, self._provisions = components, components.state, provisions

    def jobs(self, site: str) -> list[dict[str, Any]]:
        """Status of every job of the site (`miner_control.jobs.job.Job.status`), newest first."""
        held = self._state.site(site).jobs.jobs.values()
        return [one.status() for one in sorted(held, key=lambda one: -one.proposed_ms)]

    async def propose(self, site: str, request: JobRequest, by: Actor) -> dict[str, Any]:
        """Plan bulk work (`hub.fleet.jobs.proposed`) and, unless `dry_run`, journal it: `dry_run, id, needs_two, preview`.

        Raises ConfigError with every fault.
        """
        here, components = self._state.site(site), self._components
        now = components.situations.at(here, components.clock.now_ms())
        plan = await components.offload(proposed, self._state, here, self._provisions, request, by.person, now)
        if not request.dry_run:
            await components.recorder.commit(here.key, EventKind.JOB_PROPOSED, by.on(plan.to_json()))
        return {"dry_run": request.dry_run, "id": plan.id, "needs_two": plan.needs_two, "preview": plan.preview()}

    async def answer(self, site: str, job: str, what: str, by: Actor, why: str) -> dict[str, Any]:
        """Approve, pause, resume, retry, restore or end; returns the status.

        Raises ConfigError where the act is refused: a person's vote for an own proposal never counts.
        """
        here = self._state.site(site)
        async with self._components.turn:
            found = here.jobs.jobs.get(job)
            if found is None:
                raise NotFound(f"no job {job[:60]!r} at {site}")
            if what not in (*ACTS, "approved"):
                raise ConfigError([Fault("what", f"{what[:40]!r} is no act", f"Use approved, {', '.join(ACTS)}")])
            if problem := refusal(found, what, by.person):
                raise ConfigError([Fault(f"job {found.plan.name}", problem, "See `mining-hub job list`")])
            changed: JobChanged = {"id": job, "name": found.plan.name, "what": what, "by": by.person, "why": why}
            await self._components.recorder.commit(here.key, EventKind.JOB_CHANGED, by.on(changed))
        return found.status()
