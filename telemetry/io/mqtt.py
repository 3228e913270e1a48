# SPDX-License-Identifier: Apache-2.0
"""MQTT client (paho) on the hub's event loop: no thread of its own, and only bounded queues.

- The receiver acknowledges a message, after the journal's commit.
- When `limit` messages wait, the socket is not read until half of them are taken: TCP slows the broker down, whatever its
  QoS, and memory stays bounded.
- A lost connection is made again with back-off; the broker keeps the session, so that QoS 1 messages are delivered again.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from kernel.clock import Clock
from kernel.reading import Reading
from telemetry.wire.exposition import Figure
from telemetry.wire.topic import MAX_PAYLOAD, Channel, Topics


@dataclass(frozen=True, slots=True)
class Broker:
    """Connection data of a broker. `version` is 3 (3.1.1, needed by the embedded broker) or 5.

    - `ca_file` switches TLS on (1.2 or later, certificate verified).
    - `will`: (topic, payload) that the broker publishes, retained, when the hub is gone.
    - Credentials are excluded from logs and from `repr`.
    """

    host: str
    port: int = 1883
    client_id: str = "mining-hub"
    version: int = 5
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    will: tuple[str, bytes] | None = None
    keepalive_s: int = 30
    session_expiry_s: int = 86_400


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """TLS 1.2 or later; the peer's certificate is verified against this authority (None: the system's)."""
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


@dataclass(frozen=True, slots=True)
class Message:
    """One message as received. `token` acknowledges it (-1: QoS 0, nothing to acknowledge)."""

    topic: str
    payload: bytes
    retained: bool
    token: int


class MqttLink:
    """One connection to a broker: subscribes, receives, publishes, and reconnects.

    - After a loss it waits `retry_s`, then twice as long each time up to `longest_retry_s`; a connection has to be
      established (subscribed) within `stand_s`.
    - `connected` and `state` describe the connection; `on_state(up, text)` is called once for each change.
    - `greeting` returns, for each connection, a topic and two payloads published there, retained: on connection and (as the
      will) on its loss.
    """

    def __init__(
        self,
        broker: Broker,
        topics: Sequence[str],
        *,
        limit: int = 1000,
        on_state: Callable[[bool, str], None] | None = None,
        greeting: Callable[[], tuple[str, bytes, bytes]] | None = None,
    ) -> None:
        self.broker = broker
        self.connected = False
        self.state = "not connected yet"
        self.retry_s, self.longest_retry_s, self.stand_s = 0.5, 60.0, 15.0
        self._topics, self._limit, self._on_state = list(topics), limit, on_state
        self._greeting = greeting
        self._hello: tuple[str, bytes] | None = None
        self._waiting: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._lost = asyncio.Event()
        self._up = asyncio.Event()
        self._paused = False
        self._session = 0
        self._next_token = 0
        self._open: dict[int, tuple[int, int]] = {}
        self._published: dict[int, asyncio.Future[None]] = {}
        self._reading: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._client: paho.Client | None = None

    def start(self) -> None:
        """Start connecting in the background. Needs a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._stay_connected(), name=f"mqtt {self.broker.host}:{self.broker.port}")

    async def stop(self) -> None:
        """Disconnect in order (the will is not published); messages not acknowledged are delivered in the next session."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._drop(orderly=True)

    async def next(self) -> Message:
        """The oldest waiting message."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        message = self._waiting.popleft()
        if self._paused and len(self._waiting) <= self._limit // 2:
            self._paused = False
            self._watch()
        return message

    def acknowledge(self, token: int) -> None:
        """Acknowledge a message to the broker. A token of an earlier connection is void: that message is delivered again."""
        session, mid = self._open.pop(token, (-1, 0))
        if session == self._session and self._client is not None:
            self._client.ack(mid, 1)

    async def publish(self, topic: str, payload: bytes, *, retain: bool = False, timeout_s: float = 10.0) -> None:
        """Publish at QoS 1 and wait for the broker's acknowledgement. TimeoutError where none comes."""
        async with asyncio.timeout(timeout_s):
            await self._up.wait()
            assert self._client is not None
            info = self._client.publish(topic, payload, qos=1, retain=retain)
            done = self._published.setdefault(info.mid, self._loop.create_future())
            try:
                await done
            finally:
                self._published.pop(info.mid, None)

    def post(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 0 without acknowledgement; nothing is sent while not connected."""
        if self._client is not None and self.connected:
            self._client.publish(topic, payload, qos=0)

    # Connection

    async def _stay_connected(self) -> None:
        wait_s = self.retry_s
        while True:
            self._lost.clear()
            client = self._client = self._make()
            try:
                async with asyncio.timeout(self.stand_s):
                    await asyncio.to_thread(self._connect, client)
                    self._watch()
                    while not (self._up.is_set() or self._lost.is_set()):
                        await asyncio.sleep(0.05)
                        client.loop_misc()
                while not self._lost.is_set():
                    wait_s = self.retry_s
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(1.0):
                            await self._lost.wait()
                    client.loop_misc()
            except (OSError, ValueError, TimeoutError) as error:
                self._set_state(f"not connected: {error or type(error).__name__}")
            self._drop(orderly=False)
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, self.longest_retry_s)

    def _make(self) -> paho.Client:
        broker = self.broker
        version = MQTTProtocolVersion.MQTTv5 if broker.version == 5 else MQTTProtocolVersion.MQTTv311
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=broker.client_id,
            clean_session=None if broker.version == 5 else False,
            protocol=version,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        if broker.ca_file is not None:
            context = tls_context(broker.ca_file)
            if broker.cert_file is not None:
                context.load_cert_chain(broker.cert_file, broker.key_file)
            client.tls_set_context(context)
        if self._greeting is not None:
            topic, here, gone = self._greeting()
            self._hello = (topic, here)
            client.will_set(topic, gone, qos=1, retain=True)
        elif broker.will is not None:
            client.will_set(broker.will[0], broker.will[1], qos=1, retain=True)
        client.connect_timeout = 5.0
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_socket_register_write = self._on_want_write
        client.on_socket_unregister_write = self._on_written
        return client

    def _connect(self, client: paho.Client) -> None:
        """Connect, in a worker thread: name look-up, TCP and TLS handshake block."""
        broker = self.broker
        if broker.version != 5:
            client.connect(broker.host, broker.port, broker.keepalive_s)
            return
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = broker.session_expiry_s
        properties.ReceiveMaximum = min(self._limit, 65_535)
        properties.MaximumPacketSize = MAX_PAYLOAD + 65_536
        client.connect(broker.host, broker.port, broker.keepalive_s, clean_start=False, properties=properties)

    def _drop(self, *, orderly: bool) -> None:
        self._unwatch()
        if self._client is not None:
            sock = self._client.socket()
            if isinstance(sock, socket.socket):
                with contextlib.suppress(ValueError, OSError):
                    self._loop.remove_writer(sock)
            if orderly and self.connected:
                self._client.disconnect()
            elif isinstance(sock, socket.socket):
                sock.close()
        self._client = None
        self.connected = False
        self._up.clear()
        self._session += 1
        self._open.clear()
        for waiting in self._published.values():
            waiting.cancel()

    def _set_state(self, state: str, *, up: bool = False) -> None:
        if state != self.state:
            self.state = state
            if self._on_state is not None:
                self._on_state(up, state)

    # The socket on the event loop

    def _watch(self) -> None:
        sock = self._client.socket() if self._client is not None else None
        if isinstance(sock, socket.socket) and not self._paused and self._reading is None:
            self._reading = sock
            self._loop.add_reader(sock, self._readable)
            if isinstance(sock, ssl.SSLSocket):
                self._loop.call_soon(self._readable)

    def _unwatch(self) -> None:
        if self._reading is not None:
            with contextlib.suppress(ValueError, OSError):
                self._loop.remove_reader(self._reading)
            self._reading = None

    def _readable(self) -> None:
        client, sock = self._client, self._reading
        if client is None or sock is None:
            return
        try:
            client.loop_read()
        except Exception as error:  # paho raises arbitrary exceptions on a malformed packet
            self._set_state(f"not connected: the broker sent a malformed packet ({type(error).__name__})")
            self._lost.set()
            return
        if client._in_packet["remaining_length"] > MAX_PAYLOAD + 65_536:
            self._set_state("not connected: the broker sent a message beyond the limit")
            self._lost.set()
        elif isinstance(sock, ssl.SSLSocket) and self._reading is sock and sock.fileno() >= 0 and sock.pending():
            self._loop.call_soon(self._readable)

    def _on_want_write(self, client: paho.Client, _data: Any, sock: Any) -> None:
        self._loop.call_soon_threadsafe(self._start_writing, client, sock)

    def _start_writing(self, client: paho.Client, sock: Any) -> None:
        if sock.fileno() >= 0 and client is self._client:
            self._loop.add_writer(sock, self._writable, client)

    def _writable(self, client: paho.Client) -> None:
        client.loop_write()

    def _on_written(self, _client: paho.Client, _data: Any, sock: Any) -> None:
        def stop() -> None:
            with contextlib.suppress(ValueError, OSError):
                self._loop.remove_writer(sock)

        self._loop.call_soon_threadsafe(stop)

    # Callbacks of the client

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._set_state(f"not connected: the broker refused ({reason})")
            self._lost.set()
        elif self._topics:
            client.subscribe([(topic, 1) for topic in self._topics])
        else:
            self._established()

    def _on_subscribe(self, _client: paho.Client, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:
        refused = [topic for topic, reason in zip(self._topics, reasons, strict=False) if reason.is_failure]
        if refused:
            self._set_state(f"connected; the broker refuses {', '.join(refused[:5])}", up=True)
        self._established(announce=not refused)

    def _established(self, *, announce: bool = True) -> None:
        if self._hello is not None and self._client is not None:
            self._client.publish(*self._hello, qos=1, retain=True)
        self.connected = True
        self._up.set()
        if announce:
            self._set_state("connected", up=True)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        token = -1
        if message.qos:
            token = self._next_token = self._next_token + 1
            self._open[token] = (self._session, message.mid)
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        self._waiting.append(Message(topic, bytes(message.payload), message.retain, token))
        self._arrived.set()
        if len(self._waiting) >= self._limit:
            self._paused = True
            self._unwatch()

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._unwatch()
        if self.connected:
            self._set_state(f"not connected: {reason}")
        self._lost.set()

    def _on_publish(self, _client: paho.Client, _data: Any, mid: int, _reason: Any, _properties: Any) -> None:
        done = self._published.setdefault(mid, self._loop.create_future())
        if not done.done():
            done.set_result(None)


class MqttFeed:
    """Devices that report by themselves over MQTT: a `telemetry.collect.source.Subscription` on one link."""

    def __init__(
        self,
        broker: Broker,
        channels: Sequence[Channel],
        clock: Clock,
        *,
        limit: int = 1000,
        on_state: Callable[[bool, str], None] | None = None,
    ) -> None:
        self.topics = Topics(channels)
        self.link = MqttLink(broker, self.topics.names(), limit=limit, on_state=on_state)
        self._clock = clock

    def start(self) -> None:
        self.link.start()

    async def stop(self) -> None:
        await self.link.stop()

    async def next(self) -> tuple[list[Reading], int]:
        """Readings of the next message and its token; an empty list where the topic is of no device."""
        message = await self.link.next()
        readings = self.topics.hear(message.topic, message.payload, message.retained, self._clock.now_ms())
        return readings, message.token

    def figures(self) -> list[Figure]:
        """Counters of messages received."""
        return self.topics.counts.figures()

    def acknowledge(self, token: int) -> None:
        """Acknowledge a message, after the journal's commit."""
        if token >= 0:
            self.link.acknowledge(token)
