# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from kernel.span import Slots, Span, even_slots
from telemetry.energy.losses import drift, losses
from telemetry.energy.series import SlotEnergy

T0, HOUR = 1_767_225_600_000, 3_600_000
DAYS = even_slots(Span(T0, T0 + 10 * 24 * HOUR), 3600)


def energy(wh: np.ndarray, reported: np.ndarray | None = None, slots: Slots = DAYS) -> SlotEnergy:
    by_basis = np.zeros((3, len(slots)), dtype=np.int64)
    by_basis[0] = np.rint(wh * 1e6)
    full = np.ones(len(slots)) if reported is None else reported
    return SlotEnergy(slots, by_basis, full, full, ())


def test_losses_per_slot_and_together() -> None:
    whole = np.full(240, 1000.0)
    reported = np.ones(240)
    reported[5] = 0.5
    found = losses({"main": energy(whole)}, {"f1": energy(whole * 0.6), "f2": energy(whole * 0.38, reported)})
    assert found.loss_share[0] == pytest.approx(0.02) and found.total_share() == pytest.approx(0.02)
    assert not found.judged[5] and found.missing[5] == ("f2",) and found.missing[4] == ()
    nothing = losses({"main": energy(whole * 0)}, {"f1": energy(whole * 0)})
    assert nothing.total_share() is None and not nothing.judged.any()


def test_a_step_in_the_losses_is_found_where_it_is_and_an_odd_hour_is_not() -> None:
    rng = np.random.default_rng(1)
    whole = rng.uniform(500, 1500, 240)
    share = 0.02 + 0.002 * rng.standard_normal(240)
    share[50] = 0.4
    steady = losses({"main": energy(whole)}, {"f": energy(whole * (1 - share))})
    assert drift(steady) is None
    share[130:] += 0.03
    moved = drift(losses({"main": energy(whole)}, {"f": energy(whole * (1 - share))}))
    assert moved is not None and moved.slot == 130
    assert moved.before_share == pytest.approx(0.02, abs=0.002) and moved.after_share > 0.03


def test_what_cannot_be_summed_is_refused() -> None:
    with pytest.raises(ValueError, match="each side"):
        losses({}, {"f": energy(np.ones(240))})
    other = even_slots(Span(T0, T0 + 24 * HOUR), 3600)
    with pytest.raises(ValueError, match="other slots"):
        losses({"main": energy(np.ones(240))}, {"f": energy(np.ones(24), slots=other)})
