# SPDX-License-Identifier: Apache-2.0
"""The devices of a site that are no miners, and what hangs on them: switched loads and cooling loops."""

from collections.abc import Mapping
from typing import Literal

from pydantic import ConfigDict, Field

from hub.config.types import Name, Part, Port


class EdgeNode(Part):
    """Where Sparkplug B tells of a device: group, edge node, and its name there (left out: metrics of the node itself)."""

    group: str = Field(min_length=1, examples=["site-1"])
    node: str = Field(min_length=1, examples=["gateway-1"])
    device: str | None = None


class Device(Part):
    """A device and the one way it is heard: asked at `host`, or speaking unasked over MQTT, as JSON under `topic` or as
    Sparkplug B. `parameters` fills what its profile leaves to the site."""

    name: Name
    profile: Name
    host: str = Field(default="", examples=["192.0.2.10"])
    topic: str = Field(default="", examples=["c1"])
    sparkplug: EdgeNode | None = None
    port: Port = 502
    unit: int | None = Field(default=None, ge=0, le=255)
    framing: Literal["tcp", "rtu+tcp", "serial"] = "tcp"
    baudrate: int = Field(default=9600, ge=300)
    parity: Literal["N", "E", "O"] = "N"
    parameters: Mapping[str, float] = Field(default_factory=dict)
    credential: Name | None = None
    billing: bool = False


class Meter(Device):
    """A meter. `billing` keeps its raw frames as evidence and its energy per slot for good. The power of a `generation` meter is
    what the site generates itself behind its main meter, positive."""

    role: Literal["main", "feeder", "generation", "sub"]
    feeder: Name | None = None


class Container(Device):
    """A container."""


class SwitchPart(Device):
    """A relay, contactor or PDU that switches loads; where it meters its outputs, that is reported too."""


class Served(Part):
    """Which miners a load or loop serves: by rack, by feeder, by name, all together; at least one of them."""

    racks: tuple[str, ...] = ()
    feeders: tuple[Name, ...] = ()
    miners: tuple[Name, ...] = ()


class LoadPart(Part):
    """A switched load that is no miner. `device` is the container, PDU or relay that switches it, `group` and `index` its
    output there (`socket`, `pdu02`, `pump`; where left out, the kind's own name, and `output` of one of `switches`).
    `power_w` is what it draws itself behind the site's meter; left out, it is part of the learnt overhead."""

    name: Name
    kind: Literal["socket", "contactor", "pump", "fan", "heater"]
    device: Name
    group: str = ""
    index: int = Field(default=1, ge=1)
    power_w: float = Field(default=0.0, ge=0)
    serves: Served


class PointPart(Part):
    """A point of a device of the site: its metric, as `docs/reference/profiles.md` and the profile name it."""

    device: Name
    point: str = Field(min_length=1, examples=["temp_c"])


class LoopPart(Part):
    """A cooling loop that the cold guard watches. A container tells of itself (`device`); what any other device tells is
    named point by point and goes before it. The inlet's bounds are those between which its miners may start;
    `loss_w_per_k` and `frost_protection_c` say what heat a liquid loop needs in frost. `ambient` is the air outside,
    `room` the air around the boards (left out: the same), and `humidity` that of the room."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: Name
    device: Name | None = None
    supply: PointPart | None = None
    back: PointPart | None = Field(default=None, alias="return")
    ambient: PointPart | None = None
    room: PointPart | None = None
    humidity: PointPart | None = None
    dew_point: PointPart | None = None
    flow: PointPart | None = None
    pressure: PointPart | None = None
    serves: Served
    liquid: bool = True
    inlet_min_c: float = Field(default=20.0, ge=-40, le=60)
    inlet_max_c: float = Field(default=45.0, ge=0, le=90)
    loss_w_per_k: float = Field(default=0.0, ge=0)
    frost_protection_c: float = Field(default=5.0, ge=-40, le=40)
    return_max_c: float | None = Field(default=None, ge=0, le=120)
    flow_min_lpm: float = Field(default=0.0, ge=0)
    pressure_min_bar: float | None = Field(default=None, ge=0, le=100)

    def points(self) -> dict[str, PointPart]:
        """What is named point by point."""
        named = {
            "supply": self.supply, "return": self.back, "ambient": self.ambient, "room": self.room, "humidity": self.humidity,
            "dew_point": self.dew_point, "flow": self.flow, "pressure": self.pressure,
        }  # fmt: skip
        return {what: point for what, point in named.items() if point is not None}
