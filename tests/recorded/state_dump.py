# SPDX-License-Identifier: Apache-2.0
"""Everything that the fold of a journal knows, as JSON values under names of the field.

The names are those of `before_rooms/state.json`, which never changes; where the code's own names change, only what stands to
the right of them here follows. Events are named by (site, writer, sequence number) and not by kind, for kinds may be mapped
to newer names when they are read. Sentences that the fold composes for people are counted, not compared.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from typing import Any

from hub.state.fold import HubState
from hub.state.site import SiteState
from kernel.curve import Curve
from kernel.event import Event
from kernel.reading import Absence
from miner_control.fleet.command import intent_json
from miner_control.fleet.envelope import Envelope
from miner_control.inventory.feeder_mapping import FeederMappingRun, Judged
from miner_control.jobs.job import Job


def state_dump(state: HubState) -> dict[str, Any]:
    """The whole state, of all sites. JSON values only: `null` stands where there is no number."""
    assert state.newest is not None
    at_ms = state.newest[1].at_ms
    return {
        "position": state.position,
        "newest_event": [state.newest[0], *_event(state.newest[1])],
        "sites": {key: _site(site, at_ms) for key, site in sorted(state.sites.items())},
        "orders": _orders(state),
        "alarms": _alarms(state),
        "holds": [_hold(one) for one in state.holds.entries()],
        "presses": [[one.press.host, one.press.mac, one.press.at_ms, one.device] for one in state.buttons.last],
        "walks": {
            site: {
                "by": walk.by, "begun_ms": walk.begun_ms, "slots": [list(slot) for slot in walk.slots],
                "presses": [[one.host, one.mac, one.at_ms] for one in walk.presses],
            }
            for site, walk in sorted(state.buttons.walks.items())
        },
        "curves": {name: [_curve(one) for one in curves] for name, curves in sorted(state.curves.items())},
        "refused_curves": {name: _event(one) for name, one in sorted(state.refused.items())},
        "meter_traces": {meter: _trace(trace.between(0, 1 << 47)) for meter, trace in sorted(state.traces.items())},
        "miners": {device: _miner(miner) for device, miner in sorted(state.miners.items())},
        "reports": [_event(one) for one in state.reports],
        "last_payout": None if state.last_payout is None else _event(state.last_payout),
        "latest_readings": _snapshot(state),
    }  # fmt: skip


def _event(event: Event) -> list[Any]:
    return [event.site, event.writer, event.seq]


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _miner(miner: Any) -> dict[str, Any]:
    return {
        "model": miner.model, "firmware": miner.dialect, "host": miner.host, "ports": dict(miner.ports),
        "feeder": miner.feeder, "credential": miner.credential, "rack": miner.rack, "slot": miner.position,
        "owner": miner.owner, "serial": miner.serial, "mac": miner.mac,
    }  # fmt: skip


def _curve(curve: Curve) -> dict[str, Any]:
    return {
        "unit": curve.unit, "starts_ms": curve.starts_ms.tolist(), "ends_ms": curve.ends_ms.tolist(),
        "values": curve.values.tolist(), "known_at_ms": curve.known_at_ms, "source": curve.source,
        "evidence": curve.evidence,
    }  # fmt: skip


def _trace(found: tuple[Any, Any]) -> dict[str, Any]:
    at_ms, value = found
    digest = hashlib.sha256(at_ms.astype("<i8").tobytes() + value.astype("<f8").tobytes()).hexdigest()
    return {"samples": len(at_ms), "sha256": digest, "last": [int(at_ms[-1]), float(value[-1])] if len(at_ms) else None}


def _hold(one: Any) -> dict[str, Any]:
    span = one.hold.span
    return {
        "id": one.id, "start_ms": span.start_ms, "end_ms": span.end_ms, "kinds": sorted(one.hold.kinds),
        "cited_by": one.hold.cited_by, "why": one.hold.why, "by": one.by, "since_ms": one.since_ms,
        "released_by": one.released_by, "released_why": one.released_why, "released_ms": one.released_ms,
    }  # fmt: skip


def _orders(state: HubState) -> dict[str, Any]:
    book, found = state.book, []
    for one in book.entries():
        order, asked, verdict = one.order, one.asked, one.verdict
        found.append(
            {
                "id": order.id, "scope": order.scope, "power_w": order.power_w, "start_ms": order.span.start_ms,
                "end_ms": order.span.end_ms, "who": order.who, "channel": order.channel, "reference": order.reference,
                "reason": order.reason, "emergency": order.emergency, "received_ms": order.received_ms,
                "issued_ms": order.issued_ms, "expires_ms": order.expires_ms, "nonce": order.nonce, "signed": order.signed,
                "asked_power_w": asked.power_w, "asked_end_ms": asked.span.end_ms, "phase": one.phase.value,
                "accepted_ms": one.accepted_ms, "acting_ms": one.acting_ms, "holding_ms": one.holding_ms,
                "ended_ms": one.ended_ms, "why": one.why, "notes": len(one.notes),
                "caps": [list(cap) for cap in one.caps], "priority": int(one.priority),
                "verdict": {
                    name: verdict[name] for name in ("outcome", "obeyed_by_meter_s", "over_s", "coverage") if name in verdict
                },
            }
        )  # fmt: skip
    limits = [[one.scope, one.power_w, one.span.start_ms, one.span.end_ms, int(one.priority)] for one in book.limits(0)]
    return {"orders": found, "nonces": sorted(map(list, book._nonces)), "limits": limits, "events": len(book._applied)}


def _alarms(state: HubState) -> dict[str, Any]:
    book = state.alarms
    rows = sorted(book._alarms.values(), key=lambda one: (one.rule, one.scope))
    active = {
        rule: sorted(scope for scope, row in timing.index.items() if timing.active[row])
        for rule, timing in book._timing.items()
    }
    return {
        "alarms": [
            {
                "rule": one.rule, "scope": one.scope, "priority": one.priority.value, "active": one.active,
                "acknowledged": one.acknowledged, "raised_ms": one.raised_ms, "value": one.value,
                "shelved_until_ms": one.shelved_until_ms, "suppressed": one.suppressed,
                "out_of_service": one.out_of_service, "who": one.who, "why": one.why, "state": one.state.value,
            }
            for one in rows
        ],
        "standing": {rule: scopes for rule, scopes in sorted(active.items()) if scopes},
        "racks": dict(sorted(book.places.rack.items())),
        "feeders": dict(sorted(book.places.feeder.items())),
        "roles": dict(sorted(book.places.role.items())),
    }  # fmt: skip


def _snapshot(state: HubState) -> dict[str, Any]:
    """Kind, device, metric to [value, reason code, instant, instant of the last good value]."""
    found: dict[str, Any] = {}
    for kind in sorted(state.snapshot.kinds()):
        table = state.snapshot.kind(kind)
        columns = table._columns
        found[kind] = {
            device: {
                "heard_ms": int(table._heard_ms[row]),
                "metrics": {
                    name: [
                        (str if column.is_text else float)(column.stored[row]), int(column.codes[row]),
                        int(column.at_ms[row]), int(column.good_ms[row]),
                    ]
                    for name, column in sorted(columns.items())
                    if column.codes[row] != Absence.NOT_ASKED
                },
            }
            for device, row in sorted(table.index.items())
        }  # fmt: skip
    return found


def _site(site: SiteState, at_ms: int) -> dict[str, Any]:
    schedule, plan, tick = site.schedule, site.plan, site.tick
    return {
        "main_meter": site.main,
        "feeder_meters": dict(sorted(site.feeder_meters.items())),
        "overhead_factor": site.overhead_factor,
        "feeder_factor": site.feeder_factor,
        "starts_a_day": site.starts_cap,
        "units": _units(site, at_ms),
        "envelopes": {" ".join(one.envelope.key): _envelope(one.envelope) for one in site.roster.groups},
        "facts": [[one.device, one.what, one.value, one.from_ms, one.source] for one in site.register.facts],
        "phases": dict(sorted(site.register.phases.items())),
        "plan": None if schedule is None or plan is None else {
            "id": schedule.id, "edges_ms": schedule.edges_ms.tolist(), "power_w": schedule.power_w.tolist(),
            "reasons": list(schedule.reasons), "limited_by": [list(one) for one in schedule.limited_by],
            **{name: plan[name] for name in ("method", "status", "value", "bound", "gap", "made_ms", "why_now")},
        },
        "tick": None if tick is None else {
            "tick_ms": tick["tick_ms"], "position": tick["position"], "changes": tick["changes"],
            "overhead_seen": tick["overhead_seen"],
        },
        "receipts": [
            [one["id"], one["device"], one["intent"], one["outcome"], one["at_ms"]] for one in site.receipts
        ],
        "outcomes": dict(sorted(site.outcomes.items())),
        "issued": site.issued,
        "unanswered": {one: [body["device"], body["intent"]] for one, body in sorted(site.unanswered.items())},
        "log": [_event(one) for one in site.log],
        "silent": {device: _event(one) for device, one in sorted(site.silent.items())},
        "third_parties": {scope: _event(one) for scope, one in sorted(site.third_parties.items())},
        "tickets": [_ticket(one) for one in site.tickets.tickets(closed=True)],
        "credentials": dict(sorted(site.credentials.items())),
        "loads": [_load(site, one) for one in site.around.loads],
        "loops": {one.loop.name: one.loop.units.tolist() for one in site.around.loops},
        "load_w_per_unit": None if site.around.auxiliary_w is None else site.around.auxiliary_w.tolist(),
        "wake_recovery": _ladder(site),
        "restores": {
            order: [
                body["ended_ms"], body["woken"], body["back"],
                [[row["device"], row["state"], row["outcome"], row["tried"]] for row in body["missing"]],
            ]
            for order, body in sorted(site.restores.items())
        },
        "jobs": {name: _job(one) for name, one in sorted(site.jobs.jobs.items())},
        "jobs_by_command": {name: one.plan.id for name, one in sorted(site.jobs._of.items())},
        "held_by_jobs": sorted(site.jobs.held()),
        "feeder_mapping": {
            "running": _proof(site.pulses.running), "last": _proof(site.pulses.last),
            "judged": {rack: _judged(one) for rack, one in sorted(site.pulses.judged.items())},
            "held": sorted(site.pulses.held()),
        },
        "dynamics": _lessons(site),
        "month_peak": [
            list(site.peak._month), site.peak._quarter_ms, site.peak._sum_w, site.peak._count, site.peak._highest_w,
        ],
        "shadow": _shadow(site),
        "performance": {
            "days": [[[_number(v) for v in units] for units in day] for day in site.usual._days[: _days(site)].tolist()],
            "held": site.usual._held.tolist(), "forgotten": site.usual.forgotten.tolist(),
            "usual": [[_number(value) for value in row] for row in site.usual.usual.tolist()],
        },
    }  # fmt: skip


def _units(site: SiteState, at_ms: int) -> dict[str, Any]:
    """Columns by unit: what was asked of each, what came of it, and whose it is."""
    standing, roster = site.standing, site.roster
    asked = standing.commanded(at_ms)
    return {
        "devices": list(roster.devices),
        "model": [" ".join(roster.envelope(unit).key) for unit in range(len(roster))],
        "feeder": [roster.feeder_names[at] for at in roster.feeder.tolist()],
        "ours": roster.ours.tolist(),
        "asked_mode": asked.mode.tolist(),
        "asked_until_ms": asked.until_ms.tolist(),
        "on_mode": asked.on_mode.tolist(),
        "since_ms": asked.since_ms.tolist(),
        "starts_used": asked.starts_used.tolist(),
        "left_alone": asked.excluded.tolist(),
        "put_to_sleep": asked.put_to_sleep.tolist(),
        "proven_mode": asked.proven_mode.tolist(),
        "proven_ms": asked.proven_ms.tolist(),
        "mode_ceiling": asked.mode_ceiling.tolist(),
        "restore_mode": asked.restore.tolist(),
        "held": standing.held.tolist(),
        "failures": standing._failures.tolist(),
        "rest_until_ms": standing._rest_until_ms.tolist(),
        "start_day_ms": standing._start_day_ms.tolist(),
        "restart_until_ms": standing._restart_until_ms.tolist(),
        "restarting": {str(unit): one for unit, one in sorted(standing._restarting.items())},
        "pending": {str(unit): [one.id, one.mode, one.was_asleep] for unit, one in sorted(standing._pending.items())},
    }


def _envelope(one: Envelope) -> dict[str, Any]:
    return {
        "modes": [[mode.name, mode.power_w, mode.hashrate_hs] for mode in one.modes], "normal": one.normal,
        "sleep_w": one.sleep_w, "ramp_up_s": one.ramp_up_s, "ramp_down_s": one.ramp_down_s,
        "start_lost_s": one.start_lost_s, "min_on_s": one.min_on_s, "min_off_s": one.min_off_s,
        "commands": sorted(one.commands), "provenance": one.provenance.value,
    }  # fmt: skip


def _ticket(one: Any) -> dict[str, Any]:
    return {
        "device": one.device, "what": one.what, "text": one.text, "remedy": one.remedy,
        "evidence": dict(sorted(one.evidence.items())), "loss_hs": one.loss_hs, "opened_ms": one.opened_ms,
        "closed_ms": one.closed_ms, "times": one.times,
    }  # fmt: skip


def _load(site: SiteState, one: Any) -> dict[str, Any]:
    on, shown_ms = site.load_book.on(one.key)
    pending = site.load_book._pending.get(one.key)
    return {
        "key": one.key, "kind": one.kind.value, "device": one.device, "group": one.group, "index": one.index,
        "feeder": one.feeder, "power_w": one.power_w, "serves": sorted(one.feeds), "on": on, "shown_ms": shown_ms,
        "pending": None if pending is None else list(pending),
    }  # fmt: skip


def _ladder(site: SiteState) -> dict[str, Any]:
    ladder = site.ladder
    return {
        "woken_ms": dict(sorted(ladder.woken.items())),
        "awaited": {
            device: [one.woken_ms, one.outcome, one.text, list(one.tried), one.tried_ms]
            for device, one in sorted(ladder.recoveries.items())
        },
        "cycling": dict(sorted(ladder.cycling.items())),
        "wakes": sorted(ladder._wakes),
        "spent": sorted([day_ms, rung, count] for (day_ms, rung), count in ladder._spent.items()),
        "budget": [
            ladder.budget.reboots_a_day, ladder.budget.reboots_at_once, ladder.budget.cycles_a_day,
            ladder.budget.cycles_at_once,
        ],
    }  # fmt: skip


def _job(one: Job) -> dict[str, Any]:
    plan, rollout = one.plan, one.plan.rollout
    return {
        "name": plan.name, "by": plan.requested_by, "intent": intent_json(plan.intent),
        "waves": [list(wave) for wave in plan.waves], "skipped": [[skip.device, skip.why] for skip in plan.skipped],
        "mode_before": dict(sorted(plan.prior.items())),
        "pools_before": {device: intent_json(pools) for device, pools in sorted(plan.prior_pools.items())},
        "images_before": {device: intent_json(image) for device, image in sorted(plan.prior_images.items())},
        "canary": rollout.canary, "wave_share": rollout.wave_share, "failure_share": rollout.failure_share,
        "gap_s": rollout.gap_s, "deadline_s": plan.deadline_s, "needs_two": plan.needs_two,
        "proposed_ms": one.proposed_ms, "approved_by": one.approved_by, "paused": bool(one.paused),
        "ended": bool(one.ended), "asked": sorted(one.commanded), "to_do": list(one._todo), "wave": one._wave,
        "step": one._step, "waiting": dict(sorted(one._waiting.items())), "cut_short": sorted(one._cut_short),
        "outcomes": dict(sorted(one._outcome.items())), "wave_done_ms": one._wave_done_ms, "retries": one._retries,
        "forgiven": one._forgiven,
    }  # fmt: skip


def _proof(one: FeederMappingRun | None) -> dict[str, Any] | None:
    if one is None:
        return None
    rack = one.now
    return {
        "id": one.id, "by": one.requested_by, "racks": one.racks, "off_s": one.off_s, "asked_ms": one.requested_ms,
        "done": [_judged(each) for each in one.done], "stopped": bool(one.stopped), "ended": bool(one.ended),
        "now": None if rack is None else {
            "rack": rack.name, "feeder": rack.declared, "devices": list(rack.devices), "at_ms": dict(rack.at_ms),
            "expected_w": rack.expected_w, "spoilt": bool(rack.spoilt), "asked": sorted(rack.commanded),
            "heard_ms": rack.received_ms, "slept": sorted(rack.slept), "waiting": dict(sorted(rack.waiting.items())),
        },
    }  # fmt: skip


def _judged(one: Judged) -> dict[str, Any]:
    result = one.result
    return {
        "rack": one.rack, "outcome": one.outcome, "why": one.why, "at_ms": one.at_ms, "devices": list(one.devices),
        "feeder": None if result is None else result.feeder, "moved_w": None if result is None else result.moved_w,
        "expected_w": None if result is None else result.expected_w, "agrees": None if result is None else result.agrees,
    }  # fmt: skip


def _estimates(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: [one.value, one.spread, one.count] for name, one in sorted(found.items()) if one is not None}


def _lessons(site: SiteState) -> dict[str, Any]:
    book = site.identification
    times = ("ramp_up_s", "ramp_down_s", "start_lost_s", "sleep_w")
    return {
        " ".join(key): {
            **_estimates({name: getattr(learnt, name) for name in times}),
            "mode_power_w": _estimates(learnt.mode_power_w or {}),
            "mode_hashrate_hs": _estimates(learnt.mode_hashrate_hs or {}),
            "values": dict(sorted({**book._times.get(key, {}), **book._modes.get(key, {})}.items())),
        }
        for key, learnt in sorted(book.reported.items())
    }


def _days(site: SiteState) -> int:
    return int(site.usual._held.max(initial=0))


def _shadow(site: SiteState) -> dict[str, Any]:
    book, last = site.shadow, site.shadow._last
    names = ("power_w", "would_w", "hashrate_hs", "would_hs", "energy_price_per_mwh", "hash_value_per_ph_day")
    sums: Iterable[str] = (
        "hours", "priced_hours", "not_bought_mwh", "not_done_ph_days", "starts", "energy_worth", "hashes_worth",
    )  # fmt: skip
    return {
        "days": {day: {name: getattr(worth, name) for name in sums} for day, worth in sorted(book.days.items())},
        "last": None if last is None else [last[0], {name: getattr(last[1], name) for name in names}],
        "would": dict(sorted(book._would.items())),
    }
