# SPDX-License-Identifier: Apache-2.0
"""IP-report buttons in a running hub: what is heard is journalled, within bounds, and nothing is ever answered; walks as asked.

Anybody in the miners' network can send such datagrams: a press repeated at once is one press, and more than a person can press
is not taken in.
"""

from typing import Annotated, Any, Final

import structlog
from pydantic import AfterValidator, Field

from hub.config.request import Request, ShortText, example
from hub.journal.recorder import Recorder
from hub.state.fold import HubState
from hub.state.site import SiteState
from kernel.clock import MS_PER_S, Clock
from kernel.errors import ConfigError, Fault
from kernel.event import EventKind
from miner_control.inventory.asset_register import AssetRegister
from miner_control.inventory.commissioning import AssignedPress, Commissioning, Slot
from miner_control.inventory.position import Press
from telemetry.wire.exposition import Figure

log = structlog.get_logger("hub")

AGAIN_MS: Final = 2_000
"""Makers send a press several times; a second press of the same button comes later than this."""
BURST: Final = 20.0
PER_S: Final = 2.0
MOST_SLOTS: Final = 2_000
MOST_CHARS: Final = 64


def _slot_text(text: str) -> str:
    if "/" in text or not text.isprintable() or len(text) > MOST_CHARS:
        raise ValueError("cannot be written so")
    return text


SlotText = Annotated[ShortText, AfterValidator(_slot_text)]


class Buttons:
    """Receiver of button presses."""

    def __init__(self, state: HubState, recorder: Recorder, clock: Clock) -> None:
        self._state, self._recorder, self._clock = state, recorder, clock
        self._last_ms: dict[str, int] = {}
        self._room, self._at_s = BURST, clock.monotonic_s()
        self._known: dict[str, tuple[AssetRegister, dict[str, str], dict[str, str]]] = {}
        self.dropped = 0

    def heard(self, press: Press) -> None:
        """Tell a press to the journal, unless it is a repetition or comes faster than people press."""
        if press.at_ms - self._last_ms.get(press.mac, -AGAIN_MS) < AGAIN_MS:
            return
        now_s = self._clock.monotonic_s()
        self._room, self._at_s = min(BURST, self._room + (now_s - self._at_s) * PER_S), now_s
        if self._room < 1.0:
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:
                log.warning("presses dropped", count=self.dropped, why="faster than people press buttons")
            return
        self._room -= 1.0
        self._last_ms = {mac: at for mac, at in self._last_ms.items() if press.at_ms - at < AGAIN_MS}
        self._last_ms[press.mac] = press.at_ms
        site, device = self._whose(press)
        self._recorder.emit(site, EventKind.BUTTON_PRESSED, AssignedPress(press, device).to_json())

    def figures(self) -> list[Figure]:
        """Counter of what was not taken in."""
        return [Figure("button_presses_dropped", float(self.dropped), "IP-report presses dropped.", counter=True)]

    def _whose(self, press: Press) -> tuple[str, str]:
        """(site, device key) by MAC, else by address; (the hub, "") where nobody knows it."""
        by_host = ("", "")
        for site in self._state.sites.values():
            macs, hosts = self._index(site)
            if press.mac in macs:
                return site.key, macs[press.mac]
            if press.host in hosts:
                by_host = site.key, hosts[press.host]
        return by_host if by_host[0] else (next(iter(self._state.sites)).partition("/")[0], "")

    def _index(self, site: SiteState) -> tuple[dict[str, str], dict[str, str]]:
        held = self._known.get(site.key)
        if held is None or held[0] is not site.register:
            miners = site.register.miners
            macs = {miner.mac: miner.device for miner in miners if miner.mac}
            held = self._known[site.key] = site.register, macs, {miner.host: miner.device for miner in miners}
        return held[1], held[2]


class SlotRow(Request):
    """One slot of a walk."""

    rack: SlotText = Field(description=f"Give at most {MOST_CHARS} characters without /")
    position: SlotText = Field(description=f"Give at most {MOST_CHARS} characters without /")
    feeder: ShortText = Field(description="Name a feeder of the site")


class CommissioningRequest(Request):
    """Slots in the order in which a person walks along them."""

    model_config = example({"slots": [{"rack": "r1", "position": "1", "feeder": "f1"}]})

    slots: list[SlotRow] = Field(
        min_length=1, max_length=MOST_SLOTS, description=f"Give 1 to {MOST_SLOTS}, in the order of the walk"
    )


def slots_asked(site: SiteState, request: CommissioningRequest) -> list[Slot]:
    """The slots of a request, in their order. Raises ConfigError with every fault."""
    faults, found = list[Fault](), list[Slot]()
    feeders = sorted(feeder.name for feeder in site.config.feeders)
    for at, row in enumerate(request.slots):
        if row.feeder not in feeders:
            faults.append(Fault(f"slots.{at}", f"no feeder {row.feeder[:40]!r}", f"Write one of: {', '.join(feeders)}"))
        if (row.rack, row.position) in {slot[:2] for slot in found}:
            faults.append(Fault(f"slots.{at}", f"{row.rack}/{row.position} stands twice", "Walk along each slot once"))
        found.append((row.rack, row.position, row.feeder))
    if faults:
        raise ConfigError(faults)
    return found


def walk_lines(state: HubState, site: SiteState, listening: bool) -> dict[str, Any]:
    """`listening`, the walk under way or None, and the last presses that are of this site or of nobody known."""
    walk = state.buttons.walks.get(site.key)
    presses = []
    for heard in state.buttons.last:
        if not heard.device or heard.device in site.roster.index:
            miner = state.miners.get(heard.device)
            place = {"rack": miner.rack, "position": miner.position} if miner is not None else {}
            presses.append({**heard.to_json(), "device": heard.device.rpartition("/")[2], **place})
    return {
        "listening": listening,
        "commissioning": None if walk is None else _walk_line(walk),
        "presses": presses[:50],
    }


def _walk_line(walk: Commissioning) -> dict[str, Any]:
    at = walk.next_slot()
    return {
        "by": walk.by,
        "begun_ms": walk.begun_ms,
        "slots": len(walk.slots),
        "pressed": walk.pressed(),
        "next": None if at is None else dict(zip(("rack", "position", "feeder"), at, strict=True)),
        "seconds_per_slot": round(_pace_s(walk), 1),
    }


def _pace_s(walk: Commissioning) -> float:
    """Mean time between presses, s; 0 before the second."""
    presses = walk.presses
    return (presses[-1].at_ms - presses[0].at_ms) / MS_PER_S / (len(presses) - 1) if len(presses) > 1 else 0.0
