# SPDX-License-Identifier: Apache-2.0
"""The cooling loops around a site's miners: who tells what of each, from the configuration, and what they tell at an instant."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from hub.config.devices import LoopPart, PointPart
from hub.config.models import Site
from kernel.errors import ConfigError, Fault
from kernel.metric import SCHEMAS, TEXT_METRICS
from miner_control.control.cold_protection import Loop
from telemetry.collect.snapshot import Snapshot
from telemetry.device.profile import Profile
from telemetry.device.profile import load as load_profile

FRESH_S: Final = 180.0
"""A device's report older than this is no proof of flow, warmth or an open socket."""

OF_CONTAINER: Final[Mapping[str, tuple[str, ...]]] = {
    "supply": ("temp_supply_c",), "return": ("temp_return_c",), "ambient": ("temp_ambient_c",),
    "room": (), "humidity": ("humidity_pct",), "dew_point": (), "flow": ("flow_lpm", "pump_state"),
    "pressure": ("pressure_supply_bar",),
}  # fmt: skip
"""What of a loop a container tells by itself, and in which of its metrics: the first that has a value."""

UNITS: Final[Mapping[str, str]] = {
    "supply": "C", "return": "C", "ambient": "C", "room": "C", "humidity": "%", "dew_point": "C", "flow": "l/min",
    "pressure": "bar",
}  # fmt: skip


@dataclass(frozen=True)
class LoopSources:
    """A loop without measurements, and its sources: (device key, metric) of each quantity, the first fresh one counts."""

    loop: Loop
    sources: Mapping[str, tuple[tuple[str, str], ...]]
    flow_least_lpm: float = 0.0


def watched(spec: LoopPart, loop: Loop, site: Site, key: str, faults: list[Fault]) -> LoopSources:
    """Who tells what of one loop. Every name that is none is a fault: no such device, no such point, the wrong quantity."""
    place = f"loop {spec.name}"
    points = spec.points()
    reported: dict[str, tuple[tuple[str, str], ...]] = dict.fromkeys(UNITS, ())
    if spec.device:
        if spec.device in {part.name for part in site.containers}:
            reported = {what: tuple((f"{key}/{spec.device}", name) for name in OF_CONTAINER[what]) for what in UNITS}
        else:
            faults.append(_no_device(place, spec.device, (part.name for part in site.containers)))
    elif "supply" not in points:
        remedy = 'Name a container, or supply = { device = "rtd-1", point = "temp_c" }'
        faults.append(Fault(place, "nobody tells its inlet temperature", remedy))
    for what, point in points.items():
        if _is_reported(f"{place} {what}", what, point, site, faults):
            reported[what] = ((f"{key}/{point.device}", point.point),)
    return LoopSources(loop, reported, spec.flow_min_lpm)


def _is_reported(place: str, what: str, point: PointPart, site: Site, faults: list[Fault]) -> bool:
    """Whether a device of the site has a point that can be this quantity of a loop."""
    parts = {part.name: (folder, part) for folder, part in site.devices()}
    if point.device not in parts:
        faults.append(_no_device(place, point.device, parts))
        return False
    folder, part = parts[point.device]
    try:
        profile = load_profile(site.profile_file(folder, part), part.parameters)
    except ConfigError as error:
        faults += error.faults
        return False
    fitting = [metric for metric in profile.metrics() if _fits(what, metric, profile)]
    if point.point not in fitting:
        why = "tells something else" if point.point in profile.metrics() else f"{profile.name} has no such point"
        other = f"Name another device: this one tells nothing in {UNITS[what]}"
        remedy = f"Name one of: {', '.join(fitting)}" if fitting else other
        faults.append(Fault(f"{place} point", f"{point.point!r}: {why}", remedy))
        return False
    return True


def _fits(what: str, metric: str, profile: Profile) -> bool:
    """A quantity in its unit; flow also by the report of a pump, contactor or flow switch."""
    if metric in TEXT_METRICS[profile.kind]:
        return what == "flow" and metric.endswith("_state")
    return SCHEMAS[profile.kind][metric].unit == UNITS[what]


def _no_device(place: str, name: str, known: Iterable[str]) -> Fault:
    return Fault(f"{place} device", f"no {name!r} at the site", f"Name one of: {', '.join(sorted(known)) or 'none'}")


def loops_at(loops: Sequence[LoopSources], snapshot: Snapshot, ambient_c: float | None, now_ms: int) -> list[Loop]:
    """The loops as last measured. `ambient_c`: from the weather feed, where the loop reports none."""
    found = []
    for one in loops:
        reported = {what: _value(snapshot, one.sources[what], now_ms) for what in UNITS}
        number = {what: value if isinstance(value, float) else None for what, value in reported.items()}
        outside_c = number["ambient"]
        measured = replace(
            one.loop,
            supply_c=number["supply"],
            return_c=number["return"],
            ambient_c=ambient_c if outside_c is None else outside_c,
            room_c=number["room"],
            humidity_pct=number["humidity"],
            dew_c=number["dew_point"],
            pressure_bar=number["pressure"],
            flow_ok=_flows(reported["flow"], one.flow_least_lpm),
        )
        found.append(measured)
    return found


def _value(snapshot: Snapshot, sources: Sequence[tuple[str, str]], now_ms: int) -> float | str | None:
    """The first fresh value; None where there is none."""
    for device, metric in sources:
        found = snapshot.field(device, metric, now_ms, FRESH_S)
        if isinstance(found, str | int | float):
            return found if isinstance(found, str) else float(found)
    return None


def _flows(reported: float | str | None, least_lpm: float) -> bool | None:
    """Value of a flow meter, or state of a pump, contactor or flow switch; None where neither is reported."""
    if isinstance(reported, str):
        return reported == "on" if reported in ("on", "off") else None
    return None if reported is None else reported > least_lpm
