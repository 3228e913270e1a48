# SPDX-License-Identifier: Apache-2.0
"""Routes of alarms: list, acknowledge, shelve, take out of service and back."""

from typing import Any

from fastapi import APIRouter, Depends, Request

from hub.api.access import Principal
from hub.api.body import SITE, object_of, texts_of
from hub.api.guard import Need
from hub.api.ports import Ports, ports_of
from hub.control.alarm_desk import AlarmAct
from hub.query.schema import AlarmLine
from kernel.errors import ConfigError, Fault, NotFound

router = APIRouter(prefix="/api/v1")
ALARM_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["rule"],
                    "properties": {
                        "rule": {"type": "string"},
                        "scope": {"type": "string", "description": "without it: every place of the rule"},
                        "why": {"type": "string", "description": "required to shelve and to take out of service"},
                        "minutes": {"type": "integer", "minimum": 1, "maximum": 10080},
                    },
                }
            }
        },
    }
}


@router.get(SITE + "/alarms")
async def alarms(request: Request, site: str, by: Principal = Depends(Need("alarm:read"))) -> list[AlarmLine]:
    """Alarms, most urgent first."""
    return ports_of(request).alarms.alarms(site)


@router.post(SITE + "/alarms/acknowledge", openapi_extra=ALARM_SCHEMA)
async def acknowledge_alarm(
    request: Request, site: str, by: Principal = Depends(Need("alarm:answer"))
) -> list[AlarmLine]:
    """Acknowledge an alarm at one place, or without `scope` at every place of the rule on the site."""
    ports, body = ports_of(request), await object_of(request)
    (rule,) = texts_of(body, "rule")
    scopes = _places(ports, site, rule, body, ("unacknowledged", "returned"))
    for scope in scopes:
        await ports.alarm_desk.acknowledge(site, rule, scope, by.who)
    detail = {"rule": rule, "scopes": scopes}
    await request.app.state.guard.audit.acted(by, "alarm:acknowledge", site, "done", detail)
    return ports.alarms.alarms(site)


@router.post(SITE + "/alarms/shelve", openapi_extra=ALARM_SCHEMA)
async def shelve_alarm(request: Request, site: str, by: Principal = Depends(Need("alarm:answer"))) -> list[AlarmLine]:
    """Hide an alarm for some minutes, for a reason; it returns by itself. `scope` as in acknowledge."""
    ports, body = ports_of(request), await object_of(request)
    rule, why = texts_of(body, "rule", "why")
    minutes = body.get("minutes")
    if isinstance(minutes, bool) or not isinstance(minutes, int) or not 1 <= minutes <= 7 * 1440:
        raise ConfigError([Fault("minutes", "is no whole number of 1 to 10080", "Give for how long")])
    until_ms = request.app.state.guard.clock.now_ms() + minutes * 60_000
    scopes = _places(ports, site, rule, body, ("unacknowledged", "acknowledged"))
    for scope in scopes:
        await ports.alarm_desk.shelve(site, rule, scope, by.who, why, until_ms)
    detail = {"rule": rule, "scopes": scopes, "why": why, "minutes": minutes}
    await request.app.state.guard.audit.acted(by, "alarm:shelve", site, "done", detail)
    return ports.alarms.alarms(site)


@router.post(SITE + "/alarms/unshelve", openapi_extra=ALARM_SCHEMA)
async def unshelve_alarm(request: Request, site: str, by: Principal = Depends(Need("alarm:answer"))) -> list[AlarmLine]:
    """Show a shelved alarm again before its time. `scope` as in acknowledge."""
    return await _set(request, site, by, "unshelve", ("shelved",))


@router.post(SITE + "/alarms/out-of-service", openapi_extra=ALARM_SCHEMA)
async def alarm_out_of_service(
    request: Request, site: str, by: Principal = Depends(Need("alarm:answer"))
) -> list[AlarmLine]:
    """Take an alarm out of service until further notice, for a reason. `scope` as in acknowledge."""
    standing = ("unacknowledged", "acknowledged", "returned", "shelved", "suppressed")
    return await _set(request, site, by, "out-of-service", standing)


@router.post(SITE + "/alarms/in-service", openapi_extra=ALARM_SCHEMA)
async def alarm_in_service(
    request: Request, site: str, by: Principal = Depends(Need("alarm:answer"))
) -> list[AlarmLine]:
    """Put an alarm back into service. `scope` as in acknowledge."""
    return await _set(request, site, by, "in-service", ("out_of_service",))


async def _set(request: Request, site: str, by: Principal, what: AlarmAct, states: tuple[str, ...]) -> list[AlarmLine]:
    ports, body = ports_of(request), await object_of(request)
    (rule,) = texts_of(body, "rule")
    why = texts_of(body, "why")[0] if what == "out-of-service" else ""
    scopes = _places(ports, site, rule, body, states)
    for scope in scopes:
        await ports.alarm_desk.set(site, rule, scope, by.who, what, why)
    detail = {"rule": rule, "scopes": scopes} | ({"why": why} if why else {})
    await request.app.state.guard.audit.acted(by, f"alarm:{what}", site, "done", detail)
    return ports.alarms.alarms(site)


def _places(ports: Ports, site: str, rule: str, body: dict[str, Any], states: tuple[str, ...]) -> list[str]:
    """The named place, or every place of the site where the alarm of the rule is in one of the states."""
    if "scope" in body:
        return texts_of(body, "scope")
    found = [line["scope"] for line in ports.alarms.alarms(site) if line["rule"] == rule and line["state"] in states]
    if not found:
        raise NotFound(f"no alarm of rule {rule[:60]!r} waits at {site}")
    return found
