# SPDX-License-Identifier: Apache-2.0
"""Who did not come back: miners that were last asked to wake or run, some time ago, and do not hash now.

Read from the state alone: the last receipt that each miner gave and what it tells now. What it costs is its normal hashrate.
"""

from dataclasses import dataclass
from typing import Any

from hub.decide import fleet_at
from hub.sight import STATE_NAMES
from hub.state import HubState, SiteState
from miner_control.miner import State

UP = frozenset({State.HASHING, State.RAMPING, State.TUNING})


@dataclass(frozen=True, slots=True)
class Missing:
    """One miner that is late: since when, its state now, what came of the wake, and the hashrate that is not there."""

    device: str
    state: str
    asked_ms: int
    late_s: float
    outcome: str
    words: str
    lost_hs: float

    def to_json(self) -> dict[str, Any]:
        """As API and command line show it."""
        return {
            "device": self.device, "state": self.state, "asked_ms": self.asked_ms, "late_s": self.late_s,
            "outcome": self.outcome, "words": self.words, "lost_hs": self.lost_hs,
        }  # fmt: skip


def missing(state: HubState, site: SiteState, now_ms: int, after_s: float, stale_s: float) -> list[Missing]:
    """Costliest first. A unit in a later command (a shed) is not missing; one that is silent is."""
    newest: dict[str, dict[str, Any]] = {}
    for body in site.receipts:
        newest.setdefault(str(body["device"]), body)
    fleet = fleet_at(state, site, now_ms, stale_s)
    found = []
    for device, body in newest.items():
        unit = site.roster.index.get(device)
        if unit is None or body.get("intent") != "Wake" or now_ms - int(body["at_ms"]) < after_s * 1000:
            continue
        told = STATE_NAMES[int(fleet.state[unit])] if fleet.fresh[unit] else State.UNREACHABLE
        if told in UP:
            continue
        envelope = site.roster.groups[int(site.roster.group[unit])].envelope
        late_s = (now_ms - int(body["at_ms"])) / 1000.0
        lost_hs = envelope.mode(envelope.normal).hashrate_hs
        text = str(body.get("text", ""))
        found.append(Missing(device, str(told), int(body["at_ms"]), late_s, str(body["outcome"]), text, lost_hs))
    return sorted(found, key=lambda one: (-one.lost_hs, one.device))
