# SPDX-License-Identifier: Apache-2.0
"""The rules of the house that no linter knows: sizes, docstrings, licence marks, unit suffixes, top-level names."""

import ast
import importlib.metadata
import importlib.util
from pathlib import Path

import pytest

from tests.architecture.source import FILES, MOST_LINES, PACKAGES, ROOT, tree

BANNED = {"manager", "handler", "helper", "helpers", "utils", "service", "processor", "base", "common"}

# The last word of a float's name is its unit, or one of these words for what has none.
UNITS = set(
    "w wh days watts seconds hours timeout var va v a hz c s ms us h hs ths pct rpm lpm bar mwh kwh kw mw th bytes day pf varh "
    "m k sat tiyn btc".split()
)
UNITLESS = set(
    "share factor offset scale coverage derate efficiency charge discharge gap value bound pace percent price probability "
    "weight score confidence quantile alpha beta level tolerance low high ratio rate difficulty cost penalty reward amount "
    "exponent "
    "error regret skill spread mean number stored jitter backoff growth humidity hysteresis threshold objective cvar step x y "
    "hashprice margin sign tail heuristics income accepted rejected stale lean least most good deadband drift loss losses "
    "limit earned profit worth money fee revenue std slack eps lost".split()
)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_is_small_named_and_says_what_it_is(path: Path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
    assert ast.get_docstring(tree(path)), "a module says in its first lines what it is for"
    assert len(text.splitlines()) <= MOST_LINES, "split it by noun"
    assert path.stem not in BANNED


def annotated_floats(module: ast.Module) -> list[tuple[str, int]]:
    """Names annotated as plain float: fields of classes and parameters of public functions."""
    found: list[tuple[str, int]] = []

    def is_float(note: ast.expr | None) -> bool:
        return note is not None and ast.unparse(note) in ("float", "float | None", "None | float")

    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            for part in node.body:
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name) and is_float(part.annotation):
                    found.append((part.target.id, part.lineno))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            for argument in [*node.args.args, *node.args.kwonlyargs]:
                if is_float(argument.annotation):
                    found.append((argument.arg, argument.lineno))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_float_carries_its_unit_as_the_last_part(path: Path):
    wrong = []
    for name, line in annotated_floats(tree(path)):
        words = [word for word in name.strip("_").split("_") if word not in ("min", "max")]
        per = "per" in words
        if not (words[-1] in UNITS or words[-1] in UNITLESS or per):
            wrong.append(f"{path.relative_to(ROOT)}:{line} {name}")
    assert not wrong, "\n".join(wrong)


def test_the_unit_rule_can_fail():
    bad = ast.parse("class A:\n    power: float\n    power_w: float\n")
    assert [name for name, _ in annotated_floats(bad)] == ["power", "power_w"]
    assert "power" not in UNITS | UNITLESS


@pytest.mark.parametrize("name", [*PACKAGES, "configs"])
def test_top_level_names_are_ours_alone(name: str):
    spec = importlib.util.find_spec(name)
    assert spec is not None
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or [])
    assert all(place and Path(place).is_relative_to(ROOT) for place in places)
    others = {d for d in importlib.metadata.packages_distributions().get(name, []) if d != "mining-hub"}
    assert not others, f"{others} bring a top-level {name} of their own"


def test_every_package_is_typed():
    assert all((ROOT / package / "py.typed").exists() for package in PACKAGES)
