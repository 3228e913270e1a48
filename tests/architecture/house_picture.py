# SPDX-License-Identifier: Apache-2.0
"""The picture of packages and layers, drawn from the import contracts in pyproject.toml.

    python -m tests.architecture.house_picture          writes docs/contributing/house.svg

Names, layers, what is pure and what has an `io` folder come from the contracts; the captions stand here.
"""

import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "contributing" / "house.svg"

CAPTIONS = {
    "kernel": "instants, units, readings, money, events, curves",
    "telemetry": "devices, wires, journal, archive, energy, alarms",
    "grid": "prices, tariffs, limits, dispatch orders, compliance",
    "miner_control": "fleet, allocation, dialects, inventory, health",
    "scheduling": "control step, planner, solver, forecasts",
    "treasury": "ledger, contracts, payouts, reconciliation",
    "twin": "simulated miners, meters, pool and venue",
    "hub": "one running hub: everything put together",
    "cli": "the mining-hub command",
    "app": "live hub, demo, simulation, replay",
    "wiring": "put together; imports io; tables of plug-ins",
    "console": "pages for people",
    "api": "routes, keys, roles, audit",
    "reports": "signed documents, one file a kind",
    "query": "what is shown, as JSON values",
    "fleet": "jobs, conditions, recovery, firmware",
    "settlement": "pool, division, sale, bank",
    "control": "tick, plan, orders, interlock",
    "market": "prices and hashprice",
    "metering": "energy of meters, billing",
    "state": "fold of the journal, situation",
    "journal": "recorder",
    "config": "hub.toml, checked",
}

PURE, WIRED, BORDER, INK, SOFT = "#e4f1e6", "#fdf0d9", "#8a949e", "#1f2a33", "#55616b"
WIDTH, GAP, BAND, TOP = 1180, 12, 74, 108
PANEL = (WIDTH - 3 * 40) // 2


@dataclass(frozen=True, slots=True)
class Contracts:
    """What the contracts say. Layers run from the highest to the lowest; names of one layer do not import each other."""

    floors: tuple[tuple[str, ...], ...]
    spine: tuple[tuple[str, ...], ...]
    pure: frozenset[str]
    with_io: frozenset[str]
    twin_importers: tuple[str, ...]


def contracts(project: Mapping[str, Any]) -> Contracts:
    """From the table of `pyproject.toml`."""
    held = {one["id"]: one for one in project["tool"]["importlinter"]["contracts"]}
    return Contracts(
        _layers(held["floors"]["layers"]),
        _layers(held["spine"]["layers"]),
        frozenset(held["pure"]["source_modules"]),
        frozenset(name.removesuffix(".io") for name in held["io"]["protected_modules"]),
        tuple(held["twin"]["allowed_importers"]),
    )


def _layers(lines: list[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(name.strip() for name in line.split("|")) for line in lines)


def picture(found: Contracts) -> str:
    """The SVG. The same contracts give the same text."""
    height = TOP + max(len(found.floors), len(found.spine)) * BAND + 66
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        ' font-family="system-ui, sans-serif" role="img" aria-labelledby="title">',
        '<title id="title">Packages and layers of mining-hub: imports go down only</title>',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(40, 40, "Packages and layers of mining-hub", 20, weight="700"),
        _text(40, 62, "A layer imports layers below it. Boxes of one layer do not import each other.", 13, SOFT),
    ]
    left, right = 40, 80 + PANEL
    parts.append(_text(left, TOP - 14, "Packages", 14, weight="700"))
    parts.append(_text(right, TOP - 14, "Inside hub", 14, weight="700"))
    floor = BAND * len(found.spine) / len(found.floors)
    for number, names in enumerate(found.floors):
        for at, name in enumerate(names):
            io = f"; sockets and files in {name}/io" if name in found.with_io else ""
            x, width = _place(left, at, len(names))
            parts += _box(x, TOP + number * floor, width, floor - GAP, name, CAPTIONS[name] + io, name in found.pure)
    for number, names in enumerate(found.spine):
        for at, name in enumerate(names):
            x, width = _place(right, at, len(names))
            pure = f"hub.{name}" in found.pure
            parts += _box(x, TOP + number * BAND, width, BAND - GAP, name, CAPTIONS[name], pure)
    bottom, importers = height - 40, ", ".join(found.twin_importers)
    parts += [
        f'<rect x="40" y="{bottom - 12}" width="16" height="16" fill="{PURE}" stroke="{BORDER}"/>',
        _text(64, bottom + 1, "pure outside its io folder: no socket, thread, database or wire library", 13),
        f'<rect x="{right}" y="{bottom - 12}" width="16" height="16" fill="{WIRED}" stroke="{BORDER}"/>',
        _text(right + 24, bottom + 1, "may use sockets, threads and databases", 13),
        _text(64, bottom + 22, f"The io folders are imported by hub.wiring alone, twin by {importers}.", 13, SOFT),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _place(left: int, at: int, count: int) -> tuple[float, float]:
    width = (PANEL - GAP * (count - 1)) / count
    return left + at * (width + GAP), width


def _box(x: float, y: float, width: float, height: float, name: str, caption: str, pure: bool) -> list[str]:
    fill = PURE if pure else WIRED
    lines = textwrap.wrap(caption, max(10, int((width - 20) / 6.3)))
    first = y + height / 2 - 8 * len(lines) + 4
    return [
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{fill}" stroke="{BORDER}"/>',
        _text(x + 12, first, name, 15, weight="600"),
        *(_text(x + 12, first + 17 * (at + 1), line, 12, SOFT) for at, line in enumerate(lines)),
    ]


def _text(x: float, y: float, text: str, size: int, fill: str = INK, weight: str = "400") -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" fill="{fill}">{escape(text)}</text>'


def present() -> str:
    """The picture of today's contracts."""
    return picture(contracts(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))))


if __name__ == "__main__":
    PICTURE.write_text(present(), encoding="utf-8")
