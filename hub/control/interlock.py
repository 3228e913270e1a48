# SPDX-License-Identifier: Apache-2.0
"""Command interlock: reasons that forbid a write to a device, checked for every caller.

A site that only observes sends nothing but reads: a login that no read needs as little as a command. A miner whose dated
owner stands among the site's `third_party_owners` is another party's: it is polled, counted as load and judged,
and never commanded.
Where another miner of the register answers at a miner's address, a command would be done by that other one.
"""

import math
from typing import Final

from hub.config.observe_only import no_commands
from hub.state.fold import HubState
from hub.state.site import FOREVER, SiteState
from kernel.clock import iso
from miner_control.inventory.identity import IdentityMismatch, identity_mismatch


def bar(state: HubState, site: SiteState, device: str) -> str:
    """Why nothing may be sent to a miner or load of the site; "" where it may."""
    if site.config.observe_only:
        return no_commands(site.config)
    if why := foreign_owner(site, device):
        return why
    found = identity_mismatch_at(state, site, device)
    return found.text if found is not None and found.device else ""


def identity_mismatch_at(state: HubState, site: SiteState, device: str) -> IdentityMismatch | None:
    """Identity of the device that answers at a miner's address, by serial number and MAC; None where it is that miner."""
    unit = site.roster.index.get(device)
    if unit is None:
        return None
    table = state.snapshot.kind("miner")
    reported = (table.field(device, name, 0, math.inf) for name in ("serial", "mac"))
    serial, mac = (text if isinstance(text, str) and text else None for text in reported)
    return identity_mismatch(site.register.miners[unit], serial, mac, site.names) if serial or mac else None


def foreign_owner(site: SiteState, device: str) -> str:
    """Whose a miner is, and since when that is known, where it is not ours; "" where it is."""
    unit = site.roster.index.get(device)
    if unit is None or bool(site.roster.ours[unit]):
        return ""
    owner, fact = site.register.miners[unit].owner, site.register.at(device, "owner", FOREVER.end_ms)
    since = "the inventory says so" if fact is None else f"{fact.source}, from {iso(fact.from_ms)}"
    return f"belongs to {owner}, of the third_party_owners of {site.config.name} ({since})"


_PLACES: Final = ("rack", "position", "feeder", "owner")


def place_line(state: HubState, site: SiteState, device: str) -> dict[str, str]:
    """Position and owner of a miner, each with source and date where known; `barred`
    why nothing may be sent to it ("": it may)."""
    miner = site.register.miners[site.roster.index[device]]
    found = {}
    for what in _PLACES:
        value, fact = str(getattr(miner, what)), site.register.at(device, what, FOREVER.end_ms)
        found[what] = value if fact is None or not value else f"{value} ({fact.source}, from {iso(fact.from_ms)})"
    return {**found, "barred": bar(state, site, device)}
