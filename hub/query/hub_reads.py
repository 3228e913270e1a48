# SPDX-License-Identifier: Apache-2.0
"""Reads of a running hub for page and API, over the state and the components."""

from collections.abc import Callable
from typing import Any, Final

import hub.query.schema as shape
from grid.limit import cap_at
from grid.order_entry import Entry
from grid.tariff import Tariff
from hub.config.observe_only import FIELD, WHY, marked
from hub.control.interlock import bar as barred
from hub.control.runtime import Hub, site_of
from hub.market.price_duty import HASHPRICE, MARKET
from hub.query import status
from hub.query.downsample import power_chart
from hub.query.event_text import line
from hub.query.feed_health import price_feeds
from hub.query.flexibility import available_at
from hub.query.learnt import envelope_json, learnt_lines, usual_json
from hub.query.missing_miners import missing, restores
from hub.query.plan_answers import explained, offered
from hub.query.rows import alarm_line, order_line, receipt_line, third_party_line
from hub.state.fold import SiteState
from hub.state.legal_holds import HoldBook
from hub.state.situation import SiteSituation
from kernel.curve import known
from kernel.errors import ConfigError, Fault
from kernel.reading import Missing
from kernel.units import H_PER_DAY, HS_PER_PHS, MS_PER_DAY, WH_PER_MWH
from miner_control.fleet.fleet import Fleet
from miner_control.fleet.miner import State
from telemetry.wire.exposition import Figure, exposition

Reports = Callable[[str], list[shape.ReportLine]]
ReportFile = Callable[[str, str], tuple[str, bytes]]
LedgerLook = Callable[[], shape.Ledger]

FRAME_MS: Final = 1_000
"""A page frame is of one second: all clients of it share one situation."""
_CODE = {name: code for code, name in enumerate(shape.STATE_CODES)}


class HubReads:
    """Reads are from memory."""

    def __init__(
        self,
        hub: Hub,
        reports: Reports,
        report_file: ReportFile,
        ledger: LedgerLook,
        version: str,
    ) -> None:
        self._hub, self._miners = hub, hub.components.state.miners
        self._reports, self._report_file, self._ledger = reports, report_file, ledger
        self._version = version
        self._started_ms = hub.components.clock.now_ms()

    def _site(self, name: str) -> SiteState:
        for site in self._hub.components.state.sites.values():
            if site.config.name == name:
                return site
        raise shape.NotThere(f"no site {name!r}")

    def _now(self) -> int:
        return self._hub.components.clock.now_ms()

    def _situation(self, site: SiteState) -> SiteSituation:
        """The situation of this second, made once for all clients of a frame."""
        return self._hub.components.situations.at(site, self._now(), within_ms=FRAME_MS)

    # ---- reads ----

    def sites(self) -> list[shape.SiteInfo]:
        currency = self._hub.components.config.prices.currency
        return [
            {
                "site": site.config.name,
                "key": site.key,
                "title": f"{site.config.name} ({site.config.operator})",
                "zone": site.config.zone,
                "currency": currency,
                "capacity_w": site.config.import_cap_w,
                "observe_only": site.config.observe_only,
            }
            for site in self._hub.components.state.sites.values()
        ]

    def status(self, site: str) -> shape.Status:
        here, state = self._site(site), self._hub.components.state
        now = self._situation(here)
        now_ms, fleet, limits = now.now_ms, now.fleet, list(now.limits)
        cap = cap_at(limits, here.key, now_ms)
        free = available_at(here, now, self._hub.components.config)
        why = WHY if here.config.observe_only else ""
        heard = int(fleet.fresh.sum())
        hashrate = float(fleet.hashrate_hs.sum()) if heard else None
        return {
            "as_of_ms": now_ms,
            "position": state.position,
            "site": site,
            "observe_only": here.config.observe_only,
            "power": status.power(here, now),
            "hashrate_hs": status.measure(hashrate, f"sum of {heard} miners heard"),
            "cap_w": cap.power_w if cap else None,
            "limits": status.limit_lines(limits, now_ms),
            "why": status.why(here, limits, now_ms),
            "counts": status.counts(fleet),
            "feeds": [
                *status.silent_feed(here, fleet, now_ms),
                *price_feeds(state, self._hub.components.config.prices, now_ms),
                *status.duty_feeds(self._hub.components, now_ms),
            ],
            "price": self._curve_now(MARKET, now_ms),
            "hashprice": self._curve_now(HASHPRICE, now_ms, HS_PER_PHS),
            "breakeven_price": self._breakeven(fleet, now_ms),
            "available_down_w": status.measure(free.down_w, "fleet", None, why),
            "available_up_w": status.measure(free.up_w, "fleet", None, why or "; ".join(free.up_limited_by)),
        }

    def _curve_now(self, name: str, now_ms: int, scale: float = 1.0) -> shape.Measure:
        curve = known(self._hub.components.state.all_curves(), name, now_ms)
        if curve is None:
            return status.measure(None, name, None, "none was ever received")
        value = curve.at(now_ms)
        age_s = (now_ms - curve.known_at_ms) / 1000
        if value is None:
            return status.measure(None, curve.source, age_s, "the newest curve does not cover this instant")
        return status.measure(value * scale, curve.source, age_s)

    def _breakeven(self, fleet: Fleet, now_ms: int) -> shape.Measure:
        """The power price per MWh at which the running fleet earns nothing: hash value per watt-hour."""
        hashprice = self._curve_now(HASHPRICE, now_ms)["value"]
        power_w, rate_hs = float(fleet.power_w.sum()), float(fleet.hashrate_hs.sum())
        if hashprice is None or power_w <= 0 or rate_hs <= 0:
            return status.measure(None, "computed", None, "no hashprice" if hashprice is None else "nothing hashes")
        return status.measure(hashprice * rate_hs / H_PER_DAY / power_w * WH_PER_MWH, "hashprice over the fleet's J/TH")

    def fleet(self, site: str) -> shape.Fleet:
        here = self._site(site)
        now = self._situation(here)
        now_ms, fleet, table = now.now_ms, now.fleet, self._hub.components.state.snapshot.kind("miner")
        temps, codes, age_s = table.values("temp_chip_max_c", now_ms)
        boards, board_codes, board_age_s = table.values("temp_board_max_c", now_ms)

        def temp(device: str) -> float | None:
            row = table.index.get(device)
            if row is None:
                return None
            if len(temps) and not codes[row] and age_s[row] < 900:
                return round(float(temps[row]), 1)
            if len(boards) and not board_codes[row] and board_age_s[row] < 900:
                return round(float(boards[row]), 1)
            return None

        devices = fleet.devices
        racks = [self._miners[device].rack for device in devices]
        states = [_CODE[status.STATE_NAMES[code]] for code in fleet.state.tolist()]
        return {
            "as_of_ms": now_ms,
            "observe_only": here.config.observe_only,
            "layout": f"{len(devices)}-{hash((devices, *racks)) & 0xFFFFFFFF:08x}",
            "devices": [device.rpartition("/")[2] for device in devices],
            "racks": racks,
            "models": [self._miners[device].model for device in devices],
            "state": states,
            "temp_c": [temp(device) for device in devices],
            "power_w": [
                round(watts) if fresh else None
                for watts, fresh in zip(fleet.power_w.tolist(), fleet.fresh.tolist(), strict=True)
            ],
            "hashrate_hs": [
                rate if fresh else None
                for rate, fresh in zip(fleet.hashrate_hs.tolist(), fleet.fresh.tolist(), strict=True)
            ],
        }

    def miner(self, site: str, device: str) -> dict[str, Any]:
        here = self._site(site)
        key = f"{here.key}/{device}"
        index = here.roster.index.get(key)
        if index is None:
            raise shape.NotThere(f"no miner {device!r} in {site}")
        fleet = self._situation(here).fleet
        state = status.STATE_NAMES[int(fleet.state[index])]
        table = self._hub.components.state.snapshot.kind("miner")
        found = table.reading(key) if key in table.index else None
        values = {
            name: {"missing": value.reason.name.lower(), "detail": value.detail}
            if isinstance(value, Missing)
            else value
            for name, value in (found.values.items() if found else ())
        }
        commands = [receipt for receipt in self.receipts(site, 2000) if receipt["device"] == device]
        silent = here.silent.get(key)
        why = commands[0]["reason"] if commands and state in (State.ASLEEP, State.RAMPING) else ""
        if silent is not None:
            why = f"silent: {silent.body.get('reason', '')} {silent.body.get('detail', '')}".strip()
        miner = self._miners[key]
        words = (barred(self._hub.components.state, here, key), why or str(values.get("error_text") or ""))
        return {
            "device": device,
            FIELD: here.config.observe_only,
            **{name: getattr(miner, name) for name in ("model", "rack", "position", "feeder", "owner")},
            "state": state,
            "mode": values.get("mode"),
            "at_ms": found.at_ms if found else None,
            "values": values,
            "can": envelope_json(here.envelope(key)),
            "usual": usual_json(here.usual, index, found),
            "why": "; ".join(filter(None, words)),
            "commands": commands[:50],
        }

    def series(self, site: str, start_ms: int, end_ms: int, width: int) -> shape.Series:
        return power_chart(self._hub.components.state, self._site(site), start_ms, end_ms, width, self._now())

    def plan(self, site: str) -> dict[str, Any] | None:
        here = self._site(site)
        return marked(here.config, here.plan) if here.plan is not None else None

    def tickets(self, site: str, closed: bool) -> list[dict[str, Any]]:
        return [ticket.to_json() for ticket in self._site(site).tickets.tickets(closed=closed)]

    def missing(self, site: str, after_s: float) -> list[dict[str, Any]]:
        here = self._site(site)
        return missing(here, self._situation(here), after_s)

    def restores(self, site: str) -> list[dict[str, Any]]:
        return restores(self._site(site))

    def hands(self, site: str) -> list[dict[str, Any]]:
        return [third_party_line(scope, event) for scope, event in sorted(self._site(site).hands.items())]

    def learnt(self, site: str) -> list[dict[str, Any]]:
        here = self._site(site)
        return learnt_lines(here.identification.reported, here.assumed)

    def shadow(self, site: str) -> dict[str, Any]:
        here = self._site(site)
        return marked(here.config, here.shadow.to_json(self._hub.components.config.prices.currency))

    async def explain(self, site: str) -> dict[str, Any]:
        components = self._hub.components
        here = self._site(site)
        now = self._situation(here)
        return await components.offload(explained, components.config, components.state, here, self._tariff(), now)

    async def offers(self, site: str, reserve_w: float | None) -> dict[str, Any]:
        components = self._hub.components
        here = self._site(site)
        now = self._situation(here)
        return await components.offload(
            offered, components.config, components.state, here, self._tariff(), now, reserve_w
        )

    def _tariff(self) -> Tariff:
        tariff = self._hub.components.tariff
        if tariff is None:
            raise ConfigError(
                [Fault("planning.tariff", "there is none, so nothing is planned", "Name one in hub.toml")]
            )
        return tariff

    def orders(self, site: str) -> list[shape.OrderLine]:
        key = self._site(site).key
        since_ms = self._now() - 7 * MS_PER_DAY
        return [
            self._order_line(entry)
            for entry in self._hub.components.state.book.entries()
            if site_of(entry.order.scope) == key and (entry.ended_ms is None or entry.ended_ms >= since_ms)
        ]

    def receipts(self, site: str, count: int) -> list[shape.ReceiptLine]:
        return [receipt_line(body) for body in list(self._site(site).receipts)[:count]]

    def log(self, site: str, count: int) -> list[shape.EventLine]:
        return [line(event) for event in list(self._site(site).log)[:count]]

    def alarms(self, site: str) -> list[shape.AlarmLine]:
        key, book = self._site(site).key, self._hub.components.state.alarms
        found = [one for one in book.alarms(annunciated=False) if one.scope == key or one.scope.startswith(f"{key}/")]
        found.sort(key=lambda one: not one.annunciated)
        return [alarm_line(one, book) for one in found]

    def availability(self, site: str) -> dict[str, Any]:
        here = self._site(site)
        found = available_at(here, self._situation(here), self._hub.components.config)
        return marked(here.config, found.to_json())

    def ledger(self) -> shape.Ledger:
        return self._ledger()

    def reports(self, site: str) -> list[shape.ReportLine]:
        return self._reports(self._site(site).config.name)

    def report_file(self, report: str, form: str) -> tuple[str, bytes]:
        return self._report_file(report, form)

    @property
    def holds(self) -> HoldBook:
        return self._hub.components.state.holds

    def exposition(self) -> str:
        components = self._hub.components
        site_figures = [
            Figure(FIELD, float(site.config.observe_only), "1: the site only observes.", labels={"site": key})
            for key, site in components.state.sites.items()
        ]
        figures = [figure for part in components.counters for figure in part()] + site_figures
        return exposition(components.state.snapshot, self._now(), figures)

    def health(self) -> dict[str, Any]:
        components = self._hub.components
        down = {name: health.text for name, health in components.health.items() if health.down_ms is not None}
        faults = [f"{name}: {text}" for name, text in sorted(down.items())]
        if components.recorder.fault:
            faults.append(f"journal: {components.recorder.fault}")
        if (lost := components.losses.get("readings_lost")) is not None and lost.recent(self._now()):
            faults.append(f"readings lost: {lost.text}")
        return {
            "ok": not faults,
            "version": self._version,
            "started_ms": self._started_ms,
            "as_of_ms": self._now(),
            "position": components.state.position,
            "wiring": components.wiring,
            "faults": faults,
        }

    def _order_line(self, entry: Entry) -> shape.OrderLine:
        site = self._hub.components.state.sites.get(site_of(entry.order.scope))
        return order_line(entry, None if site is None else site.config.observe_only)

    def jobs(self, site: str) -> list[dict[str, Any]]:
        held = self._site(site).jobs.jobs.values()
        return [one.status() for one in sorted(held, key=lambda one: -one.proposed_ms)]
