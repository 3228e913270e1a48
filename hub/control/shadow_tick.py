# SPDX-License-Identifier: Apache-2.0
"""Valuation of one tick in observe-only at the prices known then (`hub.state.shadow.ShadowTick`)."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from grid.tariff import Tariff, all_in
from hub.market.price_duty import HASHPRICE, MARKET
from hub.state.shadow import ShadowTick
from kernel.curve import Curve, known
from kernel.errors import ConfigError
from kernel.span import Slots
from kernel.units import HS_PER_PHS, WH_PER_MWH
from miner_control.control.allocate import Allocation
from miner_control.fleet.fleet import Fleet
from scheduling.problem.build_problem import PER_HS, held

_NOW_MS: Final = 1_000


def glimpse(
    fleet: Fleet,
    proposed: Allocation,
    meter_w: float | None,
    site_factor: float,
    curves: Sequence[Curve],
    tariff: Tariff | None,
    *,
    generation_w: float = 0.0,
) -> ShadowTick:
    """What a tick saw and would have done. `meter_w`: the site's fresh meter; without one the miners' sum stands for it, less
    `generation_w` of its own. Power that flows out is nothing bought: it counts as none."""
    roster, units = fleet.roster, proposed.units
    power_w = float(fleet.power_w.sum()) * site_factor - generation_w if meter_w is None else meter_w
    would_w = power_w + (proposed.power_w - float(fleet.settled_w.sum())) * site_factor
    rates = np.concatenate((np.zeros((len(roster.groups), 1)), roster.mode_hashrate_hs), axis=1)
    gained_hs = rates[roster.group[units], proposed.modes + 1] - fleet.hashrate_hs[units]
    hashrate_hs = float(fleet.hashrate_hs.sum())
    would_hs = hashrate_hs + float(gained_hs.sum())
    now_ms = fleet.now_ms
    energy, no_energy = _energy_per_mwh(curves, tariff, now_ms)
    value, no_value = _value_per_ph_day(curves, tariff, now_ms)
    why = "; ".join(text for text in (no_energy, no_value) if text)
    return ShadowTick(max(0.0, power_w), max(0.0, would_w), hashrate_hs, would_hs, energy, value, why)


def _energy_per_mwh(curves: Sequence[Curve], tariff: Tariff | None, now_ms: int) -> tuple[float | None, str]:
    if tariff is None:
        return None, "no tariff is configured"
    try:
        bill = all_in(tariff, _instant(now_ms), known(curves, MARKET, now_ms))
    except ConfigError as error:
        return None, str(error)
    if bill.covered[0] < 1.0 - 1e-9:
        return None, f"{MARKET}: no price was known for this instant"
    return float(bill.price_per_wh[0]) * WH_PER_MWH, ""


def _value_per_ph_day(curves: Sequence[Curve], tariff: Tariff | None, now_ms: int) -> tuple[float | None, str]:
    curve = known(curves, HASHPRICE, now_ms)
    if curve is None:
        return None, f"{HASHPRICE}: none was known"
    money, _, per = curve.unit.partition("/")
    if per not in PER_HS or (tariff is not None and money != tariff.currency):
        return None, f"{HASHPRICE}: is in {curve.unit}"
    return float(held(curve, _instant(now_ms))[0]) / PER_HS[per] * HS_PER_PHS, ""


def _instant(now_ms: int) -> Slots:
    return Slots(np.array([now_ms, now_ms + _NOW_MS], dtype=np.int64))
