# SPDX-License-Identifier: Apache-2.0
"""Order desk and the watch over orders: journalled before answered, next tick at once, phases and verdicts by the meter."""

import asyncio
from typing import Any

import pytest

from grid.compliance import Terms
from grid.order_entry import Phase
from hub.control.order_desk import OrderDesk
from hub.control.runtime import Hub, site_of
from kernel.actor import Actor, Channel
from kernel.clock import iso
from kernel.errors import ConfigError, NotFound
from tests.builders.spine import BY, KEY, T0_MS, Spine

ACTOR = Actor("grid", "dispatcher", Channel.REST)


class Desk:
    """The desk of a site whose hub was not started."""

    def __init__(self, site: str = "") -> None:
        self.spine = Spine(site)
        self.hub: Hub = self.spine.hub()
        self.desk = OrderDesk(self.hub)
        self.spine.hear()
        self.spine.meter(24_000.0)

    def body(self, power_w: float = 12_000.0, for_s: float = 600.0, **more: Any) -> dict[str, Any]:
        until = iso(self.spine.now_ms + round(for_s * 1000))
        return {"scope": KEY, "power_w": power_w, "until": until, "reference": "D-1", **more}

    def submit(self, power_w: float = 12_000.0, for_s: float = 600.0, **more: Any) -> str:
        return asyncio.run(self.desk.submit(self.body(power_w, for_s, **more), BY, ACTOR)).order.id

    def watch(self) -> None:
        asyncio.run(self.hub.watch_orders())

    def phase(self, order: str) -> Phase:
        entry = self.spine.state.book.get(order)
        assert entry is not None
        return entry.phase

    def verdicts(self) -> list[str]:
        return [str(body["outcome"]) for body in self.spine.bodies("order.verdict")]

    def through(self, for_s: int, power_w: float, step_s: int = 5) -> None:
        """So long at one power at the meter."""
        for _ in range(for_s // step_s):
            self.spine.later(step_s)
            self.spine.meter(power_w)
            self.watch()


def test_an_order_is_in_the_journal_and_the_next_tick_is_due_when_it_is_answered() -> None:
    desk = Desk()
    assert not desk.hub._urgent[KEY].is_set()
    entry = asyncio.run(desk.desk.submit(desk.body(), BY, ACTOR))
    assert entry.phase is Phase.ACCEPTED and entry.order.channel == "rest" and entry.order.received_ms == T0_MS
    assert desk.spine.kinds() == ["order.received", "order.accepted"] and desk.hub._urgent[KEY].is_set()


def test_an_order_for_a_feeder_brings_the_tick_of_its_site_forward() -> None:
    desk = Desk()
    desk.submit(scope=f"{KEY}/f1")
    assert desk.hub._urgent[KEY].is_set() and site_of(f"{KEY}/f1") == KEY == site_of(KEY)


def test_an_order_that_could_not_be_journalled_is_not_accepted() -> None:
    desk = Desk()
    desk.spine.journal.down = True
    with pytest.raises(OSError, match="no space"):
        desk.submit()
    assert desk.spine.state.book.entries() == [] and not desk.hub._urgent[KEY].is_set()


def test_a_refusal_is_journalled_with_its_reason() -> None:
    desk = Desk("observe_only = true")
    order = desk.submit()
    assert desk.phase(order) is Phase.REFUSED
    assert desk.spine.kinds() == ["order.received", "order.refused"]
    assert "observe_only" in str(desk.spine.bodies("order.refused")[0]["why"])


def test_the_same_order_twice_is_one_order() -> None:
    desk = Desk()
    body = desk.body()

    async def both() -> list[str]:
        found = await asyncio.gather(
            *(desk.desk.submit(body, BY, Actor("grid", "dispatcher", entry)) for entry in (Channel.REST, Channel.MQTT))
        )
        return [entry.order.id for entry in found]

    first, second = asyncio.run(both())
    assert first == second and desk.spine.kinds().count("order.accepted") == 1


def test_change_and_end_by_name() -> None:
    desk = Desk()
    order = desk.submit()
    changed = asyncio.run(desk.desk.change(order, {"power_w": 9_000.0}, BY, ACTOR))
    assert changed.order.power_w == 9_000.0
    ended = asyncio.run(desk.desk.end(order, BY, ACTOR, "line is back"))
    assert ended.phase is Phase.RELEASED and "line is back" in ended.why
    events = len(desk.spine.journal.held)
    asyncio.run(desk.desk.end(order, BY, ACTOR, "again"))
    assert len(desk.spine.journal.held) == events
    live = desk.submit()
    for why in ("a\nb", "\ud800", "x" * 501):
        with pytest.raises(ConfigError, match="why"):
            asyncio.run(desk.desk.end(live, BY, ACTOR, why))
    for act in (desk.desk.change("nowhere", {"power_w": 1.0}, BY, ACTOR), desk.desk.end("nowhere", BY, ACTOR, "")):
        with pytest.raises(NotFound):
            asyncio.run(act)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        asyncio.run(desk.desk.submit({"scope": KEY}, BY, ACTOR))


def test_a_message_that_could_not_be_processed_is_kept_with_its_bytes() -> None:
    desk = Desk()
    desk.desk.set_aside("room\n1", "mqtt", b"\xff\x00" * 2000, "RuntimeError: \ud800")
    asyncio.run(desk.spine.recorder.flush(required=True))
    (body,) = desk.spine.bodies("order.set_aside")
    assert (body["who"], body["bytes"], len(body["payload_hex"])) == ("room\ufffd1", 4000, 4096)


def test_an_order_acts_from_its_begin_holds_by_the_meter_and_expires_at_its_end() -> None:
    desk = Desk()
    begin = iso(T0_MS + 60_000)
    order = desk.submit(for_s=660.0, **{"from": begin})
    desk.watch()
    assert desk.phase(order) is Phase.ACCEPTED
    desk.spine.later(59.999)
    desk.watch()
    assert desk.phase(order) is Phase.ACCEPTED
    desk.spine.later(0.001)
    desk.watch()
    assert desk.phase(order) is Phase.ACTING, "the meter's last sample is from before it"
    desk.spine.later(10.0)
    desk.spine.meter(12_000.1)
    desk.watch()
    assert desk.phase(order) is Phase.ACTING
    desk.spine.later(1.0)
    desk.spine.meter(12_000.0)
    desk.watch()
    assert desk.phase(order) is Phase.HOLDING
    desk.spine.later(589.0 - 0.001)
    desk.watch()
    assert desk.phase(order) is Phase.HOLDING
    desk.spine.later(0.001)
    desk.watch()
    assert desk.phase(order) is Phase.EXPIRED


def test_an_order_that_is_obeyed_is_complied_at_its_end() -> None:
    desk = Desk()
    desk.submit(for_s=120.0)
    desk.through(30, 20_000.0)
    desk.through(120, 11_900.0)
    assert desk.verdicts() == ["open", "complied"], "once when the meter first shows it, once at the end"
    assert [body["obeyed_by_meter_s"] for body in desk.spine.bodies("order.verdict")] == [35.0, 35.0]


def test_an_order_that_is_not_obeyed_is_breached_as_soon_as_that_is_seen() -> None:
    desk = Desk()
    desk.hub.terms = Terms(response_s=20.0)
    desk.submit(for_s=120.0)
    desk.through(20, 24_000.0)
    assert desk.verdicts() == []
    desk.through(10, 24_000.0)
    assert desk.verdicts() == ["breached"]
    desk.through(30, 24_000.0)
    assert desk.verdicts() == ["breached"], "a breach is final"


def test_an_order_that_ended_long_ago_is_judged_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    desk.submit(for_s=60.0)
    desk.spine.later(60.0)
    desk.watch()
    judged: list[str] = []

    async def judge(order: str, now_ms: int) -> None:
        judged.append(order)

    monkeypatch.setattr(desk.hub, "_judge", judge)
    desk.spine.later(600.0)
    desk.watch()
    assert len(judged) == 1
    desk.spine.later(0.001)
    desk.watch()
    assert len(judged) == 1
