# SPDX-License-Identifier: Apache-2.0
"""Values in JSON documents, found by pointer: numbers, numbers as text, texts, sub-documents."""

from collections.abc import Mapping
from typing import Any

import orjson

from kernel.reading import MISSING, Absence, Field, Missing
from telemetry.device.point import Point, Pointer
from telemetry.device.scale import code_of, numeral, short, text_of_code, to_canonical_value, to_raw_number

_NOT_REPORTED = MISSING[Absence.NOT_REPORTED]


def value_in_json(point: Point, at: Pointer, raw: Mapping[str, Any]) -> Field:
    """Value of one point from the named documents received."""
    document = raw.get(at.document)
    if isinstance(document, Missing):
        return document
    if document is None:
        return _NOT_REPORTED
    total = 0.0
    for path in at.paths:
        found = _walk(document, path)
        if found is None:
            return _NOT_REPORTED
        if isinstance(found, str | int | float) and found in point.sentinels:
            return MISSING[Absence.SENTINEL]
        if point.is_text:
            return _text(point, found)
        number = numeral(found) if point.type == "numeral" else found
        if isinstance(number, bool) or not isinstance(number, int | float):
            return Missing(Absence.MALFORMED, f"{short(found)} is no number")
        total += number
    return to_canonical_value(point, total)


def encode_json(point: Point, at: Pointer, found: Field, raw: dict[Any, Any]) -> None:
    """Write a value into the raw documents, where the device would report it."""
    document = raw.setdefault(at.document, {})
    if isinstance(found, Missing):
        mark = next(iter(sorted(point.sentinels, key=repr)), None)
        if mark is not None:
            for path in at.paths:
                _set(document, path, mark)
        return
    for index, path in enumerate(at.paths):
        if point.type == "json":
            encoded: Any = orjson.loads(str(found))
        elif point.is_text:
            encoded = code_of(point, str(found)) if point.labels else found
        else:
            number = to_raw_number(point, float(found)) if index == 0 else 0.0
            encoded = format(number, ".12g") if point.type == "numeral" else number
        _set(document, path, encoded)


def _walk(document: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        if isinstance(document, dict) and part in document:
            document = document[part]
        elif isinstance(document, list) and part.isdecimal() and part.isascii() and int(part) < len(document):
            document = document[int(part)]
        else:
            return None
    return document


def _text(point: Point, found: Any) -> Field:
    if point.type == "json":
        return orjson.dumps(found, option=orjson.OPT_SORT_KEYS).decode()
    if isinstance(found, bool):
        found = "true" if found else "false"
    if not isinstance(found, str | int | float):
        return Missing(Absence.MALFORMED, f"{short(found)} is no text")
    return text_of_code(point, found) if point.labels else str(found)


def _set(document: Any, path: tuple[str, ...], value: Any) -> None:
    """Set a value in nested objects and lists; a numeric part means a list."""
    for part, following in zip(path, (*path[1:], None), strict=True):
        fresh: Any = value if following is None else ([] if following.isdecimal() else {})
        if isinstance(document, list):
            index = int(part)
            document.extend(None for _ in range(index + 1 - len(document)))
            if following is None or document[index] is None:
                document[index] = fresh
            document = document[index]
        else:
            if following is None:
                document[part] = fresh
            document = document.setdefault(part, fresh)
