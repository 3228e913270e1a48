# SPDX-License-Identifier: Apache-2.0
"""Recovery after a failed wake: next steps as commands and tickets, and a report after each restore.

No step is taken while an order limits the site, on an observe-only site, or on a unit under other control.
"""

from collections.abc import Mapping

import numpy as np

from hub.journal.issue import issue
from hub.journal.recorder import Recorder
from hub.state.site import SiteState
from hub.state.situation import Situations
from hub.state.tickets import TicketClosed, TicketOpened
from kernel.clock import Clock
from kernel.event import EventKind
from kernel.units import MS_PER_HOUR
from miner_control.control.actuator import Actuator
from miner_control.control.auxiliary_load import Load, LoadKind, switch
from miner_control.fleet.command import Command
from miner_control.fleet.fleet import Bools, Fleet
from miner_control.health.health_events import WakeRecoveryReported, WakeRecoveryStep
from miner_control.health.wake_recovery import OFF_S, WHAT

REMEDY = "Look at its display and cables; check fuse, fans and control board; swap it if it stays dead"


def sockets_of(site: SiteState) -> dict[str, Load]:
    """Switchable sockets that feed exactly one miner, by that miner: candidates for a power cycle."""
    single = [load for load in site.around.loads if load.kind is LoadKind.SOCKET and len(load.feeds) == 1]
    return {next(iter(load.feeds)): load for load in single}


def eligible(site: SiteState) -> Bools:
    """Mask of units open to recovery: owned, under no other control, held by no job and no feeder mapping, shape [N]."""
    found = site.roster.ours & ~site.standing.held
    for device in site.kept_apart():
        found[site.roster.index[device]] = False
    return np.asarray(found, dtype=np.bool_)


class WakeRecoveryDuty:
    """Takes recovery steps on all sites every `every_s`."""

    name = "wake recovery"

    def __init__(
        self,
        situations: Situations,
        recorder: Recorder,
        clock: Clock,
        actuators: Mapping[str, Actuator],
        every_s: float,
    ) -> None:
        self.every_s = every_s
        self._state, self._situations = situations.state, situations
        self._recorder, self._clock, self._actuators = recorder, clock, actuators

    async def do(self) -> None:
        """One turn: due reports, sockets to close again, tickets to close, next steps."""
        now_ms = self._clock.now_ms()
        for site in self._state.sites.values():
            part = site.config.wake_recovery
            if not site.ladder.recoveries and not site.ladder.cycling and not self._due(site, now_ms):
                continue
            now = self._situations.at(site, now_ms)
            fleet = now.fleet
            site.ladder.back(fleet)
            self._report(site, fleet, now_ms)
            self._close_tickets(site, fleet)
            asked: list[Command] = []
            if part.enabled and not site.config.observe_only:
                asked = self._close_sockets(site, now_ms)
                if not now.under_order:
                    asked += self._climb(site, fleet, now_ms)
            if asked:
                self._actuators[site.key].start(await issue(self._recorder, site.key, asked))

    # ---- recovery steps ----

    def _climb(self, site: SiteState, fleet: Fleet, now_ms: int) -> list[Command]:
        sockets, asked = sockets_of(site), []
        for step in site.ladder.steps(fleet, now_ms, sockets, eligible(site)):
            load = sockets[step.device].key if step.kind == "pdu" else ""
            body: WakeRecoveryStep = {"device": step.device, "rung": step.kind, "words": step.text, "load": load}
            self._recorder.emit(site.key, EventKind.WAKE_RECOVERY_STEP, body)
            if step.command is not None:
                asked.append(step.command)
            else:
                self._open_ticket(site, fleet, step.device, step.text)
        return asked

    def _open_ticket(self, site: SiteState, fleet: Fleet, device: str, text: str) -> None:
        climb = site.ladder.recoveries[device]
        envelope = site.envelope(device)
        evidence = {"woken_ms": climb.woken_ms, "wake": climb.outcome, "said": climb.text, "tried": list(climb.tried)}
        body: TicketOpened = {
            "device": device, "what": WHAT, "words": text, "remedy": REMEDY, "evidence": evidence,
            "loss_hs": envelope.mode(envelope.normal).hashrate_hs,
        }  # fmt: skip
        if not site.tickets.is_open((device, WHAT)):
            self._recorder.emit(site.key, EventKind.TICKET_OPENED, body)

    def _close_tickets(self, site: SiteState, fleet: Fleet) -> None:
        for ticket in site.tickets.tickets():
            unit = site.roster.index.get(ticket.device)
            if ticket.what == WHAT and unit is not None and fleet.fresh[unit] and fleet.hashrate_hs[unit] > 0:
                body: TicketClosed = {"device": ticket.device, "what": WHAT, "words": ticket.text}
                self._recorder.emit(site.key, EventKind.TICKET_CLOSED, body)

    def _close_sockets(self, site: SiteState, now_ms: int) -> list[Command]:
        """Commands that close sockets opened for a power cycle, `OFF_S` later, whatever the outcome of the opening."""
        asked, off_ms = [], OFF_S * 1000 / site.config.simulated_speed_factor
        for key, device in site.ladder.cycling.items():
            load = site.around.by_key.get(key)
            on, shown_ms = site.load_book.on(key)
            opened_ms = site.ladder.recoveries[device].tried_ms if device in site.ladder.recoveries else shown_ms
            waited = now_ms - max(shown_ms, opened_ms) >= off_ms
            if load is not None and on is not True and waited and not site.load_book.pending(key, now_ms):
                asked.append(switch(now_ms, load, True, f"{device}: its power cycle ends", priority=6))
        return asked

    # ---- the report after a restore ----

    def _due(self, site: SiteState, now_ms: int) -> list[tuple[str, int]]:
        """(order, ended_ms) of orders of the site that ended `report_after_s` ago and have no restore report yet."""
        after_ms = round(site.config.wake_recovery.report_after_s * 1000 / site.config.simulated_speed_factor)
        return [
            (entry.order.id, entry.ended_ms)
            for entry in self._state.book.entries()
            if entry.ended_ms is not None
            and entry.accepted_ms is not None
            and after_ms <= now_ms - entry.ended_ms <= after_ms + MS_PER_HOUR
            and (entry.order.scope == site.key or entry.order.scope.startswith(f"{site.key}/"))
            and entry.order.id not in site.restores
        ]

    def _report(self, site: SiteState, fleet: Fleet, now_ms: int) -> None:
        for order, ended_ms in self._due(site, now_ms):
            woken = [device for device, at_ms in site.ladder.woken.items() if at_ms >= ended_ms]
            missing = site.ladder.missing(fleet, now_ms, 0.0, since_ms=ended_ms)
            body: WakeRecoveryReported = {
                "order": order, "ended_ms": ended_ms, "after_s": (now_ms - ended_ms) / 1000.0, "woken": len(woken),
                "back": len(woken) - len(missing), "missing": missing, "lost_hs": sum(row["lost_hs"] for row in missing),
            }  # fmt: skip
            self._recorder.emit(site.key, EventKind.WAKE_RECOVERY_REPORTED, body)
