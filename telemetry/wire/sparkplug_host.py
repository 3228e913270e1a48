# SPDX-License-Identifier: Apache-2.0
"""Sparkplug B host application without a socket: births, data, deaths, rebirth requests.

- An edge node numbers its messages 0 to 255. After a gap a rebirth is requested and the node's data is ignored until the
  birth comes, since an alias may then stand for another metric.
- A death certificate is valid only for its own session (bdSeq): a late will of an earlier session may come after the new
  birth.
- Historical values keep their own instant and are always older than the latest live one, so that they are never taken as
  current.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kernel.errors import ConfigError, Fault
from kernel.reading import Absence, Field, Missing, Reading
from telemetry.device.codec import decode
from telemetry.device.point import Answer
from telemetry.device.profile import Profile
from telemetry.wire.exposition import Figure
from telemetry.wire.sparkplug import Metric, Payload, decode_payload, typed

NAMESPACE = "spBv1.0"
_ASK_AGAIN_MS = 10_000

Node = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SparkplugChannel:
    """One device of the hub: its edge node, and its device name there (None: its metrics are those of the node itself)."""

    device: str
    profile: Profile
    group: str
    node: str
    name: str | None = None


@dataclass(slots=True)
class Counts:
    """Counters of messages received, for the hub's own telemetry."""

    messages: int = 0
    malformed: int = 0
    strangers: int = 0
    gaps: int = 0
    late_deaths: int = 0
    rebirths_asked: int = 0

    def figures(self) -> list[Figure]:
        """Figures for `/metrics`."""
        rows = (
            ("sparkplug_messages", float(self.messages), "Sparkplug messages received.", False),
            ("sparkplug_malformed", float(self.malformed), "Sparkplug messages that could not be read.", True),
            ("sparkplug_strangers", float(self.strangers), "Messages of nodes that are not configured.", False),
            ("sparkplug_gaps", float(self.gaps), "Gaps in the sequence numbers of Sparkplug nodes.", True),
            ("sparkplug_late_deaths", float(self.late_deaths), "Death certificates of sessions already over.", False),
            ("sparkplug_rebirths_asked", float(self.rebirths_asked), "Rebirths requested of Sparkplug nodes.", False),
        )
        return [Figure(name, count, text, counter=True, loss=loss) for name, count, text, loss in rows]


@dataclass(slots=True)
class _Session:
    """State of one edge node. `born` False: its data is ignored."""

    born: bool = False
    birth_seq: int | None = None
    seq: int = 0
    asked_ms: int | None = None
    names: dict[tuple[str | None, int], tuple[str, int | None]] = field(default_factory=dict)
    types: dict[tuple[str | None, str], int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MessageContent:
    """Content of one message: readings (historical ones first), and nodes from which a rebirth is to be requested."""

    readings: tuple[Reading, ...] = ()
    rebirths: tuple[Node, ...] = ()


class SparkplugHost:
    """State of all edge nodes of the channels. ConfigError where two devices of the hub have the same name."""

    def __init__(self, channels: Iterable[SparkplugChannel]) -> None:
        self.counts = Counts()
        self._channels: dict[tuple[str, str, str | None], SparkplugChannel] = {}
        self._sessions: dict[Node, _Session] = {}
        self._latest_ms: dict[str, int] = {}
        faults: list[Fault] = []
        for channel in channels:
            if channel.profile.wire != "sparkplug":
                faults.append(
                    Fault(channel.device, f"profile {channel.profile.name} is no Sparkplug one", "Use another")
                )
            key = (channel.group, channel.node, channel.name)
            if key in self._channels:
                faults.append(Fault(channel.device, f"{key} is {self._channels[key].device}'s", "Give each its own"))
            self._channels[key] = channel
            self._sessions.setdefault((channel.group, channel.node), _Session())
        if faults:
            raise ConfigError(faults)

    def topics(self) -> list[str]:
        """Topics to subscribe to: data, births and deaths of nodes and devices, per group."""
        return sorted({f"{NAMESPACE}/{group}/+/{node}" for group, node in self._sessions}) + sorted(
            {f"{NAMESPACE}/{group}/+/{node}/+" for group, node in self._sessions}
        )

    def hear(self, topic: str, data: bytes, now_ms: int) -> MessageContent:
        """Process one message. Never raises an exception because of its content."""
        self.counts.messages += 1
        parts = topic.split("/")
        if len(parts) not in (4, 5) or parts[0] != NAMESPACE:
            self.counts.strangers += 1
            return MessageContent()
        node, verb, name = (parts[1], parts[3]), parts[2], parts[4] if len(parts) == 5 else None
        session = self._sessions.get(node)
        if session is None or verb not in _VERBS or (name is None) != verb.startswith("N"):
            self.counts.strangers += 1
            return MessageContent()
        try:
            payload = decode_payload(data)
        except (ValueError, UnicodeDecodeError):
            self.counts.malformed += 1
            return self._distrust(node, session, now_ms)
        if verb == "NDEATH":
            return self._death(node, session, payload, now_ms)
        if verb == "NBIRTH":
            return self._birth(node, session, payload, now_ms)
        if not session.born:
            return self._ask(node, session, now_ms)
        if payload.seq != (session.seq + 1) % 256:
            self.counts.gaps += 1
            return self._distrust(node, session, now_ms)
        session.seq = payload.seq
        if verb == "DDEATH":
            return MessageContent(self._absent(node, name, f"{name} is offline (death certificate)", now_ms))
        if verb == "DBIRTH":
            self._learn(session, name, payload.metrics)
        return self._data(node, session, name, payload, now_ms)

    def _birth(self, node: Node, session: _Session, payload: Payload, now_ms: int) -> MessageContent:
        session.names.clear()
        session.types.clear()
        session.born, session.asked_ms, session.seq = True, None, payload.seq or 0
        session.birth_seq = _birth_seq(payload)
        self._learn(session, None, payload.metrics)
        return self._data(node, session, None, payload, now_ms)

    def _death(self, node: Node, session: _Session, payload: Payload, now_ms: int) -> MessageContent:
        if session.born and session.birth_seq is not None and _birth_seq(payload) != session.birth_seq:
            # A late will, or a node that counts wrongly: a live node answers the rebirth request, else its values become stale.
            self.counts.late_deaths += 1
            return self._ask(node, session, now_ms)
        session.born = False
        readings: list[Reading] = []
        for group, edge, name in self._channels:
            if (group, edge) == node:
                readings += self._absent(node, name, f"edge node {edge} is gone", now_ms)
        return MessageContent(tuple(readings))

    def _learn(self, session: _Session, name: str | None, metrics: Sequence[Metric]) -> None:
        for metric in metrics:
            session.types[(name, metric.name)] = metric.datatype
            if metric.alias is not None:
                session.names[(name, metric.alias)] = (metric.name, metric.datatype)

    def _data(self, node: Node, session: _Session, name: str | None, payload: Payload, now_ms: int) -> MessageContent:
        channel = self._channels.get((*node, name))
        if channel is None:
            return MessageContent()
        live: dict[str, float | int | bool | str] = {}
        past: dict[int, dict[str, float | int | bool | str]] = {}
        null: set[str] = set()
        for metric in payload.metrics:
            known, datatype = self._named(session, name, metric)
            if known is None:
                return self._distrust(node, session, now_ms)
            value = typed(metric, metric.datatype or datatype)
            if value is None:
                null.add(known)
            elif metric.is_historical:
                stamp = metric.timestamp_ms or payload.timestamp_ms or 0
                past.setdefault(stamp, {})[known] = value
            else:
                live[known] = value
        readings = [self._past(channel, stamp, past[stamp], now_ms) for stamp in sorted(past)]
        values = self._values(channel, live, null)
        if values:
            self._latest_ms[channel.device] = now_ms
            readings.append(Reading(channel.device, channel.profile.kind, now_ms, values))
        return MessageContent(tuple(reading for reading in readings if reading.values))

    def _past(
        self, channel: SparkplugChannel, stamp: int, content: dict[str, float | int | bool | str], now_ms: int
    ) -> Reading:
        """A historical reading: at its own instant, and in any case before the latest live one."""
        latest = self._latest_ms.get(channel.device, now_ms)
        at_ms = min(stamp, latest - 1)
        return Reading(channel.device, channel.profile.kind, at_ms, self._values(channel, content, set()))

    def _values(
        self, channel: SparkplugChannel, content: dict[str, float | int | bool | str], null: set[str]
    ) -> dict[str, Field]:
        decoded = decode(channel.profile, content, 0)
        values: dict[str, Field] = {}
        for point in channel.profile.points:
            name = point.at.name if isinstance(point.at, Answer) else ""
            if name in content:
                values[point.metric] = decoded[point.metric]
            elif name in null:
                values[point.metric] = Missing(Absence.SENTINEL, "null")
        return values

    def _named(self, session: _Session, name: str | None, metric: Metric) -> tuple[str | None, int | None]:
        if metric.name:
            return metric.name, session.types.get((name, metric.name))
        found = session.names.get((name, metric.alias)) if metric.alias is not None else None
        return found if found is not None else (None, None)

    def _absent(self, node: Node, name: str | None, text: str, now_ms: int) -> tuple[Reading, ...]:
        channel = self._channels.get((*node, name))
        if channel is None:
            return ()
        why = Missing(Absence.UNREACHABLE, text)
        values: dict[str, Field] = {point.metric: why for point in channel.profile.points}
        self._latest_ms[channel.device] = now_ms
        return (Reading(channel.device, channel.profile.kind, now_ms, values),)

    def _distrust(self, node: Node, session: _Session, now_ms: int) -> MessageContent:
        session.born = False
        return self._ask(node, session, now_ms)

    def _ask(self, node: Node, session: _Session, now_ms: int) -> MessageContent:
        if session.asked_ms is not None and now_ms - session.asked_ms < _ASK_AGAIN_MS:
            return MessageContent()
        session.asked_ms = now_ms
        self.counts.rebirths_asked += 1
        return MessageContent(rebirths=(node,))


_VERBS = frozenset({"NBIRTH", "NDATA", "NDEATH", "DBIRTH", "DDATA", "DDEATH"})


def _birth_seq(payload: Payload) -> int | None:
    for metric in payload.metrics:
        if metric.name == "bdSeq" and isinstance(metric.value, int):
            return int(metric.value)
    return None
