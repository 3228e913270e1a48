# SPDX-License-Identifier: Apache-2.0
"""Make-believe fleets for the tests of miner_control."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from miner_control.fleet.envelope import Envelope, Mode
from miner_control.fleet.fleet import (
    ASLEEP,
    STATE_CODE,
    Commanded,
    Fleet,
    Observed,
    Roster,
    fleet_of,
    never_commanded,
    never_observed,
    roster_of,
)
from miner_control.fleet.miner import Miner, State

NOW_MS = 1_800_000_000_000
ALL = frozenset({"Sleep", "Wake", "SetMode", "PowerTarget", "PowerPercent", "Reboot", "Locate", "SetPools"})


def envelope(
    model: str = "m", *, power_w: float = 3000.0, rate_ths: float = 100.0, modes: int = 3, **changes: object
) -> Envelope:
    shares = [(0.6, 0.69), (1.0, 1.0), (1.18, 1.115)][:modes] if modes > 1 else [(1.0, 1.0)]
    names = ["low", "normal", "high"][:modes] if modes > 1 else ["normal"]
    made = Envelope(
        model=model, firmware="antminer",
        modes=tuple(Mode(n, power_w * w, rate_ths * 1e12 * h) for n, (w, h) in zip(names, shares, strict=True)),
        normal="normal", sleep_w=20.0, ramp_up_s=300.0, ramp_down_s=60.0, start_lost_s=200.0, min_on_s=1800.0,
        min_off_s=900.0, commands=ALL,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def miner(at: int, model: str = "m", feeder: str = "f0", owner: str = "") -> Miner:
    return Miner(f"h/s/m{at:05d}", model, "antminer", "127.0.0.1", (("rpc", 4028),), feeder, owner=owner)


def roster(models: Sequence[Envelope], per_model: int, feeders: int = 1) -> Roster:
    miners = [
        miner(at, models[at % len(models)].model, f"f{(at // len(models)) % feeders}")
        for at in range(per_model * len(models))
    ]
    return roster_of(miners, {(e.model, "antminer"): e for e in models})


def seen(who: Roster, *, mode: int = 1, age_s: float = 1.0, scale: float = 1.0) -> Observed:
    """All in one mode (ASLEEP too), heard `age_s` ago, drawing `scale` of what their envelope says."""
    n = len(who)
    modes = np.minimum(np.full(n, mode), who.mode_count[who.group] - 1).astype(np.int8)
    power = who.sleep_w[who.group] if mode == ASLEEP else who.mode_power_w[who.group, modes] * scale
    rate = np.zeros(n) if mode == ASLEEP else who.mode_hashrate_hs[who.group, modes]
    state = State.ASLEEP if mode == ASLEEP else State.HASHING
    return replace(
        never_observed(who),
        at_ms=np.full(n, NOW_MS - round(age_s * 1000)),
        state=np.full(n, STATE_CODE[state], dtype=np.int8),
        mode=modes,
        power_w=power,
        has_power=np.ones(n, dtype=np.bool_),
        hashrate_hs=rate,
        has_hashrate=np.ones(n, dtype=np.bool_),
    )


def fleet(who: Roster, said: Observed | None = None, asked: Commanded | None = None) -> Fleet:
    return fleet_of(who, said or seen(who), asked or never_commanded(who), NOW_MS)
