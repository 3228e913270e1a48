# SPDX-License-Identifier: Apache-2.0
"""Make, model, firmware and state of a miner. The model is kept apart from the dialect."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Operating state by evidence. Zero hashrate is ASLEEP only where the miner itself reports sleep."""

    HASHING = "hashing"
    RAMPING = "ramping"
    TUNING = "tuning"
    ASLEEP = "asleep"
    STOPPED = "stopped"
    FAULT = "fault"
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Miner:
    """One miner of the asset register: key, model, dialect, address and location."""

    device: str
    model: str
    dialect: str
    host: str
    ports: tuple[tuple[str, int], ...]
    feeder: str
    credential: str = "default"
    rack: str = ""
    position: str = ""
    owner: str = ""
    serial: str = ""
    mac: str = ""
