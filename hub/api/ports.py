# SPDX-License-Identifier: Apache-2.0
"""Ports of a running hub: what page and API read and do, one small object per subject.

A router takes from here the one port that it needs (`ports_of(request).orders`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from hub.control.alarm_desk import AlarmDesk
from hub.control.order_desk import OrderDesk
from hub.control.runtime import Components, Hub
from hub.fleet.asset_desk import AssetDesk
from hub.fleet.commissioning_desk import CommissioningDesk
from hub.fleet.feeder_mapping_desk import FeederMappingDesk
from hub.fleet.job_desk import JobDesk
from hub.fleet.provisioning import Provisions
from hub.query.alarms import AlarmReads
from hub.query.auxiliaries import AuxiliaryReads
from hub.query.fleet import FleetReads
from hub.query.health import HealthReads
from hub.query.orders import OrderReads
from hub.query.plans import PlanReads
from hub.query.sites import SiteReads
from hub.reports.store import ReportStore
from hub.state.legal_holds import HoldBook
from kernel.event import EventKind


class Journalling:
    """Writes single events of the API to the journal."""

    def __init__(self, components: Components) -> None:
        self._components = components

    async def record(self, kind: EventKind, body: Mapping[str, Any], site: str | None = None) -> None:
        """Journal one event; returns once it is on disk. `site` is a short name; None: the hub's own."""
        components = self._components
        key = components.config.hub.name if site is None else components.state.site(site).key
        await components.recorder.commit(key, kind, body)


@dataclass(frozen=True, slots=True)
class Ports:
    """One object per subject; reads are from memory, acts return once the journal holds them."""

    sites: SiteReads
    fleet: FleetReads
    auxiliaries: AuxiliaryReads
    plans: PlanReads
    orders: OrderReads
    order_desk: OrderDesk
    alarms: AlarmReads
    alarm_desk: AlarmDesk
    jobs: JobDesk
    assets: AssetDesk
    commissioning: CommissioningDesk
    feeder_mapping: FeederMappingDesk
    reports: ReportStore
    holds: HoldBook
    health: HealthReads
    journal: Journalling


def ports(hub: Hub, reports: ReportStore, provisions: Provisions, version: str) -> Ports:
    """The ports of a hub that is put together."""
    components = hub.components
    assets = AssetDesk(components)
    return Ports(
        sites=SiteReads(components),
        fleet=FleetReads(components),
        auxiliaries=AuxiliaryReads(components),
        plans=PlanReads(components),
        orders=OrderReads(components),
        order_desk=OrderDesk(hub),
        alarms=AlarmReads(components),
        alarm_desk=AlarmDesk(components),
        jobs=JobDesk(components, provisions),
        assets=assets,
        commissioning=CommissioningDesk(components, assets),
        feeder_mapping=FeederMappingDesk(components, assets),
        reports=reports,
        holds=components.state.holds,
        health=HealthReads(components, version),
        journal=Journalling(components),
    )


def ports_of(request: Request) -> Ports:
    """The ports of the hub that the application was made for."""
    found: Ports = request.app.state.ports
    return found
