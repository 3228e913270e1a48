# SPDX-License-Identifier: Apache-2.0
"""Hashprice: daily revenue of one hash per second, from difficulty, subsidy, fees and coin price.

    hashprice [money / (H/s) / day] = (subsidy + fees) [BTC/block] * price [money/BTC] * 86 400 [s/day] / (difficulty * 2^32)

since a block takes difficulty * 2^32 hashes on average. The subsidy is taken by block height from dated data
(`configs/tariffs/bitcoin_subsidy.toml`), never from a constant here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from kernel.clock import MS_PER_S
from kernel.curve import Curve
from kernel.errors import ConfigError, Fault
from kernel.toml_model import checked, parse_toml, placed
from kernel.units import HASHES_PER_DIFFICULTY, S_PER_DAY, SAT_PER_BTC


@dataclass(frozen=True, slots=True)
class Subsidy:
    """Subsidy per block, `subsidy_sat`, from block `height_from` on."""

    height_from: int
    subsidy_sat: int
    source: str


class _Edition(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    height_from: int = Field(ge=0, examples=[840_000])
    subsidy_sat: int = Field(ge=0, examples=[312_500_000])
    source: str = Field(min_length=1, examples=["consensus rules"])


class _SubsidyFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    block_s: float = Field(gt=0, examples=[600.0])
    block_s_source: str = Field(min_length=1, examples=["consensus rules"])
    subsidy: list[_Edition] = Field(min_length=1)


def load_subsidies(text: str, place: str) -> tuple[list[Subsidy], float]:
    """(editions of a subsidy file, sorted by height, mean seconds between blocks). ConfigError with all faults."""
    held, faults = checked(_SubsidyFile, parse_toml(text, place))
    heights = [] if held is None else [one.height_from for one in held.subsidy]
    if heights != sorted(set(heights)):
        faults.append(Fault("subsidy", "heights do not rise", "Sort by height_from, each once"))
    if held is None or faults:
        raise ConfigError([placed(fault, Path(place), text) for fault in faults])
    return [Subsidy(one.height_from, one.subsidy_sat, one.source) for one in held.subsidy], held.block_s


def subsidy_sat_at(subsidies: Sequence[Subsidy], height: int) -> int:
    """Subsidy of a block at a height. ConfigError below the first edition."""
    found = [one.subsidy_sat for one in subsidies if one.height_from <= height]
    if not found:
        raise ConfigError([Fault(f"height {height}", "no subsidy edition covers it", "Add one with its source")])
    return found[-1]


def hashprice(reward_btc: float, price_per_btc: float, difficulty: float) -> float:
    """Revenue per H/s and day; `reward_btc` is subsidy and fees of one block. ValueError where difficulty is not above 0."""
    if difficulty <= 0:
        raise ValueError(f"difficulty {difficulty} is not above 0")
    return reward_btc * price_per_btc * S_PER_DAY / (difficulty * HASHES_PER_DIFFICULTY)


def hashprice_curve(
    price_per_btc: Curve, difficulty: Curve, reward_sat: Curve, *, source: str, currency: str
) -> Curve | None:
    """Hashprice on every piece where all three inputs are known, in `<currency>/(H/s)/day`; None where there is no such piece.

    Known when the last of the three was. `reward_sat`: subsidy and fees per block.
    """
    parts = (price_per_btc, difficulty, reward_sat)
    edges = np.unique(np.concatenate([np.concatenate((part.starts_ms, part.ends_ms)) for part in parts]))
    starts_ms, ends_ms = edges[:-1], edges[1:]
    columns = [_held(part, starts_ms) for part in parts]
    known = np.logical_and.reduce([~np.isnan(column) for column in columns]) & (columns[1] > 0)
    if not bool(known.any()):
        return None
    price, hard, reward = (column[known] for column in columns)
    values = reward / SAT_PER_BTC * price * S_PER_DAY / (hard * HASHES_PER_DIFFICULTY)
    return Curve(
        name="hashprice",
        unit=f"{currency}/(H/s)/day",
        starts_ms=starts_ms[known],
        ends_ms=ends_ms[known],
        values=values,
        known_at_ms=max(part.known_at_ms for part in parts),
        source=source,
    )


def _held(curve: Curve, at_ms: NDArray[np.int64]) -> NDArray[np.float64]:
    """Values of the curve at instants; NaN (in this module only) where it has none."""
    index = np.searchsorted(curve.starts_ms, at_ms, side="right") - 1
    base = np.maximum(index, 0)
    inside = (index >= 0) & (at_ms < curve.ends_ms[base])
    return np.where(inside, curve.values[base], np.nan)


def reward_curve(
    fees_sat: Curve, subsidies: Sequence[Subsidy], height: int, height_at_ms: int, block_s: float
) -> Curve:
    """Subsidy and fees per block, in sat: each piece of the fees with the subsidy of the height expected at its start.

    The height increases from `height` at `height_at_ms` by one block per `block_s` on average (dated data: 600 s).
    """
    elapsed_s = (fees_sat.starts_ms - height_at_ms) / MS_PER_S
    heights = height + np.floor_divide(elapsed_s, block_s).astype(np.int64)
    subsidy = np.array([subsidy_sat_at(subsidies, int(at)) for at in heights], dtype=np.float64)
    return Curve(
        name="reward",
        unit="SAT/block",
        starts_ms=fees_sat.starts_ms,
        ends_ms=fees_sat.ends_ms,
        values=fees_sat.values + subsidy,
        known_at_ms=fees_sat.known_at_ms,
        source=f"{fees_sat.source} + subsidy by height",
    )
