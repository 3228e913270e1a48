# SPDX-License-Identifier: Apache-2.0
"""Models of the simulated miners: nameplates, operating points and dynamics.

These are the twin's true values, independent of the hub: the hub reads its own from `configs/profiles/miners` and learns the
rest. Nameplates follow the makers; times follow published vendor claims and one captured start-up trace, and where
nothing is published they are assumed (stock Antminer load still on after a minute, Whatsminer default start 10-20 min).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

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
    """One simulated model. Powers at the wall at 25 C inlet; `modes` are (name, share of power, share of hashrate).

    - `down_delay_s`: time at full load after the sleep command; `down_s`: the fall; `up_s`: start-up trace to full rate.
    - `board_s`: time of a reboot with the control board off the network; `step_s`: a change of power without restart.
    - `restarts`: whether a mode or power target restarts the miner. `rise_c`: chip over inlet at full load.
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
    frequency_hz: float
    modes: tuple[tuple[str, float, float], ...]
    down_delay_s: float
    down_s: float
    up_s: float
    board_s: float
    step_s: float
    restarts: bool
    rise_c: float = 45.0
    cooling: str = "air"
    low_share: float = 0.4
    high_share: float = 1.2
    joined: bool = True
    traits: frozenset[str] = frozenset()

    @property
    def normal(self) -> str:
        """The mode at nominal power."""
        return next(name for name, power, _ in self.modes if power == 1.0)

    @property
    def label(self) -> str:
        """The name in the catalogue: `Antminer S21`, `Whatsminer M50S`."""
        return f"Whatsminer {self.title.split('_')[0]}" if self.make == "MicroBT" else self.title


_NORMAL_ONLY = (("normal", 1.0, 1.0),)
_NORMAL_LOW = (("low", 0.78, 0.80), ("normal", 1.0, 1.0))
_LUXOS_PROFILES = tuple(
    (name, watts / 2794, rate / 121.8)
    for name, watts, rate in (
        ("190MHz", 784, 39.2), ("240MHz", 978, 49.5), ("290MHz", 1188, 59.8), ("365MHz", 1533, 75.3),
        ("415MHz", 1785, 85.7), ("465MHz", 2052, 96.0), ("515MHz", 2336, 106.3), ("default", 2794, 121.8),
        ("615MHz", 2954, 127.0), ("690MHz", 3461, 142.4), ("740MHz", 3820, 152.8), ("790MHz", 4195, 163.1),
    )
)  # fmt: skip
_VNISH_PRESETS = tuple(
    (str(watts), watts / 3610, rate / 242)
    for watts, rate in (
        (2550, 170), (2640, 176), (2890, 194), (3070, 206), (3250, 218), (3430, 230), (3610, 242), (3880, 260),
        (4060, 271), (4240, 283), (4510, 301), (4690, 313),
    )
)  # fmt: skip
_AVALON_LEVELS = (("eco", 0.62, 0.68), ("normal", 1.0, 1.0), ("super", 1.17, 1.12))


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
        frequency_hz=525e6, modes=modes, down_delay_s=45.0, down_s=20.0, up_s=600.0, board_s=75.0, step_s=60.0,
        restarts=True, joined="joined" in traits, traits=traits,
    )  # fmt: skip


def _whatsminer(name: str, title: str, power_w: float, hashrate_ths: float, chips: int, dialect: str, fw: str) -> Model:
    return Model(
        name=name, make="MicroBT", title=title, dialect=dialect, firmware=fw,
        power_w=power_w, hashrate_hs=hashrate_ths * 1e12, sleep_w=12.0, boards=3, chips_per_board=chips, fans=2,
        frequency_hz=600e6, modes=(("low", 0.78, 0.83), ("normal", 1.0, 1.0), ("high", 1.12, 1.08)),
        down_delay_s=2.0, down_s=3.0, up_s=720.0, board_s=60.0, step_s=1.0, restarts=True,
    )  # fmt: skip


def _third(
    name: str, title: str, dialect: str, firmware: str, power_w: float, hashrate_ths: float, chips: int, **other: Any
) -> Model:
    """An aftermarket firmware or a further maker: quick fall, no restart for a power target unless given."""
    given: dict[str, Any] = {
        "make": "Bitmain", "sleep_w": 25.0, "boards": 3, "fans": 4, "frequency_hz": 500e6, "modes": _NORMAL_ONLY,
        "down_delay_s": 0.0, "down_s": 4.0, "up_s": 500.0, "board_s": 75.0, "step_s": 30.0, "restarts": False,
    }  # fmt: skip
    return Model(
        name=name, title=title, dialect=dialect, firmware=firmware, power_w=power_w, hashrate_hs=hashrate_ths * 1e12,
        chips_per_board=chips, **(given | other),
    )  # fmt: skip


MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        _antminer("antminer-s21", "Antminer S21", 3500.0, 200.0, 108, _NORMAL_ONLY,
                  "Thu Oct  9 18:55:45 CST 2025", frozenset({"new_api", "new_key", "joined"})),
        _antminer("antminer-s19k-pro", "Antminer S19K Pro", 2760.0, 120.0, 77, _NORMAL_LOW,
                  "Fri Mar 15 10:12:05 CST 2024", frozenset({"new_api", "new_key", "joined", "low_is_2"})),
        _antminer("antminer-s19-pro", "Antminer S19 Pro", 3250.0, 110.0, 114, _NORMAL_LOW,
                  "Tue Dec  6 16:12:30 CST 2022", frozenset()),
        replace(
            _antminer("antminer-s21-hyd", "Antminer S21 Hyd", 5360.0, 335.0, 216, _NORMAL_ONLY,
                      "Thu Oct  9 18:55:45 CST 2025", frozenset({"new_api", "new_key", "joined"})),
            fans=0, cooling="hydro", rise_c=30.0,
        ),
        _whatsminer("whatsminer-m50", "M50_VH60", 3306.0, 114.0, 105, "whatsminer", "20240624.18.REL"),
        _whatsminer("whatsminer-m50s", "M50S_VH50", 3276.0, 126.0, 135, "whatsminer", "20240624.18.REL"),
        _whatsminer("whatsminer-m60s", "M60S_VK40", 3441.0, 186.0, 75, "whatsminer_v3", "20251209.16.Rel2"),
        replace(
            _whatsminer("whatsminer-m30s-v1", "M30S_V10", 3344.0, 88.0, 105, "whatsminer", "20210322.22.REL"),
            traits=frozenset({"v1"}),
        ),
        _whatsminer("whatsminer-m30s++", "M30S++_VH100", 3472.0, 112.0, 148, "whatsminer", "20230803.11.REL"),
        _third("luxos-s19k-pro", "Antminer S19k Pro", "luxos", "2025.4.8.220305", 2794.0, 121.8, 77,
               modes=_LUXOS_PROFILES),
        _third("braiins-s21-pro", "Antminer S21 Pro", "braiins", "2026-04-14-0-912d084c-26.04-plus", 3510.0, 234.0, 65,
               sleep_w=60.0, down_s=8.0, up_s=120.0, step_s=120.0),
        _third("vnish-s21-pro", "Antminer S21 Pro", "vnish", "1.3.4", 3610.0, 242.0, 65, sleep_w=30.0, down_s=8.0,
               up_s=300.0, modes=_VNISH_PRESETS, restarts=True),
        _third("avalon-a1466", "Avalon A1466", "avalon", "24102401_25462b2", 3230.0, 150.0, 156, make="Canaan",
               sleep_w=20.0, down_s=10.0, up_s=240.0, modes=_AVALON_LEVELS),
        _third("avalon-q", "Avalon Q", "avalon", "25052801_14a19a2", 1674.0, 90.0, 160, make="Canaan", boards=1,
               sleep_w=12.0, down_s=10.0, up_s=240.0, modes=_AVALON_LEVELS),
        _third("epic-s19-xp", "Antminer S19 XP", "epic", "PowerPlay-BMS v1.5.13", 3010.0, 140.0, 110, down_s=10.0,
               up_s=300.0, step_s=60.0),
        _third("auradine-at2880", "Teraflux AT2880", "auradine", "2024-06.11", 2880.0, 180.0, 138, make="Auradine",
               sleep_w=59.0, down_s=6.0, up_s=240.0, modes=(("eco", 0.7, 0.76), ("normal", 1.0, 1.0), ("turbo", 1.2, 1.15))),
        _third("bitaxe-supra", "Bitaxe Supra 400", "bitaxe", "v2.14.0", 12.0, 0.65, 1, make="Bitaxe", boards=1, fans=1,
               sleep_w=5.0, down_s=1.0, up_s=15.0, board_s=8.0, step_s=3.0, frequency_hz=490e6),
    )
}  # fmt: skip
