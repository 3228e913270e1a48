# SPDX-License-Identifier: Apache-2.0
"""Make, model, firmware and state of a miner. What it is stands apart from what it speaks."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What a miner is doing, by evidence. A miner with hashrate zero is ASLEEP only where its own answer says so."""

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
    """One miner of the register: its key, what it is, what it speaks, where it listens and where it stands."""

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
