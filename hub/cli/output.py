# SPDX-License-Identifier: Apache-2.0
"""How the command line answers: one JSON object on the last line with `--json`, a table otherwise."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import typer

_SHORT, _NARROW = 32, 10


def say(text: str) -> None:
    """Progress and remarks go to standard error: standard output holds the answer alone."""
    typer.echo(text, err=True)


def put_json(value: Any) -> None:
    """One line, keys in the order given."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode())


def put_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A plain table that also reads well in a narrow terminal: numbers stand to the right, and only long texts are folded."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(markup=False, emoji=False, highlight=False)
    held = [[_cell(value) for value in row] for row in rows]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    widths = _widths(columns, held, console.width)
    for index, column in enumerate(columns):
        numeric = bool(held) and all(_is_number(row[index]) or row[index] == "-" for row in held)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold", width=widths[index])
    for row in held:
        table.add_row(*(Text(cell) for cell in row))
    typer.echo(title)
    console.print(table)
    if not held:
        typer.echo("  (nothing)")


def _widths(columns: Sequence[str], held: Sequence[Sequence[str]], width: int) -> list[int]:
    """How wide each column is: names and figures stay whole, the first columns before the last, long texts share the rest."""
    longest = []
    for at, column in enumerate(columns):
        parts = [len(part) for part in column.split()]
        longest.append(max([*parts, *(len(row[at]) for row in held)], default=1))
    found = [min(most, _NARROW) for most in longest]
    room = width + 1 - 3 * len(columns) - sum(found)
    for at, most in enumerate(longest):
        if most <= _SHORT and most - found[at] <= room:
            room -= most - found[at]
            found[at] = most
    wide = [at for at, most in enumerate(longest) if most > found[at]]
    while wide and room > 0:
        share = max(1, room // len(wide))
        for at in wide:
            more = min(share, longest[at] - found[at], room)
            found[at] += more
            room -= more
        wide = [at for at in wide if longest[at] > found[at]]
    return found if room >= 0 else [max(1, (width + 1) // len(columns) - 3)] * len(columns)


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
