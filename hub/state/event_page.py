# SPDX-License-Identifier: Apache-2.0
"""The reference page of events, made from the table of events.

`python -m hub.state.event_page > docs/reference/events.md`; a test holds the page to be current.
"""

import sys
from typing import Any

from hub.state.event_table import ROWS, Row
from kernel.event import FORMER, EventKind

_HEAD = """# Events

The journal holds, apart from readings, one event for each thing that the hub decided, received or noticed. This page is made
from `hub/state/event_table.py` (`python -m hub.state.event_page > docs/reference/events.md`); do not edit it. How to add
one: [add an event](../howto/add-an-event.md).

- **Envelope**: `kind`, `version`, `site`, `writer`, `seq`, `at_ms`, `body`. The key is (site, writer, seq).
- **Fields** are those of the body; one in parentheses may be absent; `...`: further ones by act or intent.
- **Folded by**: books of the state that the event changes; none: it is evidence alone.
- **Level** of its line in the log of the site; "no line": it is not shown there.
- An event of a newer hub, of a kind that is unknown here, is kept and shown by its kind; no book changes.
"""

_FORMER = """
## Former names

Older journals hold these. Stored bytes are never rewritten: a name is mapped when its row is read, and a filter for a kind
finds events under its former names as well. No event is written under one of them.

| stored as | read as |
|---|---|"""


def _fields(row: Row[Any]) -> str:
    optional = row.payload.__optional_keys__
    names = [f"(`{name}`)" if name in optional else f"`{name}`" for name in row.payload.__annotations__]
    return " ".join([*names, "..."] if row.further else names)


def _level(row: Row[Any]) -> str:
    if not row.logged:
        return "no line"
    return "by content" if callable(row.level) else row.level


def _line(row: Row[Any]) -> str:
    books = ", ".join(dict.fromkeys(book.name for book in row.books)) or "none"
    cells = (f"`{row.kind}`", row.about, _fields(row), books, _level(row))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def current() -> str:
    """The page as Markdown."""
    parts = [_HEAD, "| kind | writer and meaning | fields | folded by | level |", "|---|---|---|---|---|"]
    parts += [_line(row) for row in ROWS]
    parts.append(_FORMER)
    parts += [f"| `{name}` | `{kind}` |" for kind in EventKind for name in FORMER[kind]]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(current())
