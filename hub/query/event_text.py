# SPDX-License-Identifier: Apache-2.0
"""An event of the journal as a line that a person reads."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from hub.query.schema import EventLine
from kernel.event import Event
from kernel.event import EventKind as Kind
from kernel.units import W_PER_MW

Level = Literal["info", "warning", "alarm"]

_LEVEL: Mapping[str, Level] = {
    Kind.SOURCE_SILENT: "warning",
    Kind.ORDER_REFUSED: "warning",
    Kind.ACCESS_DENIED: "warning",
    Kind.CLOCK_STEPPED: "alarm",
    Kind.DATA_LOST: "alarm",
}


def _mw(watts: Any) -> str:
    return f"{float(watts) / W_PER_MW:.3f} MW"


def _name(body: Mapping[str, Any]) -> str:
    return str(body.get("device", "")).rpartition("/")[2]


def _received(order: Mapping[str, Any]) -> str:
    name = order.get("reference") or str(order["id"])[-12:]
    return f"order {name} received from {order['who']}: at most {_mw(order['power_w'])}"


def _alarm(body: Mapping[str, Any]) -> str:
    place = str(body.get("scope")).rpartition("/")[2]
    return f"alarm {body.get('what')}: {body.get('text') or body.get('rule')}, {place}"


def _job(body: Mapping[str, Any]) -> str:
    why = f": {body['why']}" if body.get("why") else ""
    return f"campaign {body.get('name')} {body.get('what')} by {body.get('by')}{why}"


def _restored(body: Mapping[str, Any]) -> str:
    minutes = float(body["after_s"]) / 60.0
    text = f"{body['back']} of {body['woken']} miners are back {minutes:.0f} min after order {str(body['order'])[-12:]}"
    return text + (f"; {len(body['missing'])} missing" if body["missing"] else "")


def _pulse(body: Mapping[str, Any]) -> str:
    result = body.get("result")
    if body.get("outcome") != "judged" or not result:
        return f"pulse of rack {body.get('rack')} proved nothing: {body.get('why')}"
    where = f"hangs on {result['feeder']}" if result["feeder"] else "moved no feeder clearly"
    return f"rack {body.get('rack')} {where}, the register says {result['declared'] or 'nothing'}"


_TEXT: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    Kind.HUB_STARTED: lambda b: f"the hub started ({b.get('wiring')})",
    Kind.HUB_STOPPED: lambda b: "the hub stopped in order",
    Kind.CLOCK_STEPPED: lambda b: f"the system's clock stepped by {float(b.get('seconds', 0)):.1f} s",
    Kind.DATA_LOST: lambda b: "lost: " + ", ".join(f"{name} +{count}" for name, count in sorted(b["grown"].items())),
    Kind.SOURCE_SILENT: lambda b: f"{_name(b)} is silent: {b.get('reason', '')} {b.get('detail', '')}".rstrip(),
    Kind.SOURCE_RETURNED: lambda b: f"{_name(b)} answers again",
    Kind.ORDER_RECEIVED: lambda b: _received(b["order"]),
    Kind.ORDER_ACCEPTED: lambda b: "order accepted",
    Kind.ORDER_REFUSED: lambda b: f"order refused: {b.get('why')}",
    Kind.ORDER_PHASE: lambda b: f"order {b.get('phase')}" + (f" at {_mw(b['power_w'])} by the meter" if "power_w" in b else ""),
    Kind.ORDER_CHANGED: lambda b: f"order changed by {b.get('who')}" if b.get("accepted") else f"change refused: {b.get('why')}",
    Kind.ORDER_ENDED: lambda b: f"order ended: {b.get('why')}",
    Kind.ORDER_VERDICT: lambda b: f"verdict by the meter: {b.get('outcome')}, {b.get('why')}",
    Kind.PRICE_CURVE: lambda b: f"{b.get('file')} refused: {b['refused']}" if "refused" in b else f"{b.get('name')} is new",
    Kind.PLAN_MADE: lambda b: f"plan made ({b.get('method')}, {b.get('status')}): {b.get('why_now')}",
    Kind.OWNER_CHANGED: lambda b: f"{_name(b)} now belongs to {b.get('owner')}" + (f": {b['words']}" if b.get("words") else ""),
    Kind.THIRD_PARTY_DETECTED: lambda b: f"{str(b.get('scope')).rpartition('/')[2]}: {b.get('who')}, {b.get('words')}",
    Kind.THIRD_PARTY_CLEARED: lambda b: f"{str(b.get('scope')).rpartition('/')[2]}: {b.get('who')} is off",
    Kind.DYNAMICS_IDENTIFIED: lambda b: f"learnt of {b.get('model')} under {b.get('firmware')}",
    Kind.ASSET_FACT_RECORDED: lambda b: f"{len(b.get('facts', ()))} facts of miners, by {b.get('source')} ({b.get('by')})",
    Kind.BUTTON_PRESSED: lambda b: f"IP-report button of {_name(b) or b.get('mac')} at {b.get('host')}",
    Kind.COMMISSIONING_BEGUN: lambda b: f"{b.get('by')} walks along {len(b.get('slots', ()))} slots and presses buttons",
    Kind.COMMISSIONING_ENDED: lambda b: f"the walk along the slots {b.get('why')} by {b.get('by')}",
    Kind.FEEDER_MAPPING_REQUESTED: lambda b: f"{len(b.get('racks', ()))} racks to be proven by pulse, asked by {b.get('by')}",
    Kind.FEEDER_MAPPING_STEP: lambda b: f"pulse: {b.get('step')} {b.get('rack') or b.get('why') or ''}".rstrip(),
    Kind.FEEDER_MAPPING_JUDGED: lambda b: _pulse(b),
    Kind.FEEDER_MAPPING_ENDED: lambda b: f"pulses ended: {b.get('why')}",
    Kind.JOB_PROPOSED: lambda b: f"campaign {b.get('name')} proposed by {b.get('by')}",
    Kind.JOB_CHANGED: lambda b: _job(b),
    Kind.JOB_WAVE: lambda b: f"campaign {b.get('name')}, {b.get('step')}: {len(b.get('commands', ()))} miners asked",
    Kind.WAKE_RECOVERY_STEP: lambda b: f"{_name(b)} {b.get('words')}",
    Kind.WAKE_RECOVERY_REPORTED: lambda b: _restored(b),
    Kind.TICKET_OPENED: lambda b: f"ticket: {_name(b)}: {b.get('words')}; {b.get('remedy')}",
    Kind.TICKET_CLOSED: lambda b: f"ticket closed: {_name(b)}: {b.get('words')}",
    Kind.PAYOUT_POSTED: lambda b: f"payout of {b.get('received_sat', b.get('amount'))} sat in the ledger",
    Kind.HOLD_ADDED: lambda b: f"readings are held by {b.get('by')}: {b.get('cited_by') or b.get('why')}",
    Kind.HOLD_RELEASED: lambda b: f"hold {b.get('id')} released by {b.get('by')}: {b.get('why')}",
    Kind.ARCHIVE_DELETED: lambda b: f"{b.get('files')} archive files deleted ({b.get('rule')})",
    Kind.REPORT_MADE: lambda b: f"report {b.get('kind')} made and signed",
    Kind.REPORT_PULLED: lambda b: f"report {b.get('id', b.get('report'))} pulled by {b.get('who')}",
    Kind.ALARM_CHANGED: lambda b: _alarm(b),
    Kind.OPERATOR_NOTE: lambda b: str(b.get("text", "")),
}  # fmt: skip


def line(event: Event) -> EventLine:
    """The line of an event; one without words of its own is told by its kind."""
    words = _TEXT.get(event.kind)
    text = words(event.body) if words else event.kind
    level: Level = _LEVEL.get(event.kind, "info")
    if event.kind == Kind.ORDER_VERDICT and event.body.get("outcome") == "breached":
        level = "alarm"
    if event.kind == Kind.ALARM_CHANGED and event.body.get("what") == "raised" and not event.body.get("suppressed"):
        level = "alarm" if event.body.get("priority") in ("critical", "high") else "warning"
    return {"at_ms": event.at_ms, "kind": event.kind, "level": level, "text": text}
