# SPDX-License-Identifier: Apache-2.0
"""Which device a message is of, and what it says: topics and payloads to readings, without a socket.

A profile's `[documents]` are topic templates with `{id}`. A message holds one document, so its reading holds that
document's metrics only, and of a partial document only those it names. What cannot be read gives Missing(MALFORMED) for a
known device, and a count for the rest.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import orjson

from kernel.errors import ConfigError, Fault
from kernel.reading import MISSING, Absence, Field, Missing, Reading
from telemetry.device.codec import decode_document
from telemetry.device.point import Pointer
from telemetry.device.profile import Profile
from telemetry.wire.exposition import Figure

MAX_PAYLOAD = 1 << 20
_NOT_REPORTED = MISSING[Absence.NOT_REPORTED]


@dataclass(frozen=True, slots=True)
class Channel:
    """One device that speaks over MQTT: its key, its profile and its id in topics.

    `retained_counts` accepts retained messages, whose age nobody knows; by default they are passed over. `gone` is the
    topic template and payload of the device's own last will, where it has one: then all its metrics are unreachable.
    """

    device: str
    profile: Profile
    id: str
    retained_counts: bool = False
    gone: tuple[str, bytes] | None = None


@dataclass(slots=True)
class Counts:
    """What was heard, for the hub's own telemetry."""

    messages: int = 0
    malformed: int = 0
    unknown_topic: int = 0
    retained_passed_over: int = 0

    def figures(self) -> list[Figure]:
        """As counters for `/metrics`."""
        reported = (
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
        return [Figure(name, count, text, counter=True, loss=loss) for name, count, text, loss in reported]


@dataclass(slots=True)
class Topics:
    """All topics of all channels. Raises ConfigError where two devices claim one topic, or an id holds a wildcard."""

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
            reported = [(name, place) for name, places in channel.profile.documents.items() for place in places]
            for document, template in reported:
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
        """Every topic to subscribe to."""
        return sorted({*self._routes, *self._wills})

    def hear(self, topic: str, payload: bytes, retained: bool, at_ms: int) -> list[Reading]:
        """The readings of one message: one, or none where the topic is nobody's. Never raises for what was sent."""
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
                raise ValueError(f"{len(payload)} bytes")
            parsed = orjson.loads(payload)
        except ValueError as error:
            self.counts.malformed += 1
            why = Missing(Absence.MALFORMED, f"{document}: {error}"[:120])
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
