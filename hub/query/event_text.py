# SPDX-License-Identifier: Apache-2.0
"""An event of the journal as a line that a person reads."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from hub.query.schema import EventLine
from kernel.event import Event
from kernel.units import W_PER_MW

Level = Literal["info", "warning", "alarm"]

_LEVEL: Mapping[str, Level] = {
    "source.silent": "warning",
    "order.refused": "warning",
    "access.denied": "warning",
    "clock.stepped": "alarm",
    "data.lost": "alarm",
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
    "hub.started": lambda b: f"the hub started ({b.get('wiring')})",
    "hub.stopped": lambda b: "the hub stopped in order",
    "clock.stepped": lambda b: f"the system's clock stepped by {float(b.get('seconds', 0)):.1f} s",
    "data.lost": lambda b: "lost: " + ", ".join(f"{name} +{count}" for name, count in sorted(b["grown"].items())),
    "source.silent": lambda b: f"{_name(b)} is silent: {b.get('reason', '')} {b.get('detail', '')}".rstrip(),
    "source.returned": lambda b: f"{_name(b)} answers again",
    "order.received": lambda b: _received(b["order"]),
    "order.accepted": lambda b: "order accepted",
    "order.refused": lambda b: f"order refused: {b.get('why')}",
    "order.phase": lambda b: f"order {b.get('phase')}" + (f" at {_mw(b['power_w'])} by the meter" if "power_w" in b else ""),
    "order.changed": lambda b: f"order changed by {b.get('who')}" if b.get("accepted") else f"change refused: {b.get('why')}",
    "order.ended": lambda b: f"order ended: {b.get('why')}",
    "order.verdict": lambda b: f"verdict by the meter: {b.get('outcome')}, {b.get('why')}",
    "price.curve": lambda b: f"{b.get('file')} refused: {b['refused']}" if "refused" in b else f"{b.get('name')} is new",
    "plan.made": lambda b: f"plan made ({b.get('method')}, {b.get('status')}): {b.get('why_now')}",
    "owner.changed": lambda b: f"{_name(b)} now belongs to {b.get('owner')}" + (f": {b['words']}" if b.get("words") else ""),
    "hand.seen": lambda b: f"{str(b.get('scope')).rpartition('/')[2]}: {b.get('who')}, {b.get('words')}",
    "hand.gone": lambda b: f"{str(b.get('scope')).rpartition('/')[2]}: {b.get('who')} is off",
    "dynamics.learnt": lambda b: f"learnt of {b.get('model')} under {b.get('firmware')}",
    "fact.learnt": lambda b: f"{len(b.get('facts', ()))} facts of where miners stand, by {b.get('source')} ({b.get('by')})",
    "button.pressed": lambda b: f"IP-report button of {_name(b) or b.get('mac')} at {b.get('host')}",
    "walk.begun": lambda b: f"{b.get('by')} walks along {len(b.get('slots', ()))} slots and presses buttons",
    "walk.ended": lambda b: f"the walk along the slots {b.get('why')} by {b.get('by')}",
    "pulse.asked": lambda b: f"{len(b.get('racks', ()))} racks to be proven by pulse, asked by {b.get('by')}",
    "pulse.step": lambda b: f"pulse: {b.get('step')} {b.get('rack') or b.get('why') or ''}".rstrip(),
    "pulse.judged": lambda b: _pulse(b),
    "pulse.ended": lambda b: f"pulses ended: {b.get('why')}",
    "campaign.proposed": lambda b: f"campaign {b.get('name')} proposed by {b.get('by')}",
    "campaign.changed": lambda b: _job(b),
    "campaign.wave": lambda b: f"campaign {b.get('name')}, {b.get('step')}: {len(b.get('commands', ()))} miners asked",
    "straggler.step": lambda b: f"{_name(b)} {b.get('words')}",
    "restore.reported": lambda b: _restored(b),
    "ticket.opened": lambda b: f"ticket: {_name(b)}: {b.get('words')}; {b.get('remedy')}",
    "ticket.closed": lambda b: f"ticket closed: {_name(b)}: {b.get('words')}",
    "payout.posted": lambda b: f"payout of {b.get('received_sat', b.get('amount'))} sat in the ledger",
    "hold.added": lambda b: f"readings are held by {b.get('by')}: {b.get('cited_by') or b.get('why')}",
    "hold.released": lambda b: f"hold {b.get('id')} released by {b.get('by')}: {b.get('why')}",
    "archive.deleted": lambda b: f"{b.get('files')} archive files deleted ({b.get('rule')})",
    "report.made": lambda b: f"report {b.get('kind')} made and signed",
    "report.pulled": lambda b: f"report {b.get('id', b.get('report'))} pulled by {b.get('who')}",
    "alarm.changed": lambda b: _alarm(b),
    "operator.note": lambda b: str(b.get("text", "")),
}  # fmt: skip


def line(event: Event) -> EventLine:
    """The line of an event; one without words of its own is told by its kind."""
    words = _TEXT.get(event.kind)
    text = words(event.body) if words else event.kind
    level: Level = _LEVEL.get(event.kind, "info")
    if event.kind == "order.verdict" and event.body.get("outcome") == "breached":
        level = "alarm"
    if event.kind == "alarm.changed" and event.body.get("what") == "raised" and not event.body.get("suppressed"):
        level = "alarm" if event.body.get("priority") in ("critical", "high") else "warning"
    return {"at_ms": event.at_ms, "kind": event.kind, "level": level, "text": text}
