# SPDX-License-Identifier: Apache-2.0
"""Readings for the benchmarks of storage and sinks, by column, with the precision of real devices."""

from dataclasses import dataclass

import numpy as np

from kernel.metric import SCHEMAS, TEXT_METRICS
from kernel.reading import Column, ReadingBatch

MINER_NUMBERS = [name for name in SCHEMAS["miner"] if name not in TEXT_METRICS["miner"]]
MINER_TEXTS = ["state", "mode", "pool_state", "power_source", "pool_url", "pool_user", "firmware"]
MINER_FIELDS = MINER_NUMBERS + MINER_TEXTS
METER_FIELDS = [name for name in SCHEMAS["meter"] if name not in TEXT_METRICS["meter"]]


@dataclass(frozen=True, slots=True)
class Rounds:
    """One batch a round of polls; `numbers` of the fields are numbers."""

    batches: list[ReadingBatch]
    names: list[str]
    numbers: int

    @property
    def fields(self) -> int:
        return len(self.names)

    @property
    def values(self) -> int:
        return sum(len(batch) for batch in self.batches) * len(self.names)


def _walk(rng: np.random.Generator, level: np.ndarray, share: float) -> np.ndarray:
    moved: np.ndarray = level * (1 + share * rng.standard_normal(len(level)))
    return moved


def miner_rounds(miners: int, polls: int, start_ms: int, step_ms: int, seed: int = 7) -> Rounds:
    """Gauges vary and are rounded to a tenth, counters rise, texts hardly change."""
    rng = np.random.default_rng(seed)
    devices = [f"hub/site{i % 4}/miner-{i:06d}" for i in range(miners)]
    present = np.zeros(miners, dtype=np.uint8)
    base = {name: rng.uniform(20.0, 4000.0, miners) for name in MINER_NUMBERS}
    whole = {"shares_accepted", "shares_rejected", "shares_stale", "hw_errors", "uptime_s", "fan_min_rpm", "fan_max_rpm",
             "boards_hashing", "boards_expected", "chips_hashing", "chips_expected", "hashrate_window_s"}  # fmt: skip
    texts = {
        "state": ["hashing"] * miners, "mode": ["normal"] * miners, "pool_state": ["alive"] * miners,
        "power_source": ["measured"] * miners, "pool_url": ["stratum+tcp://pool.example:3333"] * miners,
        "pool_user": [f"account.{i:06d}" for i in range(miners)], "firmware": [f"2025.{i % 5}" for i in range(miners)],
    }  # fmt: skip
    batches = []
    for poll in range(polls):
        columns = {}
        for name in MINER_NUMBERS:
            if name in whole:
                values = np.floor(base[name]) + (poll * 3 if name.startswith(("shares", "uptime")) else 0)
            else:
                values = np.round(_walk(rng, base[name], 0.01), 1)
            columns[name] = Column(values, present)
        columns |= {name: Column(columns_text, present) for name, columns_text in texts.items()}
        at_ms = start_ms + poll * step_ms + rng.integers(0, step_ms, miners)
        batches.append(ReadingBatch("miner", devices, at_ms.astype(np.int64), columns))
    return Rounds(batches, MINER_FIELDS, len(MINER_NUMBERS))


def meter_rounds(meters: int, seconds: int, start_ms: int, seed: int = 11) -> Rounds:
    """One reading a second; registers count in steps of 10 Wh."""
    rng = np.random.default_rng(seed)
    devices = [f"hub/site0/meter-{i:03d}" for i in range(meters)]
    present = np.zeros(meters, dtype=np.uint8)
    level = rng.uniform(1e5, 2e6, meters)
    energy_wh = rng.uniform(1e9, 5e9, meters)
    batches = []
    for second in range(seconds):
        columns = {}
        for name in METER_FIELDS:
            if name.startswith("energy"):
                values = np.floor((energy_wh + level * second / 3600) / 10) * 10
            elif name == "frequency_hz":
                values = np.round(50 + 0.01 * rng.standard_normal(meters), 2)
            else:
                values = np.round(_walk(rng, level, 0.002)).astype(np.float32).astype(np.float64)
            columns[name] = Column(values, present)
        at_ms = np.full(meters, start_ms + second * 1000, dtype=np.int64)
        batches.append(ReadingBatch("meter", devices, at_ms, columns))
    return Rounds(batches, METER_FIELDS, len(METER_FIELDS))
