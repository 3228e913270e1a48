# SPDX-License-Identifier: Apache-2.0
"""Nothing without a caller: what only tests name, and counters that nobody reads, are found in the source's syntax trees.

A function, class or constant of a module counts as called where its own module, a module that imports it, or
`pyproject.toml` names it; a method where any attribute, text or template names it; a counter (`self.x += 1`) where
something other than its own increments and resets reads it. What has to stay stands in `uncalled.txt` with its reason.
"""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("kernel", "telemetry", "grid", "miner_control", "scheduling", "treasury", "twin", "hub")
ALLOWED = Path(__file__).with_name("uncalled.txt")
WORD = re.compile(r"[A-Za-z_]\w+")
LONGEST_NAME = 60
"""A longer text is prose, and a name in prose is no use of it."""
NEUTRAL = (
    "property",
    "staticmethod",
    "classmethod",
    "dataclass",
    "cache",
    "lru_cache",
    "contextmanager",
    "contextlib.",
)
"""Decorators that call nothing; any other (a route, a validator) hands the function to its caller."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def sources(root: Path) -> dict[str, str]:
    """Product modules by dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return found


def elsewhere(root: Path) -> set[str]:
    """Words of entry points, templates and scripts."""
    paths = [root / "pyproject.toml", *(path for kind in ("html", "js") for path in (root / "hub").rglob(f"*.{kind}"))]
    return {
        word for path in paths if "vendor" not in path.parts for word in WORD.findall(path.read_text(encoding="utf-8"))
    }


class Uses:
    """Who names what, over all modules."""

    def __init__(self, trees: Mapping[str, ast.Module], words: set[str]) -> None:
        self.elsewhere, self.texts, self.attributes = words, set[str](words), Counter[str]()
        self.imported: dict[str, set[str]] = defaultdict(set)
        self.loads: dict[str, Counter[str]] = {}
        for module, tree in trees.items():
            self._of(module, tree, trees)

    def _of(self, module: str, tree: ast.Module, trees: Mapping[str, ast.Module]) -> None:
        loads, alias = Counter[str](), {}
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            match node:
                case ast.ImportFrom(module=str(source), names=names):
                    self.imported[source] |= {one.name for one in names}
                    alias |= {one.asname or one.name: f"{source}.{one.name}" for one in names}
                case ast.Import(names=names):
                    alias |= {one.asname or one.name: one.name for one in names}
                case ast.Name(name, ast.Load()):
                    loads[name] += 1
                case ast.Attribute(value, name, ast.Load() | ast.Del()):
                    self.attributes[name] += 1
                    if isinstance(value, ast.Name) and alias.get(value.id) in trees:
                        self.imported[alias[value.id]].add(name)
                case ast.MatchClass(kwd_attrs=names):
                    self.attributes.update(names)
                case ast.Constant(str(text)) if len(text) < LONGEST_NAME and id(node) not in prose:
                    self.texts |= (found := set(WORD.findall(text)))
                    loads.update(found)
        self.loads[module] = loads


def uncalled(modules: Mapping[str, str], words: set[str]) -> list[tuple[str, str]]:
    """(module:line, name) of every definition without a caller and every counter without a reader."""
    trees = {module: ast.parse(text) for module, text in modules.items()}
    uses, ours = Uses(trees, words), _ours(trees)
    found: list[tuple[str, int, str]] = []
    for module, tree in trees.items():
        for line, name in _top(tree):
            own = uses.loads[module][name]
            if not (own or name in uses.imported[module] or name in uses.elsewhere or name.startswith("__")):
                found.append((module, line, name))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and not _is_protocol(node):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) and _plain(method):
                        name = method.name
                        if not (name.startswith("__") or uses.attributes[name] or name in uses.texts):
                            found.append((module, method.lineno, name))
        found += [(module, line, name) for line, name in _counters(tree) if not uses.attributes[name] and name in ours]
    return [(f"{module}:{line}", name) for module, line, name in sorted(set(found))]


def _top(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in tree.body:
        if isinstance(node, Definition):
            if _plain(node):
                yield node.lineno, node.name
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            # A row of names unpacked at once is a table: it may be whole.
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    yield node.lineno, target.id


def _plain(node: Definition) -> bool:
    return all(ast.unparse(one).removeprefix("functools.").startswith(NEUTRAL) for one in node.decorator_list)


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).split("[")[0] in ("Protocol", "typing.Protocol") for base in node.bases)


def _counters(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Attribute):
            yield node.lineno, node.target.attr


def _ours(trees: Mapping[str, ast.Module]) -> set[str]:
    """Attributes that the product's own classes define."""
    return {
        name.attr if isinstance(name, ast.Attribute) else name.id
        for tree in trees.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        for name in ast.walk(target)
        if isinstance(name, ast.Attribute | ast.Name) and isinstance(name.ctx, ast.Store)
    }


def allowed() -> dict[str, str]:
    rows = [line.partition(" ") for line in ALLOWED.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {name: why.strip() for name, _, why in rows if not name.startswith("#")}


def test_nothing_is_without_a_caller() -> None:
    known = allowed()
    rows = [(place, name) for place, name in uncalled(sources(ROOT), elsewhere(ROOT)) if name not in known]
    advice = "wire it, move it to tests/builders or tests/oracles, delete it, or give its reason in uncalled.txt"
    assert not rows, "\n".join(f"{place} {name} has no caller in the product: {advice}" for place, name in rows)


def test_each_exception_is_needed_and_has_a_reason() -> None:
    found = {name for _, name in uncalled(sources(ROOT), elsewhere(ROOT))}
    stale = [name for name, why in allowed().items() if name not in found or len(why.split()) < 3]
    assert not stale, f"{', '.join(stale)}: has a caller by now, or no reason: remove the line"


def test_each_kind_is_found() -> None:
    one = '''
"""prose names dead_one"""
from dataclasses import dataclass
from hub.two import used
FRESH_S = 1.0
LIMIT = 2
def dead_one(): return used(LIMIT)
@router.get("/x")
def route(): pass
class Port(Protocol):
    def asked(self): ...
class Dead:
    def __init__(self): self.lost, self.kept = 0, 0
    def loop(self):
        self.lost += 1
        self.kept += 1
        return self.kept
    @property
    def seen(self): return getattr(self, "named")
    def named(self): return 1
'''
    two = "import hub.three as three\ndef used(at): return at\ndef other(at): return three.of(at)\n"
    three = "def of(at): return at\ndef used(at): return at\n"
    rows = uncalled({"hub.one": one, "hub.two": two, "hub.three": three}, {"Dead", "Port"})
    assert [name for _, name in rows] == ["FRESH_S", "dead_one", "loop", "lost", "seen", "used", "other"]
