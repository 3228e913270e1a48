# SPDX-License-Identifier: Apache-2.0
"""Physics of the simulated machines: power, hashrate, heat and energy of n miners as numpy columns.

Each miner follows one trajectory: `power(t) = from + (to - from) * f(u)`, `u = (t - start) / duration`, where f is a
piecewise linear shape (the start-up trace, a straight step, a drop) that stays at 1 after u = 1; the same for the hashrate.
One further trajectory may wait (a restart: drop, then start). Weather, temperatures and the noise of the reports
change only on a grid of `HEAT_MS`, and scale power and hashrate by factors that hold between grid instants. Hence the
integrals (energy, hashes) are exact and independent of how often `advance` is called (a law in the tests).

`pace` divides the time constants of the dynamics alone (ramps, reboots, thermal lag); clocks and energy stay true.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kernel.units import HASHES_PER_DIFFICULTY, MS_PER_DAY, MS_PER_HOUR, WS_PER_WH
from twin.look import Look
from twin.models import Model
from twin.shape import DROP, START, shape_area, shape_at, shape_value
from twin.weather import Weather

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

HEAT_MS = 10_000
BOARD_LAG_S = 45.0
"""Time constant of a board with its heat sinks in moving air: 1.1 kW over 1.6 kJ/K is 0.7 K/s, for some 30 K over the inlet."""
CHIP_OVER_BOARD_C = 15.0
"""Of a chip at full load. It follows the power at once, the board with its lag."""
NEVER = 1 << 60


class Trajectories:
    """n miners. Columns are [miner]; `advance(now)` updates energy, hashes, heat and noise to an instant.

    Commands act at the given instant, take effect as the model does, and never fail: refusals of a firmware are made by its
    responder. `fault_power` and `fault_hash` scale power and hashrate of a faulty unit.
    """

    def __init__(
        self,
        models: Sequence[Model],
        *,
        rng: np.random.Generator,
        now_ms: int,
        pace: float = 1.0,
        weather: Weather | None = None,
        spread: float = 0.02,
    ) -> None:
        n = len(models)
        self.models = list(models)
        self.n = n
        self.pace = pace
        self.weather = weather or Weather()
        self._rng = rng

        def column(name: str) -> Floats:
            return np.array([getattr(model, name) for model in models], dtype=np.float64)

        def spread_of(share: float) -> Floats:
            return 1.0 + np.clip(rng.normal(0.0, share, n), -3 * share, 3 * share) if share else np.ones(n)

        # Properties
        self.nominal_w = column("power_w") * spread_of(spread)
        self.nominal_hs = column("hashrate_hs") * spread_of(spread * 0.75)
        self.plate_hs = column("hashrate_hs")
        self.sleep_w = column("sleep_w")
        self.rise_c = column("rise_c")
        self.boards = column("boards")
        self.fans = column("fans")
        slack = spread_of(spread * 4)
        self.down_delay_ms = column("down_delay_s") * slack * 1000 / pace
        self.down_ms = np.maximum(column("down_s") * 1000 / pace, 1.0)
        self.up_ms = np.maximum(column("up_s") * slack * 1000 / pace, 1.0)
        self.step_ms = np.maximum(column("step_s") * 1000 / pace, 1.0)
        self.board_ms = column("board_s") * slack * 1000 / pace
        self.report_bias = spread_of(spread / 4)
        self.place_c = rng.normal(0.0, self.weather.spread_c, n)

        # Commanded state
        self.asleep: Bools = np.zeros(n, dtype=np.bool_)
        self.want_w = self.nominal_w.copy()
        self.want_hs = self.nominal_hs.copy()
        self.limit_w = column("power_w")
        self.percent = np.full(n, 100.0)
        self.modes = [model.normal for model in models]
        self.locating: Bools = np.zeros(n, dtype=np.bool_)

        # Present trajectory
        self._start: Ints = np.full(n, now_ms - 1, dtype=np.int64)
        self._dur = np.ones(n)
        self._shape: Ints = np.zeros(n, dtype=np.int64)
        self._p = (self.want_w.copy(), self.want_w.copy())
        self._h = (self.want_hs.copy(), self.want_hs.copy())
        self._next_at: Ints = np.full(n, NEVER, dtype=np.int64)
        self._next_dur = np.ones(n)
        self._next_shape: Ints = np.zeros(n, dtype=np.int64)
        self._next_p = np.zeros(n)
        self._next_h = np.zeros(n)
        self.board_up_ms: Ints = np.full(n, now_ms, dtype=np.int64)
        self.started_ms: Ints = (now_ms - rng.integers(MS_PER_HOUR, 40 * MS_PER_DAY, n)).astype(np.int64)
        self.hashing_ms = self.started_ms.copy()
        self.tripped: Bools = np.zeros(n, dtype=np.bool_)

        # Faults
        self.fault_power = np.ones(n)
        self.fault_hash = np.ones(n)
        self.fault_heat_c = np.zeros(n)
        self.dead_boards: Ints = np.zeros(n, dtype=np.int64)

        # Counters
        self.energy_ws = np.zeros(n)
        self.hashes = np.zeros(n)
        self.hashes_before = self.nominal_hs * (now_ms - self.started_ms) / 1000.0
        self.refused_from = np.full(n, np.inf)
        """Hashes done when the pool stopped accepting shares."""
        self.board_c = self.weather.at(now_ms) + self.place_c + self.rise_c - CHIP_OVER_BOARD_C
        self.chip_c = self.board_c + CHIP_OVER_BOARD_C
        self._heat_p = np.ones(n)
        self._heat_h = np.ones(n)
        self.noise = np.zeros(n)
        self.at_ms = now_ms
        self._heat_at(now_ms, settle=True)

    # --- time -------------------------------------------------------------------------------------------------------

    def advance(self, now_ms: int) -> None:
        """Update everything to `now_ms`; a past instant changes nothing."""
        while self.at_ms < now_ms:
            edge = (self.at_ms // HEAT_MS + 1) * HEAT_MS
            until = min(now_ms, edge)
            self._run(until)
            self.at_ms = until
            if until == edge:
                self._heat_at(until)

    def _run(self, until: int) -> None:
        waiting = self._next_at <= until
        if not waiting.any():
            self._integrate(slice(None), np.float64(self.at_ms), np.float64(until))
            return
        rest, due = np.flatnonzero(~waiting), np.flatnonzero(waiting)
        self._integrate(rest, np.float64(self.at_ms), np.float64(until))
        turn = self._next_at[due].astype(np.float64)
        self._integrate(due, np.float64(self.at_ms), turn)
        self._begin_next(due)
        self._integrate(due, turn, np.float64(until))

    def _integrate(self, who: slice | Ints, start: np.float64 | Floats, end: np.float64 | Floats) -> None:
        """Energy and hashes of `who` over [start, end] ms along the present trajectory."""
        dur, begun = self._dur[who], self._start[who]
        span_s = (end - start) / 1000.0
        power = self._p[1][who] * span_s
        work = self._h[1][who] * span_s
        moving = np.flatnonzero(begun + dur > start)
        if len(moving):
            index = moving if isinstance(who, slice) else who[moving]
            length, shape = self._dur[index], self._shape[index]
            first = start if isinstance(start, np.floating) else start[moving]
            last = end if isinstance(end, np.floating) else end[moving]
            u0, u1 = (first - self._start[index]) / length, (last - self._start[index]) / length
            seconds = (last - first) / 1000.0
            for which, (low, high), total in ((0, self._p, power), (1, self._h, work)):
                area = (shape_area(which, shape, u1) - shape_area(which, shape, u0)) * length / 1000.0
                total[moving] = low[index] * seconds + (high[index] - low[index]) * area
        self.energy_ws[who] += power * self._heat_p[who] * self.fault_power[who]
        self.hashes[who] += work * self._heat_h[who] * self.fault_hash[who]

    def _begin_next(self, due: Ints) -> None:
        at = self._next_at[due]
        p, h = self._base_at(due, at)
        self._p[0][due], self._h[0][due] = p, h
        self._p[1][due], self._h[1][due] = self._next_p[due], self._next_h[due]
        self._start[due], self._dur[due], self._shape[due] = at, self._next_dur[due], self._next_shape[due]
        self._next_at[due] = NEVER
        self.hashing_ms[due] = at

    def _heat_at(self, at_ms: int, settle: bool = False) -> None:
        """One step of weather, temperatures, derating and report noise; protective stops and their end."""
        inlet = self.weather.at(at_ms) + self.place_c
        load = self.power() / self.nominal_w
        most = np.minimum(load, 1.0)
        target = inlet + self.rise_c * load - CHIP_OVER_BOARD_C * most + self.fault_heat_c * most
        lag_s = BOARD_LAG_S / self.pace
        self.board_c += (target - self.board_c) * (1.0 if settle else -np.expm1(-HEAT_MS / 1000.0 / lag_s))
        self.chip_c = self.board_c + CHIP_OVER_BOARD_C * most
        derate = np.where(inlet > 40.0, 0.9, 1.0)
        self._heat_p = np.clip(1.0 + 0.003 * (inlet - 25.0), 0.95, 1.08) * derate
        self._heat_h = derate
        self.noise = self._rng.normal(0.0, 0.012, self.n)
        hot = (self.chip_c > 105.0) & ~self.tripped & ~self.asleep
        for index in np.flatnonzero(hot):
            self.tripped[index] = True
            self._go(int(index), at_ms, self.sleep_w[index], 0.0, DROP, 1.0)
        cool = self.tripped & (self.chip_c < 60.0) & (self.fault_heat_c <= 0.0)
        for index in np.flatnonzero(cool):
            self.tripped[index] = False
            if not self.asleep[index]:
                self._begin_start(int(index), at_ms)

    # --- what is ----------------------------------------------------------------------------------------------------

    def _base_at(self, who: Ints | slice, at: Ints | int) -> tuple[Floats, Floats]:
        """Power and hashrate along the trajectory, before heat and faults."""
        u = (at - self._start[who]) / self._dur[who]
        shape = self._shape[who]
        found = []
        for which, (low, high) in ((0, self._p), (1, self._h)):
            value = high[who].copy()
            moving = np.flatnonzero(u < 1.0)
            if len(moving):
                f = shape_value(which, shape[moving], u[moving])
                value[moving] = low[who][moving] + (value[moving] - low[who][moving]) * f
            found.append(value)
        return found[0], found[1]

    def power(self) -> Floats:
        """Watts drawn at the wall now, [miner]."""
        return np.asarray(self._base_at(slice(None), self.at_ms)[0] * self._heat_p * self.fault_power)

    def hashrate(self) -> Floats:
        """H/s done now, [miner]."""
        return np.asarray(self._base_at(slice(None), self.at_ms)[1] * self._heat_h * self.fault_hash)

    def fan_rpm(self) -> Floats:
        """Fan speed by chip temperature, [miner]; 0 where there is no fan."""
        return np.where(self.fans > 0, np.minimum(6200.0, 1200.0 + np.maximum(0.0, self.chip_c - 30.0) * 95.0), 0.0)

    def moving(self) -> Bools:
        """Units in transition: off their trajectory's end, or with a further one waiting, [miner]."""
        return np.asarray(
            (self.at_ms < self._start + self._dur)
            | (self._next_at != NEVER)
            | self.tripped
            | (self.board_up_ms > self.at_ms)
        )

    def energy_wh(self) -> Floats:
        """Energy drawn since the twin began, [miner]."""
        return self.energy_ws / WS_PER_WH

    def one(self, index: int, at_ms: int | None = None) -> tuple[float, float]:
        """(W, H/s) of one unit, in plain floats; `at_ms` may lie after the last advance within its trajectory."""
        at = self.at_ms if at_ms is None else at_ms
        power, work = float(self._p[1][index]), float(self._h[1][index])
        u = (at - int(self._start[index])) / float(self._dur[index])
        if u < 1.0:
            shape = int(self._shape[index])
            low_p, low_h = float(self._p[0][index]), float(self._h[0][index])
            power = low_p + (power - low_p) * shape_at(0, shape, u)
            work = low_h + (work - low_h) * shape_at(1, shape, u)
        return (
            power * float(self._heat_p[index]) * float(self.fault_power[index]),
            work * float(self._heat_h[index]) * float(self.fault_hash[index]),
        )

    def board_up(self, index: int) -> bool:
        """Whether its control board answers: powered, and not rebooting."""
        return bool(self.fault_power[index] > 0.0 and self.board_up_ms[index] <= self.at_ms)

    def state(self, index: int) -> str:
        """True state: hashing, ramping, asleep, fault or rebooting."""
        if self.fault_power[index] <= 0.0 or self.tripped[index]:
            return "fault"
        if self.board_up_ms[index] > self.at_ms:
            return "rebooting"
        if self.asleep[index]:
            return "asleep"
        if self.fault_hash[index] <= 0.0:
            return "fault"
        settled = self._next_at[index] == NEVER and self.at_ms >= self._start[index] + self._dur[index]
        return "hashing" if settled else "ramping"

    def look(self, index: int) -> Look:
        """Report of one unit now."""
        power, work = self.one(index)
        inlet = self.weather.at(self.at_ms) + float(self.place_c[index])
        load, board = power / float(self.nominal_w[index]), float(self.board_c[index])
        chip = board + CHIP_OVER_BOARD_C * min(load, 1.0)
        fan = 0 if not self.fans[index] else int(min(6200.0, 1200.0 + max(0.0, chip - 30.0) * 95.0))
        done = min(float(self.hashes[index] + self.hashes_before[index]), float(self.refused_from[index]))
        accepted = int(done / (HASHES_PER_DIFFICULTY * 524288.0))
        up_s = max(0, (self.at_ms - int(self.started_ms[index])) // 1000)
        elapsed_s = max(0, (self.at_ms - int(self.hashing_ms[index])) // 1000)
        nominal = float(self.plate_hs[index])
        return Look(
            index=index, at_ms=self.at_ms, state=self.state(index), power_w=power * float(self.report_bias[index]),
            hashrate_hs=work * (1.0 + float(self.noise[index])), average_hs=work, nominal_hs=nominal, inlet_c=inlet,
            chip_c=chip, board_c=board, fan_rpm=fan, elapsed_s=elapsed_s, uptime_s=up_s,
            accepted=accepted, rejected=accepted // 400, stale=accepted // 1500, hw_errors=up_s // 90,
            dead_boards=int(self.dead_boards[index]), mode=self.modes[index], limit_w=float(self.limit_w[index]),
            percent=float(self.percent[index]),
        )  # fmt: skip

    def take_shares(self, index: int, takes: bool) -> None:
        """Whether the pool accepts shares of a unit from now on; refused ones are not counted later."""
        done, stopped = float(self.hashes[index] + self.hashes_before[index]), float(self.refused_from[index])
        if takes and stopped < np.inf:
            self.hashes_before[index] -= done - stopped
            self.refused_from[index] = np.inf
        elif not takes and stopped == np.inf:
            self.refused_from[index] = done

    def _begin_start(self, index: int, at_ms: int, length_ms: float | None = None) -> None:
        length = float(self.up_ms[index]) if length_ms is None else length_ms
        self.hashing_ms[index] = at_ms
        self._go(index, at_ms, float(self.want_w[index]), float(self.want_hs[index]), START, max(length, 1.0))

    def _now(self, index: int) -> tuple[float, float]:
        base = self._base_at(np.array([index]), self.at_ms)
        return float(base[0][0]), float(base[1][0])

    def _go(self, index: int, start_ms: int, power_w: float, work_hs: float, shape: int, length_ms: float) -> None:
        """A new trajectory from the present state; a waiting one is dropped."""
        self._p[0][index], self._h[0][index] = self._now(index)
        self._p[1][index], self._h[1][index] = power_w, work_hs
        self._start[index], self._dur[index], self._shape[index] = start_ms, length_ms, shape
        self._next_at[index] = NEVER
