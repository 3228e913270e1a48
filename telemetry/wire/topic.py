# SPDX-License-Identifier: Apache-2.0
"""MQTT messages to readings: device by topic, values by profile, without a socket.

A profile's `[documents]` are topic templates with `{id}`. A message has one document, so its reading has only that document's
metrics, and of a partial document only those present. An undecodable message gives Missing(MALFORMED) for a known device, and
is counted.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from kernel.errors import ConfigError, DecodeError, Fault
from kernel.foreign_json import foreign_json
from kernel.reading import MISSING, Absence, Field, Missing, Reading
from telemetry.device.codec import decode_document
from telemetry.device.point import Pointer
from telemetry.device.profile import Profile
from telemetry.wire.exposition import Figure

MAX_PAYLOAD = 1 << 20
_NOT_REPORTED = MISSING[Absence.NOT_REPORTED]


@dataclass(frozen=True, slots=True)
class Channel:
    """One MQTT device: its key, its profile and its id in topics.

    - `retained_counts`: accept retained messages, whose age is unknown; by default they are ignored.
    - `gone`: topic template and payload of the device's own last will, where it has one; then all its metrics are
      unreachable.
    """

    device: str
    profile: Profile
    id: str
    retained_counts: bool = False
    gone: tuple[str, bytes] | None = None


@dataclass(slots=True)
class Counts:
    """Counters of messages received, for the hub's own telemetry."""

    messages: int = 0
    malformed: int = 0
    unknown_topic: int = 0
    retained_passed_over: int = 0

    def figures(self) -> list[Figure]:
        """Figures for `/metrics`."""
        rows = (
            ("mqtt_messages", float(self.messages), "Messages received over MQTT.", False),
            ("mqtt_malformed", float(self.malformed), "MQTT messages that could not be read.", True),
            ("mqtt_unknown_topic", float(self.unknown_topic), "MQTT messages on a topic of no device.", False),
            (
                "mqtt_retained_passed_over",
                float(self.retained_passed_over),
                "Retained MQTT messages, of unknown age.",
                False,
            ),
        )
        return [Figure(name, count, text, counter=True, loss=loss) for name, count, text, loss in rows]


@dataclass(slots=True)
class Topics:
    """Topics of all channels. ConfigError where two devices have the same topic, or an id contains a wildcard."""

    channels: Iterable[Channel]
    counts: Counts = field(default_factory=Counts)
    _routes: dict[str, tuple[Channel, str]] = field(default_factory=dict)
    _wills: dict[str, Channel] = field(default_factory=dict)

    def __post_init__(self) -> None:
        faults: list[Fault] = []
        for channel in self.channels:
            if not channel.id or set(channel.id) & set("+#\0"):
                faults.append(Fault(channel.device, f"topic id {channel.id!r}", "Use a text without + and #"))
                continue
            templates = [(name, place) for name, places in channel.profile.documents.items() for place in places]
            for document, template in templates:
                topic = template.replace("{id}", channel.id)
                if topic in self._routes:
                    other = self._routes[topic][0].device
                    faults.append(Fault(channel.device, f"topic {topic!r} is {other}'s", "Give each device its own id"))
                self._routes[topic] = (channel, document)
            if channel.gone is not None:
                self._wills[channel.gone[0].replace("{id}", channel.id)] = channel
        if faults:
            raise ConfigError(faults)

    def names(self) -> list[str]:
        """Topics to subscribe to."""
        return sorted({*self._routes, *self._wills})

    def hear(self, topic: str, payload: bytes, retained: bool, at_ms: int) -> list[Reading]:
        """Readings of one message: one, or none where the topic is of no device. Never raises an exception because of its
        content.
        """
        self.counts.messages += 1
        if (channel := self._wills.get(topic)) is not None and channel.gone is not None and payload == channel.gone[1]:
            missing = Missing(Absence.UNREACHABLE, "its last will was published")
            return [
                Reading(channel.device, channel.profile.kind, at_ms, dict.fromkeys(channel.profile.metrics(), missing))
            ]
        route = self._routes.get(topic)
        if route is None:
            self.counts.unknown_topic += topic not in self._wills
            return []
        channel, document = route
        if retained and not channel.retained_counts:
            self.counts.retained_passed_over += 1
            return []
        values: dict[str, Field]
        try:
            if len(payload) > MAX_PAYLOAD:
                raise DecodeError(document, f"{len(payload)} bytes")
            parsed = foreign_json(payload, document)
        except DecodeError as error:
            self.counts.malformed += 1
            why = Missing(Absence.MALFORMED, str(error)[:120])
            values = {
                point.metric: why
                for point in channel.profile.points
                if isinstance(point.at, Pointer) and point.at.document == document
            }
        else:
            values = decode_document(channel.profile, document, parsed)
            if document in channel.profile.partial:
                values = {name: found for name, found in values.items() if found != _NOT_REPORTED}
        return [Reading(channel.device, channel.profile.kind, at_ms, values)] if values else []
