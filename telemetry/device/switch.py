# SPDX-License-Identifier: Apache-2.0
"""Switching of outputs by a profile: `[switch.*]` (Modbus) and `[command.*]` (MQTT, HTTP)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from telemetry.device.point import Register
from telemetry.device.points import Faults

_PLACES: Final = frozenset({"id", "index", "index0", "number", "number0", "operate"})
_PLACE: Final = re.compile(r"\{(\w+)\}")
_NEEDED: Final = ("count", "function", "address", "read_function", "read_address")
_KEYS: Final = frozenset(
    (*_NEEDED, "step", "on", "off", "unit_id", "read_step", "read_on", "read_off", "bit", "read_bit")
)


@dataclass(frozen=True, slots=True)
class Switch:
    """Outputs on Modbus: output i (from 1) is written at `address + (i - 1) * step`.

    - `function` 5 or 15 writes a coil (`on` and `off` are ignored), 6 or 16 a register with `on` or `off`.
    - `read` is the read-back register of output 1, further ones `read_step` apart. `read_on` means on; any other value, or
      `read_off` where given, means off.
    - With `bit` the outputs are bits of one register: output i is bit `bit + i - 1` of the register at `address`, whose other
      bits are preserved, and bit `read_bit + i - 1` of the read-back register.
    """

    count: int
    function: int
    address: int
    step: int
    on: int
    off: int
    read: Register
    read_step: int
    read_on: int
    read_off: int | None
    bit: int | None = None
    read_bit: int = 0

    def place(self, index: int) -> int:
        """Address to write for an output."""
        return self.address if self.bit is not None else self.address + (index - 1) * self.step

    def read_place(self, index: int) -> int:
        """Address to read back for an output."""
        return self.read.address if self.bit is not None else self.read.address + (index - 1) * self.read_step

    def register_value(self, index: int, on: bool, held: int = 0) -> int:
        """Value to write. `held`: present value of the register, of which an output may be one bit."""
        if self.bit is not None:
            mask = 1 << (self.bit + index - 1)
            return held | mask if on else held & ~mask
        if self.function in (5, 15):
            return int(on)
        return self.on if on else self.off

    def shows(self, index: int, value: int, on: bool) -> bool:
        """Whether a read-back value is the commanded state."""
        if self.bit is not None:
            return bool(value >> (self.read_bit + index - 1) & 1) == on
        if on:
            return value == self.read_on
        return value != self.read_on if self.read_off is None else value == self.read_off


@dataclass(frozen=True, slots=True)
class Order:
    """Switching message of a group of outputs over MQTT or HTTP. Topic, payloads and paths contain placeholders.

    - MQTT: `on` or `off` is published to `topic`. HTTP: it is the path to fetch, and there is no topic.
    - `{id}`: the device's topic prefix; `{index}`, `{index0}`: the output counted from 1 and from 0; `{number}`, `{number0}`:
      the number of the group (`pdu02`: 2 and 1; 1 and 0 where it has none); `{operate}`: 1 for on, 0 for off.
    """

    topic: str
    on: str
    off: str

    def message(self, prefix: str, number: int, index: int, on: bool) -> tuple[str, str]:
        """(topic, payload or path) of one switching operation."""
        places = {
            "id": prefix, "index": index, "index0": index - 1, "number": number, "number0": number - 1, "operate": int(on),
        }  # fmt: skip

        def fill(text: str) -> str:
            return _PLACE.sub(lambda found: str(places[found[1]]), text)

        return fill(self.topic), fill(self.on if on else self.off)


def read_orders(faults: Faults, data: Mapping[str, Any], wire: str) -> dict[str, Order]:
    """The `[command.*]` of a profile by group; faults are added to `faults`."""
    made: dict[str, Order] = {}
    example = (
        '`on = "/relay?on=1"` and `off`' if wire == "http" else 'topic = "{id}Pump", and `on` and `off`, or `body`'
    )
    for name, entry in faults.table(data, "command").items():
        place = f"command.{name}"
        if not isinstance(entry, dict):
            faults.add(place, "it is no table", f"Write a [{place}] table with {example}")
            continue
        faults.unknown(place, entry, frozenset({"on", "off"} if wire == "http" else {"topic", "on", "off", "body"}))
        topic, body = entry.get("topic", ""), entry.get("body")
        on, off = entry.get("on"), entry.get("off")
        if isinstance(body, dict):
            on = off = orjson.dumps(body).decode()
        if not (isinstance(on, str) and isinstance(off, str) and isinstance(topic, str)):
            faults.add(place, "it has no payloads or paths", f"Write {example}")
            continue
        if (wire == "mqtt") != bool(topic):
            faults.add(place, "a topic is for mqtt, and needed there", f"Write {example}")
            continue
        strange = sorted({found for text in (topic, on, off) for found in _PLACE.findall(text)} - _PLACES)
        if strange:
            known = " ".join(f"{{{one}}}" for one in sorted(_PLACES))
            faults.add(place, f"has an unknown place {', '.join(strange)}", f"Use {known}")
            continue
        made[name] = Order(topic, on, off)
    return made


def read_switches(
    faults: Faults, data: Mapping[str, Any], first: int, parameters: Mapping[str, float]
) -> dict[str, Switch]:
    """The `[switch.*]` of a profile by group; faults are added to `faults`.

    `first` is added to every address; `count` may be the name of a parameter.
    """
    made: dict[str, Switch] = {}
    for name, entry in faults.table(data, "switch").items():
        place = f"switch.{name}"
        if not isinstance(entry, dict):
            faults.add(place, "it is no table", f"Write a [{place}] table")
            continue
        faults.unknown(place, entry, _KEYS)
        if entry.get("count") in parameters:
            entry = {**entry, "count": int(parameters[entry["count"]])}
        wrong = [key for key in _KEYS if (key in _NEEDED or key in entry) and type(entry.get(key)) is not int]
        if wrong:
            faults.add(place, f"{', '.join(sorted(wrong))} missing or no whole number", "Give whole numbers")
            continue
        if entry["function"] not in (5, 6, 15, 16):
            faults.add(f"{place}.function", f"{entry['function']} writes nothing", "Use 5, 6, 15 or 16")
            continue
        bit = entry.get("bit")
        last_bit = -1 if bit is None else max(bit, entry.get("read_bit", bit)) + entry["count"] - 1
        if bit is not None and (entry["function"] not in (6, 16) or not bit >= 0 or last_bit > 15):
            faults.add(
                f"{place}.bit", f"{entry['count']} bits from {bit} are no bits of a register", "Use 6 or 16, 0 to 15"
            )
            continue
        made[name] = _switch(entry, first)
    return made


def _switch(entry: Mapping[str, int], first: int) -> Switch:
    step, on = entry.get("step", 1), entry.get("on", 1)
    is_bit = entry["read_function"] in (1, 2)
    bit = entry.get("bit")
    return Switch(
        count=entry["count"],
        function=entry["function"],
        address=entry["address"] + first,
        step=step,
        on=on,
        off=entry.get("off", 0),
        read=Register(entry["read_function"], entry["read_address"] + first, 1, entry.get("unit_id")),
        read_step=entry.get("read_step", step),
        read_on=1 if is_bit else entry.get("read_on", on),
        read_off=0 if is_bit else entry.get("read_off"),
        bit=bit,
        read_bit=entry.get("read_bit", bit or 0),
    )
