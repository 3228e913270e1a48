# SPDX-License-Identifier: Apache-2.0
"""The index of decisions, made from the titles of their pages.

python -m tests.architecture.decisions          writes docs/decisions/index.md
"""

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "decisions"
INDEX = FOLDER / "index.md"
HEAD = """# Decisions

Why the program is built as it is, one short page each, oldest first. A decision that no longer holds is not deleted: a later
page says what took its place. This list is made by `python -m tests.architecture.decisions`.

| no. | decision |
|---|---|
"""


def pages(folder: Path = FOLDER) -> list[Path]:
    """The pages in the order of their numbers."""
    return sorted(path for path in folder.glob("[0-9]*.md"))


def index(folder: Path = FOLDER) -> str:
    """The page. Raises ValueError where a page has no title or no number of its own."""
    rows, seen = [], set[str]()
    for path in pages(folder):
        number = path.name[:4]
        title = re.match(r"# (?:\d+\. )?(.+)\n", path.read_text(encoding="utf-8"))
        if title is None or number in seen or not number.isdigit():
            raise ValueError(f"{path.name}: a page needs a title, and a number of four digits that no other has")
        seen.add(number)
        rows.append(f"| {number} | [{title[1]}]({path.name}) |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    INDEX.write_text(index(), encoding="utf-8")
