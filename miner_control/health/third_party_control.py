# SPDX-License-Identifier: Apache-2.0
"""Third-party control: evidence that another system commands the miners; value of observe-only; import of its export.

Observe-only keeps account of the commands that would have been issued and of their value. Evidence of another system: a
verified command undone, pools rewritten, a firmware's own schedule or tuner switched on, a container's price tactics. It is
reported with the evidence, and the units concerned are left alone until a person decides.
"""

import json
import string
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kernel.errors import Fault
from kernel.reading import Reading
from kernel.units import H_PER_DAY, HS_PER_PHS, WH_PER_MWH
from miner_control.fleet.command import Intent, SetMode, SetPools, Sleep, Wake, intent_text
from miner_control.fleet.miner import Miner, State

UNDONE_S: Final = 900.0
UNDONE_TIMES: Final = 2
_ON: Final = frozenset({State.HASHING.value, State.RAMPING.value, State.TUNING.value})


@dataclass(frozen=True, slots=True)
class ThirdParty:
    """Another party that commands here: `scope` is a device or container key, `who` as precise as the evidence allows."""

    scope: str
    who: str
    text: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class VerifiedCommand:
    """A verified command of the hub: its intent, and when its effect was observed."""

    device: str
    intent: Intent
    verified_ms: int


def undone(done: Iterable[VerifiedCommand], readings: Iterable[Reading]) -> list[ThirdParty]:
    """Units on which verified commands of the hub were undone at least twice within `UNDONE_S`, not by the hub.

    Once may be a reboot or a brown-out; twice is another control system. A silent unit proves nothing.
    """
    by_device: dict[str, list[Reading]] = defaultdict(list)
    for reading in readings:
        by_device[reading.device].append(reading)
    asked: dict[str, list[VerifiedCommand]] = defaultdict(list)
    for one in done:
        asked[one.device].append(one)
    found = []
    for device, ours in asked.items():
        ours.sort(key=lambda one: one.verified_ms)
        observed = sorted(by_device[device], key=lambda reading: reading.at_ms)
        times = []
        for at, one in enumerate(ours):
            until_ms = one.verified_ms + round(UNDONE_S * 1000)
            if at + 1 < len(ours):
                until_ms = min(until_ms, ours[at + 1].verified_ms)
            inside = (reading for reading in observed if one.verified_ms < reading.at_ms <= until_ms)
            contrary = next((reading for reading in inside if against(one.intent, reading)), None)
            if contrary is not None:
                times.append((one, contrary))
        if len(times) >= UNDONE_TIMES:
            text = "; ".join(
                f"{intent_text(one.intent)} undone after {(r.at_ms - one.verified_ms) / 1000:.0f} s" for one, r in times
            )
            found.append(
                ThirdParty(device, "another manager", text, {"at_ms": [reading.at_ms for _, reading in times]})
            )
    return found


def against(intent: Intent, reading: Reading) -> bool:
    """Whether a reading shows the contrary of an intent."""
    state = reading.get("state")
    match intent:
        case Sleep():
            return state in _ON
        case Wake():
            return state == State.ASLEEP.value
        case SetMode(mode):
            reported = reading.get("mode")
            return state in _ON and isinstance(reported, str) and reported != mode
        case SetPools(pools):
            url = reading.get("pool_url")
            return isinstance(url, str) and bool(url) and url not in {pool.url for pool in pools}
        case _:
            return False


_SCHEDULES: Final[Mapping[str, str]] = {
    "atm": "LuxOS advanced thermal management",
    "dps": "Braiins dynamic performance scaling",
    "preset_switcher": "VNish preset switcher",
    "autotuner": "the firmware's autotuner",
    "throttle": "the firmware's own throttling",
    "schedule": "the firmware's own schedule",
    "time_randomized": "Whatsminer's random delay of starts and stops",
}


def reported_schedules(reading: Reading) -> list[ThirdParty] | None:
    """The firmware's own schedules that are reported as on (`schedules_json`); None where it does not report them."""
    reported = reading.get("schedules_json")
    if not isinstance(reported, str):
        return None
    settings = json.loads(reported)
    return own_schedules(reading.device, settings) if isinstance(settings, dict) else []


def own_schedules(device: str, settings: Mapping[str, Any]) -> list[ThirdParty]:
    """The firmware's own schedules that are switched on, by their names in its settings."""
    return [
        ThirdParty(device, who, f"{who} is on", {name: settings[name]})
        for name, who in _SCHEDULES.items()
        if _is_on(settings.get(name))
    ]


def _is_on(setting: Any) -> bool:
    if isinstance(setting, Mapping):
        return _is_on(setting.get("enabled", setting.get("enable")))
    return setting in (True, 1, "1", "true", "True", "enabled", "on")


def container_tactics(reading: Reading) -> list[ThirdParty] | None:
    """Price or temperature tactics run by a container itself, from its `tactics_json`; None where it does not report them.

    The JSON is a list of tactics with a switch each, or an object by name (`RunTactics`, `StopTactics`) of lists (an empty one
    is inactive) or tables with a `TacticsType`: "0" off, "1" by the price of power, "2" by that of the coin (Bitdeer D40, its
    maker's page of MQTT topics).
    """
    reported = reading.get("tactics_json")
    if not isinstance(reported, str) or not reported:
        return None
    tactics = json.loads(reported)
    who = "the container's own tactics"
    if isinstance(tactics, list):
        on = [one for one in tactics if isinstance(one, dict) and _is_on(one)]
        return [ThirdParty(reading.device, who, f"tactics {one.get('name', '')} are on", one) for one in on]
    if not isinstance(tactics, dict):
        return []
    found = []
    for name, held in tactics.items():
        if isinstance(held, list) and held:
            found.append(ThirdParty(reading.device, who, f"{name}: {len(held)} in force", {name: held}))
        elif isinstance(held, dict) and (by := _TACTICS.get(str(held.get("TacticsType")))):
            found.append(ThirdParty(reading.device, who, f"{name} go by the price of {by}", {name: held}))
    return found


_TACTICS: Final[Mapping[str, str]] = {"1": "power", "2": "the coin"}


@dataclass(frozen=True, slots=True)
class ShadowInterval:
    """An interval in observe-only: actual and intended operation. Powers at the meter; a price is None where unknown.
    `start_lost_ph_days`: hashing lost by the starts that this interval would have had."""

    hours: float
    power_w: float
    would_w: float
    hashrate_hs: float
    would_hs: float
    energy_price_per_mwh: float | None
    hash_value_per_ph_day: float | None
    starts: int = 0
    start_lost_ph_days: float = 0.0


@dataclass(slots=True)
class ShadowWorth:
    """Value of commanding, in the currency of the prices: energy not bought less hashing not done.

    Energy, work and hours always count; money only in hours in which both prices were known (`priced_hours`).
    """

    hours: float = 0.0
    priced_hours: float = 0.0
    not_bought_mwh: float = 0.0
    not_done_ph_days: float = 0.0
    starts: int = 0
    energy_worth: float = 0.0
    hashes_worth: float = 0.0

    @property
    def worth(self) -> float | None:
        """None where no price was ever known."""
        return self.energy_worth - self.hashes_worth if self.priced_hours else None

    def add(self, shadow: ShadowInterval) -> None:
        """Add one interval."""
        mwh = (shadow.power_w - shadow.would_w) / WH_PER_MWH * shadow.hours
        work = (
            shadow.hashrate_hs - shadow.would_hs
        ) / HS_PER_PHS * shadow.hours / H_PER_DAY + shadow.start_lost_ph_days
        self.hours += shadow.hours
        self.not_bought_mwh += mwh
        self.not_done_ph_days += work
        self.starts += shadow.starts
        if shadow.energy_price_per_mwh is not None and shadow.hash_value_per_ph_day is not None:
            self.priced_hours += shadow.hours
            self.energy_worth += mwh * shadow.energy_price_per_mwh
            self.hashes_worth += work * shadow.hash_value_per_ph_day

    def merge(self, other: "ShadowWorth") -> None:
        """Add the intervals of another account."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def to_json(self) -> dict[str, float | int | None]:
        """As JSON values; money is None where no price was known."""
        priced = self.priced_hours > 0
        return {
            "hours": self.hours,
            "priced_hours": self.priced_hours,
            "not_bought_mwh": self.not_bought_mwh,
            "not_done_ph_days": self.not_done_ph_days,
            "starts": self.starts,
            "energy_worth": self.energy_worth if priced else None,
            "hashes_worth": self.hashes_worth if priced else None,
            "worth": self.worth,
        }


ALIASES: Final[Mapping[str, str]] = {
    "ip": "host", "ip address": "host", "miner ip": "host", "address": "host", "name": "device", "miner name": "device",
    "worker": "device", "hostname": "device", "type": "model", "miner type": "model", "miner model": "model",
    "firmware": "dialect",
    "sn": "serial", "serial number": "serial", "mac address": "mac", "location": "position", "slot": "position", "shelf": "rack",
    "row": "rack", "group": "feeder", "pdu": "feeder", "circuit": "feeder", "customer": "owner", "client": "owner",
}  # fmt: skip
"""Column names of other systems' inventories, mapped to ours."""

_FIRMWARE_NAMES: Final = (
    ("luxos", "luxos"), ("luxor", "luxos"), ("braiins", "braiins"), ("vnish", "vnish"), ("whatsminer", "whatsminer"),
    ("microbt", "whatsminer"), ("avalon", "avalon"), ("epic", "epic"), ("auradine", "auradine"), ("teraflux", "auradine"),
    ("bitaxe", "bitaxe"), ("antminer", "antminer"), ("stock", ""), ("bitmain", "antminer"),
)  # fmt: skip


def from_foreign(
    rows: Iterable[Mapping[str, str]], feeder: str = "unassigned"
) -> tuple[list[dict[str, str]], list[Fault]]:
    """(rows of our inventory, faults by line) from another system's export.

    Columns are recognised by their usual names (`ALIASES`); unknown ones are left out and reported once.
    """
    ours = {"device", "model", "dialect", "host", "feeder", "rack", "position", "owner", "serial", "mac"}
    found: list[dict[str, str]] = []
    faults: list[Fault] = []
    strange: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        taken: dict[str, str] = {}
        for column, value in row.items():
            name = str(column).strip().lower().replace("_", " ")
            name = ALIASES.get(name, name)
            value = str(value or "").strip()
            if name not in ours:
                strange.setdefault(str(column), "is not understood and was left out")
            elif taken.get(name) and value and value != taken[name]:
                strange.setdefault(
                    str(column), f"also gives the {name}, different from another column, and was left out"
                )
            elif not taken.get(name):
                taken[name] = value
        taken["host"] = _as_host(taken.get("host", ""))
        text = f"{taken.get('dialect', '')} {taken.get('model', '')}".lower()
        taken["dialect"] = next((dialect for part, dialect in _FIRMWARE_NAMES if part in text and dialect), "")
        taken["device"] = _as_name(taken.get("device", "") or taken.get("serial", "") or taken.get("mac", ""))
        taken["feeder"] = _as_name(taken.get("feeder", "")) or feeder
        faults += [
            Fault(f"line {line}", f"no {what} can be read from it", "Fill the column in")
            for what in ("host", "model", "dialect", "device")
            if not taken.get(what)
        ]
        found.append(taken)
    faults += [Fault(f"column {name}", problem, "Rename it if it matters") for name, problem in strange.items()]
    return found, faults


def _as_host(text: str) -> str:
    """The address in a cell of an export: `http://10.0.0.5/`, `10.0.0.5:4028`, `[fd00::5]:4028`,
    `=HYPERLINK("http://10.0.0.5")`."""
    bare = text[text.find('"') + 1 :].partition('"')[0] if text.upper().startswith("=HYPERLINK(") else text
    bare = bare.partition("://")[2] or bare
    bare = bare.partition("/")[0].strip().strip("'")
    if bare.startswith("["):
        return bare[1:].partition("]")[0]
    return bare.partition(":")[0] if bare.count(":") == 1 else bare


def _as_name(text: str) -> str:
    kept = "".join(
        char if char.isascii() and (char.isalnum() or char in "._-") else "-" for char in text.strip().lower()
    )
    return kept.strip("-._")[:63]


def worker_name(template: str, miner: Miner) -> str:
    """A pool's worker name from a template such as `acct.{rack}x{position}`. Raises KeyError for an unknown field.

    Fields: name (last part of the key), model, rack, position, feeder, serial, host (dots to x).
    """
    fields = {
        "name": miner.device.rpartition("/")[2],
        "model": _as_name(miner.model),
        "rack": miner.rack,
        "position": miner.position,
        "feeder": miner.feeder,
        "serial": miner.serial,
        "host": miner.host.replace(".", "x").replace(":", "x"),
    }
    wanted = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    unknown = sorted(set(wanted) - set(fields))
    if unknown:
        raise KeyError(f"worker template knows no {', '.join(unknown)}: use {', '.join(fields)}")
    return template.format(**fields)
