# SPDX-License-Identifier: Apache-2.0
"""A talk without a socket: the dialect's requests are answered from a table, and kept for the test to look at."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from kernel.errors import TransportError
from kernel.reading import Absence, Field, Missing
from kernel.receipt import Receipt
from miner_control.dialect import DIALECTS
from miner_control.fleet.command import Intent
from miner_control.fleet.driver import Access, Answer, Http, Request, Rpc
from telemetry.collect.source import Tier

REFUSED: dict[str, Any] = {"STATUS": [{"STATUS": "E", "When": 1, "Code": 14, "Msg": "Invalid command"}], "id": 1}
NOW_MS = 1_790_000_000_000

Table = dict[str, Any]


@dataclass
class Play:
    """One dialect against one table of answers: `rpc` command, or `GET /path`. A callable answers by itself.

    An answer may be a document, bytes, an `Answer`, or an exception to raise. RPC commands that are not in the table
    are refused; pages that are not are 404. Joined commands are answered where `joins` is set.
    """

    dialect: str
    table: Table
    joins: bool = True
    rpc_closed: bool = False
    access: Access = field(default_factory=lambda: Access("root", "secret", {"rpc": 4028, "http": 80}))
    asked: list[Request] = field(default_factory=list)

    def read(self, tier: Tier = Tier.DAILY) -> dict[str, Field]:
        return dict(self.drive(DIALECTS[self.dialect].read(self.access, tier, NOW_MS)))

    def carry_out(self, intent: Intent) -> Receipt:
        found: Receipt = self.drive(DIALECTS[self.dialect].carry_out(self.access, intent, NOW_MS))
        return found

    def prepare(self) -> None:
        self.drive(DIALECTS[self.dialect].prepare(self.access, NOW_MS))

    def writes(self) -> list[Request]:
        return [request for request in self.asked if request.writes]

    def drive(self, talk: Generator[Request, Answer, Any]) -> Any:
        try:
            request = next(talk)
            while True:
                self.asked.append(request)
                answer = self._answer(request)
                request = talk.throw(answer) if isinstance(answer, Exception) else talk.send(answer)
        except StopIteration as end:
            return end.value

    def _answer(self, request: Request) -> Answer | Exception:
        if isinstance(request, Http):
            found = self.table.get(f"{request.method} {request.path}", Answer(b"not found", 404))
            status = 200
        else:
            found, status = self._rpc(request), 0
        if callable(found):
            found = found(request)
        if isinstance(found, Answer | Exception):
            return found
        return Answer(found if isinstance(found, bytes) else orjson.dumps(found), status)

    def _rpc(self, request: Rpc) -> Any:
        if self.rpc_closed:
            return TransportError(Absence.UNREACHABLE, "refused")
        asked = orjson.loads(request.payload)
        command = str(asked.get("command") or asked.get("cmd") or "")
        if isinstance(asked.get("param"), str) and f"{command} {asked['param']}" in self.table:
            return self.table[f"{command} {asked['param']}"]
        if "+" in command:
            if not self.joins:
                return REFUSED
            return {name: [self.table[name]] for name in command.split("+") if name in self.table} | {"id": 1}
        return self.table.get(command, self.table.get("enc", REFUSED) if "enc" in asked else REFUSED)


def body_of(request: Request) -> Any:
    """The JSON that a request carries."""
    return orjson.loads(request.body if isinstance(request, Http) else request.payload)


def assert_meant(values: Mapping[str, Any], meant: Mapping[str, Any]) -> None:
    """Each metric is what it should be: a figure, a text, or missing for that reason."""
    for metric, value in meant.items():
        found = values[metric]
        if isinstance(value, Absence):
            assert isinstance(found, Missing) and found.reason is value, f"{metric} is {found!r}"
        else:
            assert found == (pytest.approx(value) if isinstance(value, float) else value), metric
