# SPDX-License-Identifier: Apache-2.0
"""The API's orders, `/api/v1/sites/{site}/orders`: read, sent, changed, ended."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from hub.api.access import Principal
from hub.api.body import SITE
from hub.api.guard import GuardedRoute, Need
from hub.api.ports import ports_of
from hub.query.schema import OrderLine

router = APIRouter(prefix="/api/v1", route_class=GuardedRoute)


def _text(description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "description": description})


def _instant(description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "format": "date-time", "description": description})


ORDER: Final[dict[str, Any]] = {
    "power_w": 1500000,
    "from": "2026-01-05T10:00:00+05:00",
    "until": "2026-01-05T12:00:00+05:00",
    "reference": "D-117",
    "reason": "line 5 out",
}


class OrderBody(BaseModel):
    """An order; read and checked as one by `grid.order.read_order`, which MQTT shares, and signed as it was sent."""

    model_config = ConfigDict(
        extra="allow", frozen=True, json_schema_extra={"required": ["power_w", "until"], "examples": [ORDER]}
    )

    scope: Annotated[Any, _text("hub/site, or a feeder of it; default: the site")] = None
    power_w: Annotated[
        Any, WithJsonSchema({"type": "number", "minimum": 0, "description": "greatest power drawn, W"})
    ] = None
    start: Annotated[Any, _instant("start; default: now")] = Field(default=None, alias="from")
    until: Annotated[Any, _instant("end; required")] = None
    reference: Annotated[Any, _text("reference of the sender: the same reference is the same order")] = None
    reason: Annotated[Any, _text("reason for people")] = None
    emergency: Annotated[Any, WithJsonSchema({"type": "boolean"})] = None
    issued: Annotated[Any, _instant("instant of a signed message")] = None
    expires: Annotated[Any, _instant("instant after which it must not be accepted")] = None
    nonce: Annotated[Any, _text("nonce of a signed message")] = None
    signature: Annotated[Any, _text("Ed25519 signature")] = None

    def sent(self) -> dict[str, Any]:
        """The object as it was sent: a signature is over these fields and no others."""
        return self.model_dump(exclude_unset=True, by_alias=True)


class ChangeBody(BaseModel):
    """A change of an order, any of its fields; checked by `grid.order.read_change`."""

    model_config = ConfigDict(
        extra="allow", frozen=True, json_schema_extra={"minProperties": 1, "examples": [{"power_w": 900000}]}
    )

    power_w: Annotated[
        Any, WithJsonSchema({"type": "number", "minimum": 0, "description": "greatest power drawn, W"})
    ] = None
    until: Annotated[Any, _instant("new end")] = None
    reason: Annotated[Any, _text("new reason")] = None

    def sent(self) -> dict[str, Any]:
        """The object as it was sent."""
        return self.model_dump(exclude_unset=True, by_alias=True)


@router.get(SITE + "/orders")
async def orders(request: Request, site: str, by: Principal = Depends(Need("order:read"))) -> list[OrderLine]:
    """Newest first."""
    return ports_of(request).orders.orders(site)


@router.get(SITE + "/orders/{order}")
async def order(request: Request, site: str, order: str, by: Principal = Depends(Need("order:read"))) -> OrderLine:
    """One order, its phase and its verdict by meter."""
    return ports_of(request).orders.order(site, order)


@router.post(
    SITE + "/orders",
    status_code=201,
    response_model=OrderLine,
    responses={409: {"model": OrderLine, "description": "refused, with the reason"}},
)
async def send_order(
    request: Request, site: str, body: OrderBody, by: Principal = Depends(Need("order:send"))
) -> Response:
    """Give an order. 201 when accepted (the same order again is the same order), 409 when refused with the reason."""
    ports, sent = ports_of(request), body.sent()
    key = ports.sites.key(site)
    sent.setdefault("scope", key)
    line = ports.orders.line(await ports.order_desk.submit(sent, by.authority(key), by.actor))
    refused = line["phase"] == "refused"
    detail = {"order": line["id"], "power_w": line["power_w"], "until_ms": line["end_ms"]}
    await request.app.state.guard.audit.acted(by, "order:send", site, line["phase"], detail)
    return JSONResponse(line, 409 if refused else 201)


@router.patch(SITE + "/orders/{order}")
async def change_order(
    request: Request, site: str, order: str, body: ChangeBody, by: Principal = Depends(Need("order:send"))
) -> OrderLine:
    """New power, end or reason, at any phase before its end; a refused change is the last of its notes."""
    ports = ports_of(request)
    ports.orders.order(site, order)
    entry = await ports.order_desk.change(order, body.sent(), by.authority(ports.sites.key(site)), by.actor)
    line = ports.orders.line(entry)
    await request.app.state.guard.audit.acted(by, "order:change", site, line["phase"], {"order": order})
    return line


@router.delete(SITE + "/orders/{order}")
async def end_order(
    request: Request,
    site: str,
    order: str,
    why: str = Query("", max_length=200),
    by: Principal = Depends(Need("order:end")),
) -> OrderLine:
    """End it: released, or cancelled before its start. Ending an ended one changes nothing."""
    ports = ports_of(request)
    ports.orders.order(site, order)
    authority = by.authority(ports.sites.key(site))
    line = ports.orders.line(await ports.order_desk.end(order, authority, by.actor, why))
    await request.app.state.guard.audit.acted(by, "order:end", site, line["phase"], {"order": order})
    return line
