# SPDX-License-Identifier: Apache-2.0
"""Orders over a real Mosquitto: taken, signed, refused, retried, ended; the reply comes back to who asked."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from grid.io.dispatch_mqtt import MOST_BYTES, DispatchMqtt, topics
from grid.order import read_change, read_order
from grid.order_book import Authority, Happening, OrderBook
from grid.signature import sign
from kernel.clock import iso, system_clock
from kernel.event import Event
from telemetry.io.mqtt import Broker, MqttLink
from tests.builders.dispatcher import ROOT, SITE, Dispatcher
from tests.builders.mqtt import connected
from tests.builders.signing import SEED, public_key
from tests.hub_site import until
from tests.servers import mosquitto

CLOCK = system_clock()


class Desk:
    """The runtime's part: journal, then apply."""

    def __init__(self) -> None:
        self.book = OrderBook({SITE: 3e6})
        self.journal: list[Event] = []
        self.aside: list[tuple[str, bytes, str]] = []
        self.broken = self.full = False

    async def set_aside(self, who: str, payload: bytes, why: str) -> None:
        self.aside.append((who, payload, why))

    def _say(self, happenings: list[Happening]) -> None:
        for kind, body in happenings:
            event = Event(kind, 1, "alma", "d", len(self.journal) + 1, CLOCK.now_ms(), json.loads(json.dumps(body)))
            self.journal.append(event)
            self.book.apply(event)

    def _line(self, order_id: str) -> dict[str, Any]:
        entry = self.book.get(order_id)
        if entry is None:
            raise LookupError(f"no order {order_id}")
        return entry.to_json()

    async def submit_order(self, body: Mapping[str, Any], by: Authority) -> Mapping[str, Any]:
        now_ms = CLOCK.now_ms()
        if self.broken:
            raise RuntimeError("a defect of ours")
        if self.full:
            raise OSError("no space left on device")
        order_id, happenings = self.book.receive(read_order(body, by.who, "mqtt", now_ms), by, now_ms, body)
        self._say(happenings)
        return self._line(order_id)

    async def change_order(self, order: str, body: Mapping[str, Any], by: Authority) -> Mapping[str, Any]:
        self._line(order)
        self._say(self.book.change(order, read_change(body), by, CLOCK.now_ms(), body))
        return self._line(order)

    async def end_order(
        self, order: str, by: Authority, why: str, body: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        self._line(order)
        self._say(self.book.end(order, by, why, CLOCK.now_ms(), body))
        return self._line(order)


def ask(**more: Any) -> dict[str, Any]:
    now_ms = CLOCK.now_ms()
    return {"scope": SITE, "power_w": 1e6, "from": iso(now_ms), "until": iso(now_ms + 600_000)} | more


async def talk(port: int) -> None:
    desk = Desk()
    link = MqttLink(Broker("127.0.0.1", port, client_id="hub"), topics(ROOT))
    link.start()
    await connected(link)
    by = [Authority("plain", (SITE,)), Authority("kegoc", (SITE,), public_key=public_key(), must_sign=True)]
    port_of_orders = DispatchMqtt(link, desk, by, ROOT, CLOCK)
    running = asyncio.create_task(port_of_orders.run())
    plain, kegoc, stranger = (Dispatcher(port, who) for who in ("plain", "kegoc", "stranger"))
    try:
        body = ask(reference="D-1")
        first = await plain.ask(body)
        assert first["ok"] and first["order"]["phase"] == "accepted" and first["order"]["accepted_s"] < 1
        again = await plain.ask(body)
        assert again["order"]["id"] == first["order"]["id"] and len(desk.journal) == 2
        changed = await plain.ask({"change": first["order"]["id"], "power_w": 5e5})
        assert changed["order"]["power_w"] == 5e5
        ended = await plain.ask({"end": first["order"]["id"], "why": "all clear"})
        assert ended["order"]["phase"] == "released" and "all clear" in ended["order"]["ended"]

        unsigned = await kegoc.ask(ask(reference="S-1"))
        assert not unsigned["ok"] and "must sign" in unsigned["order"]["refused"]
        signed = sign(SEED, ask(reference="S-2", nonce="a", issued=iso(CLOCK.now_ms())))
        taken = await kegoc.ask(signed)
        assert taken["ok"] and taken["order"]["phase"] == "accepted"
        forged = await kegoc.ask(signed | {"power_w": 3e6, "reference": "S-3"})
        assert not forged["ok"] and "signature" in forged["order"]["refused"]
        foreign_end = await plain.ask({"end": "01900000-0000-7000-8000-000000000000"})
        assert not foreign_end["ok"] and "no order" in foreign_end["faults"][0]["problem"]

        for bad in (b"", b"\xff", b"[]", b"7", b"{", b'{"scope": 1}', b"[" * 9000, b" " * (MOST_BYTES + 1)):
            answer = await plain.ask(bad)
            assert not answer["ok"] and answer["faults"], bad[:10]
        for odd in ({"end": 5}, {"end": "x", "change": "y"}, {"change": "x"}):
            assert not (await plain.ask(odd))["ok"]
        for poison in ({"reason": "\ud800"}, {"power_w": 10**400}, {"reason": "a\x00b"}):
            answer = await plain.ask(ask(reference="P-1") | poison)
            assert not answer["ok"] and answer["faults"][0]["place"], poison
        desk.broken = True
        answer = await plain.ask(ask(reference="P-2"))
        assert not answer["ok"] and "RuntimeError" in answer["faults"][0]["problem"]
        (aside,) = desk.aside
        assert aside[0] == "plain" and b"P-2" in aside[1]
        desk.broken = False
        assert (await plain.ask(ask(reference="P-3")))["ok"], "the next message is taken"
        desk.full = True
        answer = await plain.ask(ask(reference="P-4"))
        assert not answer["ok"] and "unknown" in answer["faults"][0]["problem"]
        desk.full = False
        before = len(desk.journal)
        stranger.client.publish(f"{ROOT}/stranger", json.dumps(ask()).encode(), qos=1)
        plain.client.publish(f"{ROOT}/plain", json.dumps(ask(reference="R-1")).encode(), qos=1, retain=True)

        def live() -> list[str]:
            return [entry.order.reference for entry in desk.book.live()]

        # A live publish with the retain flag is not retained for who is subscribed.
        await until("the retained order is taken", lambda: live() == ["S-2", "P-3", "R-1"])
        await asyncio.sleep(0.3)
        assert stranger.replies == [] and len(plain.replies) > 1 and live() == ["S-2", "P-3", "R-1"]
        assert len(desk.journal) == before + 2
    finally:
        for room in (plain, kegoc, stranger):
            room.stop()
        running.cancel()
        await link.stop()

    later = MqttLink(Broker("127.0.0.1", port, client_id="hub-2"), topics(ROOT))
    later.start()
    await connected(later)
    fresh = Desk()
    running = asyncio.create_task(DispatchMqtt(later, fresh, by, ROOT, CLOCK).run())
    await asyncio.sleep(0.5)
    assert len(fresh.book) == 0, "what the broker remembered is no order"
    running.cancel()
    await later.stop()


@pytest.mark.server("mosquitto")
def test_orders_over_mosquitto(tmp_path: Path) -> None:
    with mosquitto(tmp_path) as port:
        asyncio.run(talk(port))
