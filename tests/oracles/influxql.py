# SPDX-License-Identifier: Apache-2.0
"""Reads back from InfluxDB by InfluxQL: `/query` of 1.x, kept by 2.x (with a mapped database) and 3.x."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from kernel.errors import TransportError
from kernel.metric import SCHEMAS, TEXT_METRICS
from kernel.reading import Absence
from kernel.span import Span


@dataclass(frozen=True, slots=True)
class Points:
    """One series: instants and values in order of time."""

    tags: Mapping[str, str]
    at_ms: list[int]
    values: list[float]


class InfluxQuery:
    """Questions to one database. Names are of `kernel.metric`; values travel as bound parameters."""

    def __init__(
        self, url: str, *, database: str, account: str = "", password: str = "", time_out_s: float = 30.0
    ) -> None:
        self._params = {"db": database, "epoch": "ms"}
        auth = (account, password) if account else None
        self._client = httpx.Client(base_url=url, timeout=time_out_s, auth=auth, trust_env=False)

    def means(self, kind: str, metric: str, span: Span, step_s: float, device: str | None = None) -> list[Points]:
        """Means per step of one metric, by device. Steps without a value are absent. Raises TransportError, KeyError."""
        if metric not in SCHEMAS[kind] or metric in TEXT_METRICS[kind]:
            raise KeyError(f"{kind} has no number {metric!r}")
        only = ' AND "device" = $device' if device is not None else ""
        text = (
            f'SELECT mean("{metric}") FROM "{kind}" WHERE time >= $from AND time < $to{only}'
            f' GROUP BY time({round(step_s * 1000)}ms), "device" fill(none)'
        )
        bound = {"from": span.start_ms * 1_000_000, "to": span.end_ms * 1_000_000}
        return self.ask(text, bound | ({"device": device} if device is not None else {}))

    def ask(self, text: str, bound: Mapping[str, Any] | None = None) -> list[Points]:
        """The series of a query whose first column is time and second the value. Raises TransportError."""
        import orjson

        params = self._params | {"q": text, "params": orjson.dumps(dict(bound or {})).decode()}
        try:
            answer = self._client.post("/query", params=params)
            body = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise TransportError(Absence.UNREACHABLE, f"{type(error).__name__}: {error}") from error
        result = (body.get("results") or [{}])[0]
        problem = body.get("error") or result.get("error")
        if problem or answer.status_code >= 300:
            raise TransportError(Absence.REFUSED, str(problem or answer.status_code))
        return [
            Points(
                one.get("tags", {}),
                [row[0] for row in one["values"] if row[1] is not None],
                [float(row[1]) for row in one["values"] if row[1] is not None],
            )
            for one in result.get("series", [])
        ]

    def close(self) -> None:
        self._client.close()
