# SPDX-License-Identifier: Apache-2.0
"""Commands to simulated machines: sleep, wake, modes, power targets, restarts."""

from twin.models import part_load
from twin.physics import NEVER, Trajectories
from twin.shape import DROP, START, STEP


class Machines(Trajectories):
    """n miners that accept commands. Commands act at the given instant, take effect as the model does, and never fail:
    refusals of a firmware are made by its responder."""

    def draw(self) -> float:
        """One uniform random number of the site, 0 to 1, for random behaviour of a firmware."""
        return float(self._rng.random())

    def sleep(self, index: int, now_ms: int, late_s: float = 0.0) -> None:
        """Standby: full load during the model's delay (and the firmware's addition), then the fall."""
        self.advance(now_ms)
        if self.asleep[index]:
            return
        self.asleep[index] = True
        delay = int(self.down_delay_ms[index] + late_s * 1000 / self.pace)
        self._go(index, now_ms + delay, float(self.sleep_w[index]), 0.0, DROP, float(self.down_ms[index]))

    def wake(self, index: int, now_ms: int, seconds: float | None = None, late_s: float = 0.0) -> None:
        """Hash again by the start-up trace, in `seconds` where the command chose a faster start."""
        self.advance(now_ms)
        if not self.asleep[index]:
            return
        self.asleep[index] = False
        late_ms = int(late_s * 1000 / self.pace)
        self._begin_start(index, now_ms + late_ms, None if seconds is None else seconds * 1000 / self.pace)

    def half_sleep(self, index: int, now_ms: int) -> None:
        """A shed that only half happens: the fault of a unit with one rail left on."""
        self.advance(now_ms)
        self.asleep[index] = True
        power, work = self._now(index)
        self._go(index, now_ms, power / 2, work / 2, DROP, float(self.down_ms[index]))

    def set_mode(self, index: int, mode: str, now_ms: int, restart: bool | None = None) -> None:
        """A named operating point of the model. Raises KeyError for an unknown name."""
        shares = {name: (p, h) for name, p, h in self.models[index].modes}
        power, work = shares[mode]
        self.modes[index] = mode
        self.limit_w[index] = self.models[index].power_w * power
        self._operate(index, power, work, now_ms, restart)

    def set_power(self, index: int, power_w: float, now_ms: int, restart: bool | None = None) -> None:
        """A power target in watts, met within the unit's spread, along the part-load curve."""
        model = self.models[index]
        self.limit_w[index] = power_w
        share = min(max(power_w / model.power_w, model.low_share), model.high_share)
        self._operate(index, share, part_load(share), now_ms, restart)

    def set_percent(self, index: int, percent: float, now_ms: int) -> None:
        """A share of the power limit, without restart."""
        model = self.models[index]
        self.percent[index] = percent
        share = min(max(percent / 100.0 * float(self.limit_w[index]) / model.power_w, 0.05), model.high_share)
        self._operate(index, share, part_load(share), now_ms, restart=False)

    def reboot(self, index: int, now_ms: int, keeps_sleep: bool = True) -> None:
        """The control board leaves the network for a while; then the unit resumes its set state."""
        self.advance(now_ms)
        up = now_ms + int(self.board_ms[index])
        self.board_up_ms[index] = up
        self.started_ms[index] = up
        self.percent[index] = 100.0
        if not keeps_sleep:
            self.asleep[index] = False
        self._go(index, now_ms, float(self.sleep_w[index]), 0.0, DROP, max(1000.0 / self.pace, 1.0))
        if not self.asleep[index]:
            self._then_start(index, up)

    def brick(self, index: int, now_ms: int) -> None:
        """A restart without end: the control board is off the network, and only standby is drawn."""
        self.reboot(index, now_ms)
        self.board_up_ms[index] = self._next_at[index] = NEVER

    def _operate(self, index: int, power: float, work: float, now_ms: int, restart: bool | None) -> None:
        """Set an operating point, given as shares of nominal power and hashrate."""
        self.advance(now_ms)
        self.want_w[index] = float(self.nominal_w[index]) * power
        self.want_hs[index] = float(self.nominal_hs[index]) * work
        if self.asleep[index] or self.tripped[index]:
            return
        if self.models[index].restarts if restart is None else restart:
            fall = float(self.down_ms[index])
            self._go(index, now_ms, float(self.sleep_w[index]), 0.0, DROP, fall)
            self._then_start(index, now_ms + int(fall))
            return
        self._go(index, now_ms, float(self.want_w[index]), float(self.want_hs[index]), STEP, float(self.step_ms[index]))

    def _then_start(self, index: int, at_ms: int) -> None:
        self._next_at[index] = at_ms
        self._next_p[index], self._next_h[index] = self.want_w[index], self.want_hs[index]
        self._next_shape[index], self._next_dur[index] = START, self.up_ms[index]
