# SPDX-License-Identifier: Apache-2.0
"""Operating point before a limit: units that a limit or the guard lowered, and the mode that each returns to.

`Fleet.restore` holds that mode (UNSURE: none). It is set by the command that lowers a unit (`Command.restore_mode`), kept
while further commands lower it, and cleared once the unit is back or the plan has been carried out without a limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from miner_control.fleet.fleet import ASLEEP, STATE_CODE, Bools, Commanded, Fleet, Ints
from miner_control.fleet.miner import State

MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Units that stay below their operating point for one reason; `devices` names at most MOST_NAMED of `count`."""

    why: str
    count: int
    devices: tuple[str, ...]


def below(fleet: Fleet) -> Bools:
    """Units that are (or will be, once pending commands took effect) below the mode to return to, shape [N]."""
    return (fleet.restore >= 0) & (fleet.wanted < fleet.restore)


def returned(fleet: Fleet) -> Bools:
    """Units observed in the mode to return to, or above it, with nothing pending, shape [N]."""
    return fleet.fresh & (fleet.restore >= 0) & (fleet.mode >= fleet.restore) & (fleet.wanted >= fleet.restore)


def restoring(fleet: Fleet) -> tuple[Fleet, float]:
    """(the fleet with ceilings at each unit's operating point, the additional power in W).

    A sleeping unit may rise to its `wake_mode` where that is higher: it has no other way up.
    """
    rows = np.arange(len(fleet))
    rising = below(fleet)
    woken = np.where(fleet.wanted == ASLEEP, np.maximum(fleet.restore, fleet.wake_mode), fleet.restore)
    level = np.where(rising, woken, fleet.wanted).astype(np.int8)
    ceiling = np.minimum(fleet.ceiling, level)
    option_w = fleet.option_w()
    more_w = option_w[rows, np.maximum(ceiling, fleet.wanted).astype(np.int64) + 1] - fleet.settled_w
    return replace(fleet, ceiling=ceiling), float(more_w[rising].sum())


def held_back(
    fleet: Fleet, asked: Commanded, held: Bools, apart: Bools, units: Ints, restraints: Sequence[tuple[str, Ints]]
) -> list[HeldBack]:
    """Reasons why units stay below their operating point although no limit holds them, each unit by the first that applies.

    `held`: units controlled by a person or another system; `apart`: units of a job or a feeder mapping; `units`: those
    changed in this tick; `restraints`: (text, units) of the guard.
    """
    waiting = below(fleet)
    waiting[units] = False
    if not bool(waiting.any()):
        return []
    aged_s = (fleet.now_ms - fleet.since_ms) / 1000.0
    asleep = fleet.wanted == ASLEEP
    resting = aged_s < fleet.roster.min_off_s[fleet.roster.group]
    reasons: list[tuple[str, Bools]] = [
        ("belongs to another owner", ~fleet.roster.ours),
        ("a person or another system has it", held),
        ("a job or a feeder mapping has it", apart),
        ("did not obey, is asked again later", asked.excluded),
        ("is not heard", ~fleet.fresh),
        ("reports a fault", fleet.state == STATE_CODE[State.FAULT]),
    ]
    for text, stopped in restraints:
        mask = np.zeros(len(fleet), dtype=np.bool_)
        mask[stopped] = True
        reasons.append((text, mask))
    reasons += [
        ("minimum off-time is not over", asleep & resting),
        ("start budget of the day is used", asleep & ~fleet.may_wake),
    ]
    found = []
    for why, mask in reasons:
        here = np.flatnonzero(waiting & mask)
        if len(here):
            named = tuple(fleet.devices[unit] for unit in here[:MOST_NAMED].tolist())
            found.append(HeldBack(why, len(here), named))
            waiting[here] = False
    return found
