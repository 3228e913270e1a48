# SPDX-License-Identifier: Apache-2.0
"""What a miner can do, as data: its modes with W and TH/s, how fast it changes, how long it must rest.

An envelope belongs to make, model and firmware. It starts from the catalogue (`configs/profiles/miners/`), each number
with its provenance, and is replaced by what is learnt from command to read-back to meter.
"""

from dataclasses import dataclass
from enum import StrEnum

from kernel.units import HS_PER_THS


class Provenance(StrEnum):
    """Where a number comes from; what is assumed is replaced by what is learnt."""

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
    """A continuous power target: where the firmware takes watts."""

    low_w: float
    high_w: float
    step_w: float
    needs_restart: bool


@dataclass(frozen=True, slots=True)
class Envelope:
    """Modes sorted by rising power (all on; sleep is not a mode), power range where there is one, and dynamics.

    `sleep_w` is drawn while asleep. `ramp_up_s` is from the wake command to about full hashrate, `ramp_down_s` from the
    sleep command to standby; `start_lost_s` is the full-rate hashing that one start costs. `normal` names the mode a
    miner has out of the box. `commands` are the names of the intents that the firmware can carry out.
    `wakes_into_any_mode`: setting a mode wakes a sleeping miner straight into it; otherwise it wakes into the one it had.
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
    ladder: tuple[str, ...] = ("retry", "reboot", "pdu", "ticket")
    """What is tried, in this order, with a miner that does not come back after a wake (`miner_control.health.wake_recovery`)."""

    @property
    def key(self) -> tuple[str, str]:
        """Model and firmware: what it is an envelope of."""
        return self.model, self.firmware

    @property
    def names(self) -> tuple[str, ...]:
        """The modes' names, by rising power."""
        return tuple(mode.name for mode in self.modes)

    @property
    def asked_in_watts(self) -> bool:
        """Whether a mode is asked for by its watts, since the firmware knows no names: then they are what they are."""
        return "SetMode" not in self.commands and "PowerTarget" in self.commands

    def mode(self, name: str) -> Mode:
        """The mode of a name; KeyError names the ones there are."""
        for mode in self.modes:
            if mode.name == name:
                return mode
        raise KeyError(f"{self.model} has no mode {name!r}: {', '.join(mode.name for mode in self.modes)}")
