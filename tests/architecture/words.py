# SPDX-License-Identifier: Apache-2.0
"""Vocabulary that is kept out of the product, its documentation and the names of tests.

The code is read by power engineers, mining engineers and accountants; each banned term has a plain one in its field. Run

    python -m tests.architecture.words [PATH ...]

to list each use with its place. Whole words are matched, in any case; `ALLOWED` phrases are standard terms.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PRODUCT: Final = ("kernel", "telemetry", "grid", "miner_control", "scheduling", "treasury", "twin", "hub")
TEXTS: Final = ("configs", "docs", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile")
SUFFIXES: Final = {".py", ".md", ".toml", ".html", ".js", ".css", ".csv", ".example"}

BANNED: Final = {
    "told": "reported",
    "said": "reported, or the sentence without it",
    "word": "text, code, register",
    "words": "text, codes, registers",
    "hand": "person, control system",
    "hands": "persons, control systems",
    "beside": "auxiliary, next to, in addition to",
    "make-believe": "simulated",
    "whoever": "the person or system that",
    "ails": "fault of",
    "sick": "faulty",
}
ALLOWED: Final = (
    "word order", "word_order", "status word", "control word", "fault word", "hand-over", "on the one hand",
    "on the other hand", "by hand", "second-hand", "left-hand", "right-hand",
)  # fmt: skip
_BANNED = re.compile(r"\b(?<![-])(" + "|".join(BANNED) + r")\b(?![-])", re.IGNORECASE)
_ALLOWED = re.compile("|".join(rf"\b{re.escape(phrase)}s?\b" for phrase in ALLOWED), re.IGNORECASE)
STORED: Final = ("words", "told", "said", "hand.seen", "hand.gone")
"""Keys of stored events and signed reports, and former names: they stand in quotes or backticks and never change."""
_STORED = re.compile(rf"""(["'`])({"|".join(map(re.escape, STORED))})\1""")

KEEP: Final[dict[str, frozenset[str]]] = {
    "kernel/event.py": frozenset({"hand"}),
    "telemetry/energy/energy_figure.py": frozenset({"told"}),
    "hub/state/tickets.py": frozenset({"words"}),
    "miner_control/fleet/command_events.py": frozenset({"words"}),
    "miner_control/health/health_events.py": frozenset({"words"}),
    # Former names of paths and commands, in their table.
    "CHANGELOG.md": frozenset({"hands", "words"}),
    # The name of this script.
    "docs/contributing/style.md": frozenset({"words"}),
}
"""Terms of a stored or foreign format, by file: event bodies and protocols keep their keys."""


def uses(text: str) -> Iterator[tuple[int, str]]:
    """(line number, banned word) of each use in a text."""
    for number, line in enumerate(text.splitlines(), 1):
        for found in _BANNED.finditer(_STORED.sub("", _ALLOWED.sub("", line))):
            yield number, found.group().lower()


def found(path: Path) -> list[str]:
    """`file:line: word -> better` of each use in a file of the product or of its documentation."""
    place = path.relative_to(ROOT).as_posix()
    kept = KEEP.get(place, frozenset())
    return [
        f"{place}:{number}: {word} -> {BANNED[word]}"
        for number, word in uses(path.read_text("utf-8"))
        if word not in kept
    ]


def found_in_names(path: Path) -> list[str]:
    """The same for names of tests: functions and classes of a test file, parts between underscores as words."""
    place = path.relative_to(ROOT).as_posix()
    return [
        f"{place}:{node.lineno}: {word} -> {BANNED[word]} in {node.name}"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and node.name.startswith(("test_", "Test"))
        for _, word in uses(node.name.replace("_", " "))
    ]


def files() -> list[Path]:
    """Files of the product and of its documentation; vendored ones are left out."""
    tops = [ROOT / name for name in (*PRODUCT, *TEXTS) if (ROOT / name).exists()]
    inside = [path for top in tops for path in (top.rglob("*") if top.is_dir() else [top]) if path.is_file()]
    return sorted(
        path for path in inside if (path.suffix in SUFFIXES or path.name == "Makefile") and "vendor" not in path.parts
    )


def main(arguments: list[str]) -> int:
    """Print each use under the given paths, or everywhere; the exit code says whether there was one."""
    wanted = [Path(one).resolve() for one in arguments] or [ROOT]
    lines = [line for path in files() if any(path.is_relative_to(one) for one in wanted) for line in found(path)]
    tests = [path for path in (ROOT / "tests").rglob("*.py") if any(path.is_relative_to(one) for one in wanted)]
    lines += [line for path in sorted(tests) for line in found_in_names(path)]
    print("\n".join(lines) or "none")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
