# SPDX-License-Identifier: Apache-2.0
"""Price files given on the command line: Parquet, or CSV with commas, semicolons or tabs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grid.price_table import TableFacts
    from kernel.curve import Curve


def curve_from(path: Path, name: str, asked: "TableFacts") -> "Curve":
    """The file's series as a curve. Raises ConfigError: no such file, not a table, or what `curve_of` refuses."""
    from grid.price_table import curve_of
    from kernel.errors import ConfigError, Fault

    if not path.is_file():
        raise ConfigError([Fault(str(path), "no such file", "Give a Parquet or CSV file")])
    try:
        columns = _parquet(path) if path.suffix == ".parquet" else _csv(path)
    except (OSError, ValueError) as error:
        raise ConfigError([Fault(path.name, f"cannot be read: {error}", "Give a Parquet or CSV file")]) from error
    if not columns or not len(next(iter(columns.values()))):
        raise ConfigError([Fault(path.name, "holds no rows", "Give a table with a row of names")])
    return curve_of(columns, name=name, source=path.name, facts=asked)


def _parquet(path: Path) -> dict[str, Any]:
    """Columns of a Parquet file; instants with a zone as datetime64 in UTC, those without as plain datetimes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    columns: dict[str, Any] = {}
    for key in table.column_names:
        column = table[key].combine_chunks()
        if pa.types.is_timestamp(column.type) and column.null_count:
            raise ValueError(f"{key} has rows without an instant")
        if pa.types.is_timestamp(column.type) and column.type.tz:
            columns[key] = column.cast(pa.timestamp("ms", column.type.tz)).to_numpy(zero_copy_only=False)
        elif pa.types.is_timestamp(column.type):
            columns[key] = _objects(column.cast(pa.timestamp("ms")).to_pylist())
        elif pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
            columns[key] = column.to_numpy(zero_copy_only=False)
        else:
            columns[key] = _objects(column.to_pylist())
    return columns


def _csv(path: Path) -> dict[str, Any]:
    import csv

    with path.open(newline="", encoding="utf-8-sig") as file:
        head = file.readline()
        file.seek(0)
        mark = max(",;\t", key=head.count)
        rows = csv.reader(file, delimiter=mark)
        try:
            names = [name.strip() for name in next(rows, [])]
            body = [row for row in rows if any(cell.strip() for cell in row)]
        except csv.Error as error:
            raise ValueError(f"line {rows.line_num + 1} is no CSV: {error}") from None
    uneven = next((index for index, row in enumerate(body) if len(row) != len(names)), None)
    if uneven is not None:
        raise ValueError(f"row {uneven + 1} has {len(body[uneven])} cells, the row of names {len(names)}")
    return {name: _objects([row[at] for row in body]) for at, name in enumerate(names)}


def _objects(values: list[Any]) -> Any:
    import numpy as np

    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found
