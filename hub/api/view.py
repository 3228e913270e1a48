# SPDX-License-Identifier: Apache-2.0
"""What the page and the API need of a running hub: one port, JSON values only. The runtime implements it; tests fake it.

All reads are cheap and synchronous (from memory), and every answer carries the instant it was true at, `as_of_ms`.
What is not known is None with its reason beside it, never zero. Whatever acts is `async`, and returns only when the
journal holds it. `site` is the short name of a site (the middle part of a device key).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, Protocol

from typing_extensions import TypedDict

from grid.dispatch import Authority


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

    `state` ok | stale | dead | refused | off; `text` tells it in words, with what the hub does meanwhile.
    """

    name: str
    title: str
    state: Literal["ok", "stale", "dead", "refused", "off"]
    age_s: float | None
    text: str


class Why(TypedDict):
    """Why the fleet is where it is, in words: the rule that binds now, and until when."""

    text: str
    rule: str
    until_ms: int | None


class Status(TypedDict):
    """The site at one instant. `position` is the journal position all of it was read at: one snapshot, one number.

    `observe_only`: nothing is commanded there (`hub.observe_only`); the same field stands in every answer about a site.
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
"""Index = the code in `Fleet.state`; names as in `miner_control.miner.State`."""


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


class OpenPayout(TypedDict):
    """A payout that is not wholly settled: `step` (receipt, division, sale, tenge) and why it waits; `amount_sat` is what
    that step moves, `since_ms` the time of the payout, `key` the pool's own name of it."""

    payout: str
    key: str
    step: str
    amount_sat: int
    since_ms: int
    reason: str


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
    """One line of the log: what the hub noticed or was told."""

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


class NotThere(LookupError):
    """No such site, order or report: the API answers 404 with the text."""


class PlaceDesk(Protocol):
    """Where miners stand, and what stands around them. Every method raises NotThere for a site or miner that is not."""

    def facts(self, site: str, device: str | None) -> list[dict[str, Any]]:
        """`device, what, value, from, source`, oldest first; of one miner where it is named."""

    async def learn(self, site: str, body: Mapping[str, Any], by: str) -> dict[str, Any]:
        """Take facts in (`hub.positions.facts_asked`) unless `dry_run`: `dry_run, known, learnt`. Raises ConfigError with
        every fault."""

    def around(self, site: str) -> dict[str, Any]:
        """`as_of_ms, loads, loops` (`hub.beside.beside_lines`)."""

    def walk(self, site: str) -> dict[str, Any]:
        """`listening, walk, presses`: the walk under way and the last buttons pressed (`hub.walks.walk_lines`)."""

    async def begin_walk(self, site: str, body: Mapping[str, Any], by: str) -> dict[str, Any]:
        """Begin to walk along slots (`hub.walks.slots_asked`); as `walk`. Raises ConfigError with every fault."""

    async def end_walk(self, site: str, by: str, dry: bool) -> dict[str, Any]:
        """What was pressed as facts; as `learn`, with `faults` and `ended`: a walk that gives no fact goes on."""

    async def cancel_walk(self, site: str, by: str) -> dict[str, Any]:
        """Forget what was pressed; as `walk`."""

    def pulses(self, site: str) -> dict[str, Any]:
        """`running, racks, mismatches` of the rack pulses (`hub.pulses.pulse_lines`)."""

    async def prove(self, site: str, body: Mapping[str, Any], by: str) -> dict[str, Any]:
        """Begin to prove racks (`hub.pulses.proof_asked`); as `pulses`. Raises ConfigError with every fault."""

    async def stop_proof(self, site: str, by: str, why: str) -> dict[str, Any]:
        """No further rack; the one that sleeps is woken. As `pulses`. Raises NotThere where none is proven."""

    async def apply_pulses(self, site: str, by: str, dry: bool) -> dict[str, Any]:
        """Take in as facts what the pulses have proven; as `learn`."""


class HubView(Protocol):
    """A running hub as seen from outside. Every method raises NotThere for a site, order or report that is not."""

    @property
    def places(self) -> PlaceDesk: ...

    def sites(self) -> list[SiteInfo]: ...

    def status(self, site: str) -> Status: ...

    def fleet(self, site: str) -> Fleet: ...

    def miner(self, site: str, device: str) -> dict[str, Any]:
        """One miner: `device, model, rack, state, mode, at_ms, values{metric: value or {missing: reason}}, can
        (`hub.learnt.envelope_json`), usual (`hub.learnt.usual_json`), why, commands: list[ReceiptLine]`. `device` is the
        last part of its key."""

    def tickets(self, site: str, closed: bool) -> list[dict[str, Any]]:
        """Work tickets (`hub.tickets`), costliest first."""

    def missing(self, site: str, after_s: float) -> list[dict[str, Any]]:
        """Miners that were woken and did not come back (`hub.missing`)."""

    def restores(self, site: str) -> list[dict[str, Any]]:
        """Who was missing some time after each order ended (`restore.reported`), newest first."""

    def hands(self, site: str) -> list[dict[str, Any]]:
        """`scope, who, words, at_ms` of everybody else who commands here."""

    def campaigns(self, site: str) -> list[dict[str, Any]]:
        """Bulk work (`miner_control.campaign.Campaign.status`), newest first."""

    async def propose_campaign(self, site: str, body: Mapping[str, Any], by: str, dry: bool) -> dict[str, Any]:
        """Plan bulk work (`hub.campaigns.proposed`) and, unless `dry`, journal it: `dry_run, id, needs_two, preview`.
        Raises ConfigError with every fault."""

    async def answer_campaign(self, site: str, campaign: str, what: str, by: str, why: str) -> dict[str, Any]:
        """Approve, pause, resume, retry, restore or end; its status then. Raises NotThere, and ConfigError where it may not
        be (one's own vote never counts)."""

    def learnt(self, site: str) -> list[dict[str, Any]]:
        """What was learnt of each model against what was assumed (`hub.learnt.learnt_lines`)."""

    def shadow(self, site: str) -> dict[str, Any]:
        """What commanding would have been worth in observe-only, by day (`hub.shadow.ShadowBook.to_json`)."""

    def series(self, site: str, start_ms: int, end_ms: int, width: int) -> Series: ...

    def plan(self, site: str) -> dict[str, Any] | None:
        """The plan that holds, as `Plan.to_json()`; None before the first."""

    async def explain(self, site: str) -> dict[str, Any]:
        """Why groups are off or on, and what changes are worth (`hub.plan_answers`). Raises ConfigError."""

    async def offers(self, site: str, reserve_w: float | None) -> dict[str, Any]:
        """What the site can offer (`hub.plan_answers`). Raises ConfigError where no plan can be made."""

    def orders(self, site: str) -> list[OrderLine]:
        """Newest first: all that are not ended, and the ended ones of the last days."""

    def receipts(self, site: str, count: int) -> list[ReceiptLine]:
        """The newest commands, newest first."""

    def log(self, site: str, count: int) -> list[EventLine]:
        """The newest events worth a person's eye, newest first."""

    def alarms(self, site: str) -> list[AlarmLine]:
        """Most urgent first; the shelved and suppressed ones last."""

    def availability(self, site: str) -> dict[str, Any]:
        """What the site can do now: `Availability.to_json()`."""

    def ledger(self) -> Ledger: ...

    def reports(self, site: str) -> list[ReportLine]: ...

    def report_file(self, report: str, form: str) -> tuple[str, bytes]:
        """(file name, bytes) of one form of a report. The API journals the pull before a byte leaves."""

    def exposition(self) -> str:
        """Every device's latest numbers and the hub's own, in the text format of Prometheus."""

    def health(self) -> dict[str, Any]:
        """`ok, version, started_ms, as_of_ms, position, wiring, faults: [text]`, and process figures where known."""

    async def submit_order(self, body: Mapping[str, Any], by: Authority, channel: str) -> OrderLine:
        """Hand an order (`grid.order`) to the book; journalled, and acted on, before the return. A refusal is a line with
        phase `refused`. Raises ConfigError with all faults where the body cannot be read as an order."""

    async def change_order(self, order: str, body: Mapping[str, Any], by: Authority, channel: str) -> OrderLine:
        """New `power_w`, `until` or `reason` of an order in any phase before its end. A refused change is the last of
        its notes. Raises ConfigError where the body cannot be read."""

    async def end_order(
        self, order: str, by: Authority, why: str, channel: str, body: Mapping[str, Any] | None = None
    ) -> OrderLine:
        """Release it, or cancel it before its start. Ending an ended order changes nothing. `body`: the message with its
        signature, where one came."""

    async def acknowledge_alarm(self, site: str, rule: str, scope: str, who: str) -> None:
        """Somebody has seen it. Raises NotThere where there is no such alarm."""

    async def shelve_alarm(self, site: str, rule: str, scope: str, who: str, why: str, until_ms: int) -> None:
        """Out of sight until an instant. Raises NotThere, and ConfigError without a reason or a sensible end."""

    async def record(self, kind: str, body: Mapping[str, Any], site: str | None = None) -> None:
        """Journal one event of the API (audit); returns once it is on disk."""
