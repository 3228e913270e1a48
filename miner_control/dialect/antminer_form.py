# SPDX-License-Identifier: Apache-2.0
"""Configuration form of Antminers of before 2020 (S9, T9, L3, D3, Z9, first S17 and T17).

Its CGI takes form fields by position and writes the whole configuration from them, so that JSON sent there would wipe the
pools. Sleep is work mode 254, and only where the configuration has a work mode.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

SLEEP = 254
HEADERS = {"Content-Type": "application/x-www-form-urlencoded"}
_OF_LATER = frozenset({"bitmain-pwth", "bitmain-freq-level", "bitmain-hashrate-percent", "freq-level", "miner-mode"})
_FIELDS = (
    ("_ant_nobeeper", "bitmain-nobeeper", "false"),
    ("_ant_notempoverctrl", "bitmain-notempoverctrl", "false"),
    ("_ant_fan_customize_switch", "bitmain-fan-ctrl", "false"),
    ("_ant_fan_customize_value", "bitmain-fan-pwm", ""),
    ("_ant_freq", "bitmain-freq", ""),
    ("_ant_voltage", "bitmain-voltage", ""),
)


def is_old(conf: Mapping[str, Any]) -> bool:
    """Whether a configuration is of the form's time: it has a frequency and none of the later keys."""
    return "bitmain-freq" in conf and _OF_LATER.isdisjoint(conf)


def form(conf: Mapping[str, Any], mode: int | None, pools: Sequence[Mapping[str, Any]]) -> bytes:
    """The configuration with these pools and this work mode (None where it has none), as the page itself would send it."""
    fields: list[tuple[str, str]] = []
    for place in range(3):
        pool = pools[place] if place < len(pools) else {}
        fields += [
            (f"_ant_pool{place + 1}{name}", str(pool.get(key) or ""))
            for name, key in (("url", "url"), ("user", "user"), ("pw", "pass"))
        ]
    for name, key, otherwise in _FIELDS:
        reported = conf.get(key)
        fields.append(
            (
                name,
                otherwise
                if reported is None
                else str(reported).lower()
                if isinstance(reported, bool)
                else str(reported),
            )
        )
    if mode is not None:
        fields.append(("_ant_work_mode", str(mode)))
    return urlencode(fields).encode()
