# SPDX-License-Identifier: Apache-2.0
"""Table of events: for each kind its payload, the books that fold it, its level, and its sentence for people.

Rows stand in the order of docs/reference/events.md, which is made of them (`hub/state/event_page.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar

import hub.state.event_folds as book
import hub.state.event_sentences as sentence
from grid import order_events as order
from hub.journal import payloads as hub
from hub.state.curve_body import PriceCurve
from hub.state.event_folds import Book
from hub.state.legal_holds import HoldAdded, HoldReleased
from hub.state.tickets import TicketClosed, TicketOpened
from kernel.event import EventKind as Kind
from miner_control.fleet import command_events as command
from miner_control.health import health_events as health
from miner_control.inventory import inventory_events as inventory
from miner_control.jobs import job_events as job
from miner_control.learning.batch import DynamicsIdentified
from scheduling.plan import PlanMade
from telemetry.alarm.alarm import AlarmChanged
from telemetry.collect.collector import SourceReturned, SourceSilent

P = TypeVar("P", bound=Mapping[str, Any])
Level = Literal["info", "warning", "alarm"]


@dataclass(frozen=True, slots=True)
class Row(Generic[P]):
    """One kind of event.

    - `about`: the writer, and what the event says; a line of the reference page.
    - `books` fold it, in this order; none: it is evidence alone.
    - `logged`: it stands in the log of its site, with the sentence of `text`.
    - `further`: the payload may have fields besides those of its type.
    """

    kind: Kind
    payload: type[P]
    about: str
    text: Callable[[P], str]
    books: tuple[Book, ...] = ()
    level: Level | Callable[[P], Level] = "info"
    logged: bool = True
    further: bool = False

    def level_of(self, body: P) -> Level:
        return self.level(body) if callable(self.level) else self.level


ROWS: Final[tuple[Row[Any], ...]] = (
    Row(Kind.HUB_STARTED, hub.HubStarted, "runtime: a start, with its wiring", sentence.hub_started, (book.ORDERS_RESTARTED,)),
    Row(Kind.HUB_STOPPED, hub.HubStopped, "runtime: an orderly end", lambda b: "the hub stopped in order"),
    Row(Kind.CLOCK_STEPPED, hub.ClockStepped, "runtime: the system's clock moved against the monotonic one",
        lambda b: f"the system's clock stepped by {b['seconds']:.1f} s", (book.CLOCK,), "alarm"),
    Row(Kind.DATA_LOST, hub.DataLost, "loss watch: growth of each counter of lost readings and unreadable messages",
        sentence.data_lost, level="alarm", logged=False),
    Row(Kind.HUB_LATE, hub.HubLate, "loop lag: a turn of the event loop was late; at most one a minute",
        lambda b: f"the hub stood still for {b['lag_s']:.1f} s", level="alarm"),
    Row(Kind.TASK_FAILED, hub.TaskFailed, "supervision: a task of the outside world failed; once until it is well again",
        lambda b: f"task {b['task']} failed and is restarted: {b['error']}", level="alarm"),
    Row(Kind.SOURCE_SILENT, SourceSilent, "collector: a device stopped answering; once, with the reason",
        lambda b: f"{sentence.name(b)} is silent: {b['reason']} {b['text']}".rstrip(), (book.SILENT,), "warning"),
    Row(Kind.SOURCE_RETURNED, SourceReturned, "collector: it answers again, with the seconds of its silence",
        lambda b: f"{sentence.name(b)} answers again", (book.SILENT,)),
    Row(Kind.PRICE_CURVE, PriceCurve, "price feed: a price or hashprice curve with its known_at and evidence, or a refused file",
        sentence.price_curve, (book.CURVES,), logged=False),
    Row(Kind.ORDER_RECEIVED, order.OrderReceived, "order desk: an order as it came, with its issuer and channel",
        sentence.order_received, (book.ORDERS,)),
    Row(Kind.ORDER_SET_ASIDE, order.OrderSetAside, "order desk: a message that could not be processed, with its bytes",
        lambda b: f"message of {b['who']} by {b['way']} set aside: {b['error']}", level="alarm"),
    Row(Kind.ORDER_ACCEPTED, order.OrderAccepted, "order desk: the order is active from the start of its span",
        lambda b: "order accepted", (book.ORDERS,)),
    Row(Kind.ORDER_REFUSED, order.OrderRefused, "order desk: a refusal with its reason",
        lambda b: f"order refused: {b['why']}", (book.ORDERS,), "warning"),
    Row(Kind.ORDER_PHASE, order.OrderPhase, "order watch: acting (its span began), holding (the meter shows it)",
        sentence.order_phase, (book.ORDERS,)),
    Row(Kind.ORDER_CHANGED, order.OrderChanged, "order desk: a change or an end that was asked, accepted or refused",
        sentence.order_changed, (book.ORDERS,)),
    Row(Kind.ORDER_VERDICT, order.OrderVerdict, "compliance: the meter's verdict on an order",
        lambda b: f"verdict by the meter: {b['outcome']}, {b['why']}", (book.ORDERS,),
        lambda b: "alarm" if b["outcome"] == "breached" else "info"),
    Row(Kind.ORDER_ENDED, order.OrderEnded, "order desk or watch: released, expired or cancelled",
        lambda b: f"order ended: {b['why']}", (book.ORDERS,)),
    Row(Kind.PLAN_MADE, PlanMade, "planner: a plan with value, bound, gap and its occasion",
        lambda b: f"plan made ({b['method']}, {b['status']}): {b['why_now']}", (book.PLAN,)),
    Row(Kind.TICK_DECIDED, hub.TickDecided, "control: one step, with journal position, plan, limits and set-points",
        sentence.tick_decided, (book.TICK, book.ORDERS_STEPPED, book.OVERHEAD), logged=False),
    Row(Kind.COMMAND_ISSUED, command.CommandIssued, "control and duties: a command before it leaves",
        lambda b: f"{sentence.name(b)}: {b['intent']} issued ({b['reason']})",
        (book.RECOVERY, book.COMMANDS, book.CHANGING, book.LOADS, book.RECEIPTS), logged=False, further=True),
    Row(Kind.COMMAND_RECEIPT, command.CommandReceipt, "actuator: the outcome of a command",
        lambda b: f"{sentence.name(b)}: {b['intent']} {b['outcome']}",
        (book.RECOVERY, book.COMMANDS, book.CHANGING, book.LOADS, book.RECEIPTS, book.JOBS, book.FEEDER_MAPPING,
         book.CREDENTIALS, book.PERFORMANCE), logged=False, further=True),
    Row(Kind.OWNER_CHANGED, command.OwnerChanged, "take-over: a device is left to another control system, or taken back",
        sentence.owner_changed, (book.COMMANDS, book.OWNERS)),
    Row(Kind.THIRD_PARTY_DETECTED, health.ThirdPartyDetected,
        "condition monitor: a container or firmware acts by a rule of its own; once per wording",
        lambda b: f"{sentence.last(b['scope'])}: {b['who']}, {b['words']}", (book.THIRD_PARTIES,)),
    Row(Kind.THIRD_PARTY_CLEARED, health.ThirdPartyCleared, "condition monitor: what was detected there is switched off",
        lambda b: f"{sentence.last(b['scope'])}: {b['who']} is off", (book.THIRD_PARTIES,)),
    Row(Kind.JOB_PROPOSED, job.JobProposed, "job desk: bulk work as proposed: intent, waves, units left out, their state before",
        lambda b: f"job {b['name']} proposed by {b['by']}", (book.JOBS,)),
    Row(Kind.JOB_CHANGED, job.JobChanged, "job desk or duty: approved, paused, resumed, retry, restore or ended",
        sentence.job_changed, (book.JOBS,)),
    Row(Kind.JOB_WAVE, job.JobWave, "job duty: commands that leave together, by their ids",
        lambda b: f"job {b['name']}, {b['step']}: {len(b['commands'])} miners commanded", (book.JOBS,)),
    Row(Kind.WAKE_RECOVERY_STEP, health.WakeRecoveryStep, "wake recovery: what is tried with a miner that does not come back",
        lambda b: f"{sentence.name(b)} {b['words']}", (book.RECOVERY,)),
    Row(Kind.WAKE_RECOVERY_REPORTED, health.WakeRecoveryReported, "wake recovery: miners missing some time after an order ended",
        sentence.wake_recovery_reported, (book.RECOVERY,)),
    Row(Kind.TICKET_OPENED, TicketOpened, "condition monitor: a fault of a miner with its evidence; again on relapse",
        lambda b: f"ticket: {sentence.name(b)}: {b['words']}; {b['remedy']}", (book.TICKETS,)),
    Row(Kind.TICKET_CLOSED, TicketClosed, "condition monitor: the fault is gone",
        lambda b: f"ticket closed: {sentence.name(b)}: {b['words']}", (book.TICKETS,)),
    Row(Kind.DYNAMICS_IDENTIFIED, DynamicsIdentified,
        "model learning: times and powers of a model under a firmware as measured, and the values they rest on",
        lambda b: f"learnt of {b['model']} under {b['firmware']}", (book.DYNAMICS,)),
    Row(Kind.PERFORMANCE_UPDATED, health.PerformanceUpdated, "condition monitor: a day's medians of each miner, as columns",
        lambda b: f"performance of a day of {len(b['devices'])} miners", (book.PERFORMANCE,), logged=False),
    Row(Kind.ASSET_FACT_RECORDED, inventory.AssetFactRecorded, "asset desk: places and owners of miners, with their source",
        lambda b: f"{len(b['facts'])} facts of where miners stand, by {b['source']} ({b['by']})", (book.ASSETS,)),
    Row(Kind.BUTTON_PRESSED, inventory.ButtonPressed, "IP-report listener: a miner's button was pressed",
        lambda b: f"IP-report button of {sentence.name(b) or b['mac']} at {b['host']}", (book.BUTTONS,)),
    Row(Kind.COMMISSIONING_BEGUN, inventory.CommissioningBegun, "commissioning desk: slots that a person walks along, in order",
        lambda b: f"{b['by']} walks along {len(b['slots'])} slots and presses buttons", (book.BUTTONS,)),
    Row(Kind.COMMISSIONING_ENDED, inventory.CommissioningEnded, "commissioning desk: the walk ended or was cancelled",
        lambda b: f"the walk along the slots {b['why']} by {b['by']}", (book.BUTTONS,)),
    Row(Kind.FEEDER_MAPPING_REQUESTED, inventory.FeederMappingRequested,
        "feeder-mapping desk: racks to be proven against their feeders' meters",
        lambda b: f"{len(b['racks'])} racks to be proven by pulse, requested by {b['by']}", (book.FEEDER_MAPPING,)),
    Row(Kind.FEEDER_MAPPING_STEP, inventory.FeederMappingStep,
        "feeder mapping: a rack is watched, sleeps, is woken, is back; or was disturbed or stopped",
        sentence.feeder_mapping_step, (book.FEEDER_MAPPING,)),
    Row(Kind.FEEDER_MAPPING_JUDGED, inventory.FeederMappingJudged,
        "feeder mapping: the feeder that moved, or why the rack proved nothing",
        sentence.feeder_mapping_judged, (book.FEEDER_MAPPING,)),
    Row(Kind.FEEDER_MAPPING_ENDED, inventory.FeederMappingEnded, "feeder mapping: all racks are done, or it was stopped",
        lambda b: f"pulses ended: {b['why']}", (book.FEEDER_MAPPING,)),
    Row(Kind.ALARM_CHANGED, AlarmChanged, "alarm duty or desk: the state of a rule for a scope",
        sentence.alarm_changed, (book.ALARMS,), sentence.alarm_level),
    Row(Kind.POOL_EVIDENCE, hub.PoolEvidence, "settlement: raw bytes that a payout rests on, by SHA-256",
        lambda b: f"{len(b['sha256'])} pieces of evidence of {b['for']}", logged=False),
    Row(Kind.RATE_RECORDED, hub.RateRecorded, "settlement: an exchange rate with its evidence",
        lambda b: f"rate {b['pair']} {b['value']} by {b['source']}", logged=False),
    Row(Kind.SALE_POSTED, hub.SalePosted, "settlement: a sale at a licensed venue and its settlement",
        lambda b: f"sale of {b['sold_sat']} sat in the ledger", logged=False),
    Row(Kind.PAYOUT_POSTED, hub.PayoutPosted, "settlement: a payout in the ledger",
        lambda b: f"payout of {b['received_sat']} sat in the ledger", (book.PAYOUTS,)),
    Row(Kind.REPORT_MADE, hub.ReportMade, "reports: a signed report with its SHA-256",
        lambda b: f"report {b['id']} made and signed", (book.REPORTS,)),
    Row(Kind.REPORT_PULLED, hub.ReportPulled, "API: a report was pulled; written before a byte leaves",
        lambda b: f"report {b['report']} pulled by {b['who']}"),
    Row(Kind.API_ACTED, hub.ApiActed, "API: an act of a person, with entry and outcome",
        lambda b: f"{b['who']} ({b['way']}): {b['what']}, {b['outcome']}", logged=False, further=True),
    Row(Kind.ACCESS_ENTERED, hub.AccessEntered, "API: a session began",
        lambda b: f"{b['who']} entered from {b['from']}", logged=False),
    Row(Kind.ACCESS_DENIED, hub.AccessDenied, "API: a key asked for more than it may",
        lambda b: f"{b['who']} was denied {b['asked']}: {b['why']}", level="warning"),
    Row(Kind.HOLD_ADDED, HoldAdded, "API or retention: readings of a span that may not be deleted",
        lambda b: f"readings are held by {b['by']}: {b['cited_by'] or b['why']}", (book.HOLDS,), logged=False),
    Row(Kind.HOLD_RELEASED, HoldReleased, "API: a hold was released, with its reason",
        lambda b: f"hold {b['id']} released by {b['by']}: {b['why']}", (book.HOLDS,), logged=False),
    Row(Kind.ARCHIVE_DELETED, hub.ArchiveDeleted, "retention: files deleted under a rule, with their Merkle root",
        lambda b: f"{b['files']} archive files deleted ({b['rule']})", logged=False),
    Row(Kind.OPERATOR_NOTE, hub.OperatorNote, "persons: the operational log", lambda b: b["text"]),
)  # fmt: skip

EVENTS: Final[Mapping[str, Row[Any]]] = {row.kind: row for row in ROWS}
"""The row of each kind."""
