# SPDX-License-Identifier: Apache-2.0
"""An intent as people write it: `sleep`, `mode=low`, `power=2500`, `percent=80`, `rollback`, `rollback=1.2.3`."""

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
WORDS: Final = "sleep, wake, reboot, locate, mode=low, power=2500, percent=80, rollback"


def intent_of(text: str, named: Mapping[str, Callable[[str], Intent]] | None = None) -> Intent:
    """The intent of a text. `named`: further words of the caller, each with what makes an intent of its value.

    Raises ConfigError naming what can be written.
    """
    word, _, value = text.strip().partition("=")
    if text.strip() in _PLAIN:
        return _PLAIN[text.strip()]
    if value and word in (named or {}):
        return (named or {})[word](value)
    if word == "mode" and value:
        return SetMode(value)
    if word == "rollback" and value:
        return RollBackFirmware(value)
    if word in ("power", "percent") and value.replace(".", "", 1).isdigit():
        return PowerTarget(float(value)) if word == "power" else PowerPercent(float(value))
    more = "".join(f", {name}=NAME" for name in named or {})
    raise ConfigError([Fault(f"intent {text[:60]!r}", "is none", f"Write one of: {WORDS}{more}")])
