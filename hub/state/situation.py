# SPDX-License-Identifier: Apache-2.0
"""The site at one instant as one frozen value: fleet, limits, meters, auxiliary loads, cooling loops, ambient, generation.

Made once a tick and once a page frame from the state (`Situations`). Control, display and explanation read it and ask
the state nothing more, so that control and page judge the same meter by one rule (`Freshness`). Its arrays are read-only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeVar

import numpy as np

from grid.limit import Limit, Priority
from grid.transformer import Transformer, cap_w
from hub.config import Config, Site
from hub.state.auxiliaries import loads_on
from hub.state.cooling_loops import loops_at
from hub.state.fold import HubState
from hub.state.site import FOREVER, SiteState
from hub.state.site_generation import SiteGeneration, generation_at
from kernel.clock import MS_PER_S
from kernel.curve import known
from kernel.reading import Absence, Missing
from miner_control.control.auxiliary_load import running_w
from miner_control.control.cold_protection import Loop, heat_floor_w
from miner_control.control.guard import Heat
from miner_control.fleet.fleet import Commanded, Fleet, Observed, fleet_of
from miner_control.fleet.observed import observed_of
from scheduling.problem.exogenous import AMBIENT
from scheduling.problem.overhead import Overhead

T = TypeVar("T")

METER_FRESH_S: Final = 15.0


@dataclass(frozen=True, slots=True)
class Freshness:
    """How old a value may be and still count as of now, in seconds: of a miner, of a meter."""

    miner_s: float
    meter_s: float = METER_FRESH_S

    @classmethod
    def of(cls, config: Config) -> "Freshness":
        """A meter's reading is fresh for three of its polls, and for METER_FRESH_S at least."""
        return cls(config.control.stale_after_s, max(METER_FRESH_S, 3.0 * config.polling.meter_s))


@dataclass(frozen=True, slots=True)
class MeterPower:
    """Power at a meter in W; Missing with the reason where its newest sample is not fresh. `last`: (instant, W) of that
    sample, None where there never was one."""

    power_w: float | Missing
    last: tuple[int, float] | None


@dataclass(frozen=True, slots=True, eq=False)
class SiteSituation:
    """A site at `now_ms`, from the journal up to `position`.

    `planned_limits`: connection, breakers and orders, those that begin later included; `limits`: these and the transformer
    at the present ambient temperature. `meters` by device key; `meters_w` the fresh ones by scope. `auxiliaries_on` by load
    name (None: not known). `heat_w`: least power that the miners must draw. `generation_w`: what generation on site
    delivers by evidence. `drawn_w`: power at the main meter by the miners' figures and the known loads.
    """

    key: str
    now_ms: int
    position: int
    seen: Observed
    asked: Commanded
    fleet: Fleet
    chip: Heat
    planned_limits: tuple[Limit, ...]
    limits: tuple[Limit, ...]
    under_order: bool
    main: str | None
    meters: Mapping[str, MeterPower]
    meters_w: Mapping[str, float]
    ambient_c: float | None
    auxiliaries_on: Mapping[str, bool | None]
    loops: tuple[Loop, ...]
    heat_w: float
    overhead: Overhead
    generation: SiteGeneration
    generation_w: float

    @property
    def main_w(self) -> float | None:
        """Fresh power at the main meter; None where there is none."""
        return self.meters_w.get(self.key)

    @property
    def meter_fresh(self) -> bool:
        """Whether the main meter may be relied on; a site without one has nothing to wait for."""
        return self.main is None or self.key in self.meters_w

    @property
    def drawn_w(self) -> float:
        return (
            float(self.fleet.power_w.sum()) * self.overhead.site_factor + self.overhead.site_fixed_w - self.generation_w
        )


class Situations:
    """The situations of a hub's sites. One that was made for the same position and instant is handed out again."""

    def __init__(self, state: HubState, freshness: Freshness) -> None:
        self.state, self.freshness = state, freshness
        self._made: dict[str, SiteSituation] = {}

    def at(self, site: SiteState, now_ms: int, within_ms: int = 0) -> SiteSituation:
        """The situation now, or one of the same position at most `within_ms` old."""
        held = self._made.get(site.key)
        if held is None or held.position != self.state.position or not 0 <= now_ms - held.now_ms <= within_ms:
            held = self._made[site.key] = situation_at(self.state, site, now_ms, self.freshness)
        return held


def situation_at(state: HubState, site: SiteState, now_ms: int, freshness: Freshness) -> SiteSituation:
    """The site as the state shows it. The same state and instant, the same value."""
    seen, asked = (
        _read_only(observed_of(site.roster, state.snapshot.kind("miner"), now_ms)),
        site.standing.commanded(now_ms),
    )
    under_order = ordered(state, site, now_ms)
    apart = site.kept_apart()
    if apart and not under_order:
        units = [site.roster.index[device] for device in apart if device in site.roster.index]
        asked.excluded[units] = True
    asked = _read_only(asked)
    fleet = fleet_of(site.roster, seen, asked, now_ms, stale_s=freshness.miner_s, starts_cap=site.starts_cap)
    fleet = _read_only(fleet)
    ambient_c = ambient_at(state, now_ms)
    planned = tuple(planned_limits(state, site, now_ms))
    meters = {ref.device: _meter(state, ref.device, now_ms, freshness.meter_s) for ref in site.meter_refs()}
    meters_w = {
        scope: power_w
        for scope, device in site.scopes().items()
        if isinstance(power_w := meters[device].power_w, float)
    }
    loops = tuple(loops_at(site.around.loops, state.snapshot, ambient_c, now_ms))
    on = loads_on(state.snapshot, site.load_book, site.around.loads, now_ms)
    overhead = Overhead(
        site.overhead_factor, running_w(site.around.loads, on), site.feeder_factor, site.around.auxiliary_w
    )
    generation = generation_at(state, site, now_ms, freshness.meter_s)
    return SiteSituation(
        key=site.key,
        now_ms=now_ms,
        position=state.position,
        seen=seen,
        asked=asked,
        fleet=fleet,
        chip=_chip(state, site, now_ms, freshness.miner_s),
        planned_limits=planned,
        limits=(*planned, *_transformer_limit(site, ambient_c)),
        under_order=under_order,
        main=site.main,
        meters=meters,
        meters_w=meters_w,
        ambient_c=ambient_c,
        auxiliaries_on=on,
        loops=loops,
        heat_w=site.config.heat_min_w + sum(map(heat_floor_w, loops)),
        overhead=overhead,
        generation=generation,
        generation_w=generation.delivered_w(fleet, overhead, meters_w.get(site.key)),
    )


def ambient_at(state: HubState, now_ms: int) -> float | None:
    """Outside temperature by the newest weather curve; None where none covers this instant."""
    curve = known(state.all_curves(), AMBIENT, now_ms)
    return None if curve is None else curve.at(now_ms)


def transformer_of(site: Site) -> Transformer | None:
    """The site's transformer by its configuration."""
    part = site.transformer
    return None if part is None else Transformer(**part.model_dump(exclude={"assumed_ambient_c"}))


def planned_limits(state: HubState, site: SiteState, now_ms: int) -> list[Limit]:
    """Limits of the site now or later that do not follow the weather: connection, breakers, orders."""
    return site.standing_limits() + _order_limits(state, site, now_ms)


def ordered(state: HubState, site: SiteState, now_ms: int) -> bool:
    """Whether an order limits the site, or a part of it, at this instant."""
    return any(one.span.holds(now_ms) for one in _order_limits(state, site, now_ms))


def _order_limits(state: HubState, site: SiteState, now_ms: int) -> list[Limit]:
    return [one for one in state.book.limits(now_ms) if one.scope == site.key or one.scope.startswith(f"{site.key}/")]


def _read_only(columns: T) -> T:
    """The same columns through views that cannot be written. Arrays may be the state's own."""
    found: dict[str, Any] = {}
    for one in fields(columns):  # type: ignore[arg-type]
        value = getattr(columns, one.name)
        if isinstance(value, np.ndarray):
            found[one.name] = value.view()
            found[one.name].flags.writeable = False
    return replace(columns, **found)  # type: ignore[type-var]


def _meter(state: HubState, device: str, now_ms: int, fresh_s: float) -> MeterPower:
    trace = state.traces.get(device)
    last = None if trace is None else trace.last()
    if last is None:
        found = state.snapshot.field(device, "power_w", now_ms, fresh_s)
        return MeterPower(found if isinstance(found, Missing) else Missing(Absence.NOT_REPORTED, "never heard"), None)
    age_s = (now_ms - last[0]) / MS_PER_S
    if age_s > fresh_s:
        return MeterPower(Missing(Absence.STALE, f"last heard {age_s:.0f} s ago: {last[1]:.0f} W"), last)
    return MeterPower(last[1], last)


def _transformer_limit(site: SiteState, ambient_c: float | None) -> list[Limit]:
    transformer, part = transformer_of(site.config), site.config.transformer
    if transformer is None or part is None:
        return []
    taken_c = part.assumed_ambient_c if ambient_c is None else ambient_c
    power_w = float(cap_w(transformer, np.array([taken_c]))[0])
    reason = f"hot spot at most {part.hot_spot_limit_c:g} C with air of {taken_c:g} C"
    return [Limit(site.key, power_w, FOREVER, Priority.SAFETY, "transformer", reason)]


def _chip(state: HubState, site: SiteState, now_ms: int, stale_s: float) -> Heat:
    """Chip temperatures by unit where they were reported lately; the board's where the chip's is not."""
    table = state.snapshot.kind("miner")
    rows = np.array([table.index.get(device, -1) for device in site.roster.devices], dtype=np.int64)
    chip_c, reported = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.bool_)
    for metric in ("temp_board_max_c", "temp_chip_max_c"):
        values, codes, age_s = table.values(metric, now_ms)
        if not len(values):
            continue
        good = (rows >= 0) & (codes[rows] == 0) & (age_s[rows] <= stale_s)
        chip_c[good], reported[good] = values[rows[good]].astype(np.float64), True
    return Heat(chip_c, reported)
