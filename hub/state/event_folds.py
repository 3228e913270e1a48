# SPDX-License-Identifier: Apache-2.0
"""Books by name, each with how it folds an event: what `hub/state/event_table.py` refers to."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hub.state.books import HubBooks
from hub.state.site import SiteState
from kernel.event import Event, EventKind
from scheduling.plan import Schedule

OVERHEAD_MEMORY = 0.05
OVERHEAD_RANGE = (1.0, 1.6)


@dataclass(frozen=True, slots=True)
class Book:
    """A book, by the name that the reference page shows. `fold` takes one event into it."""

    name: str
    fold: Callable[[HubBooks, Event], None]


def _of_site(name: str, fold: Callable[[SiteState, Event], None]) -> Book:
    """A book that each site has; an event of no known site changes none."""

    def folded(books: HubBooks, event: Event) -> None:
        site = books.sites.get(event.site)
        if site is not None:
            fold(site, event)

    return Book(name, folded)


# ---- of the hub ----


def _restart(books: HubBooks, event: Event) -> None:
    books.book.restarted()


def _step_orders(books: HubBooks, event: Event) -> None:
    if event.site in books.sites:
        books.book.stepped(event.site, int(event.body["tick_ms"]), observing="shadow" in event.body)


def _report(books: HubBooks, event: Event) -> None:
    books.reports.append(event)


def _payout(books: HubBooks, event: Event) -> None:
    books.last_payout = event


ORDERS: Final = Book("orders", lambda books, event: books.book.apply(event))
ORDERS_RESTARTED: Final = Book("orders", _restart)
ORDERS_STEPPED: Final = Book("orders", _step_orders)
CURVES: Final = Book("price curves", lambda books, event: books.price_curve(event))
ALARMS: Final = Book("alarms", lambda books, event: books.alarms.apply(event.body, event.at_ms))
HOLDS: Final = Book("legal holds", lambda books, event: books.holds.apply(event.kind, event.body, event.at_ms))
BUTTONS: Final = Book(
    "commissioning", lambda books, event: books.buttons.apply(event.kind, event.site, event.body, event.at_ms)
)
CLOCK: Final = Book("snapshot", lambda books, event: books.snapshot.clock_stepped(float(event.body["seconds"])))
REPORTS: Final = Book("reports", _report)
PAYOUTS: Final = Book("last payout", _payout)
ASSETS: Final = Book("asset register", lambda books, event: books.place(event))


# ---- of each site ----


def _silence(site: SiteState, event: Event) -> None:
    device = str(event.body["device"])
    if event.kind == EventKind.SOURCE_SILENT:
        site.silent[device] = event
    else:
        site.silent.pop(device, None)


def _third_party(site: SiteState, event: Event) -> None:
    scope = str(event.body["scope"])
    if event.kind == EventKind.THIRD_PARTY_DETECTED:
        site.third_parties[scope] = event
    else:
        site.third_parties.pop(scope, None)


def _owner(site: SiteState, event: Event) -> None:
    device = str(event.body["device"])
    if event.body["hands_off"]:
        site.third_parties[device] = event
    else:
        site.third_parties.pop(device, None)


def _plan(site: SiteState, event: Event) -> None:
    site.plan, site.schedule = event.body, Schedule.from_json(event.body)


def _tick(site: SiteState, event: Event) -> None:
    site.tick = event.body
    site.standing.restored(event.body.get("restored", ()))
    site.shadow.apply(event.body, site.roster)


def _overhead(site: SiteState, event: Event) -> None:
    """Meter over miners, learnt slowly and only from steady ticks: cooling, cables, transformer."""
    seen = event.body.get("overhead_seen")
    if seen is not None:
        low, high = OVERHEAD_RANGE
        held = min(max(float(seen), low), high)
        site.overhead_factor += OVERHEAD_MEMORY * (held - site.overhead_factor)


def _recovery(site: SiteState, event: Event) -> None:
    match event.kind:
        case EventKind.COMMAND_ISSUED:
            site.ladder.issued(event.body, site.standing.slept(str(event.body["device"])))
        case EventKind.COMMAND_RECEIPT:
            site.ladder.received(event.body, event.at_ms)
        case EventKind.WAKE_RECOVERY_STEP:
            site.ladder.tried(event.body, event.at_ms)
        case EventKind.WAKE_RECOVERY_REPORTED:
            site.restores[str(event.body["order"])] = event.body


def _loads(site: SiteState, event: Event) -> None:
    site.load_book.apply(event.kind, event.body, event.at_ms)
    if site.load_book.on(str(event.body["device"]))[0]:
        site.ladder.closed(str(event.body["device"]), event.at_ms)


def _receipts(site: SiteState, event: Event) -> None:
    body = event.body
    if event.kind == EventKind.COMMAND_ISSUED:
        site.issued += 1
        site.unanswered[str(body["id"])] = body
        return
    outcome = str(body["outcome"])
    site.unanswered.pop(str(body["id"]), None)
    site.outcomes[outcome] = site.outcomes.get(outcome, 0) + 1
    site.receipts.appendleft({**body, "at_ms": event.at_ms})


def _credentials(site: SiteState, event: Event) -> None:
    body = event.body
    if body["intent"] == "SetCredential" and body["outcome"] == "accepted" and body.get("name"):
        site.credentials[str(body["device"])] = str(body["name"])


def _performance(site: SiteState, event: Event) -> None:
    """A day's medians; a miner whose firmware was changed begins anew."""
    if event.kind == EventKind.PERFORMANCE_UPDATED:
        site.usual.apply(event.body)
    elif event.body["outcome"] == "verified" and event.body["intent"] in ("InstallFirmware", "RollBackFirmware"):
        site.usual.forget(str(event.body["device"]))


SILENT: Final = _of_site("silent sources", _silence)
TICKETS: Final = _of_site("tickets", lambda site, event: site.tickets.apply(event.kind, event.body, event.at_ms))
JOBS: Final = _of_site("jobs", lambda site, event: site.jobs.apply(event.kind, event.body, event.at_ms))
FEEDER_MAPPING: Final = _of_site(
    "feeder mapping", lambda site, event: site.pulses.apply(event.kind, event.body, event.at_ms)
)
DYNAMICS: Final = _of_site("dynamics", lambda site, event: site.learn(event.body))
PERFORMANCE: Final = _of_site("performance references", _performance)
RECOVERY: Final = _of_site("wake recovery", _recovery)
THIRD_PARTIES: Final = _of_site("third parties", _third_party)
OWNERS: Final = _of_site("third parties", _owner)
PLAN: Final = _of_site("plan", _plan)
TICK: Final = _of_site("tick", _tick)
OVERHEAD: Final = _of_site("overhead", _overhead)
COMMANDS: Final = _of_site("commands", lambda site, event: site.standing.apply(event))
CHANGING: Final = _of_site(
    "units changing",
    lambda site, event: site.changing.apply(event.kind, event.body, event.at_ms, site.roster, site.around.by_key),
)
LOADS: Final = _of_site("auxiliary loads", _loads)
RECEIPTS: Final = _of_site("receipts", _receipts)
CREDENTIALS: Final = _of_site("credentials", _credentials)
