# SPDX-License-Identifier: Apache-2.0
"""Sinks of line protocol: `/api/v2/write` (InfluxDB 2, VictoriaMetrics) and `/write` (InfluxDB 1).

Written synchronously, as bytes: the client's own batching keeps an unbounded queue in memory and loses it at exit, and its
gzip costs more than everything else.
"""

from typing import Any

import httpx

from kernel.reading import ReadingBatch
from telemetry.io.line_protocol import lines
from telemetry.store.sink import SinkDown, SinkRefused

_REFUSING = frozenset({400, 413, 422})
"""Status codes that a retry cannot change. Wrong tokens and missing buckets are set-up faults: forwarding waits for them."""


def _judge(name: str, status: int, text: str) -> None:
    if status in _REFUSING:
        raise SinkRefused(f"{status}: {text.strip()[:500]}")
    if status == 404:
        raise SinkDown(f"{name}: 404, no such bucket, database or path: {text.strip()[:200]}")
    if status in (401, 403):
        raise SinkDown(f"{name}: {status}, the token or account was refused")
    if status >= 300:
        raise SinkDown(f"{name}: {status}: {text.strip()[:200]}")


class InfluxSink:
    """`/api/v2/write` with influxdb-client. `texts=False` for VictoriaMetrics, which turns texts into zeros."""

    def __init__(
        self,
        name: str,
        url: str,
        *,
        org: str,
        bucket: str,
        token: str,
        texts: bool = True,
        time_out_s: float = 20.0,
    ) -> None:
        from influxdb_client.client.influxdb_client import InfluxDBClient
        from influxdb_client.client.write_api import SYNCHRONOUS

        self._name, self._org, self._bucket, self._texts = name, org, bucket, texts
        self._client: Any = InfluxDBClient(
            url=url, token=token, org=org, timeout=round(time_out_s * 1000), enable_gzip=False
        )
        self._write: Any = self._client.write_api(write_options=SYNCHRONOUS)

    @property
    def name(self) -> str:
        return self._name

    def send(self, batch: ReadingBatch) -> None:
        from influxdb_client.domain.write_precision import WritePrecision
        from influxdb_client.rest import ApiException
        from urllib3.exceptions import HTTPError

        payload = lines(batch, texts=self._texts)
        if not payload:
            return
        try:
            self._write.write(self._bucket, self._org, payload, write_precision=WritePrecision.MS)
        except ApiException as error:
            if error.status:
                _judge(self._name, int(error.status), str(error.body or error.reason))
            raise SinkDown(f"{self._name}: {error.reason}") from error
        except (HTTPError, OSError) as error:
            raise SinkDown(f"{self._name}: {type(error).__name__}: {error}") from error

    def close(self) -> None:
        self._client.close()


class InfluxV1Sink:
    """`/write` of InfluxDB 1 (also supported by 2 and 3), with a database instead of a bucket."""

    def __init__(
        self,
        name: str,
        url: str,
        *,
        database: str,
        account: str = "",
        password: str = "",
        texts: bool = True,
        time_out_s: float = 20.0,
    ) -> None:
        self._name, self._texts = name, texts
        self._params = {"db": database, "precision": "ms"}
        auth = (account, password) if account else None
        self._client = httpx.Client(base_url=url, timeout=time_out_s, auth=auth, trust_env=False)

    @property
    def name(self) -> str:
        return self._name

    def send(self, batch: ReadingBatch) -> None:
        payload = lines(batch, texts=self._texts)
        if not payload:
            return
        try:
            answer = self._client.post("/write", params=self._params, content=payload)
        except httpx.HTTPError as error:
            raise SinkDown(f"{self._name}: {type(error).__name__}: {error}") from error
        _judge(self._name, answer.status_code, answer.text)

    def close(self) -> None:
        self._client.close()
