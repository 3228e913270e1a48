# SPDX-License-Identifier: Apache-2.0
"""Parser of the `[points]` of a profile: each entry is checked and becomes a Point; all faults are collected."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kernel.errors import ConfigError, Fault
from kernel.metric import SCHEMAS, TEXT_METRICS, to_canonical
from telemetry.collect.source import Tier
from telemetry.device.point import ANSWER_TYPES, JSON_TYPES, REGISTER_TYPES, Answer, Point, Pointer, Register

_SHARED = frozenset(
    {"type", "unit", "scale", "offset", "tier", "sentinels", "labels", "multiply", "linear", "low", "high"}
)
_AT = {
    "modbus": frozenset(
        {"address", "function", "word_order", "byte_order", "bit", "unit_id", "scale_address", "length", "sum_unit_ids"}
    ),
    "sunspec": frozenset({"address", "function", "scale_address", "length", "word_order", "byte_order", "bit"}),
    "mqtt": frozenset({"document", "pointer"}),
    "http": frozenset({"document", "pointer"}),
    "mercury": frozenset({"answer", "index"}),
    "iec61107": frozenset({"answer", "index"}),
    "sparkplug": frozenset({"answer"}),
}
_ORDERS = frozenset({"big", "little"})


@dataclass(slots=True)
class Faults:
    """All faults of one file, by key."""

    file: str
    found: list[Fault] = field(default_factory=list)

    def add(self, key: str, problem: str, remedy: str) -> None:
        self.found.append(Fault(f"{self.file}: {key}" if key else self.file, problem, remedy))

    def finish(self) -> None:
        if self.found:
            raise ConfigError(self.found)

    def text(self, table: Mapping[str, Any], key: str, prefix: str = "") -> str:
        value = table.get(key)
        if not isinstance(value, str) or not value.strip():
            self.add(f"{prefix}{key}", "it is missing" if value is None else f"{value!r} is no text", "Give a text")
            return ""
        return value

    def number(self, place: str, table: Mapping[str, Any], key: str, default_value: float) -> float:
        value = table.get(key, default_value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.add(f"{place}.{key}", f"{value!r} is no number", "Give a number")
            return default_value
        return float(value)

    def listed(self, place: str, table: Mapping[str, Any], key: str) -> list[Any]:
        value = table.get(key, [])
        if not isinstance(value, list):
            self.add(f"{place}.{key}", "it is no list", "Write [ ... ]")
            return []
        return value

    def whole(self, place: str, table: Mapping[str, Any], key: str, default: int) -> int:
        value = table.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int):
            self.add(f"{place}.{key}", f"{value!r} is no whole number", "Give a whole number")
            return default
        return value

    def table(self, data: Mapping[str, Any], key: str, *, required: bool = False) -> Mapping[str, Any]:
        value = data.get(key)
        if value is None and not required:
            return {}
        if not isinstance(value, dict):
            self.add(key, "the table is missing" if value is None else "it is no table", f"Write a [{key}] table")
            return {}
        return value

    def one_of(self, key: str, value: str, allowed: frozenset[str]) -> bool:
        if value and value not in allowed:
            self.add(key, f"{value!r} is not known", f"Use one of: {', '.join(sorted(allowed))}")
        return value in allowed

    def unknown(self, key: str, table: Mapping[str, Any], allowed: frozenset[str]) -> None:
        for name in table:
            if name not in allowed:
                near = difflib.get_close_matches(name, allowed, 1)
                place = f"{key}.{name}" if key else name
                self.add(place, "the key is not known", f"Did you mean {near[0]!r}?" if near else "Take it out")


@dataclass(frozen=True, slots=True)
class Defaults:
    """Defaults of a file for all of its points."""

    kind: str
    wire: str
    function: int
    word_order: str
    byte_order: str
    documents: frozenset[str]
    parameters: Mapping[str, float]
    first: int = 0
    """Added to every register's address."""


def read_point(faults: Faults, metric: str, entry: Any, defaults: Defaults) -> Point | None:
    """One point, or None where it has faults (added to `faults`)."""
    place = f"points.{metric}"
    before = len(faults.found)
    if not isinstance(entry, dict):
        faults.add(place, "it is no table", "Write { address = ..., type = ..., unit = ... }")
        return None
    faults.unknown(place, entry, _SHARED | _AT.get(defaults.wire, frozenset()))
    schema = SCHEMAS.get(defaults.kind, {})
    if schema and metric not in schema:
        near = difflib.get_close_matches(metric, schema, 1)
        faults.add(
            place, f"a {defaults.kind} has no such metric", f"Did you mean {near[0]!r}?" if near else "See kernel"
        )
    is_text = metric in TEXT_METRICS.get(defaults.kind, frozenset())
    at = _place_of(faults, place, entry, defaults, is_text)
    factor, offset = _scaling(
        faults, place, entry, defaults, "" if is_text or metric not in schema else schema[metric].unit
    )
    tier = str(entry.get("tier", Tier.FAST))
    faults.one_of(f"{place}.tier", tier, frozenset(Tier))
    orders = {key: str(entry.get(key, getattr(defaults, key))) for key in ("word_order", "byte_order")}
    for key, value in orders.items():
        faults.one_of(f"{place}.{key}", value, _ORDERS)
    scale_address = entry.get("scale_address")
    marks = [mark for mark in faults.listed(place, entry, "sentinels") if isinstance(mark, str | int | float)]
    labels = entry.get("labels", {})
    if not isinstance(labels, dict):
        faults.add(f"{place}.labels", "it is no table", 'Write { "0" = "off", "1" = "on" }')
    bounds = {key: faults.number(place, entry, key, 0.0) for key in ("low", "high") if key in entry}
    if len(faults.found) > before or at is None or metric not in schema:
        return None
    inverse = round(1.0 / factor)
    inverse_factor = (
        float(inverse) if inverse not in (0, 1, -1) and abs(1.0 / inverse - factor) <= 1e-15 * abs(factor) else 1.0
    )
    return Point(
        metric=metric,
        at=at,
        type=entry["type"],
        unit=entry.get("unit", ""),
        factor=1.0 if inverse_factor != 1.0 else factor,
        inverse_factor=inverse_factor,
        offset=offset,
        low=bounds.get("low", schema[metric].low),
        high=bounds.get("high", schema[metric].high),
        tier=Tier(tier),
        word_order="little" if orders["word_order"] == "little" else "big",
        byte_order="little" if orders["byte_order"] == "little" else "big",
        bit=entry.get("bit"),
        also=tuple(
            Register(at.function, at.address, at.count, unit)
            for unit in faults.listed(place, entry, "sum_unit_ids")[1:]
            if isinstance(at, Register)
        ),
        scale_at=None
        if scale_address is None or not isinstance(at, Register)
        else Register(at.function, scale_address + defaults.first, 1),
        sentinels=frozenset(mark for mark in marks if mark != "nan"),
        nan_is_sentinel="nan" in marks,
        labels={str(key): str(value) for key, value in labels.items()},
        is_text=is_text,
    )


def _place_of(
    faults: Faults, place: str, entry: Mapping[str, Any], defaults: Defaults, is_text: bool
) -> Register | Pointer | Answer | None:
    kind = entry.get("type")
    if defaults.wire in ("modbus", "sunspec"):
        return _register(faults, place, entry, defaults, is_text)
    if defaults.wire in ("mqtt", "http"):
        if not isinstance(kind, str) or kind not in JSON_TYPES:
            faults.add(f"{place}.type", f"{kind!r} is not known", f"Use one of: {', '.join(sorted(JSON_TYPES))}")
        pointer = entry.get("pointer")
        pointers = [pointer] if isinstance(pointer, str) else pointer
        if not isinstance(pointers, list) or not pointers or not all(str(p).startswith("/") for p in pointers):
            faults.add(f"{place}.pointer", "it is no JSON pointer", 'Write "/key/0", or a list of them to be added up')
            return None
        document = str(entry.get("document", ""))
        if document not in defaults.documents:
            faults.add(f"{place}.document", f"{document!r} is not in [documents]", "Declare the topic or path there")
        return Pointer(document, tuple(tuple(_unescape(part) for part in p[1:].split("/")) for p in pointers))
    if not isinstance(kind, str) or kind not in ANSWER_TYPES:
        faults.add(f"{place}.type", f"{kind!r} is not known", f"Use one of: {', '.join(ANSWER_TYPES)}")
    if (kind == "text") != is_text:
        faults.add(f"{place}.type", "text is for texts, and numbers need a numeric type", "Correct the type")
    answer, index = entry.get("answer"), entry.get("index", 0)
    if not isinstance(answer, str) or not isinstance(index, int) or index < 0:
        faults.add(place, "answer or index is missing or wrong", 'Write answer = "VOLTA", index = 0')
        return None
    return Answer(answer, index)


def _register(
    faults: Faults, place: str, entry: Mapping[str, Any], defaults: Defaults, is_text: bool
) -> Register | None:
    kind, function = entry.get("type"), entry.get("function", defaults.function)
    known = [*REGISTER_TYPES, "text", "bit"]
    if not isinstance(kind, str) or kind not in known:
        faults.add(f"{place}.type", f"{kind!r} is not known", f"Use one of: {', '.join(known)}")
        return None
    if function not in (1, 2, 3, 4):
        faults.add(f"{place}.function", f"{function!r} reads nothing", "Use 1, 2, 3 or 4")
    if kind == "text" and not is_text:
        faults.add(f"{place}.type", "a text for a number", "Give a numeric type")
    if is_text and kind not in ("text", "bit") and not entry.get("labels"):
        faults.add(f"{place}.labels", "a state from a number needs labels", 'Give labels = { "0" = "off", "1" = "on" }')
    count = entry.get("length", 0) if kind == "text" else REGISTER_TYPES.get(kind, ("", 1))[1]
    if not isinstance(count, int) or count < 1:
        faults.add(f"{place}.length", "a text needs its length in registers", "Give length")
        return None
    for key in ("address", "scale_address"):
        address = entry.get(key, None if key == "address" else 0)
        if (
            isinstance(address, bool)
            or not isinstance(address, int)
            or not 0 <= address <= 0x10000 - count - defaults.first
        ):
            faults.add(f"{place}.{key}", f"{address!r} is no register", "Give the wire address, 0 to 65535")
            return None
    bit = entry.get("bit")
    if bit is not None and not (isinstance(bit, int) and 0 <= bit <= 15):
        faults.add(f"{place}.bit", f"{bit!r} is no bit", "Give 0 (lowest) to 15")
    units = faults.listed(place, entry, "sum_unit_ids") or [entry.get("unit_id")]
    if not all(unit is None or (isinstance(unit, int) and 0 <= unit <= 255) for unit in units):
        faults.add(f"{place}.unit_id", f"{units} holds no unit id", "Give 0 to 255")
        return None
    if len(units) > 1 and (is_text or kind not in REGISTER_TYPES or kind.startswith("f")):
        faults.add(f"{place}.sum_unit_ids", "only integers are added up", "Read each unit as its own device")
    return Register(function, entry["address"] + defaults.first, count, units[0])


def _scaling(
    faults: Faults, place: str, entry: Mapping[str, Any], defaults: Defaults, canonical: str
) -> tuple[float, float]:
    """(factor, offset) from raw to canonical: unit(scale * (linear) * ratios + offset)."""
    if not canonical:
        return 1.0, 0.0
    unit = entry.get("unit")
    if not isinstance(unit, str):
        faults.add(f"{place}.unit", "it is missing", f"Give the unit on the wire; the metric is in {canonical}")
        return 1.0, 0.0
    try:
        name, unit_factor, unit_offset = to_canonical(unit)
    except KeyError as error:
        faults.add(f"{place}.unit", str(error.args[0]), "Use a known unit")
        return 1.0, 0.0
    if name != canonical:
        faults.add(f"{place}.unit", f"{unit!r} is no unit of a metric in {canonical}", "Correct the unit or the metric")
    scale, offset = faults.number(place, entry, "scale", 1.0), faults.number(place, entry, "offset", 0.0)
    if scale == 0.0:
        faults.add(f"{place}.scale", "zero makes every value zero", "Give another scale")
    linear = entry.get("linear")
    if linear is not None and not isinstance(linear, dict):
        faults.add(f"{place}.linear", "it is no table", "Write { low = ..., high = ..., raw = ... }")
    elif linear is not None:
        ends = [_number(faults, f"{place}.linear.{key}", linear.get(key), defaults) for key in ("low", "high", "raw")]
        if ends[2] and ends[0] != ends[1]:
            offset += ends[0] * scale
            scale *= (ends[1] - ends[0]) / ends[2]
        else:
            faults.add(
                f"{place}.linear", "low and high are equal, or raw is 0", "Give low, high and the raw full scale"
            )
    for name in faults.listed(place, entry, "multiply"):
        ratio = _number(faults, f"{place}.multiply", name, defaults)
        scale, offset = scale * ratio, offset * ratio
    return scale * unit_factor, offset * unit_factor + unit_offset


def _number(faults: Faults, place: str, value: Any, defaults: Defaults) -> float:
    """A number, or the name of a parameter (with `-` before it: its negative)."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    name = str(value)
    sign = -1.0 if name.startswith("-") else 1.0
    if (key := name.removeprefix("-")) in defaults.parameters:
        return sign * defaults.parameters[key]
    faults.add(place, f"{value!r} is no number and no parameter", "Declare it in [parameters]")
    return 1.0


def _unescape(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")
