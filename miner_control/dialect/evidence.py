# SPDX-License-Identifier: Apache-2.0
"""The state of a miner from what its own answer proves. A rate of zero is asleep only where the answer says so."""

from kernel.reading import Field
from miner_control.fleet.miner import State

START_S = 900.0
"""A miner that hashes nothing is starting up to this age; after it, it is sick. Cold boards take up to ten minutes."""

RAMP_S = 1800.0
"""How long a firmware that hashes nothing and only says "not settled yet" is taken to be starting: the slowest boards hash
sooner."""

LAG_S = 900.0
"""A mean over so long says what was, not what is: a miner that stopped a minute ago still shows it."""

_HASHING = State.HASHING.value


def still_ramps(unsettled: bool, rate: Field | None, uptime: Field | None) -> bool | None:
    """`starting` from a firmware's word that it has not settled: it says so of a start, and of a miner that broke down."""
    return (bool(rate) or not isinstance(uptime, int | float) or uptime < RAMP_S) if unsettled else None


def state_of(
    hashrate: Field | None,
    *,
    window_s: Field | None = None,
    asleep: bool | None = None,
    stopped: bool | None = None,
    working: bool | None = None,
    starting: bool | None = None,
    tuning: bool | None = None,
    fault: bool | None = None,
    uptime: Field | None = None,
) -> str:
    """The state, from evidence only; None means the answer does not tell.

    A present rate above zero outweighs a flag that says asleep: the flag is a wish, the rate is what happens. A mean over
    LAG_S or more is no present rate, and then the flags decide, `working` among them (the firmware's own word, or power
    drawn). `starting` is the firmware's word too; without it, zero rate within START_S of `uptime` is RAMPING, later FAULT.
    """
    rate = hashrate if isinstance(hashrate, int | float) else None
    lags = isinstance(window_s, int | float) and window_s >= LAG_S
    if rate is not None and rate > 0 and not lags:
        if tuning:
            return State.TUNING.value
        return State.RAMPING.value if starting else _HASHING
    if asleep:
        return State.ASLEEP.value
    if stopped:
        return State.STOPPED.value
    if fault:
        return State.FAULT.value
    if rate is None or rate > 0:
        if starting or tuning:
            return State.RAMPING.value
        return _HASHING if rate and working else State.UNKNOWN.value
    if starting or tuning:
        return State.RAMPING.value
    age = uptime if isinstance(uptime, int | float) else None
    return State.RAMPING.value if starting is None and age is not None and age < START_S else State.FAULT.value
