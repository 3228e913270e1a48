# SPDX-License-Identifier: Apache-2.0
"""The SQL of rollups. Every name put into it is a metric of `kernel.metric` or a name of ours; values are parameters."""

from collections.abc import Sequence


def rollup_sql(source: str, gauges: Sequence[str], counters: Sequence[str], step_ms: int) -> str:
    """One row a device and slot: min, max, mean, count of gauges; first, last, count of counters."""
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
    """One metric out of rollup rows, under short names; slots without a value are left out."""
    parts = ("first", "last", "count") if counter else ("min", "max", "mean", "count")
    columns = ", ".join(f'"{metric}.{part}" AS {part}' for part in parts)
    return f'SELECT device, start_ms, {columns} FROM {source} WHERE "{metric}.count" > 0'  # noqa: S608
