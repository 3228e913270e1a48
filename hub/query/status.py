# SPDX-License-Identifier: Apache-2.0
"""What a site looks like at an instant, from the state alone: power three ways, fleet, feeds and the reason as a sentence.

Used by the page, the API, the demo's last line and the CLI, so that all of them tell the same.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from grid.availability import Units
from grid.limit import Limit, cap_at
from hub.config.observe_only import WHY
from hub.control.runtime import Components
from hub.query.schema import Counts, Feed, LimitLine, Measure, Power, Why
from hub.state.site import SiteState
from hub.state.site_generation import generation_meters
from hub.state.situation import SiteSituation
from kernel.clock import MS_PER_S
from kernel.reading import Absence, Missing
from kernel.units import MS_PER_DAY, W_PER_MW
from miner_control.fleet.fleet import STATES, Fleet, Ints
from miner_control.fleet.miner import State
from scheduling.plan import Schedule


def measure(value: float | None, source: str, age_s: float | None = None, why: str = "") -> Measure:
    return {"value": value, "source": source, "age_s": age_s, "why": why}


def meter(now: SiteSituation, device: str, source: str) -> Measure:
    """The newest power of a meter, or why there is none."""
    found = now.meters[device]
    age_s = None if found.last is None else (now.now_ms - found.last[0]) / MS_PER_S
    if isinstance(found.power_w, Missing):
        stale = found.power_w.reason is Absence.STALE
        why = found.power_w.detail if stale else f"{found.power_w.reason.name.lower()} {found.power_w.detail}".strip()
        return measure(None, source, age_s, why)
    return measure(found.power_w, source, age_s)


def power(site: SiteState, now: SiteSituation) -> Power:
    """Main meter, sum of feeder meters, sum of miners; `best` is the first of them that is known."""
    fleet = now.fleet
    main = meter(now, site.main, "main meter") if site.main else measure(None, "main meter", None, "none")
    parts = [meter(now, device, feeder) for feeder, device in sorted(site.feeder_meters.items())]
    title = f"sum of {len(parts)} feeder meters"
    known = [part["value"] for part in parts if part["value"] is not None]
    if parts and len(known) == len(parts):
        feeders = measure(sum(known), title, max(part["age_s"] or 0.0 for part in parts))
    else:
        feeders = measure(None, title, None, f"{len(parts) - len(known)} of {len(parts)} say nothing")
    silent = quiet_count(fleet)
    why = f"{silent} of {len(fleet)} silent, counted as load" if silent else ""
    miners = measure(float(fleet.power_w.sum()), f"sum of {len(fleet)} miners", None, why)
    best = next((part for part in (main, feeders) if part["value"] is not None), miners)
    gap_pct = None
    # The main meter is net of generation on site: only demand can be held against the miners' own figures.
    demand_w = now.generation.demand_w(main["value"])
    if demand_w and miners["value"]:
        gap_pct = 100.0 * (demand_w - miners["value"]) / demand_w
    return {"best": best, "main": main, "feeders": feeders, "miners": miners, "gap_pct": gap_pct}


def quiet_count(fleet: Fleet) -> int:
    """Units without a fresh reading: too old, or a failed poll since."""
    tally = fleet.tally()
    return tally[State.UNREACHABLE] + tally[State.UNKNOWN]


def counts(fleet: Fleet) -> Counts:
    tally = fleet.tally()
    return {
        "total": len(fleet),
        "hashing": tally[State.HASHING],
        "ramping": tally[State.RAMPING],
        "tuning": tally[State.TUNING],
        "asleep": tally[State.ASLEEP],
        "stopped": tally[State.STOPPED],
        "faulty": tally[State.FAULT],
        "unreachable": tally[State.UNREACHABLE],
        "unknown": tally[State.UNKNOWN],
    }


def limit_lines(limits: list[Limit], now_ms: int) -> list[LimitLine]:
    """All limits, those that bind now marked per scope, by scope and power."""
    binding = {id(cap.binding) for scope in {one.scope for one in limits} if (cap := cap_at(limits, scope, now_ms))}
    lines: list[LimitLine] = [
        {
            "scope": one.scope,
            "power_w": one.power_w,
            "start_ms": one.span.start_ms,
            "end_ms": one.span.end_ms,
            "priority": one.priority.name.lower(),
            "rule": one.rule,
            "reason": one.reason,
            "active": one.span.holds(now_ms),
            "binding": id(one) in binding,
        }
        for one in limits
    ]
    return sorted(lines, key=lambda line: (line["scope"], line["power_w"], line["rule"]))


def why(site: SiteState, limits: list[Limit], now_ms: int) -> Why:
    """The rule in force, as a sentence; of an observing site the rule that a commanding hub would follow."""
    lead = f"{WHY}; a hub that commands would follow " if site.config.observe_only else ""
    tick: Mapping[str, Any] = site.tick or {}
    cap = cap_at([one for one in limits if one.priority > 0], site.key, now_ms)
    if cap is not None:
        text = f"{lead}{cap.binding.rule}: {cap.binding.reason}, at most {cap.power_w / W_PER_MW:.3f} MW"
        return {"text": text, "rule": cap.binding.rule, "until_ms": cap.binding.span.end_ms}
    reason = f"{lead}{tick['reason']}" if tick.get("reason") else "no control step has been taken yet"
    for held, count, devices in tick.get("held_back", ()):
        names = ", ".join(device.rpartition("/")[2] for device in devices) + (" ..." if count > len(devices) else "")
        reason += f"; {count} held back ({names}): {held}"
    until = slot_end_ms(site.schedule, now_ms)
    return {"text": reason, "rule": str(tick.get("rule") or "none"), "until_ms": until}


def slot_end_ms(schedule: Schedule | None, now_ms: int) -> int | None:
    """When the plan's running slot ends; None without a plan for now."""
    if schedule is None:
        return None
    index = int(np.searchsorted(schedule.edges_ms, now_ms, side="right"))
    return int(schedule.edges_ms[index]) if 0 < index < len(schedule.edges_ms) else None


def silent_feed(site: SiteState, fleet: Fleet, now_ms: int) -> list[Feed]:
    """The miners and the meters as two lines of feed health."""
    n = len(fleet)
    quiet = quiet_count(fleet)
    share = quiet / n if n else 0.0
    described = f"{n - quiet} of {n} heard" + (f"; {quiet} silent and counted as load" if quiet else "")
    miners: Feed = {
        "name": "miners",
        "title": "Miners",
        "state": "ok" if share < 0.05 else "stale" if share < 0.9 else "dead",
        "age_s": None,
        "text": described,
    }
    known = [site.main, *site.feeder_meters.values(), *generation_meters(site)]
    meters = [device for device in known if device]
    dead = sorted(device.rsplit("/", 1)[-1] for device in meters if device in site.silent)
    main_dead = site.main in site.silent
    text = f"{len(meters) - len(dead)} of {len(meters)} heard"
    if dead:
        text += f"; silent: {', '.join(dead)}"
    if main_dead:
        left = "feeder meters and miners" if len(dead) < len(meters) else "the miners' last known load"
        text += f"; the limit is held on {left}"
    line: Feed = {
        "name": "meters",
        "title": "Meters",
        "state": "dead" if main_dead else "stale" if dead else "ok",
        "age_s": None,
        "text": text if meters else "no meter is configured",
    }
    return [miners, line]


_TITLES = {
    "prices": "Feeds",
    "broker": "MQTT broker",
    "alarms": "Alarms",
    "archive": "Archive",
    "settlement": "Pool and treasury",
    "record": "Journal",
}


def duty_feeds(components: Components, now_ms: int) -> list[Feed]:
    """The hub's own duties and outside feeds as lines of health."""
    lines: list[Feed] = []
    for name, health in sorted(components.health.items()):
        if name.startswith(("control", "orders", "prices")) and health.down_ms is None:
            continue
        down = health.down_ms is not None
        age_s = None if health.well_ms is None else (now_ms - health.well_ms) / 1000
        title = _TITLES.get(name, name.capitalize())
        state: Literal["ok", "dead"] = "dead" if down else "ok"  # restarted ones too: they are not well
        lines.append({"name": name, "title": title, "state": state, "age_s": age_s, "text": health.text or "well"})
    if components.recorder.fault:
        text = f"{components.recorder.fault}; readings wait, nothing new is commanded"
        lines.append({"name": "journal", "title": "Journal", "state": "dead", "age_s": None, "text": text})
    for name, loss in sorted(components.losses.items()):
        if loss.recent(now_ms):
            age_s = (now_ms - loss.last_ms) / 1000
            title = name.replace("_", " ").capitalize()
            lines.append({"name": name, "title": title, "state": "stale", "age_s": age_s, "text": loss.text})
    return lines


STATE_NAMES = tuple(str(state) for state in STATES)


def units_of(fleet: Fleet, since_ms: Ints, site: SiteState) -> Units:
    """The fleet as rows of envelope numbers, at the meter."""
    roster, group = fleet.roster, fleet.roster.group
    option_w = fleet.option_w() * site.overhead_factor
    rows = np.arange(len(fleet))
    ceiling = fleet.ceiling.astype(np.int64) + 1
    envelopes = [one.envelope for one in roster.groups]
    down_s = np.array([one.ramp_down_s for one in envelopes])[group] if envelopes else np.zeros(0)
    up_s = np.array([one.ramp_up_s for one in envelopes])[group] if envelopes else np.zeros(0)
    aged_s = (fleet.now_ms - since_ms) / 1000.0
    asleep = fleet.mode < 0
    rests_s = np.maximum(roster.min_off_s[group] - aged_s, 0.0)
    # Rested and yet not to be woken: its starts of the day are spent, so that it waits for the next one.
    rests_s = np.where(fleet.may_wake | (rests_s > 0), rests_s, (MS_PER_DAY - fleet.now_ms % MS_PER_DAY) / 1000.0)
    return Units(
        power_w=fleet.power_w * site.overhead_factor,
        low_w=np.where(roster.can_sleep[group], option_w[:, 0], option_w[:, 1]),
        high_w=option_w[rows, ceiling],
        down_s=down_s,
        up_s=up_s,
        locked_down_s=np.where(asleep, 0.0, np.maximum(roster.min_on_s[group] - aged_s, 0.0)),
        locked_up_s=np.where(asleep, rests_s, 0.0),
        known=fleet.fresh,
        commandable=fleet.can_command,
        faulty=np.array([STATE_NAMES[code] == State.FAULT for code in fleet.state.tolist()], dtype=np.bool_),
        protected=~roster.ours,
    )
