# SPDX-License-Identifier: Apache-2.0
"""Does this reading show the effect of that command? Asked only of readings sampled after the command was answered.

A device's own echo is not enough where it also tells its power: a mode or limit that it repeats while drawing what it drew
before was taken and had no effect.
"""

import json
import re
from typing import Final

from kernel.reading import Missing, Reading
from miner_control.fleet.command import (
    STOCK,
    InstallFirmware,
    Intent,
    Locate,
    PowerPercent,
    PowerTarget,
    Reboot,
    RollBackFirmware,
    SetCredential,
    SetMode,
    SetPools,
    Sleep,
    SwitchLoad,
    Wake,
)
from miner_control.fleet.envelope import Envelope
from miner_control.fleet.miner import State
from telemetry.collect.source import Tier

ON: Final = frozenset({State.HASHING.value, State.RAMPING.value, State.TUNING.value})
_CLOSE: Final = 1.1
LEAST_STEP: Final = 0.03
"""A smaller share of the power is lost in what a miner's own watts swing by."""
SHORTLY_MS: Final = 900_000
_SCHEMES: Final = {"": "stratum+tcp", "tcp": "stratum+tcp", "stratum": "stratum+tcp"} | dict.fromkeys(
    ("ssl", "tls", "stratum+tls", "stratums"), "stratum+ssl"
)
_WORD: Final = re.compile(r"[\s()'\"]+")


def tier_of(intent: Intent) -> Tier:
    """Which tier of poll can show the effect."""
    match intent:
        case SetPools() | SwitchLoad():
            return Tier.SLOW
        case InstallFirmware() | RollBackFirmware():
            return Tier.DAILY
        case _:
            return Tier.FAST


def tells(intent: Intent, reading: Reading) -> bool:
    """Whether a reading speaks of the effect at all: not every poll asks for pools, sockets or the firmware's version.

    What speaks of something else must not take the place of the reading that is waited for.
    """
    match intent:
        case SetPools(pools):
            # Who tells but the pool in use can show that of one pool alone.
            one = len(pools) == 1 and _has_text(reading, "pool_url", "pool_user")
            return one or _has_text(reading, "pools_json")
        case SwitchLoad():
            return _has_text(reading, "sockets_json")
        case InstallFirmware() | RollBackFirmware():
            return _has_text(reading, "firmware")
        case _:
            return True


def _has_text(reading: Reading, *metrics: str) -> bool:
    return all(isinstance(reading.get(name), str) for name in metrics)


def can_be_seen(intent: Intent) -> bool:
    """Whether any reading could show it: blinking and a password cannot be seen, so `Accepted` is the last word there."""
    return not isinstance(intent, Locate | SetCredential)


def shows(
    intent: Intent,
    envelope: Envelope,
    reading: Reading,
    *,
    since_s: float,
    went_dark: bool,
    before: Reading | None = None,
) -> bool:
    """Whether the effect is there. `since_s` since the command was sent; `went_dark`: nobody was there in between;
    `before`: a reading from before the command, where one is at hand."""
    state, power_w = reading.get("state"), reading.number("power_w")
    match intent:
        case Sleep():
            awake_w = 0.5 * envelope.modes[0].power_w
            return state == State.ASLEEP and (power_w is None or power_w < awake_w)
        case Wake():
            return state in ON
        case SetMode(mode):
            aim_w, was = _watts(envelope, mode), before.get("mode") if before is not None else None
            took = reading.get("mode") == mode and state in ON and _no_more_than(power_w, aim_w)
            return took and _fell(before, reading, _watts(envelope, was) if isinstance(was, str) else None, aim_w)
        case PowerTarget(target_w):
            reported_w = reading.number("power_limit_w")
            took = reported_w is None or abs(reported_w - target_w) <= max(50.0, 0.02 * target_w)
            return (
                took
                and state in ON
                and _no_more_than(power_w, target_w)
                and _fell(before, reading, before.number("power_limit_w") if before is not None else None, target_w)
                and (reported_w is not None or power_w is not None)
            )
        case PowerPercent(percent):
            nominal_w = envelope.mode(envelope.normal).power_w
            return state in ON and power_w is not None and abs(power_w - nominal_w * percent / 100) <= 0.1 * nominal_w
        case Reboot():
            uptime_s = reading.number("uptime_s")
            was_s = before.number("uptime_s") if before is not None else None
            if uptime_s is None:
                return went_dark
            return uptime_s < since_s + 5.0 and (was_s is None or was_s > uptime_s)
        case SetPools(pools):
            return _pools(reading) == [(_address(pool.url), pool.user) for pool in pools]
        case SwitchLoad(index, on):
            return _socket(reading, index) == on
        case InstallFirmware(version):
            return names(reading.get("firmware"), version)
        case RollBackFirmware(version) if version in ("", STOCK):
            reported, was = reading.get("firmware"), before.get("firmware") if before is not None else None
            return isinstance(reported, str) and isinstance(was, str) and reported != was
        case RollBackFirmware(version):
            return names(reading.get("firmware"), version)
        case _:
            return False


def names(reported: object, version: str) -> bool:
    """Whether what a miner tells of its firmware is that version: the whole text, or a word of it (`Vnish 1.3.3`), with or
    without a `v` before. `1.3.3` is neither `1.3.30` nor `1.3.3-rc1`."""
    if not isinstance(reported, str) or not version:
        return False
    wanted = _plain(version)
    # A bare number may be a word of a date: only a version in points is looked for among the words.
    return _plain(reported) == wanted or ("." in wanted and wanted in (_plain(word) for word in _WORD.split(reported)))


def _plain(version: str) -> str:
    text = version.strip().strip("'\"").casefold()
    return text[1:] if text[:1] == "v" and text[1:2].isdigit() else text


def _watts(envelope: Envelope, mode: str) -> float | None:
    return envelope.mode(mode).power_w if mode in envelope.names else None


def _no_more_than(power_w: float | None, aim_w: float | None) -> bool:
    return power_w is None or aim_w is None or power_w <= aim_w * _CLOSE + 30.0


def _fell(before: Reading | None, reading: Reading, was_w: float | None, aim_w: float | None) -> bool:
    """Whether the draw fell where it was asked to fall; True where that cannot be told.

    A small step down lies within what a miner's watts are sure of. What it drew shortly before in its former mode or limit
    (`was_w`) is the better measure: more than half of the step must show.
    """
    if before is None or before.get("state") != State.HASHING or was_w is None or aim_w is None:
        return True
    drew_w, draws_w = before.number("power_w"), reading.number("power_w")
    if drew_w is None or draws_w is None or drew_w <= aim_w or reading.at_ms - before.at_ms > SHORTLY_MS:
        return True
    step = 1.0 - aim_w / was_w
    return step < LEAST_STEP or draws_w <= drew_w * (1.0 - 0.5 * step)


def _pools(reading: Reading) -> list[tuple[str, str]]:
    found = reading.get("pools_json")
    if isinstance(found, Missing):
        return [(_address(str(reading.get("pool_url"))), str(reading.get("pool_user")))]
    listed = [pool for pool in json.loads(str(found)) if pool.get("url")]
    return [(_address(str(pool["url"])), str(pool.get("user"))) for pool in listed]


def _address(url: str) -> str:
    """A pool's address as it is compared: some miners leave the scheme of plain stratum out, some write TLS otherwise."""
    scheme, _, place = url.rpartition("://")
    return f"{_SCHEMES.get(scheme.lower(), scheme.lower())}://{place.rstrip('/')}"


def _socket(reading: Reading, index: int) -> bool | None:
    found = reading.get("sockets_json")
    if isinstance(found, Missing):
        return None
    for socket in json.loads(str(found)):
        if int(socket.get("index", -1)) == index:
            return bool(socket.get("on"))
    return None
