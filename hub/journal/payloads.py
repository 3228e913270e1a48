# SPDX-License-Identifier: Apache-2.0
"""Payloads of the events that the hub itself writes: life cycle, ticks, settlement, reports, access."""

from typing import Any, NotRequired, TypedDict

Factor = float
"""Without a unit, in a field whose stored name does not say so."""


class HubStarted(TypedDict):
    """`position`: last position of the journal at the start."""

    wiring: str
    position: int


class HubStopped(TypedDict):
    ticks: int


class ClockStepped(TypedDict):
    """The system's clock against the monotonic one."""

    seconds: float


class DataLost(TypedDict):
    """Growth of each counter of losses since the last such event."""

    grown: dict[str, int]


class HubLate(TypedDict):
    """The event loop came this much later than asked: nothing was polled, decided or answered meanwhile."""

    lag_s: float


class TaskFailed(TypedDict):
    """A task that talks to the outside ended in a way that nobody foresaw; it begins again after `restart_s`."""

    task: str
    error: str
    restart_s: float


class TickDecided(TypedDict):
    """Body of one control step (`hub.control.tick`). Version 2: with `rule`, `restored`, `held_back`.

    `changes`: rows of device, intent, reason. `shadow`: the valuation of a tick that only observes.
    """

    position: int
    tick_ms: int
    plan: str | None
    target_w: float
    reason: str
    rule: NotRequired[str]
    expected_w: float
    over_w: float
    overhead_seen: Factor | None
    cap: dict[str, Any]
    changes: list[list[Any]]
    broken: list[Any]
    restraints: list[Any]
    feeders_over: list[Any]
    generation_w: NotRequired[float]
    held_back: NotRequired[list[Any]]
    restored: NotRequired[list[str]]
    switches: NotRequired[list[Any]]
    no_more: NotRequired[list[str]]
    shadow: NotRequired[dict[str, Any]]


PoolEvidence = TypedDict("PoolEvidence", {"for": str, "sha256": list[str]})
"""Raw bytes that a payout rests on, by their SHA-256. `for`: what they are of."""


class RateRecorded(TypedDict):
    """An official exchange rate as `treasury.settlement.RecordedRate.to_json`."""

    pair: str
    value: str
    quant: int
    published: str
    asked: str
    rule: str
    source: str
    evidence: str


class SalePosted(TypedDict):
    """A sale at a licensed venue and its settlement in tenge."""

    id: str
    payout: str
    sold_sat: int
    tenge_tiyn: int
    rate: dict[str, Any]


class PayoutPosted(TypedDict):
    """A payout in the ledger, and the totals after it."""

    id: str
    pool: str
    key: str
    at_ms: int
    received_sat: int
    evidence: str
    total_received_sat: int
    total_posted_sat: int
    residual_sat: int
    city_sat: int


class ReportMade(TypedDict):
    id: str
    sha256: str


class ReportPulled(TypedDict):
    who: str
    role: str
    report: str
    form: str
    sha256: str


class ApiActed(TypedDict):
    """An act by page or API, with further fields of the act."""

    who: str
    role: str
    way: str
    what: str
    outcome: str


AccessEntered = TypedDict("AccessEntered", {"who": str, "role": str, "from": str})
"""A session began. `from`: address of the client."""

AccessDenied = TypedDict("AccessDenied", {"who": str, "asked": str, "permission": str, "why": str, "from": str})
"""A key asked for more than it may."""


class ArchiveDeleted(TypedDict):
    """Files deleted under one rule of retention; `first` and `last` of their paths."""

    rule: str
    merkle_root: str
    files: int
    first: str
    last: str


class OperatorNote(TypedDict):
    text: str
    by: NotRequired[str]
