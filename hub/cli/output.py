# SPDX-License-Identifier: Apache-2.0
"""How the command line answers: one JSON object on the last line with `--json`, a table otherwise."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import typer


def say(text: str) -> None:
    """Progress and remarks go to standard error: standard output holds the answer alone."""
    typer.echo(text, err=True)


def put_json(value: Any) -> None:
    """One line, keys in the order given."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode())


def put_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A plain table that also reads well in a narrow terminal; numbers stand to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    held = [[_cell(value) for value in row] for row in rows]
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for index, column in enumerate(columns):
        numeric = bool(held) and all(_is_number(row[index]) or row[index] == "-" for row in held)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in held:
        table.add_row(*(Text(cell) for cell in row))
    Console(markup=False, emoji=False, highlight=False).print(table)
    if not held:
        typer.echo("  (nothing)")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)


def _is_number(text: str) -> bool:
    return text.replace(",", "").replace(".", "", 1).lstrip("-").isdigit()
