# SPDX-License-Identifier: Apache-2.0
"""Simulated price histories of different character, from a seed, to test policies developed on one real market."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kernel.curve import Curve

HOUR_MS = 3_600_000
MARCH_2025_MS = 1_740_783_600_000
"""2025-02-28T23:00Z: March begins in central Europe."""


@dataclass(frozen=True, slots=True)
class Market:
    """A price series with its published forecasts; `auction`: the series itself is known the day before."""

    real: Curve
    ahead: Curve | None
    zone: str
    hashprice: float
    auction: bool = False


def _wander(rng: np.random.Generator, count: int, keeps: float, shock: float) -> np.ndarray:
    """A first-order autoregressive process."""
    found, shocks = np.zeros(count), rng.normal(0, shock, count)
    for t in range(1, count):
        found[t] = keeps * found[t - 1] + shocks[t]
    return found


def _grid(days: int, step_h: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    starts = MARCH_2025_MS + round(step_h * HOUR_MS) * np.arange(round(days * 24 / step_h), dtype=np.int64)
    since_h = (starts - MARCH_2025_MS) / HOUR_MS
    return starts, since_h % 24, since_h / 24


def _curve(name: str, unit: str, starts: np.ndarray, values: np.ndarray) -> Curve:
    step = int(starts[1] - starts[0])
    return Curve(name, unit, starts, starts + step, values, int(starts[-1]) + step, "simulated")


def _hump(hour: np.ndarray, at: float, wide: float) -> np.ndarray:
    return np.exp(-(((hour - at) / wide) ** 2))


def hydro(seed: int, days: int) -> Market:
    """Hourly auction of a hydro system: small changes within a day, a level that drifts over weeks."""
    rng = np.random.default_rng(seed)
    starts, hour, day = _grid(days, 1.0)
    level = 34 + np.interp(day, np.arange(days + 1), _wander(rng, days + 1, 0.97, 1.5))
    values = level * (1 + 0.06 * _hump(hour, 9, 2) + 0.08 * _hump(hour, 19, 2.5)) + _wander(rng, len(day), 0.8, 0.5)
    return Market(_curve("price", "EUR/MWh", starts, values), None, "Europe/Oslo", 42.0, auction=True)


def solar(seed: int, days: int) -> Market:
    """Hourly auction with much sun: negative at noon on bright days, dear in the evening."""
    rng = np.random.default_rng(seed)
    starts, hour, day = _grid(days, 1.0)
    bright = np.clip(0.6 + _wander(rng, days + 1, 0.6, 0.3), 0, 1.3)[day.astype(int)]
    weekend = np.where(day.astype(int) % 7 >= 5, 0.8, 1.0)
    values = weekend * (62 + 25 * _hump(hour, 8, 2) + 70 * _hump(hour, 20, 2.5)) - 95 * bright * _hump(hour, 13.5, 3)
    values += _wander(rng, len(day), 0.9, 5.0)
    return Market(
        _curve("price", "EUR/MWh", starts, np.maximum(values, -60.0)), None, "Europe/Madrid", 45.0, auction=True
    )


def spiky(seed: int, days: int) -> Market:
    """Quarter-hours of a balancing market around its day-ahead price: mild noise, spikes into the thousands, some lasting."""
    rng = np.random.default_rng(seed)
    starts, hour, day = _grid(days, 0.25)
    base = 32 + 14 * _hump(hour, 20, 3) - 12 * _hump(hour, 12, 3)
    ahead = base * (1 + np.repeat(_wander(rng, days, 0.7, 0.1), 96)) + 4
    values = ahead - 4 + _wander(rng, len(day), 0.95, 2.5)
    for at in np.flatnonzero(rng.random(len(day)) < 0.002).tolist():
        length = int(rng.geometric(0.3))
        values[at : at + length] += rng.pareto(1.3) * 120
    for at in np.flatnonzero(rng.random(len(day)) < 0.003).tolist():
        values[at : at + int(rng.geometric(0.2))] -= rng.exponential(40)
    values = np.clip(values, -150.0, 5000.0)
    real, published = (_curve(name, "USD/MWh", starts, v) for name, v in (("real", values), ("ahead", ahead)))
    return Market(real, published, "America/Chicago", 45.0)


def half_hours(seed: int, days: int) -> Market:
    """Half-hours with lasting noise and wind-driven lows, each known when it is over, nothing published before."""
    rng = np.random.default_rng(seed)
    starts, hour, day = _grid(days, 0.5)
    wind = np.interp(day, np.arange(days + 1), _wander(rng, days + 1, 0.7, 0.6))
    values = 58 + 12 * _hump(hour, 8, 2) + 30 * _hump(hour, 18, 2) - 18 * wind + _wander(rng, len(day), 0.93, 4.0)
    values += np.where(rng.random(len(day)) < 0.004, rng.exponential(150, len(day)), 0.0)
    return Market(_curve("price", "GBP/MWh", starts, values), None, "Europe/London", 48.0)


def hours_alone(seed: int, days: int) -> Market:
    """Hours of a single buyer with a steep evening, each known when it is over, nothing published before."""
    rng = np.random.default_rng(seed)
    starts, hour, day = _grid(days, 1.0)
    level = 17_000 + np.interp(day, np.arange(days + 1), _wander(rng, days + 1, 0.9, 500))
    values = level * (1 + 0.25 * _hump(hour, 9, 2.5) + 0.9 * _hump(hour, 20, 2.5) - 0.4 * _hump(hour, 3, 3))
    values += _wander(rng, len(day), 0.7, 500)
    return Market(_curve("price", "KZT/MWh", starts, values), None, "Asia/Almaty", 21_000.0)


MARKETS: dict[str, Callable[[int, int], Market]] = {
    "hydro": hydro,
    "solar": solar,
    "spiky": spiky,
    "half_hours": half_hours,
    "hours_alone": hours_alone,
}
