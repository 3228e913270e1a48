# SPDX-License-Identifier: Apache-2.0
"""Shapes of what is shown of a running hub: JSON values, each answer with the instant it was true at, `as_of_ms`.

What is not known is None with its reason, never zero. `site` is the short name of a site (the middle part of
a device key).
"""

from collections.abc import Sequence
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from hub.settlement.duty import OpenPayout


class SiteInfo(TypedDict):
    """A site: `key` is `hub/site`, `zone` an IANA zone (the page shows the site's time, never the browser's)."""

    site: str
    key: str
    title: str
    zone: str
    currency: str
    capacity_w: float
    observe_only: bool


class Measure(TypedDict):
    """A number with where it comes from. `value` None: unknown, and `why` says so. `age_s` since it was sampled.

    `source` is such as "main meter", "sum of 4 feeder meters", "sum of 1000 miners".
    """

    value: float | None
    source: str
    age_s: float | None
    why: str


class Power(TypedDict):
    """Power three ways, in watts. `best` is the one that the hub goes by; `gap_pct` is meter against miners."""

    best: Measure
    main: Measure
    feeders: Measure
    miners: Measure
    gap_pct: float | None


class LimitLine(TypedDict):
    """One limit that is active or to come. `binding`: it is the lowest one now."""

    scope: str
    power_w: float
    start_ms: int
    end_ms: int
    priority: str
    rule: str
    reason: str
    active: bool
    binding: bool


class Counts(TypedDict):
    """Miners by state; `total` is their sum. `faulty` is never counted as asleep."""

    total: int
    hashing: int
    ramping: int
    tuning: int
    asleep: int
    stopped: int
    faulty: int
    unreachable: int
    unknown: int


class Feed(TypedDict):
    """One outside source or device group: price file, hashprice, main meter, broker, pool, fleet, journal.

    `state` ok | stale | dead | refused | off; `text` describes it, with what the hub does meanwhile.
    """

    name: str
    title: str
    state: Literal["ok", "stale", "dead", "refused", "off"]
    age_s: float | None
    text: str


class Why(TypedDict):
    """Why the fleet is where it is, as a sentence: the rule that binds now, and until when."""

    text: str
    rule: str
    until_ms: int | None


class Status(TypedDict):
    """The site at one instant. `position` is the journal position all of it was read at: one snapshot, one number.

    `observe_only`: nothing is commanded there (`hub.config.observe_only`); the same field stands in every answer about a site.
    """

    as_of_ms: int
    position: int
    site: str
    observe_only: bool
    power: Power
    hashrate_hs: Measure
    cap_w: float | None
    limits: list[LimitLine]
    why: Why
    counts: Counts
    feeds: list[Feed]
    price: Measure
    hashprice: Measure
    breakeven_price: Measure
    available_down_w: Measure
    available_up_w: Measure


class Fleet(TypedDict):
    """Every miner as columns of one length, in the order of rack and position.

    `state` is one of `STATE_CODES`; `temp_c` and `power_w` None where unknown. `layout` changes when devices or
    racks do, so that a client keeps what it has.
    """

    as_of_ms: int
    observe_only: bool
    layout: str
    devices: list[str]
    racks: list[str]
    models: list[str]
    state: list[int]
    temp_c: list[float | None]
    power_w: list[float | None]
    hashrate_hs: list[float | None]


STATE_CODES: Sequence[str] = (
    "unknown",
    "hashing",
    "ramping",
    "tuning",
    "asleep",
    "stopped",
    "fault",
    "unreachable",
)
"""Index = the code in `Fleet.state`; names as in `miner_control.fleet.miner.State`."""


class Series(TypedDict):
    """Columns over [start_ms, end_ms) for the chart, None where nothing is known.

    `power` has one row per pixel column (mean, lowest, highest of the span, at most `width` rows); `plan`, `price` and
    `limit` are steps: each value holds from its instant to the next row.
    """

    start_ms: int
    end_ms: int
    observe_only: bool
    power_at_ms: list[int]
    power_w: list[float | None]
    power_low_w: list[float | None]
    power_high_w: list[float | None]
    plan_at_ms: list[int]
    plan_w: list[float | None]
    price_at_ms: list[int]
    price_per_mwh: list[float | None]
    limit_at_ms: list[int]
    limit_w: list[float | None]


class OrderLine(TypedDict):
    """One dispatcher's order and where it is in its life (`grid.order_entry.Phase`). `observe_only` None: of no site."""

    id: str
    scope: str
    power_w: float
    start_ms: int
    end_ms: int
    who: str
    channel: str
    reference: str
    reason: str
    phase: str
    received_ms: int
    accepted_s: float | None
    refused: str
    ended: str
    ended_ms: int | None
    outcome: str
    obeyed_by_meter_s: float | None
    over_s: float | None
    coverage: float | None
    notes: list[str]
    observe_only: bool | None


class ReceiptLine(TypedDict):
    """One command and what came of it."""

    at_ms: int
    command: str
    device: str
    intent: str
    reason: str
    outcome: str
    text: str
    took_s: float | None


class ReportLine(TypedDict):
    """A report that can be pulled. `files` maps a format (json, csv, sig) to its size in bytes."""

    id: str
    kind: str
    site: str
    period_start_ms: int
    period_end_ms: int
    made_ms: int
    sha256: str
    signed_by: str
    draft: bool
    files: dict[str, int]


class Balance(TypedDict):
    """`net` of an account in whole smallest units (SAT, TIYN, WH, CENT): debits less credits, as the ledger counts."""

    account: str
    unit: str
    net: int


class Ledger(TypedDict):
    """The treasury in one look: balances by account in whole smallest units, the head of the hash chain, findings.

    `waiting`: payouts not wholly settled, oldest first; None until a round of the treasury has been made. `held`: faults that
    keep it from going on (a feed that is down).
    """

    as_of_ms: int
    transfers: int
    balanced: bool
    head: str
    findings: list[str]
    waiting: list[OpenPayout] | None
    held: list[str]
    balances: list[Balance]
    last_payout: NotRequired[dict[str, Any] | None]


class EventLine(TypedDict):
    """One line of the log: an event of the hub."""

    at_ms: int
    kind: str
    level: Literal["info", "warning", "alarm"]
    text: str


class AlarmLine(TypedDict):
    """One alarm that is not simply normal. `state`: unacknowledged, acknowledged, returned, shelved, suppressed, out of
    service (ISA-18.2); `action` is what a person shall do; `who` and `why` of the acknowledgement or shelf."""

    rule: str
    scope: str
    priority: str
    state: str
    raised_ms: int
    value: float | None
    text: str
    action: str
    who: str
    why: str
    shelved_until_ms: int | None


class FaultLine(TypedDict):
    """One fault of a request: where it stands, what is wrong, what to do."""

    place: str
    problem: str
    remedy: str


class Faults(TypedDict):
    """All faults of a request; nothing of it was done."""

    faults: list[FaultLine]
