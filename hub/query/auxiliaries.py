# SPDX-License-Identifier: Apache-2.0
"""What stands around a site's miners as people ask for it: each load and loop, who tells of it, and why nobody may wake."""

from typing import Any

from hub.control.runtime import Components
from hub.state.site import SiteState
from hub.state.situation import SiteSituation
from miner_control.control.auxiliary_load import Load, output_metrics
from miner_control.control.cold_protection import heat_floor_w, wake_fault
from telemetry.collect.snapshot import Snapshot

_REPORTED = ("supply_c", "return_c", "ambient_c", "room_c", "humidity_pct", "dew_c", "pressure_bar", "flow_ok")


def auxiliary_lines(snapshot: Snapshot, site: SiteState, now: SiteSituation) -> dict[str, Any]:
    """`loads` and `loops`, in the order of the configuration; what nobody tells is None.

    A load: `name, kind, device, output, on, reported_ms` (when its device spoke of it last), `switched_ms` (when a switching of
    ours was proven last), `power_w` as configured, `measured_w`, `serves` (miners). A loop: `name, serves`, what it measures,
    `heat_w` that must stay on, and `holds`: why none of its miners may wake, "" where they may.
    """
    loads = [_load(snapshot, site, load, now.auxiliaries_on[load.name]) for load in site.around.loads]
    loops = [
        {
            "name": one.name, "serves": len(one.units), **{what: getattr(one, what) for what in _REPORTED},
            "heat_w": heat_floor_w(one), "holds": wake_fault(one),
        }
        for one in now.loops
    ]  # fmt: skip
    return {"as_of_ms": now.now_ms, "loads": loads, "loops": loops}


def _load(snapshot: Snapshot, site: SiteState, load: Load, on: bool | None) -> dict[str, Any]:
    reported = snapshot.reading(load.device, output_metrics(load))
    measured = snapshot.reading(load.device, (f"output_{load.index}_power_w",))
    switched_ms = site.load_book.on(load.key)[1]
    return {
        "name": load.name,
        "kind": load.kind.value,
        "device": load.device,
        "output": f"{load.group or load.kind.value} {load.index}",
        "on": on,
        "reported_ms": None if reported is None else reported.at_ms,
        "switched_ms": switched_ms or None,
        "power_w": load.power_w,
        "measured_w": None if measured is None else measured.number(f"output_{load.index}_power_w"),
        "serves": len(load.feeds),
    }


class AuxiliaryReads:
    """Answers from memory. Raises NotFound for an unknown site."""

    def __init__(self, components: Components) -> None:
        self._components = components

    def loads(self, site: str) -> dict[str, Any]:
        """`as_of_ms, loads, loops`."""
        here = self._components.state.site(site)
        now = self._components.situations.at(here, self._components.clock.now_ms())
        return auxiliary_lines(self._components.state.snapshot, here, now)
