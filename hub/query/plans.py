# SPDX-License-Identifier: Apache-2.0
"""Plan of a site, its explanation, offers, flexibility, power chart and shadow-mode valuation."""

from typing import Any

import hub.query.schema as shape
from grid.tariff import Tariff
from hub.config.observe_only import marked
from hub.control.runtime import Components
from hub.query.downsample import power_chart
from hub.query.flexibility import available_at
from hub.query.frame import frame
from hub.query.plan_answers import explained, offered
from hub.state.site import SiteState
from hub.state.situation import SiteSituation
from kernel.errors import ConfigError, Fault


class PlanReads:
    """Answers from memory; `explain` and `offers` solve in a worker. Raises NotFound for an unknown site."""

    def __init__(self, components: Components) -> None:
        self._components, self._state = components, components.state

    def _situation(self, site: SiteState) -> SiteSituation:
        return frame(self._components, site)

    def _now(self) -> int:
        return self._components.clock.now_ms()

    def plan(self, site: str) -> dict[str, Any] | None:
        here = self._state.site(site)
        return marked(here.config, here.plan) if here.plan is not None else None

    def series(self, site: str, start_ms: int, end_ms: int, width: int) -> shape.Series:
        return power_chart(self._state, self._state.site(site), start_ms, end_ms, width, self._now())

    def shadow(self, site: str) -> dict[str, Any]:
        here = self._state.site(site)
        return marked(here.config, here.shadow.to_json(self._components.config.prices.currency))

    def availability(self, site: str) -> dict[str, Any]:
        here = self._state.site(site)
        found = available_at(here, self._situation(here), self._components.config)
        return marked(here.config, found.to_json())

    async def explain(self, site: str) -> dict[str, Any]:
        here, components = self._state.site(site), self._components
        now = self._situation(here)
        return await components.offload(explained, components.config, self._state, here, self._tariff(), now)

    async def offers(self, site: str, reserve_w: float | None) -> dict[str, Any]:
        here, components = self._state.site(site), self._components
        now = self._situation(here)
        return await components.offload(offered, components.config, self._state, here, self._tariff(), now, reserve_w)

    def _tariff(self) -> Tariff:
        tariff = self._components.tariff
        if tariff is None:
            raise ConfigError(
                [Fault("planning.tariff", "there is none, so nothing is planned", "Name one in hub.toml")]
            )
        return tariff
