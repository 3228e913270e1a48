# SPDX-License-Identifier: Apache-2.0
"""State of a miner by the evidence of its own answer. Zero hashrate is sleep only where the answer reports sleep."""

from typing import Final

from kernel.reading import Absence, Field, Missing
from miner_control.fleet.miner import State

START_S = 900.0
"""A miner without hashrate counts as starting up to this age, and as faulty after it. Cold boards take up to ten minutes."""

RAMP_S = 1800.0
"""Age up to which a miner without hashrate counts as starting where its firmware only reports "not settled yet": the
slowest boards hash sooner."""

LAG_S = 900.0
"""A mean over this long describes the past: a miner that stopped a minute ago still shows it."""

MEAN_SINCE_START: Final = Missing(Absence.NOT_REPORTED, "a mean since the start, whose age is not reported")
"""Window of such a rate. The miner may have stopped long ago."""

_HASHING = State.HASHING.value


def still_ramps(unsettled: bool, rate: Field | None, uptime: Field | None) -> bool | None:
    """`starting` from a firmware's report that it has not settled: it reports so in a start, and after a breakdown too."""
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
    """The state, from evidence only; None means that the answer does not report the item.

    A present rate above zero outweighs a flag that reports sleep: the flag is a setting, the rate is what happens. A mean
    over LAG_S or more, or since a start of unknown age, is no present rate: then the flags decide, `working` among them (the
    firmware's own report, or power drawn). `starting` is the firmware's report too; without it, zero rate within START_S of
    `uptime` is RAMPING, later FAULT.
    """
    rate = hashrate if isinstance(hashrate, int | float) else None
    lags = window_s is MEAN_SINCE_START or (isinstance(window_s, int | float) and window_s >= LAG_S)
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
