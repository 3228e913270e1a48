# SPDX-License-Identifier: Apache-2.0
"""Capability envelope of a miner: modes with W and TH/s, ramp times, minimum on and off times.

An envelope belongs to make, model and firmware. It starts from the catalogue (`configs/profiles/miners/`), each number
with its provenance, and is replaced by what is identified from commands, read-backs and meters.
"""

from dataclasses import dataclass
from enum import StrEnum

from kernel.units import HS_PER_THS


class Provenance(StrEnum):
    """Source of a number; assumed numbers are replaced by learnt ones."""

    MAKER = "maker"
    SOURCED = "sourced"
    ASSUMED = "assumed"
    LEARNT = "learnt"


@dataclass(frozen=True, slots=True)
class Mode:
    """One operating point, at the wall."""

    name: str
    power_w: float
    hashrate_hs: float

    @property
    def j_per_th(self) -> float:
        return self.power_w / (self.hashrate_hs / HS_PER_THS)


@dataclass(frozen=True, slots=True)
class PowerRange:
    """Range of a continuous power target, for firmware that accepts watts."""

    low_w: float
    high_w: float
    step_w: float
    needs_restart: bool


@dataclass(frozen=True, slots=True)
class Envelope:
    """Operating modes by rising power (sleep is not one of them), power range where there is one, and dynamics.

    - `sleep_w`: power while asleep.
    - `ramp_up_s`: from the wake command to about full hashrate; `ramp_down_s`: from the sleep command to standby.
    - `start_lost_s`: full-rate hashing lost by one start.
    - `normal`: name of the factory mode.
    - `commands`: names of the intents that the firmware supports.
    - `profiled`: False for a model without a profile, whose figures are assumed and whose own power is what it reports.
    - `wakes_into_any_mode`: setting a mode wakes a sleeping miner straight into it; otherwise it wakes into its last mode.
    """

    model: str
    firmware: str
    modes: tuple[Mode, ...]
    normal: str
    sleep_w: float
    ramp_up_s: float
    ramp_down_s: float
    start_lost_s: float
    min_on_s: float
    min_off_s: float
    can_sleep: bool = True
    power_range: PowerRange | None = None
    commands: frozenset[str] = frozenset()
    provenance: Provenance = Provenance.ASSUMED
    random_start_delay_s: float = 0.0
    wakes_into_any_mode: bool = False
    profiled: bool = True
    recovery_steps: tuple[str, ...] = ("retry", "reboot", "pdu", "ticket")
    """Recovery steps, in this order, for a miner that does not return after a wake (`miner_control.health.wake_recovery`)."""

    @property
    def key(self) -> tuple[str, str]:
        """Model and firmware that the envelope describes."""
        return self.model, self.firmware

    @property
    def names(self) -> tuple[str, ...]:
        """The modes' names, by rising power."""
        return tuple(mode.name for mode in self.modes)

    @property
    def commanded_in_watts(self) -> bool:
        """Whether a mode is commanded by its power, since the firmware has no mode names."""
        return "SetMode" not in self.commands and "PowerTarget" in self.commands

    def mode(self, name: str) -> Mode:
        """The mode of a name. Raises KeyError that lists the existing names."""
        for mode in self.modes:
            if mode.name == name:
                return mode
        raise KeyError(f"{self.model} has no mode {name!r}: {', '.join(mode.name for mode in self.modes)}")
