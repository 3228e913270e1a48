# SPDX-License-Identifier: Apache-2.0
"""Orders of page, REST and MQTT at one desk of a small hub in virtual time: journalled with their author, and carried out."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from grid.order_book import Authority
from grid.signature import sign
from hub.api.access import EVERY_SITE, Principal, Role
from hub.api.order_messages import OrderMessages
from hub.app.demo_site import write_simulated_site
from hub.app.simulate import simulated
from hub.app.virtual_time import VirtualLoop, run
from hub.config import load
from hub.control.order_desk import OrderDesk
from hub.query.orders import OrderReads
from hub.wiring import Assembly
from kernel.actor import FIELD, Channel
from kernel.clock import from_iso, iso, loop_clock
from kernel.errors import ConfigError, NotFound
from kernel.event import Event
from twin.site import Site
from twin.spec import TwinSpec

EPOCH_MS = from_iso("2026-03-02T00:00:00+05:00")
SITE = "hub-1/site-1"
SEED = "11" * 32


def public_key() -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SEED)).public_key().public_bytes_raw().hex()


def lived(folder: Path, live: Callable[[Assembly, OrderDesk], Awaitable[None]]) -> None:
    """A hub of 12 simulated miners, half an hour old."""
    loop = VirtualLoop()
    clock = loop_clock(EPOCH_MS, loop.time)
    spec = TwinSpec(miners=12, rack_size=6, seed=3)
    config = load(write_simulated_site(folder, Site(spec, EPOCH_MS), spec, EPOCH_MS), environment={})

    async def main() -> None:
        wired = await simulated(config, folder, folder / config.hub.data, spec, clock)
        running = asyncio.create_task(wired.hub.run())
        await asyncio.sleep(1800.0)
        await live(wired, OrderDesk(wired.hub))
        wired.hub.stop()
        await running

    run(main(), loop)


def orders_of(wired: Assembly) -> list[Event]:
    journal = wired.hub.components.recorder.journal
    kinds = ["order.received", "order.accepted", "order.refused", "order.changed", "order.ended"]
    return [event for _, event in journal.events(kinds)]


def test_orders_of_every_entry_meet_at_one_desk(tmp_path: Path) -> None:
    async def live(wired: Assembly, desk: OrderDesk) -> None:
        components, reads = wired.hub.components, OrderReads(wired.hub.components)
        until = iso(components.clock.now_ms() + 1_800_000)
        body: dict[str, Any] = {"scope": SITE, "power_w": 20_000, "until": until}
        people = [
            Principal("aida", Role.OPERATOR, (EVERY_SITE,), "session", Channel.PAGE),
            Principal("kegoc", Role.DISPATCHER, (EVERY_SITE,), "key", Channel.REST),
        ]
        for who in people:
            entry = await desk.submit({**body, "reference": who.who}, who.authority(SITE), who.actor)
            assert entry.phase.value in ("accepted", "acting"), (
                entry.why or "decided, journalled and known when it returns"
            )
        messages = OrderMessages(desk, reads)
        room = Authority("room", (SITE,), public_key=public_key(), must_sign=True)
        signed = sign(SEED, {**body, "reference": "room", "nonce": "n-1", "issued": iso(components.clock.now_ms())})
        line = await messages.submit_order(signed, room)
        assert (line["phase"], line["channel"]) in (("accepted", "mqtt"), ("acting", "mqtt"))
        changed = {**signed, "power_w": 10_000, "nonce": "n-2"}
        refused = await messages.submit_order({**changed, "reference": "room-2"}, room)
        assert refused["refused"] == "the signature does not fit the order"

        received = [event for event in orders_of(wired) if event.kind == "order.received"]
        assert [(e.body[FIELD]["person"], e.body[FIELD]["role"], e.body[FIELD]["entry"]) for e in received] == [
            ("aida", "operator", "page"),
            ("kegoc", "dispatcher", "rest"),
            ("room", "dispatcher", "mqtt"),
            ("room", "dispatcher", "mqtt"),
        ]
        assert [e.body["order"]["channel"] for e in received] == ["page", "rest", "mqtt", "mqtt"]
        tick = components.state.sites[SITE].tick
        await asyncio.sleep(1.0)
        assert components.state.sites[SITE].tick is not tick, "the control step was brought forward"

    lived(tmp_path, live)


def test_a_change_and_an_end_carry_their_author(tmp_path: Path) -> None:
    async def live(wired: Assembly, desk: OrderDesk) -> None:
        components = wired.hub.components
        kegoc = Principal("kegoc", Role.DISPATCHER, (EVERY_SITE,), "key", Channel.TELEPHONE)
        by, actor = kegoc.authority(SITE), kegoc.actor
        body = {"scope": SITE, "power_w": 20_000, "until": iso(components.clock.now_ms() + 1_800_000)}
        made = await desk.submit(body, by, actor)
        assert made.phase.value in ("accepted", "acting"), made.why
        changed = await desk.change(made.order.id, {"power_w": 15_000}, by, actor)
        assert changed.order.power_w == 15_000.0
        ended = await desk.end(made.order.id, by, actor, "over")
        count = len(orders_of(wired))
        assert (await desk.end(made.order.id, by, actor, "again")).phase is ended.phase
        assert len(orders_of(wired)) == count, "ending an ended order writes nothing"
        for event in orders_of(wired):
            assert event.body[FIELD] == {"person": "kegoc", "role": "dispatcher", "entry": "telephone"}, event.kind
        for act in (desk.change("none", {"power_w": 1}, by, actor), desk.end("none", by, actor, "")):
            with pytest.raises(NotFound):
                await act
        with pytest.raises(ConfigError) as caught:
            await desk.submit({"power_w": "much", "colour": 1}, by, actor)
        places = {fault.place for fault in caught.value.faults}
        assert places == {"order.power_w", "order.colour", "order.scope", "order.until"}

    lived(tmp_path, live)
