# SPDX-License-Identifier: Apache-2.0
"""The journal's envelope: everything the hub decided, was told or noticed, beside what it measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One fact. Its key is (site, writer, seq): a writer counts its own events from 1 without gaps, so that a second
    delivery of the same event is seen. `body` holds JSON values only; `kind` and `version` say its shape.

    Kinds in use are listed in `KINDS`, each with who writes it.
    """

    kind: str
    version: int
    site: str
    writer: str
    seq: int
    at_ms: int
    body: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str, int]:
        return self.site, self.writer, self.seq


KINDS: Mapping[str, str] = {
    "hub.started": "runtime: version, wiring, configuration hash",
    "hub.stopped": "runtime: an orderly end",
    "clock.stepped": "runtime: the system's clock moved against the monotonic one, by seconds",
    "data.lost": "loss watch: by how much each counter of lost readings and unreadable messages grew",
    "source.silent": "collector: a device stopped answering, with the reason; said once",
    "source.returned": "collector: it answers again, silent for seconds",
    "price.curve": "grid feed: a price or hashprice curve with its known_at and evidence",
    "order.received": "dispatch: an order as it came, with who and by which way",
    "order.accepted": "dispatch: the order is active from its span's start",
    "order.refused": "dispatch: with the reason",
    "order.phase": "dispatch: acting (its span began), holding (the meter shows it)",
    "order.changed": "dispatch: a change or an end that was asked, taken or refused with the reason",
    "order.verdict": "compliance: what the meter said of the order",
    "order.ended": "dispatch: released, expired or cancelled",
    "plan.made": "planner: value, bound, gap, why now",
    "tick.decided": "control: journal position, plan, limits and the set-points commanded",
    "command.issued": "actuator: command id, device, intent, reason",
    "command.receipt": "actuator: what came of it",
    "owner.changed": "take-over: a device is handed to, or taken from, the hub; who has it",
    "hand.seen": "take-over: a container or firmware acts by a rule of its own, named once for each wording",
    "hand.gone": "take-over: what was named there is switched off",
    "campaign.proposed": "campaign: bulk work that somebody asked for: intent, waves, who is left out, what each unit was",
    "campaign.changed": "campaign: approved, paused, resumed, retry, restore or ended; by whom and why",
    "campaign.wave": "campaign: commands that leave together, by their ids",
    "straggler.step": "stragglers: what is tried with a miner that did not come back after a wake",
    "restore.reported": "stragglers: who was missing some time after an order ended",
    "ticket.opened": "health: a miner is sick, with the evidence; again on relapse",
    "ticket.closed": "health: what it was opened for is gone",
    "dynamics.learnt": "learning: what a model under a firmware was seen to do, and the values that rests on",
    "usual.learnt": "health: what each miner of a site did over a day in its normal mode, as columns",
    "fact.learnt": "register: where miners stand and whose they are, from when on; who says so",
    "button.pressed": "listener: a miner's IP-report button was pressed: address, MAC, whose it is where that is known",
    "walk.begun": "button walk: the slots that somebody walks along, in their order",
    "walk.ended": "button walk: ended or cancelled, by whom; its facts are told by fact.learnt",
    "pulse.asked": "rack pulse: racks to be proven against their feeders' meters, by whom",
    "pulse.step": "rack pulse: a rack is held and watched, sleeps, is woken, is back; or was spoilt or stopped, and why",
    "pulse.judged": "rack pulse: the feeder that moved, by how much of what was expected; or why it proved nothing",
    "pulse.ended": "rack pulse: all racks had their turn, or somebody stopped it",
    "alarm.changed": "alarm: a rule's state for a scope",
    "pool.evidence": "treasury feed: raw bytes by SHA-256",
    "rate.recorded": "treasury feed: an exchange rate with its evidence",
    "sale.posted": "treasury: a sale at a licensed venue and its settlement",
    "payout.posted": "treasury: a payout in the ledger",
    "report.made": "reports: kind, period, SHA-256, signature",
    "report.pulled": "api: who pulled what, written before a byte leaves",
    "api.acted": "api: who did what, by which way, with what outcome",
    "access.entered": "api: a session began",
    "access.denied": "api: a key that asked for more than it may",
    "hold.added": "api or retention: readings of a span that may not be deleted, by whom and why",
    "hold.released": "api: by whom and why",
    "archive.deleted": "retention: rule, Merkle root and number of files; each file's own tombstone stands in the archive",
    "operator.note": "people: the operational log",
}
