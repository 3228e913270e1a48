# SPDX-License-Identifier: Apache-2.0
"""Health of the hub itself, and its figures as a Prometheus exposition."""

from typing import Any

from hub.config.observe_only import FIELD
from hub.control.runtime import Components
from telemetry.wire.exposition import Figure, exposition


class HealthReads:
    """Answers from memory."""

    def __init__(self, components: Components, version: str) -> None:
        self._components, self._state, self._version = components, components.state, version
        self._started_ms = components.clock.now_ms()

    def _now(self) -> int:
        return self._components.clock.now_ms()

    def exposition(self) -> str:
        components = self._components
        site_figures = [
            Figure(FIELD, float(site.config.observe_only), "1: the site only observes.", labels={"site": key})
            for key, site in components.state.sites.items()
        ]
        figures = [figure for part in components.counters for figure in part()] + site_figures
        return exposition(components.state.snapshot, self._now(), figures)

    def health(self) -> dict[str, Any]:
        components = self._components
        down = {name: health.text for name, health in components.health.items() if health.down_ms is not None}
        faults = [f"{name}: {text}" for name, text in sorted(down.items())]
        if components.recorder.fault:
            faults.append(f"journal: {components.recorder.fault}")
        if (lost := components.losses.get("readings_lost")) is not None and lost.recent(self._now()):
            faults.append(f"readings lost: {lost.text}")
        return {
            "ok": not faults,
            "version": self._version,
            "started_ms": self._started_ms,
            "as_of_ms": self._now(),
            "position": components.state.position,
            "wiring": components.wiring,
            "faults": faults,
            "tasks": [
                {
                    "name": name,
                    "state": health.state,
                    "well_ms": health.well_ms,
                    "down_ms": health.down_ms,
                    "restarts": health.restarts,
                    "text": health.text,
                }
                for name, health in sorted(components.health.items())
            ],
        }
