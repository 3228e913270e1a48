# SPDX-License-Identifier: Apache-2.0
"""A report's bytes: canonical JSON (RFC 8785) is the truth, CSV (RFC 4180) is rendered from it. The same twice, anywhere."""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

import rfc8785

from hub.reports.kind import Table

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_json(document: Mapping[str, Any]) -> bytes:
    """Canonical JSON. Raises ValueError on a whole number beyond 2^53, which JSON readers would round."""
    try:
        return rfc8785.dumps(dict(document))
    except rfc8785.IntegerDomainError as error:
        raise ValueError(f"{error}: a figure beyond 2^53 has no exact JSON number") from None


def as_csv(document: Mapping[str, Any], table: Table) -> bytes:
    """The report as its kind's table. A text that a spreadsheet would run as a formula is led by an apostrophe."""
    # Through the JSON, so that a number is written as the JSON writes it (1, not 1.0).
    columns, rows = table(json.loads(as_json(document)))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return out.getvalue().encode()


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
