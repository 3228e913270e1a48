# SPDX-License-Identifier: Apache-2.0
"""The API's orders, `/api/v1/sites/{site}/orders`: read, sent, changed, ended."""

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from hub.api.access import Principal
from hub.api.body import SITE, object_of
from hub.api.guard import Need
from hub.api.ports import ports_of
from hub.query.schema import OrderLine

router = APIRouter(prefix="/api/v1")

ORDER_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["power_w", "until"],
                    "properties": {
                        "scope": {"type": "string", "description": "hub/site, or a feeder of it; default: the site"},
                        "power_w": {"type": "number", "minimum": 0},
                        "from": {"type": "string", "format": "date-time"},
                        "until": {"type": "string", "format": "date-time"},
                        "reference": {"type": "string"},
                        "reason": {"type": "string"},
                        "emergency": {"type": "boolean"},
                        "issued": {"type": "string", "format": "date-time"},
                        "expires": {"type": "string", "format": "date-time"},
                        "nonce": {"type": "string"},
                        "signature": {"type": "string"},
                    },
                }
            }
        },
    }
}


CHANGE_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "minProperties": 1,
                    "properties": {
                        "power_w": {"type": "number", "minimum": 0},
                        "until": {"type": "string", "format": "date-time"},
                        "reason": {"type": "string"},
                    },
                }
            }
        },
    }
}


@router.get(SITE + "/orders")
async def orders(request: Request, site: str, by: Principal = Depends(Need("order:read"))) -> list[OrderLine]:
    """Newest first."""
    return ports_of(request).orders.orders(site)


@router.get(SITE + "/orders/{order}")
async def order(request: Request, site: str, order: str, by: Principal = Depends(Need("order:read"))) -> OrderLine:
    """One order, its phase and the meter's word on it."""
    return ports_of(request).orders.order(site, order)


@router.post(
    SITE + "/orders",
    status_code=201,
    response_model=OrderLine,
    responses={409: {"model": OrderLine, "description": "refused, with the reason"}},
    openapi_extra=ORDER_SCHEMA,
)
async def send_order(request: Request, site: str, by: Principal = Depends(Need("order:send"))) -> Response:
    """Give an order. 201 when accepted (the same order again is the same order), 409 when refused with the reason."""
    ports, body = ports_of(request), await object_of(request)
    key = ports.sites.key(site)
    body.setdefault("scope", key)
    channel = "rest" if by.way == "key" else "console"
    line = ports.orders.line(await ports.order_desk.submit(body, by.authority(key), channel))
    refused = line["phase"] == "refused"
    detail = {"order": line["id"], "power_w": line["power_w"], "until_ms": line["end_ms"]}
    await request.app.state.guard.audit.acted(by, "order:send", site, line["phase"], detail)
    return JSONResponse(line, 409 if refused else 201)


@router.patch(SITE + "/orders/{order}", openapi_extra=CHANGE_SCHEMA)
async def change_order(
    request: Request, site: str, order: str, by: Principal = Depends(Need("order:send"))
) -> OrderLine:
    """New power, end or reason, at any phase before its end; a refused change is the last of its notes."""
    ports, body = ports_of(request), await object_of(request)
    ports.orders.order(site, order)
    entry = await ports.order_desk.change(order, body, by.authority(ports.sites.key(site)))
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
    line = ports.orders.line(await ports.order_desk.end(order, by.authority(ports.sites.key(site)), why))
    await request.app.state.guard.audit.acted(by, "order:end", site, line["phase"], {"order": order})
    return line
