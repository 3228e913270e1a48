# SPDX-License-Identifier: Apache-2.0
"""What may be asked of a miner or a switched load, why, and under which id.

An intent is a closed union. A command's id is derived from tick, device and intent, so that a retry after a kill is
the same command.
"""

from dataclasses import dataclass
from uuid import UUID

from kernel.ids import business_id


@dataclass(frozen=True, slots=True)
class Sleep:
    """Stop hashing and drop to standby; the control board stays up."""


@dataclass(frozen=True, slots=True)
class Wake:
    """Hash again in the mode it had."""


@dataclass(frozen=True, slots=True)
class PowerTarget:
    """Draw at most this much at the wall, in watts (absolute; the firmware may restart)."""

    power_w: float


@dataclass(frozen=True, slots=True)
class PowerPercent:
    """Draw this share of the present nominal power (temporary where the firmware says so)."""

    percent: float


@dataclass(frozen=True, slots=True)
class SetMode:
    """Take a named mode or preset of the firmware: `low`, `normal`, `high`, or a preset's own name."""

    mode: str


@dataclass(frozen=True, slots=True)
class Reboot:
    """Restart the control board."""


@dataclass(frozen=True, slots=True)
class Locate:
    """Blink, or stop blinking."""

    on: bool


@dataclass(frozen=True, slots=True)
class Pool:
    """One pool entry. `password` is nearly always a placeholder, and is never logged all the same."""

    url: str
    user: str
    password: str = "x"


@dataclass(frozen=True, slots=True)
class SetPools:
    """Replace the pool list; needs the allow list and, by rule, a second person."""

    pools: tuple[Pool, ...]


@dataclass(frozen=True, slots=True)
class SetCredential:
    """Change the miner's management password (rotation)."""

    account: str
    password: str


@dataclass(frozen=True, slots=True)
class SwitchLoad:
    """Switch a load that is no miner: PDU socket, contactor, pump, fan; `index` is the socket or unit."""

    index: int
    on: bool


Intent = Sleep | Wake | PowerTarget | PowerPercent | SetMode | Reboot | Locate | SetPools | SetCredential | SwitchLoad


def intent_text(intent: Intent) -> str:
    """An intent as one stable word or phrase, free of secrets: `sleep`, `power_target 2500 W`, `mode low`."""
    match intent:
        case Sleep():
            return "sleep"
        case Wake():
            return "wake"
        case PowerTarget(power_w):
            return f"power_target {power_w:.0f} W"
        case PowerPercent(percent):
            return f"power_percent {percent:g} %"
        case SetMode(mode):
            return f"mode {mode}"
        case Reboot():
            return "reboot"
        case Locate(on):
            return f"locate {'on' if on else 'off'}"
        case SetPools(pools):
            return "pools " + ", ".join(f"{pool.url} as {pool.user}" for pool in pools)
        case SetCredential(account, _):
            return f"credential of {account}"
        case SwitchLoad(index, on):
            return f"switch {index} {'on' if on else 'off'}"


@dataclass(frozen=True, slots=True)
class Command:
    """One thing asked of one device. `deadline_s` from the moment it is sent; `priority` 0 is the most urgent."""

    id: UUID
    device: str
    intent: Intent
    reason: str
    issued_ms: int
    deadline_s: float = 120.0
    priority: int = 5


def command(
    tick_ms: int, device: str, intent: Intent, reason: str, *, deadline_s: float = 120.0, priority: int = 5
) -> Command:
    """A command with its derived id: same tick, device and intent, same command."""
    made = business_id(tick_ms, "command", device, intent_text(intent))
    return Command(made, device, intent, reason, tick_ms, deadline_s, priority)
