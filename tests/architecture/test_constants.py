# SPDX-License-Identifier: Apache-2.0
"""A constant of meaning is defined once: units in `kernel.units`, any other number in the one module that it belongs to."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("kernel", "telemetry", "grid", "miner_control", "scheduling", "treasury", "twin", "hub")
UNITS = "kernel/units.py"
PER = re.compile(r"[A-Z0-9]+_PER_[A-Z]+$")
OTHER_NAMES = re.compile(r"(DAY|HOUR|MINUTE|WEEK)_(MS|S|H)$|([KMGTPE]?HS?|[KM]WH?|[KMGTPE]HZ)$")
"""Names that people give a unit instead: DAY_MS, PH, THS, MW, MWH."""
OWN_MEANING = {"PORT", "MOST_BYTES", "VERSION"}
"""Each firmware has its own port, each reader its own limit, each format its own version; some happen to be the same number."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def number_of(node: ast.expr) -> float | None:
    """The value of a number, or of arithmetic on numbers; None for anything else."""
    match node:
        case ast.Constant(int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.UnaryOp(ast.USub(), operand):
            inner = number_of(operand)
            return None if inner is None else -inner
        case ast.BinOp(left, (ast.Mult() | ast.Pow() | ast.LShift() | ast.Div()) as op, right):
            a, b = number_of(left), number_of(right)
            if a is None or b is None:
                return None
            match op:
                case ast.Mult():
                    return a * b
                case ast.Div():
                    return a / b
                case ast.LShift():
                    return a * 2.0**b
            return float(a**b)
    return None


def numbers(tree: ast.Module) -> Iterator[tuple[int, str, float]]:
    """(line, name without a leading underscore, value) of each number that a module defines at its top."""
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        value = getattr(node, "value", None)
        for target in targets:
            pairs = [(target, value)]
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs = list(zip(target.elts, value.elts, strict=False))
            for name, each in pairs:
                if isinstance(name, ast.Name) and each is not None and (found := number_of(each)) is not None:
                    yield node.lineno, name.id.lstrip("_"), found


def second_units(place: str, tree: ast.Module) -> list[str]:
    """Units that a module defines for itself."""
    return [
        f"{place}:{line} defines {name}: import it from kernel.units, or add it there"
        for line, name, _ in numbers(tree)
        if place != UNITS and (PER.match(name) or OTHER_NAMES.match(name))
    ]


def doubles(found: list[tuple[str, ast.Module]]) -> list[str]:
    """Numbers of one name and value that two modules define."""
    places: dict[tuple[str, float], list[str]] = defaultdict(list)
    for place, tree in found:
        for line, name, value in numbers(tree):
            if name not in OWN_MEANING:
                places[name, value].append(f"{place}:{line}")
    return [
        f"{name} = {value:g} is defined at {' and '.join(at)}: define it once and import it"
        for (name, value), at in sorted(places.items())
        if len(at) > 1
    ]


def test_a_unit_is_defined_in_kernel_units_alone() -> None:
    wrong = [line for place, tree in modules() for line in second_units(place, tree)]
    assert not wrong, "\n".join(wrong)


def test_a_number_of_one_name_and_value_is_defined_once() -> None:
    wrong = doubles(list(modules()))
    assert not wrong, "\n".join(wrong)


def test_second_definitions_are_found() -> None:
    own = ast.parse(
        "_WH_PER_MWH = 1e6\nDAY_MS: int = 24 * 3_600_000\nPH, FEW = 10**15, 3\nA, W_PER_MW = 1, 1e6\nWIDE_MS = 5\n"
    )
    reported = [line.split()[2].rstrip(":") for line in second_units("hub/x.py", own)]
    assert reported == ["WH_PER_MWH", "DAY_MS", "PH", "W_PER_MW"]
    assert second_units(UNITS, own) == []
    one, two, other = (
        ast.parse(f"{name}FRESH_S = {value}") for name, value in (("", "15.0"), ("_", "3 * 5"), ("", "60.0"))
    )
    assert doubles([("a.py", one), ("b.py", other)]) == []
    (line,) = doubles([("a.py", one), ("b.py", two)])
    assert line == "FRESH_S = 15 is defined at a.py:1 and b.py:1: define it once and import it"
