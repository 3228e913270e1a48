# SPDX-License-Identifier: Apache-2.0
"""Permissible load of a transformer at an ambient temperature, from the hot-spot limit.

Steady state of IEC 60076-7: with K the load over the rated one,

    hot spot = ambient + oil_rise * ((1 + loss_ratio * K^2) / (1 + loss_ratio))^oil_exponent + winding_rise * K^winding_exponent

Short overloads that the thermal inertia of the oil (hours) would allow are left to the operator: planned loads are permanent.
The defaults are those of the standard's table for distribution transformers with natural cooling; replace them by the
nameplate's.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class Transformer:
    """Rating `rated_va`, power factor of the load, hot-spot limit, rises at rated load in K, highest permitted K."""

    rated_va: float
    power_factor: float = 0.95
    hot_spot_limit_c: float = 110.0
    oil_rise_k: float = 55.0
    winding_rise_k: float = 23.0
    loss_ratio: float = 5.0
    oil_exponent: float = 0.8
    winding_exponent: float = 1.6
    max_load_share: float = 1.2


def hot_spot_c(transformer: Transformer, load: Floats, ambient_c: Floats) -> Floats:
    """Hot-spot temperature in C at a permanent load (share of the rated one), shape as given."""
    one = transformer
    losses = (1 + one.loss_ratio * load**2) / (1 + one.loss_ratio)
    found: Floats = (
        ambient_c + one.oil_rise_k * losses**one.oil_exponent + one.winding_rise_k * load**one.winding_exponent
    )
    return found


def cap_w(transformer: Transformer, ambient_c: Floats) -> Floats:
    """Permanent active power at each ambient temperature, in W, shape as given; 0 where the limit is exceeded without load."""
    low, high = np.zeros(len(ambient_c)), np.full(len(ambient_c), transformer.max_load_share)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        cool = hot_spot_c(transformer, middle, ambient_c) <= transformer.hot_spot_limit_c
        low, high = np.where(cool, middle, low), np.where(cool, high, middle)
    return low * transformer.rated_va * transformer.power_factor
