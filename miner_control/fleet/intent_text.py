# SPDX-License-Identifier: Apache-2.0
"""Text form of an intent: `sleep`, `mode=low`, `power=2500`, `percent=80`, `rollback`, `rollback=1.2.3`."""

from collections.abc import Callable, Mapping
from typing import Final

from kernel.errors import ConfigError, Fault
from miner_control.fleet.command import (
    Intent,
    Locate,
    PowerPercent,
    PowerTarget,
    Reboot,
    RollBackFirmware,
    SetMode,
    Sleep,
    Wake,
)

_PLAIN: Final[Mapping[str, Intent]] = {
    "sleep": Sleep(), "wake": Wake(), "reboot": Reboot(), "locate": Locate(True), "locate=off": Locate(False),
    "rollback": RollBackFirmware(),
}  # fmt: skip
SYNTAX: Final = "sleep, wake, reboot, locate, mode=low, power=2500, percent=80, rollback"


def intent_of(text: str, named: Mapping[str, Callable[[str], Intent]] | None = None) -> Intent:
    """The intent of a text. `named`: further keys of the caller, each with a function from its value to an intent.

    Raises ConfigError that lists the possible forms.
    """
    key, _, value = text.strip().partition("=")
    if text.strip() in _PLAIN:
        return _PLAIN[text.strip()]
    if value and key in (named or {}):
        return (named or {})[key](value)
    if key == "mode" and value:
        return SetMode(value)
    if key == "rollback" and value:
        return RollBackFirmware(value)
    if key in ("power", "percent") and value.replace(".", "", 1).isdigit():
        return PowerTarget(float(value)) if key == "power" else PowerPercent(float(value))
    more = "".join(f", {name}=NAME" for name in named or {})
    raise ConfigError([Fault(f"intent {text[:60]!r}", "is none", f"Write one of: {SYNTAX}{more}")])
