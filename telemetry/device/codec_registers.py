# SPDX-License-Identifier: Apache-2.0
"""Values in Modbus registers: integers and floats of all word orders, bits, texts, scale registers."""

import math
import struct
from collections.abc import Iterable, Mapping

from kernel.reading import MISSING, Absence, Field, Missing
from telemetry.device.point import REGISTER_TYPES, Point, Register
from telemetry.device.scale import code_of, text_of_code, to_canonical_value, to_raw_number

RegisterKey = tuple[int | None, int, int]
Registers = Mapping[RegisterKey, int | Missing]

_NOT_REPORTED = MISSING[Absence.NOT_REPORTED]
_SENTINEL = MISSING[Absence.SENTINEL]

# Finest power of ten with which a simulated device reports a unit; coarser where a value would not fit.
_FINEST: Mapping[str, int] = {
    "W": 0,
    "var": 0,
    "VA": 0,
    "V": -1,
    "A": -2,
    "Hz": -2,
    "Wh": 0,
    "varh": 0,
    "%": -2,
    "1": -2,
}
_COARSEST = 10


def registers_read(
    unit_id: int | None, function: int, address: int, registers: Iterable[int]
) -> dict[RegisterKey, int | Missing]:
    """Registers of one answered read."""
    return {(unit_id, function, address + index): value for index, value in enumerate(registers)}


def refused(
    unit_id: int | None, function: int, address: int, count: int, why: Missing
) -> dict[RegisterKey, int | Missing]:
    """Registers of a read that the device refused: each Missing with the reason."""
    return {(unit_id, function, address + index): why for index in range(count)}


def value_in_registers(point: Point, at: Register, raw: Registers) -> Field:
    """Value of one point from the registers read."""
    data = _take(at, raw)
    if isinstance(data, Missing):
        return data
    data = _ordered(point, data)
    if point.also:
        return _sum(point, data, raw)
    if point.type == "text":
        text = data.split(b"\0")[0].decode("ascii", "replace").strip()
        return text if text and text.isascii() and text.isprintable() else _NOT_REPORTED
    number = int.from_bytes(data, "big") if point.type == "bit" else _unpack(point, data)
    if number in point.sentinels:
        return _SENTINEL
    if point.bit is not None:
        number = int(number) >> point.bit & 1
    if point.is_text:
        return text_of_code(point, int(number))
    if point.scale_at is None:
        return to_canonical_value(point, number)
    scale = _take(point.scale_at, raw)
    if isinstance(scale, Missing):
        return scale
    exponent = int.from_bytes(scale, "big", signed=True)
    if not -10 <= exponent <= 10:
        return _SENTINEL if exponent == -0x8000 else Missing(Absence.NONSENSE, f"scale factor {exponent}")
    return to_canonical_value(point, number, exponent)


def _sum(point: Point, first: bytes, raw: Registers) -> Field:
    """Sum of registers of one type; Missing where one of them is absent, never a smaller sum."""
    total = 0.0
    for register in (None, *point.also):
        data = first if register is None else _take(register, raw)
        if isinstance(data, Missing):
            return data
        number = _unpack(point, data if register is None else _ordered(point, data))
        if number in point.sentinels:
            return _SENTINEL
        total += number
    return to_canonical_value(point, total)


def encoded_exponents(points: Iterable[Point], values: Mapping[str, Field]) -> dict[Register, int]:
    """Per scale register, the finest power of ten at which all values that share it fit their types."""
    found: dict[Register, int] = {}
    for point in points:
        if point.scale_at is None:
            continue
        exponent = max(found.get(point.scale_at, -_COARSEST), _FINEST.get(point.unit, -1))
        value = values.get(point.metric)
        if isinstance(value, int | float):
            top = (1 << 16 * REGISTER_TYPES[point.type][1] - 1) - 2
            while exponent < _COARSEST and abs(to_raw_number(point, float(value), exponent)) > top:
                exponent += 1
        found[point.scale_at] = exponent
    return found


def encode_registers(
    point: Point, at: Register, found: Field, raw: dict[RegisterKey, int], exponents: Mapping[Register, int]
) -> None:
    """Write a value into the raw registers. struct.error or OverflowError where it does not fit."""
    if point.also:
        _spread(point, at, found, raw)
        return
    exponent = 0 if point.scale_at is None else exponents[point.scale_at]
    data = _pack(point, at, found, exponent)
    if data is None:
        return
    key = (at.unit_id, at.function, at.address)
    if point.bit is not None:
        raw[key] = raw.get(key, 0) & ~(1 << point.bit) | int.from_bytes(data, "big") << point.bit
        return
    for index in range(at.count):
        raw[(at.unit_id, at.function, at.address + index)] = int.from_bytes(data[2 * index : 2 * index + 2], "big")
    if point.scale_at is not None:
        scale = point.scale_at
        raw[(scale.unit_id, scale.function, scale.address)] = exponent & 0xFFFF


def _spread(point: Point, at: Register, found: Field, raw: dict[RegisterKey, int]) -> None:
    """A sum as its parts: equal shares in whole raw steps, the remainder over the first ones."""
    parts = (at, *point.also)
    if isinstance(found, Missing):
        return
    whole = round(to_raw_number(point, float(found)))
    share, rest = divmod(whole, len(parts))
    for index, register in enumerate(parts):
        number = share + (index < rest)
        data = _ordered(point, struct.pack(">" + REGISTER_TYPES[point.type][0], number))
        for offset in range(register.count):
            key = (register.unit_id, register.function, register.address + offset)
            raw[key] = int.from_bytes(data[2 * offset : 2 * offset + 2], "big")


def _take(register: Register, raw: Registers) -> bytes | Missing:
    found = bytearray()
    for address in range(register.address, register.address + register.count):
        value = raw.get((register.unit_id, register.function, address))
        if value is None:
            return _NOT_REPORTED
        if isinstance(value, Missing):
            return value
        found += value.to_bytes(2, "big")
    return bytes(found)


def _ordered(point: Point, data: bytes) -> bytes:
    """Convert wire bytes to big-endian bytes, and back: each swap is its own inverse."""
    if point.byte_order == "little":
        data = b"".join(data[at : at + 2][::-1] for at in range(0, len(data), 2))
    if point.word_order == "little" and len(data) > 2:
        data = b"".join(data[at : at + 2] for at in range(len(data) - 2, -2, -2))
    return data


def _unpack(point: Point, data: bytes) -> int | float:
    found: int | float = struct.unpack(">" + REGISTER_TYPES[point.type][0], data)[0]
    return found


def _pack(point: Point, at: Register, found: Field, exponent: int) -> bytes | None:
    """Bytes in wire order, or None where the device would not report the value."""
    if point.type == "text":
        if isinstance(found, Missing):
            return None
        return _ordered(point, str(found).encode("ascii", "replace").ljust(at.count * 2, b"\0")[: at.count * 2])
    letter = "H" if point.type == "bit" else REGISTER_TYPES[point.type][0]
    if isinstance(found, Missing):
        mark: float | None = math.nan if point.nan_is_sentinel else None
        numbers = sorted(mark for mark in point.sentinels if isinstance(mark, int))
        if numbers and point.bit is None:
            mark = numbers[0]
        return None if mark is None else _ordered(point, struct.pack(">" + letter, mark))
    if point.is_text:
        number: float = int(code_of(point, str(found)))
    else:
        number = to_raw_number(point, float(found), exponent)
    return _ordered(point, struct.pack(">" + letter, number if letter in "fd" else round(number)))
