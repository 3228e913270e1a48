# SPDX-License-Identifier: Apache-2.0
"""Read-back: verification of a command by a reading sampled after its answer.

A device's own echo is not enough where it also reports its power: a mode or limit that it repeats while the power is
unchanged was accepted and had no effect.
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
"""Smallest step as a share of power that is judged; a smaller one is lost in the fluctuation of a miner's power."""
SHORTLY_MS: Final = 900_000
_SCHEMES: Final = {"": "stratum+tcp", "tcp": "stratum+tcp", "stratum": "stratum+tcp"} | dict.fromkeys(
    ("ssl", "tls", "stratum+tls", "stratums"), "stratum+ssl"
)
_SEPARATORS: Final = re.compile(r"[\s()'\"]+")


def tier_of(intent: Intent) -> Tier:
    """The poll tier that can show the effect."""
    match intent:
        case SetPools() | SwitchLoad():
            return Tier.SLOW
        case InstallFirmware() | RollBackFirmware():
            return Tier.DAILY
        case _:
            return Tier.FAST


def carries_evidence(intent: Intent, reading: Reading) -> bool:
    """Whether a reading carries evidence of the effect: not every poll reads pools, sockets or the firmware's version.

    A reading about something else must not replace the awaited one.
    """
    match intent:
        case SetPools(pools):
            # A miner that reports only the pool in use can prove a list of one pool alone.
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


def is_observable(intent: Intent) -> bool:
    """Whether any reading could show the effect: blinking and a password are not observable, so `Accepted` is final."""
    return not isinstance(intent, Locate | SetCredential)


def shows(
    intent: Intent,
    envelope: Envelope,
    reading: Reading,
    *,
    since_s: float,
    was_unreachable: bool,
    before: Reading | None = None,
) -> bool:
    """Whether the effect is present. `since_s`: seconds since the command was sent; `was_unreachable`: the miner was unreachable
    in between; `before`: a reading from before the command, where one exists."""
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
                return was_unreachable
            return uptime_s < since_s + 5.0 and (was_s is None or was_s > uptime_s)
        case SetPools(pools):
            return _pools(reading) == [(_address(pool.url), pool.user) for pool in pools]
        case SwitchLoad(index, on):
            return _socket(reading, index) == on
        case InstallFirmware(version):
            return is_version(reading.get("firmware"), version)
        case RollBackFirmware(version) if version in ("", STOCK):
            reported, was = reading.get("firmware"), before.get("firmware") if before is not None else None
            return isinstance(reported, str) and isinstance(was, str) and reported != was
        case RollBackFirmware(version):
            return is_version(reading.get("firmware"), version)
        case _:
            return False


def is_version(reported: object, version: str) -> bool:
    """Whether a reported firmware text is that version: the whole text, or a part of it between spaces (`Vnish 1.3.3`), with
    or without a leading `v`. `1.3.3` is neither `1.3.30` nor `1.3.3-rc1`."""
    if not isinstance(reported, str) or not version:
        return False
    wanted = _plain(version)
    # A bare number may be part of a date: only a version with points is searched for among the parts.
    return _plain(reported) == wanted or (
        "." in wanted and wanted in (_plain(part) for part in _SEPARATORS.split(reported))
    )


def _plain(version: str) -> str:
    text = version.strip().strip("'\"").casefold()
    return text[1:] if text[:1] == "v" and text[1:2].isdigit() else text


def _watts(envelope: Envelope, mode: str) -> float | None:
    return envelope.mode(mode).power_w if mode in envelope.names else None


def _no_more_than(power_w: float | None, aim_w: float | None) -> bool:
    return power_w is None or aim_w is None or power_w <= aim_w * _CLOSE + 30.0


def _fell(before: Reading | None, reading: Reading, was_w: float | None, aim_w: float | None) -> bool:
    """Whether the power fell as commanded; True where it cannot be judged.

    A small step down lies within the uncertainty of a miner's power. The better measure is the power shortly before in its
    former mode or limit (`was_w`): more than half of the step must show.
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
    """A pool's address in comparable form: some miners omit the scheme of plain stratum, some write TLS differently."""
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
