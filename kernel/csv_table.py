# SPDX-License-Identifier: Apache-2.0
"""Tables of CSV as rows by the names of their head line; a text that is no CSV is a fault with its line."""

import csv
import io
from typing import Any

from kernel.errors import ConfigError, Fault


def csv_table(
    text: str, place: str, delimiter: str = ",", restkey: str | None = None, restval: Any = None
) -> tuple[list[str], list[dict[str, Any]]]:
    """(names of the head line, rows); cells beyond the head stand under `restkey`, those that lack are `restval`.

    Raises ConfigError with the line where a cell never ends or holds more than 131,072 characters.
    """
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, restkey=restkey, restval=restval)
    try:
        return list(reader.fieldnames or ()), list(reader)
    except csv.Error as error:
        fault = Fault(f"{place} line {reader.line_num + 1}", f"is no CSV: {error}", "Close the quotation marks")
        raise ConfigError([fault]) from None
