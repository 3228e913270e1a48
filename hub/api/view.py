# SPDX-License-Identifier: Apache-2.0
"""The port of a running hub for page and API: reads from memory, acts that return once they are journalled."""

from collections.abc import Mapping
from typing import Any, Protocol

from grid.order_book import Authority
from hub.query.schema import (
    AlarmAct,
    AlarmLine,
    EventLine,
    Fleet,
    Ledger,
    OrderLine,
    ReceiptLine,
    ReportLine,
    Series,
    SiteInfo,
    Status,
)


class PlaceDesk(Protocol):
    """Where miners stand, and what stands around them. Every method raises NotThere for a site or miner that is not."""

    def facts(self, site: str, device: str | None) -> list[dict[str, Any]]:
        """`device, what, value, from, source`, oldest first; of one miner where it is named."""

    async def learn(self, site: str, body: Mapping[str, Any], by: str) -> dict[str, Any]:
        """Take facts in (`hub.fleet.placement.facts_asked`) unless `dry_run`: `dry_run, known, learnt`. Raises ConfigError with
        every fault."""

    def around(self, site: str) -> dict[str, Any]:
        """`as_of_ms, loads, loops` (`hub.query.auxiliaries.auxiliary_lines`)."""

    def walk(self, site: str) -> dict[str, Any]:
        """`listening, walk, presses`: the walk under way and the last buttons pressed (`hub.fleet.ip_report.walk_lines`)."""

    async def begin_walk(self, site: str, body: Mapping[str, Any], by: str) -> dict[str, Any]:
        """Begin to walk along slots (`hub.fleet.ip_report.slots_asked`); as `walk`. Raises ConfigError with every fault."""

    async def end_walk(self, site: str, by: str, dry: bool) -> dict[str, Any]:
        """What was pressed as facts; as `learn`, with `faults` and `ended`: a walk that gives no fact goes on."""

    async def cancel_walk(self, site: str, by: str) -> dict[str, Any]:
        """Forget what was pressed; as `walk`."""

    def pulses(self, site: str) -> dict[str, Any]:
        """`running, racks, mismatches` of the rack pulses (`hub.fleet.feeder_mapping.pulse_lines`)."""

    async def prove(self, site: str, body: Mapping[str, Any], by: str) -> dict[str, Any]:
        """Begin to prove racks (`hub.fleet.feeder_mapping.proof_asked`); as `pulses`. Raises ConfigError with every fault."""

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
        (`hub.query.learnt.envelope_json`), usual (`hub.query.learnt.usual_json`), why, commands: list[ReceiptLine]`.
        `device` is the last part of its key."""

    def tickets(self, site: str, closed: bool) -> list[dict[str, Any]]:
        """Work tickets (`hub.state.tickets`), costliest first."""

    def missing(self, site: str, after_s: float) -> list[dict[str, Any]]:
        """Miners that were woken and did not come back (`hub.query.missing_miners`)."""

    def restores(self, site: str) -> list[dict[str, Any]]:
        """Who was missing some time after each order ended (`restore.reported`), newest first."""

    def hands(self, site: str) -> list[dict[str, Any]]:
        """`scope, who, words, at_ms` of everybody else who commands here."""

    def jobs(self, site: str) -> list[dict[str, Any]]:
        """Bulk work (`miner_control.jobs.job.Campaign.status`), newest first."""

    async def propose_job(self, site: str, body: Mapping[str, Any], by: str, dry: bool) -> dict[str, Any]:
        """Plan bulk work (`hub.fleet.jobs.proposed`) and, unless `dry`, journal it: `dry_run, id, needs_two, preview`.
        Raises ConfigError with every fault."""

    async def answer_job(self, site: str, job: str, what: str, by: str, why: str) -> dict[str, Any]:
        """Approve, pause, resume, retry, restore or end; its status then. Raises NotThere, and ConfigError where it may not
        be (one's own vote never counts)."""

    def learnt(self, site: str) -> list[dict[str, Any]]:
        """What was learnt of each model against what was assumed (`hub.query.learnt.learnt_lines`)."""

    def shadow(self, site: str) -> dict[str, Any]:
        """What commanding would have been worth in observe-only, by day (`hub.state.shadow.ShadowBook.to_json`)."""

    def series(self, site: str, start_ms: int, end_ms: int, width: int) -> Series: ...

    def plan(self, site: str) -> dict[str, Any] | None:
        """The plan that holds, as `Plan.to_json()`; None before the first."""

    async def explain(self, site: str) -> dict[str, Any]:
        """Why groups are off or on, and what changes are worth (`hub.query.plan_answers`). Raises ConfigError."""

    async def offers(self, site: str, reserve_w: float | None) -> dict[str, Any]:
        """What the site can offer (`hub.query.plan_answers`). Raises ConfigError where no plan can be made."""

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

    async def set_alarm(self, site: str, rule: str, scope: str, who: str, what: AlarmAct, why: str) -> None:
        """Take it off the shelf, out of service, or back in service. Raises NotThere, and ConfigError without a reason."""

    async def record(self, kind: str, body: Mapping[str, Any], site: str | None = None) -> None:
        """Journal one event of the API (audit); returns once it is on disk."""
