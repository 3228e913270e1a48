# SPDX-License-Identifier: Apache-2.0
"""The state of a miner from what its own answer proves. A rate of zero is asleep only where the answer says so."""

from kernel.reading import Field, Missing
from miner_control.miner import State

START_S = 900.0
"""A miner that hashes nothing is starting up to this age; after it, it is sick. Cold boards take up to ten minutes."""


def state_of(
    hashrate: Field | None,
    *,
    asleep: bool | None = None,
    stopped: bool | None = None,
    starting: bool | None = None,
    tuning: bool | None = None,
    fault: bool | None = None,
    uptime: Field | None = None,
) -> str:
    """The state, from evidence only; None means the answer does not tell.

    A rate above zero outweighs a flag that says asleep: the flag is a wish, the rate is what happens. `starting` is the
    firmware's own word (ramp not finished); without it, zero rate within START_S of `uptime` is RAMPING, later FAULT.
    """
    rate = hashrate if isinstance(hashrate, int | float) else None
    if rate is not None and rate > 0:
        if tuning:
            return State.TUNING.value
        return State.RAMPING.value if starting else State.HASHING.value
    if asleep:
        return State.ASLEEP.value
    if stopped:
        return State.STOPPED.value
    if fault:
        return State.FAULT.value
    if rate is None and hashrate is not None and not isinstance(hashrate, Missing):
        return State.UNKNOWN.value
    if rate is None:
        return State.RAMPING.value if starting else State.UNKNOWN.value
    if starting or tuning:
        return State.RAMPING.value
    age = uptime if isinstance(uptime, int | float) else None
    return State.RAMPING.value if starting is None and age is not None and age < START_S else State.FAULT.value
