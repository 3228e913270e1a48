# SPDX-License-Identifier: Apache-2.0
"""Readings as MQTT messages with Home Assistant discovery: payloads only, without a broker.

Each device has one retained state topic with a JSON object of its present values, and one retained discovery message with
every metric that it has ever reported, with unit and device class. A missing value is absent from the state and shows as
unknown, never as zero.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from kernel.metric import SCHEMAS, Nature
from kernel.reading import Missing, Reading

_UNITS: Mapping[str, tuple[str | None, str | None]] = {
    # canonical unit -> (device class, unit as Home Assistant writes it)
    "W": ("power", "W"), "var": ("reactive_power", "var"), "VA": ("apparent_power", "VA"), "V": ("voltage", "V"),
    "A": ("current", "A"), "Wh": ("energy", "Wh"), "C": ("temperature", "°C"), "bar": ("pressure", "bar"),
    "l/min": ("volume_flow_rate", "L/min"), "s": ("duration", "s"), "rpm": (None, "rpm"), "%": (None, "%"),
    "H/s": (None, "TH/s"), "varh": ("reactive_energy", "varh"), "1": (None, None), "": (None, None),
}  # fmt: skip

_SCALED = {"H/s": 1e-12}
"""Factors of units shown larger than stored: a hashrate in H/s has fifteen digits."""


@dataclass(frozen=True, slots=True)
class Post:
    """One MQTT message."""

    topic: str
    payload: bytes
    retain: bool


@dataclass(frozen=True, slots=True)
class Topics:
    """Topic prefixes: `prefix` is the hub's, `discovery` Home Assistant's."""

    prefix: str = "mining-hub"
    discovery: str = "homeassistant"

    def state(self, reading: Reading) -> str:
        return f"{self.prefix}/{reading.device}/{reading.kind}"

    @property
    def status(self) -> str:
        """`online` while the hub is connected; `offline` by its last will."""
        return f"{self.prefix}/status"

    def config(self, device: str) -> str:
        return f"{self.discovery}/device/{_plain(device)}/config"


def state_post(reading: Reading, topics: Topics) -> Post:
    """Present values of one reading, with its instant."""
    body: dict[str, Any] = {name: value for name, value in reading.values.items() if not isinstance(value, Missing)}
    body["at_ms"] = reading.at_ms
    return Post(topics.state(reading), orjson.dumps(body), retain=True)


def discovery_post(
    reading: Reading, metrics: Iterable[str], topics: Topics, *, version: str, expire_s: float = 300.0
) -> Post:
    """Discovery message of a device with these metrics."""
    key, device = _plain(reading.device), reading.device
    schema = SCHEMAS[reading.kind]
    components: dict[str, Any] = {}
    for name in sorted(metrics):
        metric = schema[name]
        device_class, unit = _UNITS.get(metric.unit, (None, metric.unit))
        if name == "humidity_pct":
            device_class = "humidity"
        elif name == "frequency_hz":
            device_class, unit = "frequency", "Hz"
        value = f"value_json.{name}"
        if metric.unit in _SCALED:
            value = f"({value} * {_SCALED[metric.unit]!r}) | round(3) if {value} is defined else none"
        else:
            value = f"{value} | default(none)"
        component: dict[str, Any] = {
            "p": "sensor",
            "unique_id": f"{key}_{reading.kind}_{name}",
            "name": name.replace("_", " "),
            "value_template": "{{ " + value + " }}",
            "expire_after": round(expire_s),
        }
        if device_class is not None:
            component["device_class"] = device_class
        if unit is not None and metric.nature is not Nature.STATE and metric.nature is not Nature.TEXT:
            component["unit_of_measurement"] = unit
        if metric.nature is Nature.COUNTER:
            component["state_class"] = "total_increasing"
        elif metric.nature is Nature.GAUGE:
            component["state_class"] = "measurement"
        components[f"{reading.kind}_{name}"] = component
    reported = {name: reading.values.get(name) for name in ("make", "model", "firmware", "serial")}
    named = {name: value for name, value in reported.items() if isinstance(value, str) and value}
    body = {
        "dev": {
            "ids": [key],
            "name": device.rpartition("/")[2],
            "mf": named.get("make", ""),
            "mdl": named.get("model", reading.kind),
            "sw": named.get("firmware", ""),
            "sn": named.get("serial", ""),
            "sa": device.rpartition("/")[0],
        },
        "o": {"name": "mining-hub", "sw": version},
        "cmps": components,
        "state_topic": topics.state(reading),
        "availability_topic": topics.status,
        "qos": 1,
    }
    body["dev"] = {name: value for name, value in body["dev"].items() if value}  # type: ignore[attr-defined]
    return Post(topics.config(device), orjson.dumps(body, option=orjson.OPT_SORT_KEYS), retain=True)


class Announced:
    """Metrics announced so far per device; gives the messages to publish for a reading."""

    def __init__(self, topics: Topics, version: str) -> None:
        self._topics, self._version = topics, version
        self._known: dict[str, set[str]] = {}

    def posts(self, reading: Reading) -> list[Post]:
        """The discovery message, where the reading has a metric for the first time, and the state message."""
        known = self._known.setdefault(f"{reading.device}/{reading.kind}", set())
        reported = {
            name for name, value in reading.values.items() if not isinstance(value, Missing) and not _long(name)
        }
        posts = []
        if reported - known:
            known |= reported
            posts.append(discovery_post(reading, known, self._topics, version=self._version))
        return [*posts, state_post(reading, self._topics)]

    def forget(self) -> None:
        """Announce everything again (the broker may have lost retained messages)."""
        self._known.clear()


def _long(metric: str) -> bool:
    """Whether a metric is a whole document, which becomes no entity."""
    return metric.endswith("_json")


def _plain(device: str) -> str:
    """Device key in characters allowed by Home Assistant: letters, digits, '_', '-'. Injective for device keys."""
    return device.replace("_", "__").replace(".", "_d").replace("/", "_s")
