# SPDX-License-Identifier: Apache-2.0
"""Models of miners without a profile, with what their miners report now: what a profile is written from."""

from dataclasses import dataclass
from statistics import median

from hub.state.situation import SiteSituation
from kernel.units import HS_PER_THS
from miner_control.fleet.fleet import STATE_CODE
from miner_control.fleet.miner import State


@dataclass(frozen=True, slots=True)
class UnprofiledModel:
    """A model name as its miners report it ("" where they report none), under one firmware.

    `power_w`, `hashrate_hs`: medians over the `measured` miners that hash and report both; None where there are none.
    """

    model: str
    dialect: str
    miners: int
    measured: int
    power_w: float | None
    hashrate_hs: float | None


def unprofiled(now: SiteSituation) -> list[UnprofiledModel]:
    """The unprofiled models of a site, those with the most miners first."""
    roster, fleet, seen = now.fleet.roster, now.fleet, now.seen
    units: dict[tuple[str, str], list[int]] = {}
    for unit, group in enumerate(roster.group):
        if not roster.profiled[group]:
            units.setdefault(roster.envelope(unit).key, []).append(unit)
    found = []
    for (model, dialect), those in units.items():
        hashing = [
            unit
            for unit in those
            if fleet.fresh[unit]
            and fleet.state[unit] == STATE_CODE[State.HASHING]
            and seen.has_power[unit]
            and seen.has_hashrate[unit]
        ]
        power_w = median(float(seen.power_w[unit]) for unit in hashing) if hashing else None
        rate_hs = median(float(seen.hashrate_hs[unit]) for unit in hashing) if hashing else None
        found.append(UnprofiledModel(model, dialect, len(those), len(hashing), power_w, rate_hs))
    return sorted(found, key=lambda one: (-one.miners, one.model, one.dialect))


def profile_text(one: UnprofiledModel) -> str:
    """A profile of what was measured, as TOML for `profiles/miners` in the site's folder; what only a person can say is marked
    EDIT. Raises ValueError where nothing was measured or no name was reported."""
    if one.power_w is None or one.hashrate_hs is None or not one.model:
        raise ValueError(
            f"{one.model or 'a model without a name'} with {one.dialect}: nothing was measured, or it has no name"
        )
    ths = one.hashrate_hs / HS_PER_THS
    reported = f"measured: median of {one.measured} miners with {one.dialect}, as they report it"
    return f"""\
make = "EDIT"
model = {_quoted(one.model)}
cooling = "EDIT"  # air, hydro or immersion
unit = "W at the wall, TH/s"
source_url = "measured on this site"
default = "{ths:.0f}"

[checked]
against = "{reported}; no meter of its own"

[[variants]]
name = "{ths:.0f}"
hashrate_ths = {ths:.1f}
power_w = {one.power_w:.0f}.0
tier = "C"
certainty = "measured"
source = "{reported}"
"""


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
