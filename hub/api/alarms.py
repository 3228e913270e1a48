# SPDX-License-Identifier: Apache-2.0
"""Routes of alarms: list, acknowledge, shelve, take out of service and back."""

import fastapi
from fastapi import APIRouter, Depends
from pydantic import Field

from hub.api.access import Principal
from hub.api.body import SITE
from hub.api.guard import GuardedRoute, Need
from hub.api.ports import Ports, ports_of
from hub.config.request import Request, ShortText, Text, example
from hub.control.alarm_desk import AlarmAct
from hub.query.schema import AlarmLine
from kernel.errors import NotFound

router = APIRouter(prefix="/api/v1", route_class=GuardedRoute)


class AlarmPlace(Request):
    """An alarm by its rule, at one place or wherever the rule stands."""

    model_config = example({"rule": "meter-silent", "scope": "hub/site/meter-f2"})

    rule: ShortText = Field(description="Name the rule")
    scope: ShortText | None = Field(default=None, description="Name one place; without it: every place of the rule")


class Shelving(AlarmPlace):
    """An alarm that is hidden for some minutes."""

    model_config = example({"rule": "meter-silent", "why": "meter is replaced", "minutes": 60})

    why: Text = Field(description="Give the reason in 1 to 500 characters")
    minutes: int = Field(strict=True, ge=1, le=10_080, description="Give for how long, in whole minutes of 1 to 10080")


class OutOfService(AlarmPlace):
    """An alarm that is taken out of service."""

    model_config = example({"rule": "meter-silent", "why": "meter is replaced"})

    why: Text = Field(description="Give the reason in 1 to 500 characters")


@router.get(SITE + "/alarms")
async def alarms(request: fastapi.Request, site: str, by: Principal = Depends(Need("alarm:read"))) -> list[AlarmLine]:
    """Alarms, most urgent first."""
    return ports_of(request).alarms.alarms(site)


@router.post(SITE + "/alarms/acknowledge")
async def acknowledge_alarm(
    request: fastapi.Request, site: str, body: AlarmPlace, by: Principal = Depends(Need("alarm:answer"))
) -> list[AlarmLine]:
    """Acknowledge an alarm at one place, or without `scope` at every place of the rule on the site."""
    ports, rule = ports_of(request), body.rule
    scopes = _places(ports, site, body, ("unacknowledged", "returned"))
    for scope in scopes:
        await ports.alarm_desk.acknowledge(site, rule, scope, by.actor)
    detail = {"rule": rule, "scopes": scopes}
    await request.app.state.guard.audit.acted(by, "alarm:acknowledge", site, "done", detail)
    return ports.alarms.alarms(site)


@router.post(SITE + "/alarms/shelve")
async def shelve_alarm(
    request: fastapi.Request, site: str, body: Shelving, by: Principal = Depends(Need("alarm:answer"))
) -> list[AlarmLine]:
    """Hide an alarm for some minutes, for a reason; it returns by itself. `scope` as in acknowledge."""
    ports, rule, why, minutes = ports_of(request), body.rule, body.why, body.minutes
    until_ms = request.app.state.guard.clock.now_ms() + minutes * 60_000
    scopes = _places(ports, site, body, ("unacknowledged", "acknowledged"))
    for scope in scopes:
        await ports.alarm_desk.shelve(site, rule, scope, by.actor, why, until_ms)
    detail = {"rule": rule, "scopes": scopes, "why": why, "minutes": minutes}
    await request.app.state.guard.audit.acted(by, "alarm:shelve", site, "done", detail)
    return ports.alarms.alarms(site)


@router.post(SITE + "/alarms/unshelve")
async def unshelve_alarm(
    request: fastapi.Request, site: str, body: AlarmPlace, by: Principal = Depends(Need("alarm:answer"))
) -> list[AlarmLine]:
    """Show a shelved alarm again before its time. `scope` as in acknowledge."""
    return await _set(request, site, body, by, "unshelve", ("shelved",))


@router.post(SITE + "/alarms/out-of-service")
async def alarm_out_of_service(
    request: fastapi.Request, site: str, body: OutOfService, by: Principal = Depends(Need("alarm:answer"))
) -> list[AlarmLine]:
    """Take an alarm out of service until further notice, for a reason. `scope` as in acknowledge."""
    standing = ("unacknowledged", "acknowledged", "returned", "shelved", "suppressed")
    return await _set(request, site, body, by, "out-of-service", standing, body.why)


@router.post(SITE + "/alarms/in-service")
async def alarm_in_service(
    request: fastapi.Request, site: str, body: AlarmPlace, by: Principal = Depends(Need("alarm:answer"))
) -> list[AlarmLine]:
    """Put an alarm back into service. `scope` as in acknowledge."""
    return await _set(request, site, body, by, "in-service", ("out_of_service",))


async def _set(
    request: fastapi.Request,
    site: str,
    body: AlarmPlace,
    by: Principal,
    what: AlarmAct,
    states: tuple[str, ...],
    why: str = "",
) -> list[AlarmLine]:
    ports, rule = ports_of(request), body.rule
    scopes = _places(ports, site, body, states)
    for scope in scopes:
        await ports.alarm_desk.set(site, rule, scope, by.actor, what, why)
    detail = {"rule": rule, "scopes": scopes} | ({"why": why} if why else {})
    await request.app.state.guard.audit.acted(by, f"alarm:{what}", site, "done", detail)
    return ports.alarms.alarms(site)


def _places(ports: Ports, site: str, body: AlarmPlace, states: tuple[str, ...]) -> list[str]:
    """The named place, or every place of the site where the alarm of the rule is in one of the states."""
    if body.scope is not None:
        return [body.scope]
    found = [
        line["scope"] for line in ports.alarms.alarms(site) if line["rule"] == body.rule and line["state"] in states
    ]
    if not found:
        raise NotFound(f"no alarm of rule {body.rule[:60]!r} waits at {site}")
    return found
