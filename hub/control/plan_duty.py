# SPDX-License-Identifier: Apache-2.0
"""The planner's place in the hub: watches whether a plan is due, makes it off the loop, journals it.

Without a price, a hashprice or a tariff there is no plan: the control step then holds what is and obeys every limit.
"""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

import numpy as np

from grid.tariff import Tariff
from hub.config import Config, Site
from hub.journal.recorder import Offload, Recorder
from hub.market.price_duty import HASHPRICE, MARKET, REAL_TIME
from hub.state.fold import HubState
from hub.state.site import SiteState
from hub.state.situation import SiteSituation, Situations, planned_limits, transformer_of
from kernel.clock import Clock, to_datetime
from kernel.curve import Curve
from kernel.event import EventKind
from kernel.span import local_day
from kernel.units import MS_PER_HOUR, WH_PER_MWH
from scheduling.offer.hedge import Hedge, RiskPreference, errors_by_day, hedge
from scheduling.plan import Plan, PlanMade
from scheduling.planner import PlanInputs, due, make, plan_inputs
from scheduling.problem.build_problem import SiteNumbers, problem_of
from scheduling.problem.contracts import Held, TakeBlock
from scheduling.problem.exogenous import Weather
from scheduling.problem.overhead import Overhead
from scheduling.problem.problem import Problem
from scheduling.solve.exact import Effort
from scheduling.solve.lagrangian import WarmStart


def numbers_of(config: Config, site: SiteState, currency: str, blocks: Sequence[TakeBlock] = ()) -> SiteNumbers:
    """What the configuration and the learnt overhead say to the planner."""
    planning = config.planning
    held = {one.direction: Held(one.price_per_mwh / WH_PER_MWH, one.max_w, one.block_h) for one in site.config.reserve}
    return SiteNumbers(
        site=site.key,
        currency=currency,
        import_cap_w=site.config.import_cap_w,
        market=MARKET,
        hashprice=HASHPRICE,
        feeder_cap_w={feeder.name: feeder.cap_w for feeder in site.config.feeders},
        overhead=Overhead(site.overhead_factor, 0.0, site.feeder_factor, site.around.auxiliary_w),
        ramp_w_per_s=site.config.ramp_w_per_s,
        start_cost=planning.start_cost,
        starts_per_day=planning.starts_per_day,
        heat_w=site.config.heat_min_w,
        blocks=tuple(blocks),
        reserve_down=held.get("down"),
        reserve_up=held.get("up"),
        transformer=transformer_of(site.config),
        assumed_ambient_c=site.config.transformer.assumed_ambient_c if site.config.transformer else 0.0,
        weather=_weather(site.config),
        steps=planning.horizon,
    )


def _weather(site: Site) -> Weather:
    reported = site.weather.model_dump(exclude_none=True)
    return Weather(**reported)


def take_blocks(config: Config, state: HubState, site: SiteState, now_ms: int) -> list[TakeBlock]:
    """The take-or-pay days that the horizon touches; of today what the main meter has seen used so far."""
    if not site.config.take_or_pay:
        return []
    zone = ZoneInfo(site.config.zone)
    until_ms = now_ms + round(max(until for _, until in config.planning.horizon) * 1000)
    found: list[TakeBlock] = []
    day = to_datetime(now_ms).astimezone(zone).date()
    while (span := local_day(day, zone)).start_ms < until_ms:
        used_wh = _used_wh(state, site, span.start_ms, now_ms) if span.start_ms < now_ms else 0.0
        found += [
            TakeBlock(span, one.energy_mwh_per_day * WH_PER_MWH, one.penalty_per_mwh / WH_PER_MWH, used_wh, one.name)
            for one in site.config.take_or_pay
            if one.valid_from <= day and (one.valid_to is None or day < one.valid_to)
        ]
        day = to_datetime(span.end_ms).astimezone(zone).date()
    return found


def _used_wh(state: HubState, site: SiteState, start_ms: int, now_ms: int) -> float:
    """Energy drawn by the main meter's power since an instant, straight lines between samples; 0 where there is no meter. What
    flows out takes nothing back."""
    if site.main is None:
        return 0.0
    at_ms, power_w = state.traces[site.main].between(start_ms, now_ms)
    return float(np.trapezoid(np.maximum(power_w, 0.0), at_ms)) / MS_PER_HOUR if len(at_ms) > 1 else 0.0


def problem_at(config: Config, state: HubState, site: SiteState, tariff: Tariff, now: SiteSituation) -> Problem:
    """The decision of an instant, from the situation and the curves known. Raises ConfigError where a curve is missing."""
    now_ms, meters = now.now_ms, now.meters_w
    return problem_of(
        numbers_of(config, site, tariff.currency, take_blocks(config, state, site, now_ms)),
        now.fleet,
        now.asked.since_ms,
        tariff,
        state.all_curves(),
        now.planned_limits,
        now_ms,
        peak_so_far_w=site.peak.highest_w(now_ms),
        meter_w=meters.get(site.key),
        feeder_meter_w={scope.rpartition("/")[2]: watts for scope, watts in meters.items() if scope != site.key},
        generated_w=now.generation_w,
    )


def tomorrow(config: Config, site: SiteState, problem: Problem, curves: Sequence[Curve], now_ms: int) -> Hedge | None:
    """What to buy ahead of the site's next day and what reserve to promise; None where it is not asked for, or few past days
    are known. The same instant draws the same scenarios."""
    risk = config.planning.risk
    if risk is None:
        return None
    zone = ZoneInfo(site.config.zone)
    today = local_day(to_datetime(now_ms).astimezone(zone).date(), zone)
    day = local_day(to_datetime(today.end_ms).astimezone(zone).date(), zone)
    errors = errors_by_day(curves, MARKET, REAL_TIME, zone, now_ms)
    preference = RiskPreference(
        risk.scenarios,
        risk.tail,
        risk.weight,
        risk.reserve_price_per_mwh / WH_PER_MWH,
        risk.reserve_max_w,
        risk.block_h,
    )
    return hedge(problem, day, zone, errors, preference, np.random.default_rng(now_ms // 1000))


class PlanDuty:
    """Plans for one site: on the slot, on a new curve, on an order."""

    def __init__(
        self,
        config: Config,
        site: SiteState,
        tariff: Tariff,
        situations: Situations,
        recorder: Recorder,
        clock: Clock,
        offload: Offload,
        every_s: float,
    ) -> None:
        self.every_s = every_s
        self.name = f"plan {site.config.name}"
        self.last: Plan | None = None
        self.seconds: list[float] = []
        self._config, self._site, self._tariff = config, site, tariff
        self._state, self._situations = situations.state, situations
        self._recorder, self._clock, self._offload = recorder, clock, offload
        self._made: PlanInputs | None = None
        self._warm_start = WarmStart()
        self._feeder = site.roster.feeder

    async def do(self) -> None:
        """Plan if something asks for it. Raises ConfigError where a curve is missing: reported once, tried again."""
        site, state, config, now_ms = self._site, self._state, self._config, self._clock.now_ms()
        if site.pulses.watching:
            return  # A rack sleeps for its pulse: a plan made now would count it as gone.
        limits, curves = planned_limits(state, site, now_ms), state.all_curves()
        numbers = numbers_of(config, site, self._tariff.currency)
        why = due(self._made, numbers, now_ms, curves, limits)
        if self._feeder is not site.roster.feeder:
            # Other groups than before: nothing of the last plan fits them.
            why, self.last, self._warm_start, self._feeder = (
                "miners stand elsewhere",
                None,
                WarmStart(),
                site.roster.feeder,
            )
        if why is None or not len(site.roster):
            return
        now = self._situations.at(site, now_ms)
        if not now.fleet.fresh.any():
            return
        problem = problem_at(config, state, site, self._tariff, now)
        begun_s = self._clock.monotonic_s()
        effort = Effort(nodes=config.planning.milp_nodes)
        plan = await self._offload(_make, problem, why, self.last, effort, self._warm_start)
        self.seconds.append(self._clock.monotonic_s() - begun_s)
        self._made = plan_inputs(numbers, problem.slots.edges_ms, now_ms, curves, limits)
        self.last = plan
        reported = tomorrow(config, site, problem, curves, now_ms)
        body: PlanMade = (
            plan.to_json() if reported is None else {**plan.to_json(), "tomorrow": reported.to_json(problem.slots)}
        )
        await self._recorder.commit(site.key, EventKind.PLAN_MADE, body)


def _make(problem: Problem, why: str, last: Plan | None, effort: Effort, warm_start: WarmStart) -> Plan:
    return make(problem, why_now=why, last=last, effort=effort, warm_start=warm_start)
