# SPDX-License-Identifier: Apache-2.0
"""Designed states of devices, meters, containers and sites at an instant: what is as it is because the hub wanted it.

It rests on commands from their issue on (`site.changing`, `site.standing`, `site.load_book`) and on what the miners report; a
device that the hub neither commanded nor saw asleep is in none. Names as in `telemetry.alarm.rule.DESIGNED`.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from hub.control.tick import LOADED_SHARE
from hub.state.fold import HubState
from hub.state.site import SiteState
from miner_control.control.auxiliary_load import COOLING, FEEDING, LoadKind
from miner_control.fleet.fleet import ASLEEP, STATE_CODE, UNSURE, Bools, Commanded, Observed
from miner_control.fleet.miner import State
from miner_control.fleet.observed import observed_of

LOAD_SETTLES_S: Final = 120.0
"""A loop's pressure and flow after its pump was switched, and the container's next reading."""
_SLEEPING, _UNREACHABLE = STATE_CODE[State.ASLEEP], STATE_CODE[State.UNREACHABLE]
_UP: Final = [STATE_CODE[State.RAMPING], STATE_CODE[State.TUNING]]
_ON: Final = [STATE_CODE[State.HASHING], *_UP]

Sets = dict[str, set[str]]


def designed_at(state: HubState, now_ms: int) -> Sets:
    """Designed state to the keys that are in it: miners, meters and containers by device, and sites."""
    found: Sets = {"curtailed": set(), "asleep": set(), "starting": set(), "changing": set()}
    table = state.snapshot.kind("miner")
    for site in state.sites.values():
        _miners_and_meters(
            found, site, observed_of(site.roster, table, now_ms), site.standing.commanded(now_ms), now_ms
        )
        _cooling(found, site, now_ms)
    return found


def _miners_and_meters(found: Sets, site: SiteState, seen: Observed, asked: Commanded, now_ms: int) -> None:
    roster = site.roster
    changing, up = site.changing.changing(now_ms), site.changing.starting(now_ms)
    moving = changing | _unplugged(site)
    asleep = (seen.state == _SLEEPING) | ((seen.state == _UNREACHABLE) & asked.put_to_sleep)
    normal = roster.normal[roster.group]
    was_set = site.changing.mode()
    wanted = np.where(asked.mode != UNSURE, asked.mode, np.where(was_set >= 0, was_set, normal))
    # A unit that reports its normal mode, or hashes though we put it to sleep, with nothing under way: not our will any more.
    # Where a mode is asked for in watts its name says nothing.
    in_watts = np.array([one.envelope.commanded_in_watts for one in roster.groups], dtype=np.bool_)[roster.group]
    lowered = (wanted < normal) & (changing | in_watts | (asked.mode != UNSURE) | (seen.mode < normal))
    on = np.isin(seen.state, _ON) & ~changing
    slept = asleep | (asked.put_to_sleep & ~on) | (wanted == ASLEEP)

    def add(name: str, units: Bools) -> None:
        found[name].update(roster.devices[unit] for unit in np.flatnonzero(units).tolist())

    add("asleep", asleep)
    add("curtailed", slept | lowered)
    add("starting", up | np.isin(seen.state, _UP))
    add("changing", moving)
    mode_w = roster.mode_power_w[roster.group, np.maximum(wanted, 0).astype(np.int64)]
    normal_w = roster.mode_power_w[roster.group, normal]
    expected_w = np.where(slept, roster.sleep_w[roster.group], np.where((wanted < normal) & ~lowered, normal_w, mode_w))
    for key, units in _metered(site).items():
        # So far down that fixed losses, and filters, count next to the miners.
        if float(expected_w[units].sum()) < LOADED_SHARE * float(normal_w[units].sum()):
            found["curtailed"].add(key)


def _metered(site: SiteState) -> Mapping[str, Bools]:
    """The units behind each meter, by its key, and behind the site as a whole, by the site's."""
    roster = site.roster
    every = np.ones(len(roster), dtype=np.bool_)
    found = {site.key: every}
    at = {name: number for number, name in enumerate(roster.feeder_names)}
    for meter in site.config.meters:
        feeder = at.get(meter.feeder or "")
        if feeder is not None:
            found[f"{site.key}/{meter.name}"] = roster.feeder == feeder
        elif meter.role == "main":
            found[f"{site.key}/{meter.name}"] = every
    return found


def _unplugged(site: SiteState) -> Bools:
    """Units whose socket or contactor the hub has opened."""
    found = np.zeros(len(site.roster), dtype=np.bool_)
    for load in site.around.loads:
        if load.kind in FEEDING and site.load_book.on(load.key)[0] is False:
            found[[unit for device in load.feeds if (unit := site.roster.index.get(device)) is not None]] = True
    return found


def _cooling(found: Sets, site: SiteState, now_ms: int) -> None:
    """Devices that tell of a flow which the hub switches: asleep once it has stopped all pumps of it."""
    stopped: dict[str, bool] = {}
    for load in site.around.loads:
        if load.kind not in COOLING:
            continue
        on, shown_ms = site.load_book.on(load.key)
        settles_ms = round(LOAD_SETTLES_S * 1000 / site.config.simulated_speed_factor)
        moves = site.load_book.pending(load.key, now_ms) or (on is not None and now_ms - shown_ms < settles_ms)
        for device in _tellers(site, load.device, load.feeds):
            if moves:
                found["changing"].add(device)
            if load.kind is LoadKind.PUMP:
                stopped[device] = stopped.get(device, True) and on is False
    found["asleep"].update(device for device, all_off in stopped.items() if all_off)


def _tellers(site: SiteState, switch: str, feeds: frozenset[str]) -> Iterable[str]:
    """Who tells of what a pump or fan does: the device that switches it, and those of the loops that serve the same miners."""
    units = {unit for device in feeds if (unit := site.roster.index.get(device)) is not None}
    reported = {
        device
        for one in site.around.loops
        if not units.isdisjoint(one.loop.units.tolist())
        for named in one.sources.values()
        for device, _ in named
    }
    return reported | {switch}
