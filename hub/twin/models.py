# SPDX-License-Identifier: Apache-2.0
"""What the make-believe miners are: nameplates, operating points and how fast they change.

These are the twin's truths, not the hub's beliefs: the hub reads its own from `configs/profiles/miners` and learns the
rest. Nameplates follow the makers; times follow published vendor claims and one captured start-up trace, and where
nothing is published they are assumed (stock Antminer load still on after a minute, Whatsminer default start 10-20 min).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# (share of nominal power, share of nominal hashrate): part load of a tuned air-cooled unit, best J/TH near 40-60 %.
PART_LOAD: tuple[tuple[float, float], ...] = (
    (0.0, 0.0),
    (0.28, 0.32),
    (0.43, 0.49),
    (0.59, 0.66),
    (0.78, 0.83),
    (1.0, 1.0),
    (1.24, 1.17),
    (1.5, 1.34),
)


def part_load(share: float) -> float:
    """Share of nominal hashrate at a share of nominal power."""
    return float(np.interp(share, [p for p, _ in PART_LOAD], [h for _, h in PART_LOAD]))


@dataclass(frozen=True, slots=True)
class Model:
    """One make-believe model. Powers at the wall at 25 C inlet; `modes` are (name, share of power, share of hashrate).

    `down_delay_s` passes at full load after the sleep command, `down_s` is the fall, `up_s` the start-up trace to full
    rate, `board_s` how long a reboot takes the control board off the network, `step_s` a change of power without a
    restart. `restarts` tells whether a mode or power target restarts the miner. `rise_c` is chip over inlet at full load.
    """

    name: str
    make: str
    title: str
    dialect: str
    firmware: str
    power_w: float
    hashrate_hs: float
    sleep_w: float
    boards: int
    chips_per_board: int
    fans: int
    frequency_mhz: float
    modes: tuple[tuple[str, float, float], ...]
    down_delay_s: float
    down_s: float
    up_s: float
    board_s: float
    step_s: float
    restarts: bool
    rise_c: float = 45.0
    low_share: float = 0.4
    high_share: float = 1.2
    joined: bool = True
    traits: frozenset[str] = frozenset()

    @property
    def label(self) -> str:
        """The name in the catalogue: `Antminer S21`, `Whatsminer M50S`."""
        return f"Whatsminer {self.title.split('_')[0]}" if self.make == "MicroBT" else self.title


def _antminer(
    name: str,
    title: str,
    power_w: float,
    hashrate_ths: float,
    chips: int,
    modes: tuple[tuple[str, float, float], ...],
    firmware: str,
    traits: frozenset[str],
) -> Model:
    return Model(
        name=name, make="Bitmain", title=title, dialect="antminer", firmware=firmware,
        power_w=power_w, hashrate_hs=hashrate_ths * 1e12, sleep_w=15.0, boards=3, chips_per_board=chips, fans=4,
        frequency_mhz=525.0, modes=modes, down_delay_s=45.0, down_s=20.0, up_s=600.0, board_s=75.0, step_s=60.0,
        restarts=True, joined="joined" in traits, traits=traits,
    )  # fmt: skip


def _whatsminer(name: str, title: str, power_w: float, hashrate_ths: float, chips: int, dialect: str, fw: str) -> Model:
    return Model(
        name=name, make="MicroBT", title=title, dialect=dialect, firmware=fw,
        power_w=power_w, hashrate_hs=hashrate_ths * 1e12, sleep_w=12.0, boards=3, chips_per_board=chips, fans=2,
        frequency_mhz=600.0, modes=(("low", 0.78, 0.83), ("normal", 1.0, 1.0), ("high", 1.12, 1.08)),
        down_delay_s=2.0, down_s=3.0, up_s=720.0, board_s=60.0, step_s=1.0, restarts=True,
    )  # fmt: skip


_NORMAL_ONLY = (("normal", 1.0, 1.0),)
_NORMAL_LOW = (("low", 0.78, 0.80), ("normal", 1.0, 1.0))

MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        _antminer("antminer-s21", "Antminer S21", 3500.0, 200.0, 108, _NORMAL_ONLY,
                  "Thu Oct  9 18:55:45 CST 2025", frozenset({"new_api", "new_key", "joined"})),
        _antminer("antminer-s19k-pro", "Antminer S19K Pro", 2760.0, 120.0, 77, _NORMAL_LOW,
                  "Fri Mar 15 10:12:05 CST 2024", frozenset({"new_api", "new_key", "joined", "low_is_2"})),
        _antminer("antminer-s19-pro", "Antminer S19 Pro", 3250.0, 110.0, 114, _NORMAL_LOW,
                  "Tue Dec  6 16:12:30 CST 2022", frozenset()),
        _whatsminer("whatsminer-m50", "M50_VH60", 3306.0, 114.0, 105, "whatsminer", "20240624.18.REL"),
        _whatsminer("whatsminer-m50s", "M50S_VH50", 3276.0, 126.0, 135, "whatsminer", "20240624.18.REL"),
        _whatsminer("whatsminer-m30s++", "M30S++_VH100", 3472.0, 112.0, 148, "whatsminer", "20230803.11.REL"),
    )
}  # fmt: skip
