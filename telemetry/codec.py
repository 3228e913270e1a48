# SPDX-License-Identifier: Apache-2.0
"""One profile read both ways: `decode` for the hub, `encode` for make-believe devices and tests.

Raw forms by wire:
  modbus, sunspec   {(unit id or None, function, address): word or Missing}; a Missing stands where a read was refused
  mqtt, http        {document name: parsed JSON}
  mercury           {answer name: bytes}
  iec61107          {answer name: list of texts}
Decoding never raises for what a device says: what cannot be a value is Missing with its reason. The round trip
`decode(encode(values)) == values` within a point's resolution is a law of every profile (`tests/laws`).
"""

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from kernel.reading import MISSING, Field, Missing, Reason, Value
from telemetry.point import REGISTER_TYPES, Answer, Point, Pointer, Register
from telemetry.profile import Profile
from telemetry.source import Tier

Word = tuple[int | None, int, int]
Words = Mapping[Word, int | Missing]

_NOT_REPORTED = MISSING[Reason.NOT_REPORTED]
_SENTINEL = MISSING[Reason.SENTINEL]


def decode(profile: Profile, raw: Mapping[Any, Any], at_ms: int, tier: Tier | None = None) -> dict[str, Field]:
    """Canonical values by metric, of one tier or of all. `at_ms` is the instant of the answer (for profiles whose
    device tells relative times; most ignore it)."""
    values: dict[str, Field] = {}
    for point in profile.points:
        if tier is None or point.tier is tier:
            values[point.metric] = _decode_point(point, raw)
    return values


def decode_document(profile: Profile, document: str, parsed: Any) -> dict[str, Field]:
    """The values of one JSON document alone (a message of a device that tells itself in parts)."""
    raw = {document: parsed}
    return {
        point.metric: _from_json(point, point.at, raw)
        for point in profile.points
        if isinstance(point.at, Pointer) and point.at.document == document
    }


def encode(profile: Profile, values: Mapping[str, Field]) -> dict[Any, Any]:
    """Raw form of canonical values, as the device would tell them: words, documents or answers.

    A metric that is Missing or absent becomes the point's sentinel where it has one, and is left out otherwise.
    Raises ValueError, naming the metric, where a value does not fit its wire type.
    """
    raw: dict[Any, Any] = {}
    for point in profile.points:
        found = values.get(point.metric, _NOT_REPORTED)
        try:
            if isinstance(point.at, Register):
                _encode_words(point, point.at, found, raw)
            elif isinstance(point.at, Pointer):
                _encode_json(point, point.at, found, raw)
            else:
                _encode_answer(point, point.at, found, raw)
        except (struct.error, OverflowError) as error:
            raise ValueError(f"{profile.name}: {point.metric} = {found!r} does not fit {point.type}: {error}") from None
    return raw


def words_of(unit_id: int | None, function: int, address: int, registers: Iterable[int]) -> dict[Word, int | Missing]:
    """The words of one answered read."""
    return {(unit_id, function, address + index): word for index, word in enumerate(registers)}


def refused(unit_id: int | None, function: int, address: int, count: int, why: Missing) -> dict[Word, int | Missing]:
    """The words of a read that the device refused: each is Missing with the reason."""
    return {(unit_id, function, address + index): why for index in range(count)}


def _decode_point(point: Point, raw: Mapping[Any, Any]) -> Field:
    at = point.at
    if isinstance(at, Register):
        return _from_words(point, at, raw)
    if isinstance(at, Pointer):
        return _from_json(point, at, raw)
    return _from_answer(point, at, raw)


def _finish(point: Point, number: float, exponent: int = 0) -> Field:
    """A raw number as a canonical value, bounded by what can be."""
    if not math.isfinite(number):
        if math.isnan(number) and point.nan_is_sentinel:
            return _SENTINEL
        return Missing(Reason.NONSENSE, repr(number))
    value = (
        number * point.factor + point.offset if not exponent else number * 10.0**exponent * point.factor + point.offset
    )
    if (point.low is not None and value < point.low) or (point.high is not None and value > point.high):
        return Missing(Reason.NONSENSE, f"{value:g} {point.unit}".strip())
    return value


def _label(point: Point, code: float | str) -> Field:
    word = point.labels.get(str(code))
    return Missing(Reason.NONSENSE, f"code {code}") if word is None else word


# Registers


def _take(register: Register, raw: Words) -> bytes | Missing:
    found = bytearray()
    for address in range(register.address, register.address + register.count):
        word = raw.get((register.unit_id, register.function, address))
        if word is None:
            return _NOT_REPORTED
        if isinstance(word, Missing):
            return word
        found += word.to_bytes(2, "big")
    return bytes(found)


def _ordered(point: Point, data: bytes) -> bytes:
    """Wire bytes to big-endian bytes and back (each swap is its own inverse)."""
    if point.byte_order == "little":
        data = b"".join(data[at : at + 2][::-1] for at in range(0, len(data), 2))
    if point.word_order == "little" and len(data) > 2:
        data = b"".join(data[at : at + 2] for at in range(len(data) - 2, -2, -2))
    return data


def _from_words(point: Point, at: Register, raw: Words) -> Field:
    data = _take(at, raw)
    if isinstance(data, Missing):
        return data
    if point.type == "text":
        text = _ordered(point, data).split(b"\0")[0].decode("ascii", "replace").strip()
        return text if text.isprintable() and text else _NOT_REPORTED
    data = _ordered(point, data)
    if point.type == "bit":
        number: float = int.from_bytes(data, "big")
    else:
        number = struct.unpack(">" + REGISTER_TYPES[point.type][0], data)[0]
    if number in point.sentinels:
        return _SENTINEL
    if point.bit is not None:
        number = int(number) >> point.bit & 1
    if point.is_text:
        return _label(point, int(number))
    exponent = 0
    if point.scale_at is not None:
        scale = _take(point.scale_at, raw)
        if isinstance(scale, Missing):
            return scale
        exponent = int.from_bytes(scale, "big", signed=True)
        if not -10 <= exponent <= 10:
            return _SENTINEL if exponent == -0x8000 else Missing(Reason.NONSENSE, f"scale factor {exponent}")
    return _finish(point, number, exponent)


def _unscale(point: Point, value: float, exponent: int = 0) -> float:
    return (value - point.offset) * point.divisor / point.factor / 10.0**exponent


def _pack(point: Point, found: Field) -> bytes | None:
    """The bytes of a register value in wire order, or None where the device would tell nothing."""
    if isinstance(found, Missing):
        if point.nan_is_sentinel:
            return _ordered(point, struct.pack(">" + REGISTER_TYPES[point.type][0], math.nan))
        mark = next((mark for mark in sorted(point.sentinels, key=repr) if isinstance(mark, int)), None)
        if mark is None or point.bit is not None or point.type == "text":
            return None
        return _ordered(point, struct.pack(">" + REGISTER_TYPES[point.type][0], mark))
    if point.type == "text":
        assert isinstance(point.at, Register)
        return _ordered(point, str(found).encode("ascii", "replace").ljust(point.at.count * 2, b"\0"))
    if point.is_text:
        number: float = _code_of(point, str(found))
    else:
        exponent = _TWIN_EXPONENT.get(point.unit, -1) if point.scale_at is not None else 0
        number = _unscale(point, float(found), exponent)
    letter = "H" if point.type == "bit" else REGISTER_TYPES[point.type][0]
    return _ordered(point, struct.pack(">" + letter, number if letter in "fd" else round(number)))


# The power of ten that an encoded device with scale registers uses: volts to 0.1, hertz and amperes to 0.01, power whole.
_TWIN_EXPONENT: Mapping[str, int] = {
    "W": 1,
    "var": 1,
    "VA": 1,
    "V": -1,
    "A": -1,
    "Hz": -2,
    "Wh": 1,
    "varh": 1,
    "%": -2,
    "1": -3,
}


def _code_of(point: Point, word: str) -> int:
    for code, label in point.labels.items():
        if label == word:
            return int(code)
    raise ValueError(f"{point.metric} has no state {word!r}: {', '.join(point.labels.values())}")


def _encode_words(point: Point, at: Register, found: Field, raw: dict[Any, Any]) -> None:
    data = _pack(point, found)
    if data is None:
        return
    if point.bit is not None:
        key = (at.unit_id, at.function, at.address)
        raw[key] = raw.get(key, 0) & ~(1 << point.bit) | int.from_bytes(data, "big") << point.bit
        return
    for index in range(at.count):
        raw[(at.unit_id, at.function, at.address + index)] = int.from_bytes(data[2 * index : 2 * index + 2], "big")
    if point.scale_at is not None:
        scale = point.scale_at
        exponent = _TWIN_EXPONENT.get(point.unit, -1)
        raw[(scale.unit_id, scale.function, scale.address)] = exponent & 0xFFFF


# JSON documents


def _walk(document: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isdigit() and int(part) < len(document):
            document = document[int(part)]
        else:
            return None
    return document


def _from_json(point: Point, at: Pointer, raw: Mapping[str, Any]) -> Field:
    if at.document not in raw:
        return _NOT_REPORTED
    total = 0.0
    for path in at.paths:
        found = _walk(raw[at.document], path)
        if found is None:
            return _NOT_REPORTED
        if isinstance(found, str | int | float) and found in point.sentinels:
            return _SENTINEL
        if point.is_text:
            return _text_from_json(point, found)
        number = _numeral(found) if point.type == "numeral" else found
        if isinstance(number, bool) or not isinstance(number, int | float):
            return Missing(Reason.MALFORMED, f"{_short(found)} is no number")
        total += number
    return _finish(point, total)


def _text_from_json(point: Point, found: Any) -> Field:
    if point.type == "json":
        return orjson.dumps(found, option=orjson.OPT_SORT_KEYS).decode()
    if isinstance(found, bool):
        found = "true" if found else "false"
    if not isinstance(found, str | int | float):
        return Missing(Reason.MALFORMED, f"{_short(found)} is no text")
    return _label(point, found) if point.labels else str(found)


def _numeral(found: Any) -> float | None:
    """A number told as text. Only plain decimal notation counts: no "nan", "inf", "1_000" or hex."""
    if not isinstance(found, str) or len(found) > 40:
        return None
    text = found.strip()
    if not text or not set(text) <= set("0123456789+-.eE"):
        return None
    try:
        return float(text)
    except ValueError:
        return None


def _short(found: Any) -> str:
    text = repr(found)
    return text if len(text) <= 40 else text[:37] + "..."


def _encode_json(point: Point, at: Pointer, found: Field, raw: dict[Any, Any]) -> None:
    document = raw.setdefault(at.document, {})
    if isinstance(found, Missing):
        mark = next(iter(sorted(point.sentinels, key=repr)), None)
        if mark is not None:
            for path in at.paths:
                _plant(document, path, mark)
        return
    for index, path in enumerate(at.paths):
        if point.type == "json":
            planted: Any = orjson.loads(str(found))
        elif point.is_text:
            planted = next((code for code, label in point.labels.items() if label == found), found)
        else:
            number = _unscale(point, float(found)) if index == 0 else 0.0
            planted = format(number, ".12g") if point.type == "numeral" else number
        _plant(document, path, planted)


def _plant(document: Any, path: tuple[str, ...], value: Any) -> None:
    """Set a value in nested objects and lists; a numeric part means a list."""
    for part, following in zip(path, (*path[1:], None), strict=True):
        fresh: Any = value if following is None else ([] if following.isdigit() else {})
        if isinstance(document, list):
            index = int(part)
            document.extend({} for _ in range(index + 1 - len(document)))
            if following is None or not document[index]:
                document[index] = fresh
            document = document[index]
        else:
            if following is None:
                document[part] = fresh
            document = document.setdefault(part, fresh)


# Named answers


def _from_answer(point: Point, at: Answer, raw: Mapping[str, Any]) -> Field:
    found = raw.get(at.name)
    if found is None:
        return _NOT_REPORTED
    if isinstance(found, Missing):
        return found
    if isinstance(found, bytes):
        return _from_mercury(point, at, found)
    if at.index >= len(found):
        return _NOT_REPORTED
    text = found[at.index]
    if text in point.sentinels:
        return _SENTINEL
    if point.is_text:
        return str(text)
    number = _numeral(text)
    return Missing(Reason.MALFORMED, f"{_short(text)} is no number") if number is None else _finish(point, number)


def _from_mercury(point: Point, at: Answer, data: bytes) -> Field:
    return Missing(Reason.MALFORMED, "no answer layout")


def _encode_answer(point: Point, at: Answer, found: Field, raw: dict[Any, Any]) -> None:
    texts: list[str] = raw.setdefault(at.name, [])
    texts.extend("" for _ in range(at.index + 1 - len(texts)))
    if not isinstance(found, Missing):
        texts[at.index] = str(found) if point.is_text else format(_unscale(point, float(found)), ".10g")


def values_of(fields: Mapping[str, Field]) -> dict[str, Value]:
    """Only what is present."""
    return {name: found for name, found in fields.items() if not isinstance(found, Missing)}


def frame_words(frames: Sequence[Mapping[str, Any]]) -> dict[Word, int | Missing]:
    """Words of the register frames in a `[checked]` table: {function, address, hex, unit_id?}."""
    words: dict[Word, int | Missing] = {}
    for frame in frames:
        data = bytes.fromhex(frame["hex"])
        registers = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
        words |= words_of(frame.get("unit_id"), frame["function"], frame["address"], registers)
    return words
