# SPDX-License-Identifier: Apache-2.0
"""What happened to the recorded hub, in three lives: everything that a hub can journal, at least once.

Part of `make.py`, which ran once; see there.
"""

import asyncio
import sqlite3
from pathlib import Path

from grid.dispatch import Authority
from grid.signature import sign
from hub.access import Role
from hub.config import Config
from hub.twin.firmware import make_image
from kernel.clock import iso
from kernel.ids import sha256_hex
from kernel.span import Span
from miner_control.command import Locate, command, command_json
from miner_control.fleet import Asked
from miner_control.position import Press
from miner_control.seen import seen_of, told_of
from miner_control.usual import Lately
from telemetry.io.archive_parquet import ParquetArchive
from telemetry.source import Tier
from tests.recorded.folder import DISPATCHER_SEED, EPOCH_MS
from tests.recorded.life import MINUTE, NORTH, SOUTH, Life, m
from tests.recorded.make import World, wired
from tests.recorded.state_dump import state_dump


async def first_life(world: World, config: Config, folder: Path) -> None:
    """Orders, a proof, campaigns, faults of every sort; it ends in order while miners are being woken."""
    made = await wired(world, config, folder)
    life = Life(world, made, config, folder)
    image = folder / "image.bin"
    image.write_bytes(make_image("antminer", "Fri Jan  9 10:00:00 CST 2026", 4096))
    made.provisions.shelf.add(
        image, sha256_hex(image.read_bytes()), version="Fri Jan  9 10:00:00 CST 2026", dialect="antminer", model="*",
        source="made up", added_ms=EPOCH_MS,
    )  # fmt: skip
    running = asyncio.create_task(made.hub.run())
    await life.wait(2.5)
    await doors(life)
    await life.wait(4)
    await orders(life)
    await places(life)
    await campaigns(life)
    await faults(life)
    await stragglers(life)
    await strangers(life)
    world.set_ms += 3_500
    await life.wait(2)
    last = await life.order("last", 6_000.0, 600.0)
    await life.wait(6)
    await life.ask(Role.OPERATOR, "DELETE", f"/sites/north/orders/{last['id']}?why=over", None)
    await life.wait(0.05)
    made.hub.stop()
    await running
    await life.client.aclose()


async def doors(life: Life) -> None:
    """Who came in, who was not let in, what people wrote down."""
    entered = await life.client.get("/enter", params={"token": life.access.link()})
    assert entered.status_code == 303
    await life.ask("nobody", "GET", "/sites/north/status", status=401)
    await life.ask("other", "GET", "/sites/south/status", status=403)
    life.rooms.recorder.emit(NORTH, "operator.note", {"text": "Recording of a small hub", "by": "a-operator"})
    bad = life.folder / "feeds" / "broken.csv"
    bad.write_text((life.folder / "feeds" / "day_ahead.csv").read_text().replace("KZT/MWh", "KZT/kWh"))
    facts = [
        {"device": m(5), "what": "owner", "value": "client-two"},
        {"device": m(5), "what": "container", "value": "c1"},
    ]
    await life.ask(Role.OPERATOR, "POST", "/sites/north/facts", {"facts": facts, "source": "a person"})


async def orders(life: Life) -> None:
    """Orders of every fate: obeyed and expired, changed, released, cancelled, refused, signed, of a feeder."""
    await life.order("A", 22_000.0, 8 * MINUTE)
    await life.order("A", 22_000.0, 8 * MINUTE)
    await life.order("A", 21_000.0, 8 * MINUTE, status=409)
    await life.wait(3)
    told = await life.ask(Role.DISPATCHER, "GET", "/sites/north/orders")
    (line,) = [one for one in told if one["reference"] == "A" and not one["refused"]]
    path = f"/sites/north/orders/{line['id']}"
    await life.ask(Role.DISPATCHER, "PATCH", path, {"power_w": 18_000.0, "reason": "line 5 out"})
    await life.ask(Role.OPERATOR, "PATCH", path, {"power_w": 30_000.0})
    await life.order("too-much", 9e9, MINUTE, status=409)
    later = iso(life.clock.now_ms() + 3_600_000)
    future = await life.order("B", 30_000.0, 2 * 3600.0, **{"from": later})
    await life.ask(Role.DISPATCHER, "DELETE", f"/sites/north/orders/{future['id']}", None)
    await life.wait(7)
    by = Authority("grid-signed", (NORTH,), public_key=life.config.dispatchers[0].public_key, must_sign=True)
    body = {
        "scope": f"{NORTH}/f2", "power_w": 9_000.0, "until": iso(life.clock.now_ms() + 240_000), "reference": "C",
        "reason": "feeder work", "emergency": True, "issued": iso(life.clock.now_ms()), "nonce": "n-1",
    }  # fmt: skip
    signed = sign(DISPATCHER_SEED, body)
    await life.view.submit_order(signed, by, "mqtt")
    await life.wait(2)
    south = {"power_w": 6_000.0, "until": iso(life.clock.now_ms() + 300_000), "scope": SOUTH}
    await life.ask(Role.DISPATCHER, "POST", "/sites/south/orders", south, 409)
    again = sign(DISPATCHER_SEED, {**body, "reference": "C2"})
    await life.view.submit_order(again, by, "mqtt")
    line = await life.ask(Role.OPERATOR, "GET", "/sites/north/orders")
    (ours,) = [one for one in line if one["reference"] == "C"]
    await life.ask(Role.OPERATOR, "DELETE", f"/sites/north/orders/{ours['id']}?why=done", None)
    await life.wait(6)


def press(life: Life, number: int, host: str = "", mac: str = "") -> None:
    place = None if mac else life.place(number)
    life.buttons.heard(
        Press(host or place.host, mac or place.mac.lower(), life.clock.now_ms())  # type: ignore[union-attr]
    )


async def places(life: Life) -> None:
    """A walk along slots, one that is given up, a proof of racks and one that is stopped."""
    slots = [{"rack": "f1-r01", "position": str(at), "feeder": "f1"} for at in (1, 2, 3)]
    await life.ask(Role.OPERATOR, "POST", "/sites/north/walk", {"slots": slots})
    for number in (2, 1, 3):
        press(life, number)
        await life.wait(0.2)
    press(life, 0, "192.0.2.99", "02:aa:bb:cc:dd:ee")
    await life.wait(1.1)
    await life.ask(Role.OPERATOR, "POST", "/sites/north/walk/end", {"dry_run": True})
    await life.ask(Role.OPERATOR, "POST", "/sites/north/walk/cancel")
    await life.ask(Role.OPERATOR, "POST", "/sites/north/walk", {"slots": slots})
    for number in (2, 1, 3):
        press(life, number)
        await life.wait(0.2)
    await life.wait(1.1)
    await life.ask(Role.OPERATOR, "POST", "/sites/north/walk/end", {})
    proof = {"racks": ["f1-r01"], "off_s": 300.0}
    await life.ask(Role.OPERATOR, "POST", "/sites/north/pulses", proof)
    for _ in range(60):
        await life.wait(1)
        if life.rooms.state.sites[NORTH].pulses.running is None:
            break
    await life.ask(Role.OPERATOR, "POST", "/sites/north/pulses/apply", {})
    await life.ask(Role.OPERATOR, "POST", "/sites/north/pulses", {"racks": ["f1-r02"], "off_s": 60.0})
    await life.wait(1)
    await life.ask(Role.OPERATOR, "POST", "/sites/north/pulses/stop", {"why": "no time"})
    await life.wait(2)


async def campaigns(life: Life) -> None:
    """Bulk work with every intent, paused, resumed, retried, restored, ended."""
    units = life.world.north.site.units
    of = {
        dialect: [u.index + 1 for u in units if u.model.dialect == dialect]
        for dialect in ("antminer", "whatsminer", "vnish")
    }
    s19k = [u.index + 1 for u in units if u.model.name == "antminer-s19k-pro"]
    ours = {dialect: [n for n in numbers if n != 10] for dialect, numbers in of.items()}
    blink = await life.campaign("blink", "locate", [1, 2], canary=1)
    await life.wait(1)
    low = await life.campaign("low", "mode=low", [n for n in s19k if n != 10])
    await life.wait(3)
    await life.act(low, "pause")
    await life.act(low, "resume")
    await life.act(low, "restore")
    await life.wait(4)
    await life.act(low, "end")
    watts = await life.campaign("watts", "power=2400", ours["whatsminer"][:2])
    share = await life.campaign("share", "percent=90", ours["whatsminer"][2:3] or ours["whatsminer"][:1])
    pools = await life.campaign("pools", "pools=second", ours["vnish"][:1] + ours["antminer"][:1])
    word = await life.campaign("word", "credential=rotated", ours["whatsminer"][:1] + ours["vnish"][:1])
    await life.wait(1)
    for one in (pools, word):
        await life.act(one, "approve", "other")
    await life.wait(4)
    await life.act(pools, "restore")
    for one in (watts, share, word):
        await life.act(one, "end")
    life.faulty(ours["antminer"][0], "image_refused")
    image = await life.campaign("image", "firmware=Fri Jan  9 10:00:00 CST 2026", ours["antminer"][:2], wave_share=0.5)
    back = await life.campaign("back", "rollback=stock", ours["vnish"][:1])
    for one in (image, back):
        await life.act(one, "approve", "other")
    await life.wait(8)
    life.faulty(ours["antminer"][0])
    await life.act(image, "retry")
    await life.wait(3)
    await life.campaign("again", "reboot", ours["whatsminer"][-1:])
    asked = command(life.clock.now_ms(), life.place(10).device, Locate(True), "recorded")
    life.rooms.recorder.emit(NORTH, "command.issued", command_json(asked))
    await life.rooms.recorder.flush(required=True)
    life.rooms.actuators[NORTH].start([asked])
    await life.wait(2)
    await life.act(blink, "end")


async def faults(life: Life) -> None:
    """Silence, illness, a container's own tactics, a firmware's own schedule; alarms that people answer."""
    life.faulty(4, "refused")
    life.faulty(6, "board")
    life.faulty(7, "hashless")
    container = life.world.north.containers[0]._container
    container.tactics = {"RunTactics": [{"Price": 0.04}], "StopTactics": []}
    life.world.schedules[life.place(9).device] = {"atm": True}
    await life.wait(6)
    alarms = await life.ask(Role.OPERATOR, "GET", "/sites/north/alarms")
    first, *others = [one for one in alarms if one["state"] == "unacknowledged"]
    path = "/sites/north/alarms"
    body = {"rule": first["rule"], "scope": first["scope"]}
    await life.ask(Role.OPERATOR, "POST", f"{path}/acknowledge", body)
    for other in others[:1] or [first]:
        body = {"rule": other["rule"], "scope": other["scope"], "why": "known", "minutes": 2}
        await life.ask(Role.OPERATOR, "POST", f"{path}/shelve", body)
    book = life.rooms.state.alarms
    for change in book.out_of_service("meter-silent", f"{NORTH}/meter-f2", "a-operator", "in the laboratory"):
        await life.rooms.recorder.commit(NORTH, "alarm.changed", change)
    for number in (4, 6):
        life.faulty(number)
    container.tactics = {"RunTactics": [], "StopTactics": []}
    life.world.schedules[life.place(9).device] = {"atm": False}
    await life.wait(6)


async def stragglers(life: Life) -> None:
    """An order after which one miner does not come back: each step of the ladder, and the report."""
    await life.order("D", 8_000.0, 4 * MINUTE)
    await life.wait(3.8)
    asleep = [u.index + 1 for u in life.world.north.site.units if bool(life.world.north.site.machines.asleep[u.index])]
    socket = 7 if 7 in asleep else asleep[0]
    life.faulty(socket, "hashless", "deaf")
    await life.wait(14)
    life.faulty(socket)
    await life.wait(4)


async def strangers(life: Life) -> None:
    """Another manager that twice wakes what was put to sleep, and a miner that answers at another's address."""
    site, now_ms = life.world.north.site, life.clock.now_ms
    life.faulty(8, "refused")
    await life.order("E", 3_000.0, 12 * MINUTE)
    await life.wait(4)
    life.faulty(8, "duplicate_serial")
    for _ in range(2):
        site.machines.wake(2, now_ms(), 30.0)
        await life.wait(0.1)
        life.rooms.collector.ask_soon(life.place(3).device, Tier.FAST)
        await life.wait(3.9)
    life.faulty(8)
    await life.wait(4)
    hands = await life.ask(Role.OPERATOR, "GET", "/sites/north/hands")
    for name in (str(one["scope"]).rpartition("/")[2] for one in hands):
        if name == m(3):
            await life.ask(Role.OPERATOR, "POST", f"/sites/north/miners/{name}/release", {"why": "it is ours"})


async def second_life(world: World, config: Config, folder: Path) -> None:
    """Reports, holds, retention, settlement; then it is killed while commands are under way."""
    made = await wired(world, config, folder)
    life = Life(world, made, config, folder)
    running = asyncio.create_task(made.hub.run())
    await life.wait(3)
    archive = made.book.archive
    assert isinstance(archive, ParquetArchive)
    hour_over_ms = EPOCH_MS + 1_200_000 + 310_000
    ParquetArchive(archive.folder, made.hub.rooms.recorder.journal).seal(hour_over_ms)
    await reports(life)
    await learnt(life)
    await life.wait(2)
    life.faulty(2, "hung")
    await life.order("cut", 6_000.0, 240.0)
    await life.wait(0.05)
    copy(folder)
    made.hub.stop()
    await running
    await life.client.aclose()
    for path in (folder / "copy").iterdir():
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            (folder / "data" / name).unlink(missing_ok=True)
        path.replace(folder / "data" / path.name)
    life.faulty(2)


async def third_life(world: World, config: Config, folder: Path) -> None:
    """After the kill; the journal is copied in the middle of everything."""
    made = await wired(world, config, folder)
    life = Life(world, made, config, folder)
    running = asyncio.create_task(made.hub.run())
    await life.wait(6)
    await middle(life)
    await made.hub.rooms.recorder.flush(required=True)
    copy(folder)
    world.dump = state_dump(made.hub.rooms.state)
    made.hub.stop()
    await running
    await life.client.aclose()


async def reports(life: Life) -> None:
    """Both reports of the first two hours, pulled by a regulator; holds of people and of reports."""
    span, office, rooms = Span(EPOCH_MS, EPOCH_MS + 7_200_000), life.wired.office, life.rooms
    for scope, files in (
        ("alatau", office.statement("alatau", span)),
        (NORTH, office.energy(life.wired.book, rooms.state.sites[NORTH], span, rooms.recorder.position)),
    ):
        await rooms.recorder.commit(scope, "report.made", {"id": files.id, "sha256": files.sha256})
    await life.ask(Role.REGULATOR, "GET", f"/sites/north/reports/{files.id}/json")
    hold = {"from": iso(EPOCH_MS), "until": iso(EPOCH_MS + 600_000), "why": "a dispute", "cited_by": "case 7"}
    first = await life.ask(Role.ADMIN, "POST", "/archive/holds", {**hold, "kinds": ["miner", "meter"]})
    await life.ask(Role.ADMIN, "POST", "/archive/holds", {**hold, "why": "an audit"})
    await life.ask(Role.ADMIN, "POST", f"/archive/holds/{first['id']}/release", {"why": "settled"})
    for duty in rooms.duties:
        if duty.name == "retention":
            await duty.do()
    assert life.wired.settling is not None
    await life.wired.settling.close_books()


async def learnt(life: Life) -> None:
    """What a day of steady running would teach, by the book itself: the recording is shorter than a day."""
    site, snapshot = life.rooms.state.sites[NORTH], life.rooms.state.snapshot
    roster, table, now_ms = site.roster, snapshot.kind("miner"), life.clock.now_ms()
    lately = Lately(roster, 0.0)
    asked: Asked = site.standing.commanded(now_ms)
    asked.since_ms[:] = asked.proven_ms[:] = 0
    for hour in range(0, 26):
        at_ms = now_ms - (25 - hour) * 3_600_000
        seen = seen_of(roster, table, now_ms)
        seen.at_ms[:] = at_ms
        told = {name: told_of(roster, table, name, now_ms) for name in ("mode", "temp_chip_max_c", "shares_accepted")}
        lately.look(roster, seen, asked, told, site.usual, at_ms, 120.0)
        body = lately.day(roster, at_ms)
        if body is not None:
            await life.rooms.recorder.commit(NORTH, "performance.updated", body)


async def middle(life: Life) -> None:
    """Everything under way at once: a walk, a proof, a campaign between two waves, an order, commands without receipt."""
    life.faulty(6, "worn")
    life.faulty(4, "hung")
    life.faulty(1, "hashless")
    container = life.world.north.containers[0]._container
    container.tactics = {"RunTactics": [{"Price": 0.05}], "StopTactics": []}
    await life.wait(6)
    slots = [{"rack": "f1-r02", "position": str(at), "feeder": "f1"} for at in (1, 2, 3)]
    await life.ask(Role.OPERATOR, "POST", "/sites/north/walk", {"slots": slots})
    press(life, 5)
    await life.campaign("night", "locate", [2, 3, 5, 8, 9], canary=2, gap_s=3600.0)
    await life.campaign("waits", "pools=second", [2, 3])
    later = iso(life.clock.now_ms() + 3_600_000)
    await life.order("G", 14_000.0, 2 * 3600.0, **{"from": later})
    await life.ask(Role.OPERATOR, "POST", "/sites/north/pulses", {"racks": ["f1-r01"], "off_s": 60.0})
    south = {"power_w": 5_000.0, "until": iso(life.clock.now_ms() + 3_600_000), "scope": SOUTH, "reference": "S"}
    await life.ask(Role.DISPATCHER, "POST", "/sites/south/orders", south, 409)
    pulses = life.rooms.state.sites[NORTH].pulses
    for _ in range(600):
        await life.wait(0.05)
        if pulses.running is not None and pulses.running.now is not None and pulses.running.now.waiting:
            break
    assert pulses.held(), "a rack sleeps for its proof"


def copy(folder: Path) -> None:
    """The databases as they are at this instant, beside those that are written on."""
    (folder / "copy").mkdir(exist_ok=True)
    for name in ("journal", "ledger", "billing"):
        with sqlite3.connect(folder / "data" / f"{name}.sqlite") as file:
            file.execute("VACUUM INTO ?", (str(folder / "copy" / f"{name}.sqlite"),))
