# SPDX-License-Identifier: Apache-2.0
"""Books of the hub: what its journal folds to, over all sites."""

from collections.abc import Sequence

from grid.order_book import OrderBook
from hub.state.curve_body import curve_from_json
from hub.state.legal_holds import HoldBook
from hub.state.site import SiteState, places_of
from hub.state.trace import Trace
from kernel.curve import Curve
from kernel.errors import NotFound
from kernel.event import Event
from miner_control.fleet.miner import Miner
from miner_control.inventory.commissioning import ButtonBook
from telemetry.alarm.alarm import AlarmBook
from telemetry.alarm.condition import Places
from telemetry.collect.snapshot import Snapshot

TRACE_SAMPLES = 100_000
CURVES_KEPT = 40
"""Newest curves of each name that are remembered: a month of days, from which forecast errors are learnt."""


class HubBooks:
    """The books of all sites and of the hub itself. `position` is the last record that they hold."""

    def __init__(self, sites: Sequence[SiteState], book: OrderBook, snapshot: Snapshot, alarms: AlarmBook) -> None:
        self.sites = {site.key: site for site in sites}
        self.book = book
        self.snapshot = snapshot
        self.alarms = alarms
        self.holds = HoldBook()
        self.buttons = ButtonBook()
        self.position = 0
        self.newest: tuple[int, Event] | None = None
        """The last event that it holds, with its position."""
        self.curves: dict[str, list[Curve]] = {}
        self.refused: dict[str, Event] = {}
        self.traces: dict[str, Trace] = {
            ref.device: Trace(TRACE_SAMPLES) for site in sites for ref in site.meter_refs() if ref.role != "sub"
        }
        self.by_main = {site.main: site for site in sites if site.main}
        self.miners: dict[str, Miner] = {m.device: m for site in sites for m in site.register.miners}
        """Every miner as it stands now, by device key: one mapping for all who ask, changed in place."""
        self.reports: list[Event] = []
        self.last_payout: Event | None = None

    def site(self, name: str) -> SiteState:
        """The site of a short name. Raises NotFound."""
        for site in self.sites.values():
            if site.config.name == name:
                return site
        raise NotFound(f"no site {name!r}")

    def place(self, event: Event) -> None:
        """`asset.fact_recorded`: its miners stand elsewhere from now on, for lookups and alarms too."""
        site = self.sites.get(event.site)
        if site is None:
            return
        miners = site.place(event.body)
        self.miners |= {miner.device: miner for miner in miners}
        held, (rack, feeder) = self.alarms.places, places_of(site.key, miners)
        known = {**held.rack, **rack}
        for miner in miners:
            if not miner.rack:
                known.pop(miner.device, None)
        self.alarms.places = Places(known, {**held.feeder, **feeder}, held.role)

    def price_curve(self, event: Event) -> None:
        """`price.curve`: a curve, or a file that was refused."""
        body = event.body
        if "refused" in body:
            self.refused[str(body.get("file", body["name"]))] = event
            return
        curve = curve_from_json(body)
        held = [one for one in self.curves.get(curve.name, []) if one.known_at_ms != curve.known_at_ms]
        self.curves[curve.name] = sorted([*held, curve], key=lambda one: one.known_at_ms)[-CURVES_KEPT:]
        self.refused.pop(str(body.get("file", body["name"])), None)

    def all_curves(self) -> list[Curve]:
        return [curve for curves in self.curves.values() for curve in curves]
