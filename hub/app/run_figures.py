# SPDX-License-Identifier: Apache-2.0
"""What a run did, as one JSON object of figures: read from state, journal and ledger, never from wishes."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from hub.config import Config
from hub.metering.energy import EnergyBook, whole
from hub.state.site import SiteState
from hub.wiring import Assembly
from kernel.clock import MS_PER_HOUR
from kernel.reading import ReadingBatch
from kernel.span import Span
from miner_control.fleet.fleet import Bools, Floats, Ints
from miner_control.fleet.miner import State
from telemetry.store.journal import Journal
from treasury.checks import Finding, check

OUTCOMES = ("verified", "refused", "unreachable", "unknown")


def run_figures(wired: Assembly, config: Config, span: Span, miners: int) -> dict[str, Any]:
    """The figures of a span of one hub's life, without wall times: the same run gives the same object."""
    components = wired.hub.components
    state = components.state
    sites = list(state.sites.values())
    journal = components.recorder.journal
    energy = {site.key: _energy(wired.book, journal, site, span) for site in sites}
    meters = [figure for figures in energy.values() for figure in figures["meters"]]
    meter_wh, miners_wh = (sum(figures[name] for figures in energy.values()) for name in ("meter_wh", "miners_wh"))
    counts = components.collector.counts
    receipts = {name: sum(site.outcomes.get(name, 0) for site in sites) for name in OUTCOMES}
    head = wired.report_store.ledger.head()
    findings: list[Finding] = check(wired.report_store.ledger)
    waiting, held = wired.report_store.open_items()
    return {
        "miners": {"configured": miners, **_miners(wired, sites, span.end_ms)},
        "polls": {"ok": counts.ok, "failed": counts.failed},
        "meters": {
            "count": len(meters),
            "energy_wh": round(sum(meter["energy_wh"] for meter in meters if meter["role"] == "main"), 3),
            "coverage": round(float(np.mean([meter["coverage"] for meter in meters])) if meters else 0.0, 4),
        },
        "energy_check": {
            "meter_wh": round(meter_wh, 3),
            "miners_wh": round(miners_wh, 3),
            "difference_pct": round(100.0 * (meter_wh - miners_wh) / meter_wh, 3) if meter_wh else None,
        },
        "plan": _plan(wired, sites),
        "commands": {"issued": sum(site.issued for site in sites), **receipts},
        "order": _order(wired),
        "payout": _payout(wired),
        "ledger": {
            "transfers": head.size - len(wired.report_store.ledger.accounts()),
            "balanced": len(findings) == 0,
            "findings": [str(finding) for finding in findings],
            "waiting": waiting,
            "held": held,
        },
    }


def _miners(wired: Assembly, sites: list[SiteState], now_ms: int) -> dict[str, int]:
    tally: dict[str, int] = {}
    for site in sites:
        fleet = wired.hub.components.situations.at(site, now_ms).fleet
        for name, count in fleet.tally().items():
            tally[name] = tally.get(name, 0) + count
    on = sum(tally.get(state, 0) for state in (State.HASHING, State.RAMPING, State.TUNING))
    faulty = sum(tally.get(state, 0) for state in (State.FAULT, State.UNREACHABLE, State.UNKNOWN, State.STOPPED))
    return {"hashing": on, "asleep": tally.get(State.ASLEEP, 0), "faulty": faulty}


def _energy(book: EnergyBook, journal: Journal, site: SiteState, span: Span) -> dict[str, Any]:
    """Meters by their registers, and the power that the miners reported, brought to the meter by the modelled losses."""
    slot = whole(span)
    meters: list[dict[str, Any]] = []
    for device, role in [(site.main, "main"), *((device, "feeder") for device in site.feeder_meters.values())]:
        if device is None:
            continue
        found = book.energy(device, slot)
        meters.append({"role": role, "energy_wh": found.total_wh(), "coverage": float(found.coverage[0])})
    own_wh = miners_wh(journal, site, span) * (1.0 + site.config.other_load_share)
    main_wh = sum(meter["energy_wh"] for meter in meters if meter["role"] == "main")
    return {"meters": meters, "meter_wh": main_wh, "miners_wh": own_wh}


def miners_wh(journal: Journal, site: SiteState, span: Span) -> float:
    """The miners' own watts over time, straight lines between samples; a unit that tells no watts by its state and mode."""
    roster = site.roster
    n = len(roster)
    held_w, held_ms, reported = np.zeros(n), np.full(n, span.start_ms, dtype=np.int64), np.zeros(n, dtype=np.bool_)
    total_wms = np.zeros(n)
    for batch in journal.batches("miner", span.start_ms, span.end_ms):
        units = np.array([roster.index.get(device, -1) for device in batch.devices], dtype=np.int64)
        watts, known = _watts(batch, units, site)
        chosen = np.flatnonzero(known & (units >= 0) & (batch.at_ms >= span.start_ms) & (batch.at_ms < span.end_ms))
        for part in _once_each(units[chosen]):
            rows = chosen[part]
            unit, at_ms, power_w = units[rows], batch.at_ms[rows], watts[rows]
            before_w = np.where(reported[unit], held_w[unit], power_w)
            total_wms[unit] += (before_w + power_w) / 2 * (at_ms - held_ms[unit])
            held_w[unit], held_ms[unit], reported[unit] = power_w, at_ms, True
    total_wms += held_w * (span.end_ms - held_ms)
    return float(total_wms.sum()) / MS_PER_HOUR


def _once_each(units: Ints) -> Iterator[Ints]:
    """Positions in rounds, in order, no unit twice in a round: a batch may hold several samples of one unit."""
    left = np.arange(len(units))
    while len(left):
        _, first = np.unique(units[left], return_index=True)
        yield left[np.sort(first)]
        left = np.delete(left, first)


def _watts(batch: ReadingBatch, units: Ints, site: SiteState) -> tuple[Floats, Bools]:
    """(power, whether anything says it) per row: the unit's own figure, else what its state and mode draw."""
    count, roster = len(batch), site.roster
    power = batch.columns.get("power_w")
    watts, known = np.zeros(count), np.zeros(count, dtype=np.bool_)
    if power is not None and not isinstance(power.stored, list):
        known = power.present()
        watts = np.where(known, power.stored, 0.0)
    state, mode = batch.columns.get("state"), batch.columns.get("mode")
    for row in np.flatnonzero(~known & (units >= 0)).tolist():
        reported_state = state.field(row) if state else None
        if not isinstance(reported_state, str) or reported_state in (State.UNREACHABLE, State.UNKNOWN):
            continue
        envelope = roster.groups[int(roster.group[units[row]])].envelope
        named = mode.field(row) if mode else None
        running = named if isinstance(named, str) and named in envelope.names else envelope.normal
        watts[row] = envelope.sleep_w if reported_state == State.ASLEEP else envelope.mode(running).power_w
        known[row] = True
    return watts, known


def _plan(wired: Assembly, sites: list[SiteState]) -> dict[str, Any] | None:
    plans = [site.plan for site in sites if site.plan is not None]
    if not plans:
        return None
    plan = plans[0]
    return {
        "status": plan["status"],
        "method": plan["method"],
        "value": plan["value"],
        "bound": plan["bound"],
        "gap": plan["gap"],
        "slots": len(plan["power_w"]),
    }


def _order(wired: Assembly) -> dict[str, Any] | None:
    entries = wired.hub.components.state.book.entries()
    if not entries:
        return None
    entry = entries[0].to_json()
    return {
        "limit_w": entry["power_w"],
        "accepted_s": entry["accepted_s"],
        "obeyed_by_meter_s": entry["obeyed_by_meter_s"],
        "verdict": entry["outcome"],
    }


def _payout(wired: Assembly) -> dict[str, int | None]:
    last = wired.settling.last if wired.settling else None
    if last is None:
        # No pool: nothing is received. A pool and no round yet: nobody knows.
        amount = 0 if wired.settling is None else None
        return {"received_sat": amount, "posted_sat": amount, "residual_sat": amount, "city_sat": amount}
    return {
        "received_sat": last.received_sat,
        "posted_sat": last.posted_sat,
        "residual_sat": last.residual_sat,
        "city_sat": last.city_sat,
    }
