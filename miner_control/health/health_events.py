# SPDX-License-Identifier: Apache-2.0
"""Payloads of the events of condition monitoring: third parties, recovery after a wake, performance references."""

from typing import Any, TypedDict


class ThirdPartyCleared(TypedDict):
    """`scope`: key of the device that acted by a rule of its own."""

    scope: str
    who: str
    words: str


class ThirdPartyDetected(ThirdPartyCleared):
    evidence: dict[str, Any]


class WakeRecoveryStep(TypedDict):
    """`rung`: a `miner_control.health.wake_recovery.STEPS`. `load`: key of the load that is opened; "" for none."""

    device: str
    rung: str
    words: str
    load: str


class WakeRecoveryReported(TypedDict):
    """Miners woken after an order, and the rows of those that are missing."""

    order: str
    ended_ms: int
    after_s: float
    woken: int
    back: int
    missing: list[dict[str, Any]]
    lost_hs: float


class PerformanceUpdated(TypedDict):
    """Medians of one UTC day as columns over `devices`; None where a unit has none."""

    day_ms: int
    devices: list[str]
    hashrate_hs: list[float | None]
    j_per_th: list[float | None]
    chip_c: list[float | None]
