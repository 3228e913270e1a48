# SPDX-License-Identifier: Apache-2.0
"""Payloads of the events of the asset register, commissioning and feeder mapping."""

from typing import Any, NotRequired, TypedDict


class AssetFactRecorded(TypedDict):
    """Rows of `facts`: device, what, value, from_ms."""

    by: str
    source: str
    facts: list[list[Any]]


class ButtonPressed(TypedDict):
    """`device`: key of the miner; "" where it is not known."""

    device: str
    host: str
    mac: str
    pressed_ms: int


class CommissioningBegun(TypedDict):
    """Rows of `slots`: rack, position, feeder."""

    by: str
    slots: list[list[str]]


class CommissioningEnded(TypedDict):
    """`why`: ended or cancelled."""

    by: str
    why: str


class FeederMappingRequested(TypedDict):
    id: str
    by: str
    racks: list[str]
    off_s: float


class FeederMappingStep(TypedDict):
    """`step`: begun (rack, declared, devices), asleep (commands, expected_w), woken (commands), back, spoilt (why), or
    stopped (by, why). `commands`: command id to device."""

    id: str
    step: str
    rack: NotRequired[str]
    declared: NotRequired[str]
    devices: NotRequired[list[str]]
    commands: NotRequired[dict[str, str]]
    expected_w: NotRequired[float]
    by: NotRequired[str]
    why: NotRequired[str]


class RackJudged(TypedDict):
    """`outcome`: judged, disturbed or skipped. `result`: a `PulseResult` where it was judged."""

    rack: str
    outcome: str
    why: str
    devices: list[str]
    result: dict[str, Any] | None


class FeederMappingJudged(RackJudged):
    id: str


class FeederMappingEnded(TypedDict):
    id: str
    by: str
    why: str
