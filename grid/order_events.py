# SPDX-License-Identifier: Apache-2.0
"""Payloads of the events `order.*`."""

from typing import Any, NotRequired, TypedDict


class OrderReceived(TypedDict):
    """The order as `grid.order.DispatchOrder.to_json`."""

    order: dict[str, Any]


class OrderAccepted(TypedDict):
    """`priority`: the value of a `grid.limit.Priority`."""

    id: str
    priority: int
    notes: list[str]


class OrderRefused(TypedDict):
    id: str
    why: str


class OrderPhase(TypedDict):
    """`acting`, or `holding` with the meter's sample."""

    id: str
    phase: str
    sampled_ms: NotRequired[int]
    power_w: NotRequired[float]


class OrderChanged(TypedDict):
    """A requested change, or a refused end. Power, end or reason None: unchanged."""

    id: str
    who: str
    accepted: bool
    why: str
    nonce: str | None
    power_w: NotRequired[float | None]
    end_ms: NotRequired[int | None]
    reason: NotRequired[str | None]


class OrderEnded(TypedDict):
    """`how`: released, expired or cancelled. `who` is empty where the hub ended it."""

    id: str
    how: str
    who: str
    why: str
    nonce: NotRequired[str | None]


class OrderVerdict(TypedDict):
    """`grid.compliance.Verdict` of an order."""

    id: str
    outcome: str
    obeyed_by_meter_s: float | None
    over_s: float
    over_wh: float
    peak_over_w: float
    coverage: float
    judged_until_ms: int
    why: str


OrderPayload = OrderReceived | OrderAccepted | OrderRefused | OrderPhase | OrderChanged | OrderEnded | OrderVerdict


class OrderSetAside(TypedDict):
    """A message that could not be processed, of `bytes` bytes: the first 2,048 of them in hexadecimal."""

    who: str
    way: str
    error: str
    bytes: int
    payload_hex: str
