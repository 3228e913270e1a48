# SPDX-License-Identifier: Apache-2.0
"""The MQTT feed against a real Mosquitto and the embedded broker: restarts, acknowledgement, bounds, credentials."""

import asyncio
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from kernel.clock import system_clock
from kernel.reading import Absence, Missing
from telemetry.device.codec import encode
from telemetry.device.profile import Profile, load
from telemetry.io.broker import EmbeddedBroker
from telemetry.io.mqtt import Broker, MqttFeed, MqttLink
from telemetry.wire.topic import Channel
from tests.builders.mqtt import connected
from tests.servers import free_port, mosquitto, need

# Mosquitto started as root steps down to its own user, which cannot read a test's folder.
AS_ROOT = "user root\n" if os.geteuid() == 0 else ""
CONTAINERS = Path(__file__).parents[2] / "configs" / "profiles" / "containers"


def keep(states: list[str]) -> Callable[[bool, str], None]:
    """Every state's text that the link reports."""
    return lambda _up, text: states.append(text)


@pytest.fixture
def bitdeer() -> Profile:
    return load(CONTAINERS / "bitdeer_d40.toml")


def payload(profile: Profile, power_w: float, document: str = "main") -> bytes:
    return orjson.dumps(encode(profile, {"power_w": power_w, "temp_ambient_c": 21.5})[document])


async def take(feed: MqttFeed, count: int, timeout_s: float = 20.0) -> list[float]:
    """The powers of the next messages, acknowledged one by one."""
    powers: list[float] = []
    async with asyncio.timeout(timeout_s):
        while len(powers) < count:
            readings, token = await feed.next()
            powers += [value for reading in readings if (value := reading.number("power_w")) is not None]
            feed.acknowledge(token)
    return powers


async def _hears(port: int, profile: Profile, version: int) -> None:
    feed = MqttFeed(
        Broker("127.0.0.1", port, client_id="hub", version=version), [Channel("h/s/c1", profile, "c1")], system_clock()
    )
    other = MqttLink(Broker("127.0.0.1", port, client_id="container", version=version), [])
    feed.start()
    other.start()
    try:
        await connected(feed.link)
        for power_w in (1000.0, 2000.0, 3000.0):
            await other.publish("c1MainData", payload(profile, power_w))
        assert await take(feed, 3) == [1000.0, 2000.0, 3000.0]
    finally:
        await feed.stop()
        await other.stop()


@pytest.mark.parametrize("version", [3, 5])
def test_values_arrive_over_both_versions(tmp_path: Path, bitdeer: Profile, version: int) -> None:
    with mosquitto(tmp_path) as port:
        asyncio.run(_hears(port, bitdeer, version))


def test_the_embedded_broker_serves_a_feed(bitdeer: Profile) -> None:
    async def scenario() -> None:
        broker = EmbeddedBroker(free_port())
        await broker.start()
        try:
            await _hears(broker.port, bitdeer, 3)
        finally:
            await broker.stop()

    asyncio.run(scenario())


def test_the_embedded_broker_stays_on_loopback() -> None:
    with pytest.raises(ValueError, match="loopback only"):
        EmbeddedBroker(free_port(), "0.0.0.0")


def test_the_embedded_broker_stops_though_a_reader_missed_its_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> float:
        port = free_port()
        broker, links = (
            EmbeddedBroker(port),
            [MqttLink(Broker("127.0.0.1", port, client_id=f"c{n}", version=3), ["x"]) for n in range(3)],
        )
        await broker.start()
        for link in links:
            link.start()
            await connected(link)
        deaf = []
        for _, handler in broker._broker._sessions.values():
            reader = handler._reader_task
            assert reader is not None
            monkeypatch.setattr(handler, "_reader_task", Deaf(reader, deaf))
        begun_s = system_clock().monotonic_s()
        await broker.stop()
        took_s = system_clock().monotonic_s() - begun_s
        assert len(deaf) == 3, "each was cancelled once, in vain"
        again = EmbeddedBroker(port)
        await again.start()
        await again.stop()
        for link in links:
            await link.stop()
        return took_s

    assert asyncio.run(main()) < 15.0


class Deaf:
    """A task that misses being cancelled."""

    def __init__(self, task: "asyncio.Task[None]", asked: list[object]) -> None:
        self._task, self._asked = task, asked

    def done(self) -> bool:
        return self._task.done()

    def cancel(self) -> None:
        self._asked.append(self._task)


def test_a_broker_restarted_in_the_middle_loses_nothing_that_was_published(tmp_path: Path, bitdeer: Profile) -> None:
    states: list[str] = []

    async def scenario(port: int) -> None:
        feed = MqttFeed(
            Broker("127.0.0.1", port, client_id="hub"),
            [Channel("h/s/c1", bitdeer, "c1")],
            system_clock(),
            on_state=keep(states),
        )
        feed.start()
        try:
            with mosquitto(tmp_path, port):
                await connected(feed.link)
                await asyncio.to_thread(publish, port, "c1MainData", payload(bitdeer, 1000.0))
                assert await take(feed, 1) == [1000.0]
            async with asyncio.timeout(10):
                while feed.link.connected:
                    await asyncio.sleep(0.05)
            with mosquitto(tmp_path, port):
                await connected(feed.link, 20.0)
                await asyncio.to_thread(publish, port, "c1MainData", payload(bitdeer, 2000.0))
                assert await take(feed, 1) == [2000.0]
        finally:
            await feed.stop()

    asyncio.run(scenario(free_port()))
    assert states.count("connected") == 2
    assert sum(state.startswith("not connected") for state in states) <= 3


def publish(port: int, topic: str, message: bytes, *more: str) -> None:
    argv = [need("mosquitto_pub"), "-h", "127.0.0.1", "-p", str(port), "-q", "1", "-t", topic, "-s", *more]
    subprocess.run(argv, input=message, check=True, timeout=20)


def test_what_was_not_acknowledged_comes_again(tmp_path: Path, bitdeer: Profile) -> None:
    """The hub dies between hearing and the journal's commit: the next session hears it again."""

    async def scenario(port: int) -> None:
        channel = Channel("h/s/c1", bitdeer, "c1")
        first = MqttFeed(Broker("127.0.0.1", port, client_id="hub"), [channel], system_clock())
        first.start()
        await connected(first.link)
        await asyncio.to_thread(publish, port, "c1MainData", payload(bitdeer, 1000.0))
        await asyncio.to_thread(publish, port, "c1MainData", payload(bitdeer, 2000.0))
        readings, token = await first.next()
        assert readings[0].number("power_w") == 1000.0
        first.acknowledge(token)
        readings, _ = await first.next()
        assert readings[0].number("power_w") == 2000.0
        await first.stop()

        second = MqttFeed(Broker("127.0.0.1", port, client_id="hub"), [channel], system_clock())
        second.start()
        try:
            again = await take(second, 1)
            if again == [1000.0]:  # its acknowledgement had not left when the session ended: at least once
                again = await take(second, 1)
            assert again == [2000.0]
        finally:
            await second.stop()

    with mosquitto(tmp_path) as port:
        asyncio.run(scenario(port))


def test_a_flood_is_held_back_by_the_socket_not_in_memory(tmp_path: Path, bitdeer: Profile) -> None:
    async def scenario(port: int) -> None:
        feed = MqttFeed(
            Broker("127.0.0.1", port, client_id="hub"), [Channel("h/s/c1", bitdeer, "c1")], system_clock(), limit=50
        )
        feed.start()
        try:
            await connected(feed.link)
            lines = b"".join(payload(bitdeer, 1000.0 + at) + b"\n" for at in range(3000))
            await asyncio.to_thread(publish_lines, port, "c1MainData", lines)
            await asyncio.sleep(0.5)
            assert len(feed.link._waiting) <= 60
            powers = await take(feed, 1000)
            assert powers == sorted(powers) and len(feed.link._waiting) <= 60
        finally:
            await feed.stop()

    with mosquitto(tmp_path, extra="max_queued_messages 5000") as port:
        asyncio.run(scenario(port))


def publish_lines(port: int, topic: str, lines: bytes) -> None:
    argv = [need("mosquitto_pub"), "-h", "127.0.0.1", "-p", str(port), "-q", "0", "-t", topic, "-l"]
    subprocess.run(argv, input=lines, check=True, timeout=30)


def test_garbage_and_retained_and_strangers(tmp_path: Path, bitdeer: Profile) -> None:
    async def scenario(port: int) -> None:
        await asyncio.to_thread(publish, port, "c1MainData", payload(bitdeer, 7000.0), "-r")
        feed = MqttFeed(Broker("127.0.0.1", port, client_id="hub"), [Channel("h/s/c1", bitdeer, "c1")], system_clock())
        feed.start()
        try:
            await connected(feed.link)
            await asyncio.to_thread(publish, port, "c1MainData", b"\xff\x00 not json")
            while True:
                readings, token = await asyncio.wait_for(feed.next(), 10)
                feed.acknowledge(token)
                if readings:
                    break
            found = readings[0].get("power_w")
            assert isinstance(found, Missing) and found.reason is Absence.MALFORMED
            assert feed.topics.counts.retained_passed_over == 1
            assert feed.topics.counts.malformed == 1
        finally:
            await feed.stop()

    with mosquitto(tmp_path) as port:
        asyncio.run(scenario(port))


def test_a_wrong_password_is_reported_and_retried(tmp_path: Path, bitdeer: Profile) -> None:
    states: list[str] = []
    passwords = tmp_path / "passwords"
    subprocess.run([need("mosquitto_passwd"), "-b", "-c", str(passwords), "hub", "right"], check=True, timeout=20)
    passwords.chmod(0o644)

    async def scenario(port: int) -> None:
        bad = MqttLink(
            Broker("127.0.0.1", port, username="hub", password="wrong"),
            [],
            on_state=keep(states),
        )
        good = MqttLink(Broker("127.0.0.1", port, client_id="two", username="hub", password="right"), [])
        bad.start()
        good.start()
        try:
            await connected(good)
            async with asyncio.timeout(10):
                while not states:
                    await asyncio.sleep(0.05)
            assert not bad.connected
        finally:
            await bad.stop()
            await good.stop()

    with mosquitto(tmp_path, extra=f"{AS_ROOT}password_file {passwords}\nallow_anonymous false") as port:
        asyncio.run(scenario(port))
    assert len(states) == 1 and "refused" in states[0]
    assert "wrong" not in repr(Broker("h", password="wrong"))


def test_the_will_is_published_when_the_hub_is_gone(tmp_path: Path) -> None:
    async def scenario(port: int) -> None:
        listener = MqttLink(Broker("127.0.0.1", port, client_id="listener"), ["hub/status"])
        listener.start()
        await connected(listener)
        hub = MqttLink(Broker("127.0.0.1", port, client_id="hub", will=("hub/status", b"gone"), version=3), [])
        hub.start()
        await connected(hub)
        hub._drop(orderly=False)
        try:
            message = await asyncio.wait_for(listener.next(), 10)
            assert (message.topic, message.payload) == ("hub/status", b"gone")
        finally:
            await listener.stop()
            await hub.stop()

    with mosquitto(tmp_path) as port:
        asyncio.run(scenario(port))


def test_tls_is_verified(tmp_path: Path, bitdeer: Profile) -> None:
    ca, key, cert = certificates(tmp_path)
    states: list[str] = []

    async def scenario(port: int) -> None:
        feed = MqttFeed(
            Broker("localhost", port, client_id="hub", ca_file=str(ca)),
            [Channel("h/s/c1", bitdeer, "c1")],
            system_clock(),
        )
        sender = MqttLink(Broker("localhost", port, client_id="c1", ca_file=str(ca)), [])
        stranger = MqttLink(
            Broker("localhost", port, client_id="x", ca_file="/etc/ssl/certs/ca-certificates.crt"),
            [],
            on_state=keep(states),
        )
        for link in (feed, sender, stranger):
            link.start()
        try:
            await connected(feed.link)
            for at in range(20):
                await sender.publish("c1MainData", payload(bitdeer, 1000.0 + at))
            assert await take(feed, 20) == pytest.approx([1000.0 + at for at in range(20)])
            async with asyncio.timeout(10):
                while not states:
                    await asyncio.sleep(0.05)
            assert "certificate" in states[0].lower()
        finally:
            for link in (feed, sender, stranger):
                await link.stop()

    port = free_port()
    extra = f"{AS_ROOT}listener {port} 127.0.0.1\ncafile {ca}\nkeyfile {key}\ncertfile {cert}"
    with mosquitto(tmp_path, extra=extra):
        asyncio.run(scenario(port))


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """A throw-away authority and a certificate for localhost."""
    openssl = need("openssl")
    ca, ca_key, key, request, cert = (folder / n for n in ("ca.pem", "ca.key", "srv.key", "srv.csr", "srv.pem"))
    names = folder / "names"
    names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    for argv in (
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", ca_key, "-out", ca,
         "-subj", "/CN=test authority", "-days", "30"],
        ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", request,
         "-subj", "/CN=localhost"],
        ["x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-CAcreateserial", "-out", cert, "-days", "30",
         "-extfile", names],
    ):  # fmt: skip
        subprocess.run([openssl, *map(str, argv)], check=True, capture_output=True, timeout=30)
    key.chmod(0o644)
    return ca, key, cert
