# SPDX-License-Identifier: Apache-2.0
"""Sparkplug B payloads: decoding and encoding of the protobuf messages used for telemetry.

Source: Eclipse Sparkplug Specification 3.0.0, section 6.4 (payload and metric fields, data types) and the protobuf encoding
guide (wire types 0 varint, 1 eight bytes, 2 length, 5 four bytes). Unknown fields are skipped; data sets and templates are
not read as values. ValueError for anything that is no such payload.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

# Sparkplug data types that carry a number or a text.
INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FLOAT, DOUBLE, BOOLEAN, STRING, DATETIME, TEXT = range(1, 15)
_SIGNED_BITS = {INT8: 8, INT16: 16, INT32: 32, INT64: 64}


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of a payload. `value` None: null, or a type that is not read."""

    name: str = ""
    alias: int | None = None
    timestamp_ms: int | None = None
    datatype: int | None = None
    value: float | int | bool | str | None = None
    is_historical: bool = False


@dataclass(frozen=True, slots=True)
class Payload:
    """`seq` counts 0 to 255 over all messages of an edge node; a death certificate has none."""

    metrics: tuple[Metric, ...]
    timestamp_ms: int | None = None
    seq: int | None = None


def decode_payload(data: bytes) -> Payload:
    """A payload from its bytes. Raises ValueError."""
    timestamp_ms = seq = None
    metrics: list[Metric] = []
    for number, value in _fields(data):
        if number == 1 and isinstance(value, int):
            timestamp_ms = value
        elif number == 2 and isinstance(value, bytes):
            metrics.append(_metric(value))
        elif number == 3 and isinstance(value, int):
            if value > 255:
                raise ValueError(f"sequence number {value} is beyond 255")
            seq = value
    return Payload(tuple(metrics), timestamp_ms, seq)


def encode_payload(payload: Payload) -> bytes:
    """Bytes of a payload. Numbers are encoded by their data type, as DOUBLE where there is none."""
    out = bytearray()
    if payload.timestamp_ms is not None:
        out += b"\x08" + _varint(payload.timestamp_ms)
    for metric in payload.metrics:
        body = _metric_bytes(metric)
        out += b"\x12" + _varint(len(body)) + body
    if payload.seq is not None:
        out += b"\x18" + _varint(payload.seq)
    return bytes(out)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, varint or raw bytes) of a message, in order."""
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise ValueError("field number 0")
        if wire == 0:
            value, at = _read_varint(data, at)
            yield number, value
            continue
        if wire == 2:
            length, at = _read_varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if length > len(data) - at:
            raise ValueError(f"field {number} is cut off")
        yield number, data[at : at + length]
        at += length


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number is cut off or too long")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value & (1 << 64) - 1, at


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*out, value))


def _metric(data: bytes) -> Metric:
    name, alias, timestamp_ms, datatype = "", None, None, None
    value: float | int | bool | str | None = None
    historical = null = False
    for number, content in _fields(data):
        match number, content:
            case 1, bytes():
                name = content.decode()
            case 2, int():
                alias = content
            case 3, int():
                timestamp_ms = content
            case 4, int():
                datatype = content
            case 5, int():
                historical = bool(content)
            case 7, int():
                null = bool(content)
            case ((10 | 11), int()):
                value = content
            case 12, bytes() if len(content) == 4:
                value = float(struct.unpack("<f", content)[0])
            case 13, bytes() if len(content) == 8:
                value = float(struct.unpack("<d", content)[0])
            case 14, int():
                value = bool(content)
            case 15, bytes():
                value = content.decode()
            case 16 | 17 | 18 | 19, bytes():
                value = None
            case ((1 | 2 | 3 | 4 | 5 | 7 | 10 | 11 | 12 | 13 | 14 | 15), _):
                raise ValueError(f"metric field {number} has a wrong form")
    return Metric(name, alias, timestamp_ms, datatype, None if null else value, historical)


def typed(metric: Metric, datatype: int | None) -> float | int | bool | str | None:
    """Value by its data type: negative integers are sent as unsigned ones, short ones in 16 or in 32 bits."""
    value = metric.value
    bits = _SIGNED_BITS.get(datatype or 0)
    if bits and isinstance(value, int) and not isinstance(value, bool):
        value &= (1 << bits) - 1
        return value - (1 << bits) if value >> bits - 1 else value
    return value


def _metric_bytes(metric: Metric) -> bytes:
    out = bytearray()
    if metric.name:
        out += b"\x0a" + _varint(len(metric.name.encode())) + metric.name.encode()
    if metric.alias is not None:
        out += b"\x10" + _varint(metric.alias)
    if metric.timestamp_ms is not None:
        out += b"\x18" + _varint(metric.timestamp_ms)
    if metric.datatype is not None:
        out += b"\x20" + _varint(metric.datatype)
    if metric.is_historical:
        out += b"\x28\x01"
    value, kind = metric.value, metric.datatype or DOUBLE
    if value is None:
        return bytes(out + b"\x38\x01")
    if isinstance(value, str):
        return bytes(out + b"\x7a" + _varint(len(value.encode())) + value.encode())
    if kind == BOOLEAN:
        return bytes(out + b"\x70" + _varint(int(value)))
    if kind == FLOAT:
        return bytes(out + b"\x65" + struct.pack("<f", value))
    if kind == DOUBLE:
        return bytes(out + b"\x69" + struct.pack("<d", value))
    whole = int(value)
    if kind in (INT64, UINT64, DATETIME):
        return bytes(out + b"\x58" + _varint(whole & (1 << 64) - 1))
    return bytes(out + b"\x50" + _varint(whole & (1 << 32) - 1))


def rebirth_request(timestamp_ms: int) -> bytes:
    """Command that requests a new birth message with all metrics from an edge node."""
    wanted = Metric("Node Control/Rebirth", timestamp_ms=timestamp_ms, datatype=BOOLEAN, value=True)
    return encode_payload(Payload((wanted,), timestamp_ms))
