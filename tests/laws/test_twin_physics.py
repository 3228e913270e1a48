# SPDX-License-Identifier: Apache-2.0
"""Laws of the make-believe machines: integrals are exact, however often time is asked to pass."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.servers import count
from twin.machines import Machines
from twin.meters import figures
from twin.models import MODELS
from twin.physics import HEAT_MS
from twin.shape import DROP, START, STEP, shape_area, shape_at, shape_value
from twin.site import Site
from twin.spec import Losses, TwinSpec, layout

BEGAN_MS = 1_700_000_000_000
COMMANDS = ("sleep", "wake", "low", "power", "percent", "reboot")

steps = st.lists(
    st.tuples(st.integers(1, 900_000), st.sampled_from(COMMANDS), st.integers(0, 5)), min_size=1, max_size=8
)


def machines(pace: float = 1.0) -> Machines:
    return Machines(list(MODELS.values())[:6], rng=np.random.default_rng(3), now_ms=BEGAN_MS, pace=pace)


def command(made: Machines, name: str, index: int, now_ms: int) -> None:
    match name:
        case "sleep":
            made.sleep(index, now_ms)
        case "wake":
            made.wake(index, now_ms)
        case "low":
            made.set_mode(index, made.models[index].modes[0][0], now_ms)
        case "power":
            made.set_power(index, 2500.0, now_ms)
        case "percent":
            made.set_percent(index, 60.0, now_ms)
        case "reboot":
            made.reboot(index, now_ms)


@settings(max_examples=count(40, 1000), deadline=None)
@given(steps=steps, cuts=st.integers(2, 40), pace=st.sampled_from([1.0, 7.0, 60.0]))
def test_energy_and_hashes_do_not_depend_on_how_often_time_is_asked_to_pass(
    steps: list[tuple[int, str, int]], cuts: int, pace: float
) -> None:
    once, often = machines(pace), machines(pace)
    now_ms = BEGAN_MS
    for wait_ms, name, index in steps:
        for cut in range(1, cuts + 1):
            often.advance(now_ms + wait_ms * cut // cuts)
        now_ms += wait_ms
        command(once, name, index, now_ms)
        command(often, name, index, now_ms)
    now_ms += 3_600_000
    once.advance(now_ms)
    often.advance(now_ms)
    np.testing.assert_allclose(often.energy_ws, once.energy_ws, rtol=1e-9)
    np.testing.assert_allclose(often.hashes, once.hashes, rtol=1e-9, atol=1e3)
    np.testing.assert_array_equal(often.chip_c, once.chip_c)


@settings(max_examples=count(15, 200), deadline=None)
@given(steps=steps)
def test_energy_is_the_integral_of_the_power_that_is_seen(steps: list[tuple[int, str, int]]) -> None:
    made = machines(pace=20.0)
    drawn, at_ms = np.zeros(made.n), BEGAN_MS
    begin = made.energy_ws.copy()
    for wait_ms, name, index in steps:
        end = at_ms + wait_ms // 20 + 200
        while at_ms < end:
            step = min(100, end - at_ms)
            made.advance(at_ms + step // 2)
            drawn += made.power() * step / 1000.0
            at_ms += step
        made.advance(at_ms)
        command(made, name, index, at_ms)
    made.advance(at_ms)
    np.testing.assert_allclose(made.energy_ws - begin, drawn, rtol=2e-2, atol=4000.0 * 0.4)


@given(st.sampled_from([STEP, DROP, START]), st.floats(-0.5, 1.5), st.integers(0, 1))
def test_the_area_of_a_shape_is_the_integral_of_its_value(shape: int, until: float, which: int) -> None:
    u = np.linspace(0.0, max(until, 0.0), 20_001)
    middle = (u[1:] + u[:-1]) / 2
    which_shape = np.full(len(middle), shape)
    expected = float(np.sum(shape_value(which, which_shape, middle) * np.diff(u)))
    assert float(shape_area(which, np.array([shape]), np.array([until]))[0]) == pytest.approx(expected, abs=1e-4)


@given(st.sampled_from([STEP, DROP, START]), st.floats(-0.5, 1.5), st.integers(0, 1))
def test_one_number_and_many_have_one_shape(shape: int, u: float, which: int) -> None:
    many = float(shape_value(which, np.array([shape]), np.array([u]))[0])
    assert shape_at(which, shape, u) == pytest.approx(many, abs=1e-12)


def test_a_cold_start_costs_what_the_captured_trace_cost() -> None:
    """The trace: 0.39 kWh of 0.55 kWh and 67.5 % of the hashes in the first 600 s."""
    area = [float(shape_area(which, np.array([START]), np.array([1.0]))[0]) for which in (0, 1)]
    assert area[0] == pytest.approx(0.70, abs=0.02)
    assert area[1] == pytest.approx(0.675, abs=0.02)


@settings(max_examples=count(10, 100), deadline=None)
@given(steps=steps, seed=st.integers(0, 1000))
def test_the_meters_count_what_the_miners_drew_and_the_losses(steps: list[tuple[int, str, int]], seed: int) -> None:
    spec = TwinSpec(miners=23, seed=seed, feeders=3, losses=Losses(cooling_share=0.04, cable_share=0.01))
    site = Site(spec, BEGAN_MS)
    before = site.meter_energy_wh()
    now_ms = BEGAN_MS
    for wait_ms, name, index in steps:
        now_ms += wait_ms
        command(site.machines, name, index * 4, now_ms)
    now_ms += 60_000
    site.machines.advance(now_ms)
    counted = site.meter_energy_wh() - before
    drawn = site.machines.energy_wh()
    for feeder in range(3):
        mine = drawn[site.feeder_of == feeder].sum()
        assert counted[1 + feeder] == pytest.approx(mine * 1.04 * 1.01, rel=1e-6)
    hours = (now_ms - BEGAN_MS) / 3_600_000
    expected = counted[1:].sum() * 1.009 + 1800.0 * hours
    assert counted[0] == pytest.approx(expected, rel=1e-6)
    assert np.all(site.meter_power_w() > 0)


@settings(max_examples=count(10, 100), deadline=None)
@given(steps=steps, own_w=st.floats(0.0, 200_000.0), until_s=st.floats(1.0, 300.0))
def test_the_main_meter_counts_both_ways_what_generation_leaves(
    steps: list[tuple[int, str, int]], own_w: float, until_s: float
) -> None:
    bare, site = (
        Site(TwinSpec(miners=23, generation=profile), BEGAN_MS) for profile in ((), ((0.0, own_w), (until_s, 0.0)))
    )
    now_ms = BEGAN_MS
    for wait_ms, name, index in steps:
        now_ms += wait_ms
        for one in (bare, site):
            command(one.machines, name, index * 4, now_ms)
        assert site.meter_power_w()[0] + site.generation.power_w(now_ms) == pytest.approx(bare.meter_power_w()[0])
        assert sum(site.meter_phases_w(0)) == pytest.approx(site.meter_power_w()[0], abs=1e-6)
        site.meter_energy_wh()
    generated_wh = own_w * min(until_s, (now_ms - BEGAN_MS) / 1000.0) / 3600.0
    net_wh = site.meter_energy_wh()[0] - site.exported_wh(0)
    assert net_wh == pytest.approx(bare.meter_energy_wh()[0] - generated_wh, rel=1e-9)
    assert site.exported_wh(1) == 0.0 <= site.exported_wh(0) <= generated_wh + 1e-6
    site.set_service_faults({"generation_off"})
    assert site.meter_power_w()[0] == pytest.approx(bare.meter_power_w()[0]) and site.generation.power_w(now_ms) == 0.0


def test_the_same_spec_gives_the_same_site_and_another_seed_another() -> None:
    spec = TwinSpec(miners=300, seed=4)
    assert layout(spec) == layout(spec)
    assert [place.model for place in layout(spec)] != [place.model for place in layout(TwinSpec(miners=300, seed=5))]
    first, second = Site(spec, BEGAN_MS), Site(spec, BEGAN_MS)
    for site in (first, second):
        site.machines.advance(BEGAN_MS + 3_600_000)
    np.testing.assert_array_equal(first.machines.energy_ws, second.machines.energy_ws)
    assert len({place.host for place in layout(spec)}) == 300
    assert len({place.serial for place in layout(spec)}) == 300


def test_pace_shortens_ramps_and_nothing_else() -> None:
    slow, fast = machines(1.0), machines(10.0)
    assert np.allclose(slow.up_ms / fast.up_ms, 10.0)
    for made in (slow, fast):
        made.advance(BEGAN_MS + 60 * HEAT_MS)
    np.testing.assert_allclose(slow.energy_ws, fast.energy_ws, rtol=1e-12)


def test_an_overheated_unit_stops_itself_and_returns_when_cool() -> None:
    made = machines(pace=30.0)
    made.fault_heat_c[2] = 80.0
    made.advance(BEGAN_MS + 600_000)
    assert made.state(2) == "fault"
    assert made.one(2)[1] == 0.0
    made.fault_heat_c[2] = 0.0
    made.advance(BEGAN_MS + 2_400_000)
    assert made.state(2) == "hashing"


def test_what_a_pool_did_not_accept_is_not_counted_later_and_a_worn_unit_draws_more_for_the_same_hashes():
    spec = TwinSpec(miners=2, models={"antminer-s21": 1}, faults={}, feeders=1, spread=0.0)
    site, plain = Site(spec, BEGAN_MS), Site(spec, BEGAN_MS)
    unit, hour_ms = site.units[0], 3_600_000

    def accepted(of: Site, hours: int) -> int:
        of.machines.advance(BEGAN_MS + hours * hour_ms)
        return of.look(of.units[0]).accepted

    site.set_faults(unit, {"no_shares", "worn"}, BEGAN_MS + hour_ms)
    stands, hourly = accepted(site, 1), -accepted(plain, 1) + accepted(plain, 2)
    assert hourly > 100 and accepted(site, 2) == stands
    worn, well = site.machines.one(0), plain.machines.one(0)
    assert worn[0] == pytest.approx(well[0] * 7 / 6, rel=0.02) and worn[1] == pytest.approx(well[1])
    site.set_faults(unit, set(), BEGAN_MS + 2 * hour_ms)
    assert accepted(site, 3) - stands == pytest.approx(hourly, abs=5)
    assert site.machines.hashes[0] == pytest.approx(plain.machines.hashes[0] * 1.5, rel=0.01), (
        "the work itself was done"
    )


def test_a_board_cools_and_warms_over_a_minute_and_never_the_wrong_way() -> None:
    """A shed ends the heat within seconds: the board only cools, at first by half a degree a second and more; its chips fall
    to it at once. A wake warms it no faster than its power comes."""
    made = Machines([MODELS["whatsminer-m50s"]], rng=np.random.default_rng(3), now_ms=BEGAN_MS, spread=0.0)
    at_ms, reported = BEGAN_MS, []

    def watch(seconds: int) -> list[float]:
        nonlocal at_ms
        for _ in range(seconds // 10):
            at_ms += 10_000
            made.advance(at_ms)
            reported.append((made.look(0).board_c, made.look(0).chip_c))
        boards = [board for board, _ in reported[-(seconds // 10) - 1 :]]
        return [(after - before) / 10.0 for before, after in itertools.pairwise(boards)]

    assert max(abs(rate) for rate in watch(60)) < 0.02, "it is settled"
    made.sleep(0, at_ms)
    cooling = watch(300)
    assert max(cooling) < 0.01 and 0.4 < -min(cooling) < 1.0 and abs(cooling[-1]) < 0.02
    assert reported[-1][1] == pytest.approx(reported[-1][0], abs=0.1), "without heat a chip is as warm as its board"
    made.wake(0, at_ms)
    warming = watch(1200)
    assert 0.05 < max(warming) < 0.4 and min(warming) > -0.1


def test_an_idle_site_has_a_poor_power_factor_and_its_reactive_energy_only_grows() -> None:
    site = Site(TwinSpec(miners=40, feeders=2, faults={}), BEGAN_MS)
    now_ms, counted = BEGAN_MS, [0.0]

    def factor(at: int) -> float:
        site.machines.advance(now_ms)
        energy_wh = float(site.meter_energy_wh()[at])
        reported = figures(site.meter_phases_w(at), energy_wh, "1", idle=site.meter_idle(at))
        power_w, var, apparent_va = (float(reported[name]) for name in ("power_w", "reactive_var", "apparent_va"))  # type: ignore[arg-type]
        assert apparent_va == pytest.approx((power_w**2 + var**2) ** 0.5)
        if at == 0:
            counted.append(float(reported["energy_reactive_import_varh"]))  # type: ignore[arg-type]
        return float(reported["power_factor"])  # type: ignore[arg-type]

    assert factor(0) > 0.95 and factor(1) > 0.95
    for index in range(site.machines.n):
        site.machines.sleep(index, now_ms)
    for _ in range(10):
        now_ms += 60_000
        factor(0)
    assert factor(0) < 0.8 and factor(1) < 0.8
    assert all(after >= before for before, after in itertools.pairwise(counted))
