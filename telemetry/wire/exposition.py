# SPDX-License-Identifier: Apache-2.0
"""Latest values in Prometheus' text format, as answered by `/metrics`.

Names are `mining_hub_<kind>_<metric>`, labels only `site` and `device` (and the state for states, as series of value 1 for
the current state). A value that is missing or older than `max_age_s` is absent, never zero; `..._silent_seconds` has the age.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kernel.metric import SCHEMAS, Nature
from telemetry.collect.snapshot import KindTable, Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_STATES = frozenset({"state", "mode", "pool_state", "pump_state", "fan_state"})


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the hub itself: `name` ends with its unit, such as `journal_bytes`.

    `loss`: it counts data that was received and not kept, so that its growth is an alarm.
    """

    name: str
    value: float
    help: str
    counter: bool = False
    labels: Mapping[str, str] | None = None
    loss: bool = False


def exposition(snapshot: Snapshot, now_ms: int, figures: Sequence[Figure] = (), max_age_s: float = 300.0) -> str:
    """All metrics of all devices, and the hub's own figures."""
    out: list[str] = []
    for kind in SCHEMAS:
        table = snapshot.kind(kind)
        if len(table):
            labels = [
                f'site="{_quoted(device.rpartition("/")[0])}",device="{_quoted(device)}"' for device in table.devices
            ]
            _metrics(out, table, labels, now_ms, max_age_s)
            _silence(out, table, labels, now_ms)
    _figures(out, figures)
    return "\n".join(out) + "\n" if out else ""


def _metrics(out: list[str], table: KindTable, labels: list[str], now_ms: int, max_age_s: float) -> None:
    for name, metric in SCHEMAS[table.kind].items():
        if name not in table.metrics or (metric.nature is Nature.TEXT):
            continue
        values, codes, age_s = table.values(name, now_ms)
        rows = np.flatnonzero((codes == 0) & (age_s <= max_age_s)).tolist()
        if not rows:
            continue
        full = f"mining_hub_{table.kind}_{name}"
        if metric.nature is Nature.STATE:
            if name in _STATES:
                out.append(f"# TYPE {full} gauge")
                out += [f'{full}{{{labels[row]},{name}="{_quoted(str(values[row]))}"}} 1' for row in rows]
            continue
        out.append(f"# HELP {full} {metric.unit or 'value'}")
        out.append(f"# TYPE {full} {'counter' if metric.nature is Nature.COUNTER else 'gauge'}")
        numbers = np.asarray(values, dtype=np.float64).tolist()
        out += [f"{full}{{{labels[row]}}} {numbers[row]!r}" for row in rows]


def _silence(out: list[str], table: KindTable, labels: list[str], now_ms: int) -> None:
    full = f"mining_hub_{table.kind}_silent_seconds"
    silent_s = table.silence_s(now_ms)
    out.append(f"# HELP {full} since the device reported any value")
    out.append(f"# TYPE {full} gauge")
    out += [
        f"{full}{{{label}}} {age!r}" if np.isfinite(age) else f"{full}{{{label}}} +Inf"
        for label, age in zip(labels, silent_s.tolist(), strict=True)
    ]


def _figures(out: list[str], figures: Sequence[Figure]) -> None:
    named: set[str] = set()
    for figure in sorted(figures, key=lambda figure: figure.name):
        full = f"mining_hub_{figure.name}"
        if figure.name not in named:
            named.add(figure.name)
            out.append(f"# HELP {full} {_quoted(figure.help)}")
            out.append(f"# TYPE {full} {'counter' if figure.counter else 'gauge'}")
        labels = ",".join(f'{key}="{_quoted(value)}"' for key, value in (figure.labels or {}).items())
        out.append(f"{full}{{{labels}}} {figure.value!r}" if labels else f"{full} {figure.value!r}")


def _quoted(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
