# SPDX-License-Identifier: Apache-2.0
"""Commands to a miner or a switched load: intent, reason and derived id.

An intent is a closed union. A command's id is derived from tick, device and intent, so that a retry after a kill is
the same command.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from kernel.ids import business_id
from kernel.receipt import Accepted, HubCause, Receipt, Refused, Unknown, Unreachable, Unsupported, Verified


@dataclass(frozen=True, slots=True)
class Sleep:
    """Stop hashing and drop to standby; the control board stays up."""


@dataclass(frozen=True, slots=True)
class Wake:
    """Hash again in the last mode."""


@dataclass(frozen=True, slots=True)
class PowerTarget:
    """Draw at most this much at the wall, in watts (absolute; the firmware may restart)."""

    power_w: float


@dataclass(frozen=True, slots=True)
class PowerPercent:
    """Draw this percentage of the present nominal power (temporary where the firmware documents it so)."""

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
    """Start or stop blinking."""

    on: bool


@dataclass(frozen=True, slots=True)
class Pool:
    """One pool entry. `password` is nearly always a placeholder, and is still never logged."""

    url: str
    user: str
    password: str = "x"


@dataclass(frozen=True, slots=True)
class SetPools:
    """Replace the pool list; needs the allow list and, by rule, a second person."""

    pools: tuple[Pool, ...]


@dataclass(frozen=True, slots=True)
class SetCredential:
    """Change the miner's management password (rotation). `name` is the credential's name in the configuration; it is
    journalled instead of the password."""

    account: str
    password: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class InstallFirmware:
    """Install a firmware image. `version` is what the miner must report afterwards; `sha256` (hex) is of the image.

    The bytes are in `data` and are never journalled: an intent read back has none. Settings (pools, mode) are kept.
    """

    version: str
    sha256: str
    data: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class RollBackFirmware:
    """Return to the previous image, where the firmware keeps it. `version` is what the miner must report afterwards
    ("": any other than now; STOCK: the maker's own firmware in place of the aftermarket one)."""

    version: str = ""


STOCK: Final = "stock"
"""The version of `RollBackFirmware` that means the maker's own firmware."""


@dataclass(frozen=True, slots=True)
class SwitchLoad:
    """Switch a load other than a miner: PDU socket, contactor, pump, fan; `index` is the socket or unit."""

    index: int
    on: bool


FIRMWARE_DEADLINE_S: Final = 1200.0
"""Time for upload, flashing, restart and the new version's first answer. Makers give no figure; operators wait up to a
quarter of an hour."""

WITHDRAWN: Final = "withdrawn before it was sent"
CUT_SHORT: Final = "the hub stopped before there was proof"
"""Texts for people; their meaning is in the receipt's `cause`."""

Intent = (
    Sleep | Wake | PowerTarget | PowerPercent | SetMode | Reboot | Locate | SetPools | SetCredential | InstallFirmware
    | RollBackFirmware | SwitchLoad
)  # fmt: skip


LOAD_NEUTRAL = (Locate, SetPools, SetCredential)
"""Intents that leave the load unchanged: they replace no command that changes it, and are replaced by none."""


def deadline_of(intent: Intent) -> float:
    """Default time within which an intent must be proven, in seconds."""
    return FIRMWARE_DEADLINE_S if isinstance(intent, InstallFirmware | RollBackFirmware) else 120.0


def intent_text(intent: Intent) -> str:
    """Stable text of an intent, free of secrets: `sleep`, `power_target 2500 W`, `mode low`."""
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
        case SetCredential(account, _, name):
            return f"credential {name} of {account}"
        case InstallFirmware(version, sha256, _):
            return f"firmware {version} (sha256 {sha256[:12]})"
        case RollBackFirmware(version):
            return f"firmware back to {version or 'the one before'}"
        case SwitchLoad(index, on):
            return f"switch {index} {'on' if on else 'off'}"


@dataclass(frozen=True, slots=True)
class Command:
    """One command to one device. `deadline_s` runs from the moment of sending; `priority` 0 is the most urgent;
    `restore_mode` names the mode to return to, where a limit or the guard lowers the unit ("": none)."""

    id: UUID
    device: str
    intent: Intent
    reason: str
    issued_ms: int
    deadline_s: float = 120.0
    priority: int = 5
    restore_mode: str = ""


@dataclass(frozen=True, slots=True)
class Journalled:
    """Commands that the journal holds: all that an actuator accepts.

    In the product it is made by `hub.journal.issue.issue` alone, as the result of the durable write
    (`tests/architecture/test_issue.py`).
    """

    commands: tuple[Command, ...]


def command(
    tick_ms: int,
    device: str,
    intent: Intent,
    reason: str,
    *,
    deadline_s: float | None = None,
    priority: int = 5,
    restore_mode: str = "",
) -> Command:
    """A command with its derived id: same tick, device and intent give the same id. Without `deadline_s`: `deadline_of`."""
    made = business_id(tick_ms, "command", device, intent_text(intent))
    return Command(made, device, intent, reason, tick_ms, deadline_s or deadline_of(intent), priority, restore_mode)


def intent_json(intent: Intent) -> dict[str, Any]:
    """An intent as JSON values, for the journal. Passwords are left out: an intent read back has none."""
    match intent:
        case Sleep() | Wake() | Reboot():
            return {"intent": type(intent).__name__}
        case PowerTarget(power_w):
            return {"intent": "PowerTarget", "power_w": power_w}
        case PowerPercent(percent):
            return {"intent": "PowerPercent", "percent": percent}
        case SetMode(mode):
            return {"intent": "SetMode", "mode": mode}
        case Locate(on):
            return {"intent": "Locate", "on": on}
        case SetPools(pools):
            return {"intent": "SetPools", "pools": [{"url": pool.url, "user": pool.user} for pool in pools]}
        case SetCredential(account, _, name):
            return {"intent": "SetCredential", "account": account, "name": name}
        case InstallFirmware(version, sha256, _):
            return {"intent": "InstallFirmware", "version": version, "sha256": sha256}
        case RollBackFirmware(version):
            return {"intent": "RollBackFirmware", "version": version}
        case SwitchLoad(index, on):
            return {"intent": "SwitchLoad", "index": index, "on": on}


def intent_from_json(body: Mapping[str, Any]) -> Intent:
    """The inverse of `intent_json`, without passwords. Raises KeyError or ValueError on a wrong shape."""
    match body["intent"]:
        case "Sleep":
            return Sleep()
        case "Wake":
            return Wake()
        case "Reboot":
            return Reboot()
        case "PowerTarget":
            return PowerTarget(float(body["power_w"]))
        case "PowerPercent":
            return PowerPercent(float(body["percent"]))
        case "SetMode":
            return SetMode(str(body["mode"]))
        case "Locate":
            return Locate(bool(body["on"]))
        case "SetPools":
            return SetPools(tuple(Pool(str(pool["url"]), str(pool["user"])) for pool in body["pools"]))
        case "SetCredential":
            return SetCredential(str(body["account"]), "", str(body.get("name", "")))
        case "InstallFirmware":
            return InstallFirmware(str(body["version"]), str(body["sha256"]))
        case "RollBackFirmware":
            return RollBackFirmware(str(body["version"]))
        case "SwitchLoad":
            return SwitchLoad(int(body["index"]), bool(body["on"]))
        case other:
            raise ValueError(f"no intent {other!r}")


def command_json(issued: Command) -> dict[str, Any]:
    """The body of a `command.issued` event."""
    restore = {"restore_mode": issued.restore_mode} if issued.restore_mode else {}
    return {
        "id": str(issued.id),
        "device": issued.device,
        "reason": issued.reason,
        "issued_ms": issued.issued_ms,
        "deadline_s": issued.deadline_s,
        "priority": issued.priority,
        **restore,
        **intent_json(issued.intent),
    }


_PROOF = ("state", "mode", "power_w", "power_limit_w", "hashrate_hs", "uptime_s", "firmware")


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """A receipt as JSON values: `outcome` names the case; a verified one carries the decisive fields of its evidence."""
    match receipt:
        case Verified(reading, took_s):
            proof = {name: reading.values[name] for name in _PROOF if isinstance(reading.get(name), str | int | float)}
            return {"outcome": "verified", "took_s": round(took_s, 3), "sampled_ms": reading.at_ms, "proof": proof}
        case Accepted(text):
            return {"outcome": "accepted", "text": text}
        case Refused(code, text):
            return {"outcome": "refused", "code": code, "text": text}
        case Unsupported(text):
            return {"outcome": "unsupported", "text": text}
        case Unreachable(text, cause):
            return {"outcome": "unreachable", "text": text} | ({"cause": str(cause)} if cause else {})
        case Unknown(text, cause):
            return {"outcome": "unknown", "text": text} | ({"cause": str(cause)} if cause else {})


def hub_cause(body: Mapping[str, Any]) -> HubCause | None:
    """The hub's own act on a command, by the body of its receipt; None where the outcome is the device's.

    Journals written before the key `cause` existed carry it at the start of the text.
    """
    if "cause" in body:
        return HubCause(body["cause"])
    text = str(body.get("text", ""))
    if text in (WITHDRAWN, CUT_SHORT):
        return HubCause.WITHDRAWN if text == WITHDRAWN else HubCause.CUT_SHORT
    return HubCause.BARRED if text.startswith(WITHDRAWN) else None
