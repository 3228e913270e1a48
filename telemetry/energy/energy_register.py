# SPDX-License-Identifier: Apache-2.0
"""Energy counted by a register: consecutive pieces of energy, each with its measurement basis.

- Counter differences come first; a gap is bridged by the counter alone. Where the counter cannot be used (reset, jump,
  absent), power is integrated over samples that are close together, and the piece is marked. Where that is not possible
  either there is no piece: the energy is missing, never estimated.
- All arithmetic is in whole micro-watt-hours (`*_uwh`, int64), so that sums over any division of time are exact.
- Samples are given in order of arrival. A sample dated before its predecessor is either late history (its count fits between
  its neighbours in time: it is sorted in) or follows a clock that was set back (the count goes on from its predecessor: the
  repeated time is left out, and the counter bridges it).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from kernel.clock import MS_PER_HOUR, MS_PER_S
from kernel.units import UWH_PER_WH

_GLITCH_SAMPLES = 3
"""A low count is a reset, not a wrong value, if this many samples after it stay low."""


class Basis(IntEnum):
    """Measurement basis of a piece of energy."""

    COUNTER = 0
    """Difference of two counts close together in time."""
    BRIDGED = 1
    """Difference of two counts with no sample between them: the sum is exact, its distribution in time is unknown."""
    INTEGRAL = 2
    """Power integrated over time, because the counter could not be used."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples of one meter in order of arrival; all arrays of shape [sample].

    `energy_wh`: the register as read; `power_w`: power at the same instant; `*_ok`: where there is a value.
    """

    at_ms: NDArray[np.int64]
    energy_wh: NDArray[np.float64]
    energy_ok: NDArray[np.bool_]
    power_w: NDArray[np.float64]
    power_ok: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.at_ms)

    def taken(self, index: NDArray[np.intp]) -> "Samples":
        return Samples(
            self.at_ms[index], self.energy_wh[index], self.energy_ok[index], self.power_w[index], self.power_ok[index]
        )


@dataclass(frozen=True, slots=True)
class Change:
    """A dated change from the meter's passport: at `at_ms` the meter was replaced, or its multiplier changed.

    `final_wh`: the old register at removal; `initial_wh`: the new one at its start (None: the same register continues).
    `factor`: multiplier of the register from then on (CT and VT ratio, where the register counts secondary energy).
    """

    at_ms: int
    final_wh: float | None = None
    initial_wh: float | None = None
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class RegisterTerms:
    """Properties of a register.

    - `most_w`: power that the connection cannot exceed, which distinguishes a jump from consumption (None: not checked).
    - `modulus_wh`: where the register rolls over (None: it does not); `resolution_wh`: one count; `factor`: multiplier before
      any change.
    - `gap_s`: samples further apart leave a gap; `exports`: the register counts export, whose power is negative.
    """

    most_w: float | None = None
    modulus_wh: float | None = None
    resolution_wh: float = 1.0
    factor: float = 1.0
    gap_s: float = 120.0
    exports: bool = False


@dataclass(frozen=True, slots=True)
class Oddity:
    """An event of the register other than consumption: reset, rolled over, jumped, glitch, clock set back, replaced."""

    at_ms: int
    what: str
    text: str


@dataclass(frozen=True, slots=True)
class Pieces:
    """Consecutive pieces of energy without overlap, in order of time; arrays of shape [piece]."""

    starts_ms: NDArray[np.int64]
    ends_ms: NDArray[np.int64]
    energy_uwh: NDArray[np.int64]
    basis: NDArray[np.uint8]
    oddities: tuple[Oddity, ...]


def pieces_of(samples: Samples, terms: RegisterTerms, changes: Sequence[Change] = ()) -> Pieces:
    """Energy between the samples of one register, in the register's own direction (import or export)."""
    samples, elapsed_ms, oddities = _in_order(samples)
    counted = np.flatnonzero(samples.energy_ok)
    count_uwh = np.rint(samples.energy_wh[counted] * UWH_PER_WH).astype(np.int64)
    kept, glitches = _without_glitches(samples.at_ms[counted], count_uwh, elapsed_ms[counted], terms, changes)
    counted, count_uwh = counted[kept], count_uwh[kept]
    oddities += glitches

    at_ms = samples.at_ms[counted]
    span_ms = np.diff(elapsed_ms[counted])
    steps_uwh = np.diff(count_uwh)
    broken = (steps_uwh < 0) | (steps_uwh > _most_uwh(span_ms, terms, changes))
    energy_uwh = np.rint(steps_uwh * _factor_at(at_ms[1:], terms, changes)).astype(np.int64)
    basis = np.where(np.diff(at_ms) > terms.gap_s * MS_PER_S, Basis.BRIDGED, Basis.COUNTER).astype(np.uint8)

    for change in changes:
        step = int(np.searchsorted(at_ms, change.at_ms, side="left")) - 1
        if 0 <= step < len(steps_uwh):
            step_uwh = _across(change, step, at_ms, count_uwh, terms, changes)
            broken[step] = step_uwh is None
            energy_uwh[step] = step_uwh or 0
            what = "replaced" if change.initial_wh is not None else "multiplier"
            oddities.append(Oddity(change.at_ms, what, f"register {change.final_wh} to {change.initial_wh} Wh"))
    for step in np.flatnonzero(broken).tolist():
        step_uwh, oddity = _explained(step, at_ms, count_uwh, span_ms, terms, changes)
        if oddity is not None:
            oddities.append(oddity)
        broken[step] = step_uwh is None
        energy_uwh[step] = 0 if step_uwh is None else step_uwh

    return _assembled(samples, at_ms, energy_uwh, basis, broken, terms, oddities)


def _most_uwh(span_ms: NDArray[np.int64], terms: RegisterTerms, changes: Sequence[Change] = ()) -> NDArray[np.float64]:
    """Largest count possible within a time, plus one count of resolution."""
    if terms.most_w is None:
        return np.full(len(span_ms), np.inf)
    factor = min([terms.factor, *(change.factor for change in changes)])
    return (terms.most_w * span_ms / MS_PER_HOUR / factor + terms.resolution_wh) * UWH_PER_WH


def _factor_at(at_ms: NDArray[np.int64], terms: RegisterTerms, changes: Sequence[Change]) -> NDArray[np.float64]:
    factor = np.full(len(at_ms), terms.factor)
    for change in sorted(changes, key=lambda change: change.at_ms):
        factor[at_ms > change.at_ms] = change.factor
    return factor


def _in_order(samples: Samples) -> tuple[Samples, NDArray[np.int64], list[Oddity]]:
    """(samples in strictly increasing time, time elapsed until each, oddities)."""
    oddities: list[Oddity] = []
    # A poll of another tier at the same instant has neither value; it must not replace one that has.
    samples = samples.taken(np.flatnonzero(samples.energy_ok | samples.power_ok))
    at_ms = samples.at_ms
    late = np.flatnonzero(np.diff(at_ms) < 0)
    if len(late):
        index = np.arange(len(samples), dtype=np.intp)
        repeated = np.zeros(len(samples), dtype=np.bool_)
        passed_ms = np.concatenate(([0], np.cumsum(np.maximum(np.diff(at_ms), 0))))
        set_back = False
        for step in late.tolist():
            if _goes_on(samples, step):
                set_back = True
                before_ms = int(at_ms[: step + 1].max())
                after = slice(step + 1, len(samples))
                repeated[after] |= at_ms[after] <= before_ms
                text = f"the clock was set back by {(before_ms - int(at_ms[step + 1])) / MS_PER_S} s"
                oddities.append(Oddity(before_ms, "clock", text))
        order = index[~repeated]
        order = order[np.argsort(at_ms[order], kind="stable")]
        samples = samples.taken(order)
        # Repeated time counts as elapsed, or the count of it would look like a jump.
        elapsed = passed_ms[order] if set_back else samples.at_ms
    else:
        elapsed = samples.at_ms
    distinct = np.concatenate(([True], np.diff(samples.at_ms) > 0)) if len(samples) else np.zeros(0, dtype=np.bool_)
    chosen = np.flatnonzero(distinct)
    return samples.taken(chosen), np.maximum.accumulate(elapsed[chosen]) if len(chosen) else elapsed[chosen], oddities


def _goes_on(samples: Samples, step: int) -> bool:
    """Whether the count continues from sample `step` to the next one, although the time goes back."""
    before = np.flatnonzero(samples.energy_ok[: step + 1])
    after = np.flatnonzero(samples.energy_ok[step + 1 :]) + step + 1
    if not len(before) or not len(after):
        return False
    return bool(samples.energy_wh[after[0]] >= samples.energy_wh[before[-1]])


def _without_glitches(
    at_ms: NDArray[np.int64],
    count_uwh: NDArray[np.int64],
    elapsed_ms: NDArray[np.int64],
    terms: RegisterTerms,
    changes: Sequence[Change],
) -> tuple[NDArray[np.intp], list[Oddity]]:
    """(indices of samples without single wrong values, oddities). A value is wrong where the count afterwards continues as
    before it.
    """
    oddities: list[Oddity] = []
    wrong = np.zeros(len(at_ms), dtype=np.bool_)
    steps = np.diff(count_uwh)
    odd = (steps < 0) | (steps > _most_uwh(np.diff(elapsed_ms), terms, changes))
    for step in np.flatnonzero(odd).tolist():
        if wrong[step] or wrong[step + 1]:
            continue
        before_ms, first_ms = int(at_ms[step]), int(at_ms[step + 1])
        if any(before_ms < change.at_ms <= first_ms for change in changes):
            continue
        for after in range(step + 2, min(step + 2 + _GLITCH_SAMPLES, len(at_ms))):
            rise = int(count_uwh[after] - count_uwh[step])
            span = np.array([elapsed_ms[after] - elapsed_ms[step]])
            if 0 <= rise <= float(_most_uwh(span, terms, changes)[0]):
                wrong[step + 1 : after] = True
                oddities.append(Oddity(first_ms, "glitch", f"count {count_uwh[step + 1] / UWH_PER_WH} Wh left out"))
                break
        else:
            # An upward spike is recognised only at its fall: the sample before the fall is the wrong one.
            if steps[step] < 0 and step > 0 and not wrong[step - 1]:
                rise = int(count_uwh[step + 1] - count_uwh[step - 1])
                span = np.array([elapsed_ms[step + 1] - elapsed_ms[step - 1]])
                if 0 <= rise <= float(_most_uwh(span, terms, changes)[0]):
                    wrong[step] = True
                    oddities.append(Oddity(before_ms, "glitch", f"count {count_uwh[step] / UWH_PER_WH} Wh left out"))
    return np.flatnonzero(~wrong), oddities


def _across(
    change: Change,
    step: int,
    at_ms: NDArray[np.int64],
    count_uwh: NDArray[np.int64],
    terms: RegisterTerms,
    changes: Sequence[Change],
) -> int | None:
    """Energy of the step that contains a dated change, or None where the passport has too little for it."""
    before = float(_factor_at(np.array([change.at_ms]), terms, changes)[0])
    if change.initial_wh is not None:
        if change.final_wh is None:
            return None
        old = round(change.final_wh * UWH_PER_WH) - int(count_uwh[step])
        new = int(count_uwh[step + 1]) - round(change.initial_wh * UWH_PER_WH)
        return None if old < 0 or new < 0 else round(old * before) + round(new * change.factor)
    total = int(count_uwh[step + 1] - count_uwh[step])
    if total < 0:
        return None
    share = (change.at_ms - int(at_ms[step])) / int(at_ms[step + 1] - at_ms[step])
    return round(total * share * before) + round(total * (1 - share) * change.factor)


def _explained(
    step: int,
    at_ms: NDArray[np.int64],
    count_uwh: NDArray[np.int64],
    span_ms: NDArray[np.int64],
    terms: RegisterTerms,
    changes: Sequence[Change],
) -> tuple[int | None, Oddity | None]:
    """(energy, oddity) of a step that is no plain rise; energy is None where the counter cannot be used."""
    before_uwh, after_uwh = int(count_uwh[step]), int(count_uwh[step + 1])
    when_ms = int(at_ms[step + 1])
    if any(at_ms[step] < change.at_ms <= when_ms for change in changes):
        return None, None
    most_uwh = float(_most_uwh(span_ms[step : step + 1], terms, changes)[0])
    factor = float(_factor_at(at_ms[step + 1 : step + 2], terms, changes)[0])
    text = f"from {before_uwh / UWH_PER_WH} to {after_uwh / UWH_PER_WH} Wh"
    if after_uwh >= before_uwh:
        return None, Oddity(when_ms, "jumped", text)
    if terms.modulus_wh is not None:
        modulus_uwh = round(terms.modulus_wh * UWH_PER_WH)
        rise = after_uwh + modulus_uwh - before_uwh
        near = before_uwh > 0.9 * modulus_uwh and after_uwh < 0.1 * modulus_uwh
        if rise >= 0 and near and rise <= most_uwh:
            return round(rise * factor), Oddity(when_ms, "rolled over", text)
    return None, Oddity(when_ms, "reset", text)


def _assembled(
    samples: Samples,
    at_ms: NDArray[np.int64],
    energy_uwh: NDArray[np.int64],
    basis: NDArray[np.uint8],
    broken: NDArray[np.bool_],
    terms: RegisterTerms,
    oddities: list[Oddity],
) -> Pieces:
    """Counter steps, with integrated power where there is none."""
    power_starts, power_ends, power_uwh = _integrated(samples, terms)
    if len(at_ms) > 1:
        # Integrated power is used only outside the steps measured by the counter.
        step = np.searchsorted(at_ms, power_starts, side="right") - 1
        inside = (step >= 0) & (step < len(broken))
        uncounted = ~inside | broken[np.clip(step, 0, len(broken) - 1)]
        power_starts, power_ends, power_uwh = power_starts[uncounted], power_ends[uncounted], power_uwh[uncounted]
        starts, ends, counted_uwh = at_ms[:-1][~broken], at_ms[1:][~broken], energy_uwh[~broken]
        kinds = basis[~broken]
    else:
        starts = ends = np.zeros(0, dtype=np.int64)
        counted_uwh, kinds = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint8)
    integral = np.full(len(power_starts), Basis.INTEGRAL, dtype=np.uint8)
    starts_ms, ends_ms = np.concatenate((starts, power_starts)), np.concatenate((ends, power_ends))
    order = np.argsort(starts_ms, kind="stable")
    return Pieces(
        starts_ms[order],
        ends_ms[order],
        np.concatenate((counted_uwh, power_uwh))[order],
        np.concatenate((kinds, integral))[order],
        tuple(sorted(oddities, key=lambda oddity: oddity.at_ms)),
    )


def _integrated(
    samples: Samples, terms: RegisterTerms
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """(starts, ends, energy) of power integrated by the trapezoidal rule between samples close together.

    Cut at every sample, also where power is missing, so that no piece crosses a count.
    """
    if len(samples) < 2:
        none = np.zeros(0, dtype=np.int64)
        return none, none, none
    starts, ends = samples.at_ms[:-1], samples.at_ms[1:]
    drawn_w = np.maximum(-samples.power_w if terms.exports else samples.power_w, 0.0)
    good = samples.power_ok[:-1] & samples.power_ok[1:] & (ends - starts <= terms.gap_s * MS_PER_S)
    wh = (drawn_w[:-1] + drawn_w[1:]) / 2 * (ends - starts) / MS_PER_HOUR
    return starts[good], ends[good], np.rint(wh[good] * UWH_PER_WH).astype(np.int64)
