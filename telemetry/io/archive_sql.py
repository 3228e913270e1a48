# SPDX-License-Identifier: Apache-2.0
"""SQL of rollups.

Only names of `kernel.metric` and of this program are inserted into the text; values are parameters.
"""

from collections.abc import Sequence


def rollup_sql(source: str, gauges: Sequence[str], counters: Sequence[str], step_ms: int) -> str:
    """One row per device and slot: min, max, mean, count of gauges; first, last, count of counters."""
    columns = []
    for name in gauges:
        columns += [
            f'min({name}) AS "{name}.min"',
            f'max({name}) AS "{name}.max"',
            f'avg({name}) AS "{name}.mean"',
            f'count({name}) AS "{name}.count"',
        ]
    for name in counters:
        columns += [
            f'arg_min({name}, at_ms) AS "{name}.first"',
            f'arg_max({name}, at_ms) AS "{name}.last"',
            f'count({name}) AS "{name}.count"',
        ]
    chosen = "".join(f", {column}" for column in columns)
    return (
        f"SELECT CAST(device AS VARCHAR) AS device, at_ms - at_ms % {step_ms} AS start_ms, count(*) AS readings{chosen}"  # noqa: S608
        f" FROM {source} GROUP BY ALL ORDER BY device, start_ms"
    )


def rolled_sql(source: str, metric: str, counter: bool) -> str:
    """One metric from rollup rows, under short names; slots without a value are left out."""
    parts = ("first", "last", "count") if counter else ("min", "max", "mean", "count")
    columns = ", ".join(f'"{metric}.{part}" AS {part}' for part in parts)
    return f'SELECT device, start_ms, {columns} FROM {source} WHERE "{metric}.count" > 0'  # noqa: S608
