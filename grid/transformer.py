# SPDX-License-Identifier: Apache-2.0
"""How much a transformer may carry at an ambient temperature, so that its hottest spot stays below a limit.

Steady state of IEC 60076-7: with K the load over the rated one,

    hot spot = ambient + oil_rise * ((1 + loss_ratio * K^2) / (1 + loss_ratio))^oil_exponent + winding_rise * K^winding_exponent

Short overloads that the oil's inertia (hours) would allow are left to people: what is planned here can last. The defaults
are those of the standard's table for distribution transformers with natural cooling; put the nameplate's in their place.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_HALVINGS = 40


@dataclass(frozen=True, slots=True)
class Transformer:
    """`rated_va`; `power_factor` of the load; the hot spot's limit; rises at rated load in K; the most that K may be."""

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
    """Hot-spot temperature at a lasting load (share of the rated one), shape as given."""
    one = transformer
    losses = (1 + one.loss_ratio * load**2) / (1 + one.loss_ratio)
    found: Floats = (
        ambient_c + one.oil_rise_k * losses**one.oil_exponent + one.winding_rise_k * load**one.winding_exponent
    )
    return found


def cap_w(transformer: Transformer, ambient_c: Floats) -> Floats:
    """Active power that may last at each ambient temperature, in W, shape as given; 0 where even no load is too hot."""
    low, high = np.zeros(len(ambient_c)), np.full(len(ambient_c), transformer.max_load_share)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        cool = hot_spot_c(transformer, middle, ambient_c) <= transformer.hot_spot_limit_c
        low, high = np.where(cool, middle, low), np.where(cool, high, middle)
    return low * transformer.rated_va * transformer.power_factor
