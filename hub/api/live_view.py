# SPDX-License-Identifier: Apache-2.0
"""The running hub as page and API see it: `hub.api.view.HubView` with its acts, over the reads of `hub.query.hub_reads`."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import hub.query.schema as shape
from grid.order import read_change, read_order
from grid.order_book import Authority, Happening
from hub.api.live_placement import PlaceDesk
from hub.control.runtime import Hub, site_of
from hub.fleet.jobs import ACTS, proposed, refusal
from hub.fleet.provisioning import Provisions
from hub.query.hub_reads import HubReads, LedgerLook, ReportFile, Reports
from kernel.errors import ConfigError, Fault
from telemetry.alarm.alarm import AlarmBook


class LiveView(HubReads):
    """Acts return once the journal holds them."""

    def __init__(
        self,
        hub: Hub,
        reports: Reports,
        report_file: ReportFile,
        ledger: LedgerLook,
        version: str,
        provisions: Provisions,
    ) -> None:
        super().__init__(hub, reports, report_file, ledger, version)
        self._provisions = provisions
        self.places = PlaceDesk(hub.components)
        self._desk = asyncio.Lock()
        """One message at a time is decided and journalled: the next is judged by what came of it."""

    async def submit_order(self, body: Mapping[str, Any], by: Authority, channel: str) -> shape.OrderLine:
        now_ms = self._now()
        order = read_order(body, by.who, channel, now_ms)
        async with self._desk:
            order_id, happenings = self._hub.components.state.book.receive(order, by, now_ms, body)
            return await self._took(order_id, happenings)

    async def change_order(self, order: str, body: Mapping[str, Any], by: Authority, channel: str) -> shape.OrderLine:
        self._known(order)
        book, change = self._hub.components.state.book, read_change(body)
        async with self._desk:
            return await self._took(order, book.change(order, change, by, self._now(), body))

    async def end_order(
        self, order: str, by: Authority, why: str, channel: str, body: Mapping[str, Any] | None = None
    ) -> shape.OrderLine:
        self._known(order)
        async with self._desk:
            return await self._took(order, self._hub.components.state.book.end(order, by, why, self._now(), body))

    def _known(self, order: str) -> None:
        if self._hub.components.state.book.get(order) is None:
            raise shape.NotThere(f"no order {order}")

    async def _took(self, order_id: str, happenings: Sequence[Happening]) -> shape.OrderLine:
        book = self._hub.components.state.book
        scope = next(
            (body["order"]["scope"] for kind, body in happenings if kind == "order.received"), None
        ) or self._scope(order_id)
        await self._hub.take(happenings, site_of(scope))
        entry = book.get(order_id)
        if entry is None:
            raise shape.NotThere(f"no order {order_id}")
        return self._order_line(entry)

    def _scope(self, order_id: str) -> str:
        entry = self._hub.components.state.book.get(order_id)
        if entry is None:
            raise shape.NotThere(f"no order {order_id}")
        return entry.order.scope

    async def acknowledge_alarm(self, site: str, rule: str, scope: str, who: str) -> None:
        await self._answered(site, scope, lambda book: book.acknowledge(rule, scope, who))

    async def shelve_alarm(self, site: str, rule: str, scope: str, who: str, why: str, until_ms: int) -> None:
        now_ms = self._now()
        await self._answered(site, scope, lambda book: book.shelve(rule, scope, who, why, until_ms, now_ms))

    async def set_alarm(self, site: str, rule: str, scope: str, who: str, what: shape.AlarmAct, why: str) -> None:
        acts: dict[str, Callable[[AlarmBook], list[dict[str, Any]]]] = {
            "unshelve": lambda book: book.unshelve(rule, scope, who),
            "out-of-service": lambda book: book.out_of_service(rule, scope, who, why),
            "in-service": lambda book: book.in_service(rule, scope, who),
        }
        await self._answered(site, scope, acts[what])

    async def _answered(self, site: str, scope: str, ask: Callable[[AlarmBook], list[dict[str, Any]]]) -> None:
        key = self._site(site).key
        if scope != key and not scope.startswith(f"{key}/"):
            raise shape.NotThere(f"no alarm at {scope} in {site}")
        async with self._desk:
            try:
                changes = ask(self._hub.components.state.alarms)
            except KeyError:
                raise shape.NotThere(f"no such alarm at {scope}") from None
            except ValueError as error:
                raise ConfigError([Fault("alarm", str(error), "Give a reason, and a time within its bounds")]) from None
            for body in changes:
                await self._hub.components.recorder.commit(key, "alarm.changed", body)

    async def propose_job(self, site: str, body: Mapping[str, Any], by: str, dry: bool) -> dict[str, Any]:
        here, components, now_ms = self._site(site), self._hub.components, self._now()
        now = components.situations.at(here, now_ms)
        plan = await components.offload(proposed, components.state, here, self._provisions, body, by, now)
        if not dry:
            await components.recorder.commit(here.key, "campaign.proposed", plan.to_json())
        return {"dry_run": dry, "id": plan.id, "needs_two": plan.needs_two, "preview": plan.preview()}

    async def answer_job(self, site: str, job: str, what: str, by: str, why: str) -> dict[str, Any]:
        here, components = self._site(site), self._hub.components
        async with self._desk:
            found = here.jobs.jobs.get(job)
            if found is None:
                raise shape.NotThere(f"no campaign {job[:60]!r} at {site}")
            if what not in (*ACTS, "approved"):
                raise ConfigError([Fault("what", f"{what[:40]!r} is no act", f"Use approved, {', '.join(ACTS)}")])
            if problem := refusal(found, what, by):
                raise ConfigError([Fault(f"campaign {found.plan.name}", problem, "See `mining-hub campaign list`")])
            body = {"id": job, "name": found.plan.name, "what": what, "by": by, "why": why}
            await components.recorder.commit(here.key, "campaign.changed", body)
        return found.status()

    async def record(self, kind: str, body: Mapping[str, Any], site: str | None = None) -> None:
        components = self._hub.components
        key = components.config.hub.name if site is None else self._site(site).key
        await components.recorder.commit(key, kind, body)
