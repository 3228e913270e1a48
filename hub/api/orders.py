# SPDX-License-Identifier: Apache-2.0
"""The API's orders, `/api/v1/sites/{site}/orders`: read, sent, changed, ended."""

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from hub.api.access import Principal
from hub.api.guard import Need
from hub.api.routes import SITE, key_of, object_of, view_of
from hub.query.schema import NotThere, OrderLine

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
    return view_of(request).orders(site)


def _order_of(request: Request, site: str, order: str) -> OrderLine:
    """An order of this site and no other. Raises NotThere."""
    for line in view_of(request).orders(site):
        if line["id"] == order:
            return line
    raise NotThere(f"no order {order[:60]!r} at {site}")


@router.get(SITE + "/orders/{order}")
async def order(request: Request, site: str, order: str, by: Principal = Depends(Need("order:read"))) -> OrderLine:
    """One order, its phase and the meter's word on it."""
    return _order_of(request, site, order)


@router.post(
    SITE + "/orders",
    status_code=201,
    response_model=OrderLine,
    responses={409: {"model": OrderLine, "description": "refused, with the reason"}},
    openapi_extra=ORDER_SCHEMA,
)
async def send_order(request: Request, site: str, by: Principal = Depends(Need("order:send"))) -> Response:
    """Give an order. 201 when accepted (the same order again is the same order), 409 when refused with the reason."""
    view, body = view_of(request), await object_of(request)
    key = key_of(view, site)
    body.setdefault("scope", key)
    line = await view.submit_order(body, by.authority(key), "rest" if by.way == "key" else "console")
    refused = line["phase"] == "refused"
    detail = {"order": line["id"], "power_w": line["power_w"], "until_ms": line["end_ms"]}
    await request.app.state.guard.audit.acted(by, "order:send", site, line["phase"], detail)
    return JSONResponse(line, 409 if refused else 201)


@router.patch(SITE + "/orders/{order}", openapi_extra=CHANGE_SCHEMA)
async def change_order(
    request: Request, site: str, order: str, by: Principal = Depends(Need("order:send"))
) -> OrderLine:
    """New power, end or reason, at any phase before its end; a refused change is the last of its notes."""
    view, body = view_of(request), await object_of(request)
    _order_of(request, site, order)
    line = await view.change_order(order, body, by.authority(key_of(view, site)), "rest")
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
    view = view_of(request)
    _order_of(request, site, order)
    line = await view.end_order(order, by.authority(key_of(view, site)), why, "rest" if by.way == "key" else "console")
    await request.app.state.guard.audit.acted(by, "order:end", site, line["phase"], {"order": order})
    return line
