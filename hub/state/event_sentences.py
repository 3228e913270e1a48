# SPDX-License-Identifier: Apache-2.0
"""Sentences of events that need more than a line, as functions of the payload."""

from collections.abc import Mapping
from typing import Any, Literal

from grid.order_events import OrderChanged, OrderPhase, OrderReceived
from hub.journal.payloads import DataLost, HubStarted, TickDecided
from hub.state.curve_body import PriceCurve
from kernel.units import W_PER_MW
from miner_control.fleet.command_events import OwnerChanged
from miner_control.health.health_events import WakeRecoveryReported
from miner_control.inventory.inventory_events import FeederMappingJudged, FeederMappingStep
from miner_control.jobs.job_events import JobChanged
from telemetry.alarm.alarm import AlarmChanged


def _mw(watts: float) -> str:
    return f"{watts / W_PER_MW:.3f} MW"


def last(key: str) -> str:
    """Short name of a device or scope."""
    return key.rpartition("/")[2]


def name(body: Mapping[str, Any]) -> str:
    """Short name of the device of an event."""
    return last(str(body["device"]))


def hub_started(body: HubStarted) -> str:
    return f"the hub started ({body['wiring']})"


def data_lost(body: DataLost) -> str:
    return "lost: " + ", ".join(f"{name} +{count}" for name, count in sorted(body["grown"].items()))


def price_curve(body: PriceCurve) -> str:
    return f"{body.get('file')} refused: {body['refused']}" if "refused" in body else f"{body['name']} is new"


def order_received(body: OrderReceived) -> str:
    order = body["order"]
    shown = order.get("reference") or str(order["id"])[-12:]
    return f"order {shown} received from {order['who']}: at most {_mw(order['power_w'])}"


def order_phase(body: OrderPhase) -> str:
    return f"order {body['phase']}" + (f" at {_mw(body['power_w'])} by the meter" if "power_w" in body else "")


def order_changed(body: OrderChanged) -> str:
    return f"order changed by {body['who']}" if body["accepted"] else f"change refused: {body['why']}"


def tick_decided(body: TickDecided) -> str:
    return f"at most {_mw(body['target_w'])}: {body['reason']}; {len(body['changes'])} changes"


def owner_changed(body: OwnerChanged) -> str:
    return f"{name(body)} now belongs to {body['owner']}" + (f": {body['words']}" if body["words"] else "")


def job_changed(body: JobChanged) -> str:
    return f"job {body['name']} {body['what']} by {body['by']}" + (f": {body['why']}" if body["why"] else "")


def wake_recovery_reported(body: WakeRecoveryReported) -> str:
    minutes = body["after_s"] / 60.0
    text = f"{body['back']} of {body['woken']} miners are back {minutes:.0f} min after order {body['order'][-12:]}"
    return text + (f"; {len(body['missing'])} missing" if body["missing"] else "")


def feeder_mapping_step(body: FeederMappingStep) -> str:
    return f"pulse: {body['step']} {body.get('rack') or body.get('why') or ''}".rstrip()


def feeder_mapping_judged(body: FeederMappingJudged) -> str:
    result = body["result"]
    if body["outcome"] != "judged" or not result:
        return f"pulse of rack {body['rack']} proved nothing: {body['why']}"
    where = f"hangs on {result['feeder']}" if result["feeder"] else "moved no feeder clearly"
    return f"rack {body['rack']} {where}, the register says {result['declared'] or 'nothing'}"


def alarm_changed(body: AlarmChanged) -> str:
    return f"alarm {body['what']}: {body.get('text') or body['rule']}, {last(body['scope'])}"


def alarm_level(body: AlarmChanged) -> Literal["info", "warning", "alarm"]:
    """A raised alarm by its priority; what is suppressed, and every other change, is information."""
    if body["what"] != "raised" or body.get("suppressed"):
        return "info"
    return "alarm" if body.get("priority") in ("critical", "high") else "warning"
