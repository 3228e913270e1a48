# SPDX-License-Identifier: Apache-2.0
"""Changes of single lines that hurt, each made in a copy of the tree: the near tests have to notice every one.

    python -m tests.architecture.mutations [TEXT ...]     # all, or those whose file or meaning holds a TEXT

`mutations.toml` lists them, and the near tests of the spine (together under 30 s). For each change these run in the copy, those
of the changed file first, up to the first failure. The last line is one JSON object; exit 1 where a change was not noticed or its
text was not found.
"""

import contextlib
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.source import PACKAGES, ROOT

COPIED = (
    "kernel", "telemetry", "grid", "miner_control", "scheduling", "treasury", "twin", "hub", "configs", "tests", "pyproject.toml",
)  # fmt: skip
PATIENCE_S = 300.0
FAILED = 1
"""The exit code of pytest where a test failed; any other one but 0 is no verdict of a test."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """In `file` the text `old`, which stands there once, becomes `new`; `means` says what would then be wrong."""

    file: str
    means: str
    old: str
    new: str


LISTED: Final = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
NEAR: Final[Mapping[str, Sequence[str]]] = LISTED["near"]
"""Files of near tests by the file of the product that they stand next to."""
MUTATIONS: Final = tuple(Mutation(**one) for one in LISTED["mutation"])


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one change: noticed or not, or its text not found exactly once; `by` is the first test that failed."""

    file: str
    means: str
    noticed: bool
    found: bool
    by: str
    seconds: float


def copied(folder: Path) -> None:
    """A copy of what the near tests stand on."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "static", "recorded")
            )
        else:
            shutil.copy(ROOT / name, folder / name)


def run(folder: Path, files: Sequence[str]) -> tuple[int, str]:
    """(exit code, first failing test) of test files in a folder, in a process of their own.

    It is a fork, in which the libraries are imported already; what belongs to the project is imported anew, from the folder.
    """
    said = folder / "said.txt"
    child = os.fork()
    if child == 0:
        code = 70
        try:
            with said.open("w") as out:
                os.dup2(out.fileno(), 1)
                os.dup2(out.fileno(), 2)
            os.chdir(folder)
            sys.path.insert(0, str(folder))
            for name in [one for one in sys.modules if one.partition(".")[0] in (*PACKAGES, "tests")]:
                del sys.modules[name]
            code = int(pytest.main(["-q", "-x", "-n", "0", "-p", "no:cacheprovider", "--tb=no", "-rfE", *files]))
            here = sys.modules.get("kernel.clock")
            code = code if here is not None and str(here.__file__).startswith(str(folder)) else 71
            (folder / "libraries.txt").write_text("\n".join(_libraries()))
        finally:
            sys.stdout.flush()
            os._exit(code)
    begun_s = time.monotonic()
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
        if time.monotonic() - begun_s > PATIENCE_S:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    lines = said.read_text(encoding="utf-8", errors="replace").splitlines()
    failed = [line.split(" ")[1] for line in lines if line.startswith(("FAILED", "ERROR"))]
    return os.waitstatus_to_exitcode(ended[1]), failed[0] if failed else ""


def _libraries() -> list[str]:
    """Modules that are loaded and belong to no package of the project."""
    return [name for name in sys.modules if name.partition(".")[0] not in (*PACKAGES, "tests", "__main__", "conftest")]


def preloaded(folder: Path) -> None:
    """Import what the near tests imported of libraries, so that each fork has it."""
    for name in (folder / "libraries.txt").read_text(encoding="utf-8").splitlines():
        if not name.startswith(("_pytest", "pytest", "xdist", "test_")) and name not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def near(folder: Path, file: str) -> tuple[int, str]:
    """The near tests in a folder: those of the changed file alone, and where they pass the others."""
    own = NEAR.get(file, ())
    code, by = run(folder, own) if own else (0, "")
    others = [path for paths in NEAR.values() for path in paths if path not in own]
    return (code, by) if code else run(folder, others)


def tried(folder: Path, one: Mutation) -> Seen:
    """Make the change in the copy, run the near tests, and take it back."""
    path, begun_s = folder / one.file, time.monotonic()
    plain = path.read_text(encoding="utf-8")
    if plain.count(one.old) != 1:
        return Seen(one.file, one.means, False, False, "", 0.0)
    try:
        changed(path, plain.replace(one.old, one.new))
        code, by = near(folder, one.file)
    finally:
        changed(path, plain)
    return Seen(one.file, one.means, code == FAILED, True, by, round(time.monotonic() - begun_s, 1))


def changed(path: Path, text: str) -> None:
    """Write a source file. Its byte code goes by second and size, and would be taken for that of the new text."""
    path.write_text(text, encoding="utf-8")
    for stored in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        stored.unlink()


def main() -> int:
    texts = sys.argv[1:]
    chosen = [one for one in MUTATIONS if not texts or any(text in f"{one.file} {one.means}" for text in texts)]
    seen: list[Seen] = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        copied(folder)
        begun_s = time.monotonic()
        code, by = near(folder, "")
        near_s = round(time.monotonic() - begun_s, 1)
        if code:
            print(json.dumps({"error": "the near tests fail without a change", "exit": code, "by": by}))
            return 1
        preloaded(folder)
        for one in chosen:
            seen.append(tried(folder, one))
            last = seen[-1]
            state = "noticed" if last.noticed else "NOT NOTICED" if last.found else "TEXT NOT FOUND"
            print(f"{state:14} {one.file}: {one.means}  [{last.by.rpartition('::')[2]} {last.seconds} s]", flush=True)
    open_ones = [asdict(one) for one in seen if not one.noticed]
    print(
        json.dumps(
            {"mutations": len(seen), "noticed": len(seen) - len(open_ones), "near_s": near_s, "not_noticed": open_ones}
        )
    )
    return 1 if open_ones or not seen else 0


if __name__ == "__main__":
    sys.exit(main())
