# SPDX-License-Identifier: Apache-2.0
"""Metrics that devices report, by schema: canonical unit (suffix of the name), range, behaviour in time.

Units are converted once on input, in the codec or dialect, by `to_canonical`, and once for display.
"""

from dataclasses import dataclass
from enum import StrEnum


class Nature(StrEnum):
    """Behaviour of a metric in time, which decides how it is aggregated to slots."""

    GAUGE = "gauge"
    COUNTER = "counter"
    STATE = "state"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Metric:
    """A quantity. `low` and `high` bound the possible values in the canonical unit: outside is NONSENSE, not an extreme."""

    name: str
    unit: str
    nature: Nature
    low: float | None = None
    high: float | None = None


def _gauge(name: str, unit: str, low: float | None = None, high: float | None = None) -> Metric:
    return Metric(name, unit, Nature.GAUGE, low, high)


def _counter(name: str, unit: str) -> Metric:
    return Metric(name, unit, Nature.COUNTER, 0.0, None)


def _text(name: str) -> Metric:
    return Metric(name, "", Nature.TEXT)


_MINER = (
    _gauge("hashrate_hs", "H/s", 0.0, 1e17),
    _gauge("hashrate_window_s", "s", 0.0),
    _gauge("hashrate_nominal_hs", "H/s", 0.0, 1e17),
    _gauge("power_w", "W", 0.0, 50_000.0),
    _text("power_source"),
    _gauge("power_limit_w", "W", 0.0, 100_000.0),
    Metric("state", "", Nature.STATE),
    Metric("mode", "", Nature.STATE),
    _gauge("temp_board_max_c", "C", -60.0, 200.0),
    _gauge("temp_chip_max_c", "C", -60.0, 200.0),
    _gauge("temp_inlet_c", "C", -60.0, 150.0),
    _gauge("temp_outlet_c", "C", -60.0, 150.0),
    _gauge("fan_min_rpm", "rpm", 0.0, 100_000.0),
    _gauge("fan_max_rpm", "rpm", 0.0, 100_000.0),
    _gauge("fan_duty_pct", "%", 0.0, 100.0),
    _gauge("uptime_s", "s", 0.0),
    _gauge("boards_hashing", "1", 0.0, 64.0),
    _gauge("boards_expected", "1", 0.0, 64.0),
    _gauge("chips_hashing", "1", 0.0),
    _gauge("chips_expected", "1", 0.0),
    _gauge("voltage_v", "V", 0.0, 1000.0),
    _gauge("frequency_hz", "Hz", 0.0, 1e10),
    _counter("shares_accepted", "1"),
    _counter("shares_rejected", "1"),
    _counter("shares_stale", "1"),
    _counter("hw_errors", "1"),
    _text("pool_url"),
    _text("pool_user"),
    Metric("pool_state", "", Nature.STATE),
    _text("error_text"),
    _text("boards_json"),
    _text("pools_json"),
    _text("schedules_json"),
    _text("make"),
    _text("model"),
    _text("firmware"),
    _text("serial"),
    _text("mac"),
)

_METER = (
    _gauge("power_w", "W", -1e9, 1e9),
    _gauge("power_l1_w", "W", -1e9, 1e9),
    _gauge("power_l2_w", "W", -1e9, 1e9),
    _gauge("power_l3_w", "W", -1e9, 1e9),
    _gauge("reactive_var", "var", -1e9, 1e9),
    _gauge("apparent_va", "VA", -1e9, 1e9),
    _gauge("power_factor", "1", -1.0, 1.0),
    _gauge("voltage_l1_v", "V", 0.0, 1e6),
    _gauge("voltage_l2_v", "V", 0.0, 1e6),
    _gauge("voltage_l3_v", "V", 0.0, 1e6),
    _gauge("voltage_l12_v", "V", 0.0, 1e6),
    _gauge("voltage_l23_v", "V", 0.0, 1e6),
    _gauge("voltage_l31_v", "V", 0.0, 1e6),
    _gauge("current_l1_a", "A", -1e6, 1e6),
    _gauge("current_l2_a", "A", -1e6, 1e6),
    _gauge("current_l3_a", "A", -1e6, 1e6),
    _gauge("current_n_a", "A", -1e6, 1e6),
    _gauge("frequency_hz", "Hz", 10.0, 100.0),
    _counter("energy_import_wh", "Wh"),
    _counter("energy_export_wh", "Wh"),
    _counter("energy_reactive_import_varh", "varh"),
    _counter("energy_reactive_export_varh", "varh"),
    _gauge("thd_voltage_pct", "%", 0.0, 1000.0),
    _gauge("thd_current_pct", "%", 0.0, 1000.0),
    _text("serial"),
)

_CONTAINER = (
    _gauge("power_w", "W", 0.0, 1e8),
    _counter("energy_import_wh", "Wh"),
    _gauge("temp_supply_c", "C", -60.0, 150.0),
    _gauge("temp_return_c", "C", -60.0, 150.0),
    _gauge("temp_ambient_c", "C", -60.0, 80.0),
    _gauge("humidity_pct", "%", 0.0, 100.0),
    _gauge("flow_lpm", "l/min", 0.0, 1e5),
    _gauge("pressure_supply_bar", "bar", -1.0, 100.0),
    _gauge("pressure_return_bar", "bar", -1.0, 100.0),
    Metric("pump_state", "", Nature.STATE),
    Metric("fan_state", "", Nature.STATE),
    _gauge("fan_duty_pct", "%", 0.0, 100.0),
    _text("sockets_json"),
    _text("error_text"),
    _text("tactics_json"),
)

_SENSOR = (
    _gauge("temp_c", "C", -60.0, 400.0),
    _gauge("temp_2_c", "C", -60.0, 400.0),
    _gauge("temp_3_c", "C", -60.0, 400.0),
    _gauge("temp_4_c", "C", -60.0, 400.0),
    _gauge("humidity_pct", "%", 0.0, 100.0),
    _gauge("dew_point_c", "C", -100.0, 100.0),
    _gauge("flow_lpm", "l/min", 0.0, 1e6),
    _gauge("pressure_bar", "bar", -1.0, 1000.0),
    Metric("flow_state", "", Nature.STATE),
)

OUTPUTS = 16
"""Most outputs of one switching device that have metrics of their own."""

_SWITCH = (
    _gauge("power_w", "W", -1e6, 1e8),
    _counter("energy_import_wh", "Wh"),
    _gauge("voltage_v", "V", 0.0, 1e6),
    _gauge("current_a", "A", -1e6, 1e6),
    _gauge("temp_c", "C", -60.0, 400.0),
    *(Metric(f"output_{index}_state", "", Nature.STATE) for index in range(1, OUTPUTS + 1)),
    *(_gauge(f"output_{index}_power_w", "W", -1e6, 1e8) for index in range(1, OUTPUTS + 1)),
    _text("error_text"),
)

SCHEMAS: dict[str, dict[str, Metric]] = {
    kind: {metric.name: metric for metric in metrics}
    for kind, metrics in (
        ("miner", _MINER),
        ("meter", _METER),
        ("container", _CONTAINER),
        ("sensor", _SENSOR),
        ("switch", _SWITCH),
    )
}

TEXT_METRICS: dict[str, frozenset[str]] = {
    kind: frozenset(name for name, metric in schema.items() if metric.nature in (Nature.TEXT, Nature.STATE))
    for kind, schema in SCHEMAS.items()
}

# unit -> (canonical unit, factor, offset): canonical = value * factor + offset
_UNITS: dict[str, tuple[str, float, float]] = {
    "W": ("W", 1.0, 0.0), "kW": ("W", 1e3, 0.0), "MW": ("W", 1e6, 0.0),
    "var": ("var", 1.0, 0.0), "kvar": ("var", 1e3, 0.0), "Mvar": ("var", 1e6, 0.0),
    "VA": ("VA", 1.0, 0.0), "kVA": ("VA", 1e3, 0.0), "MVA": ("VA", 1e6, 0.0),
    "Wh": ("Wh", 1.0, 0.0), "kWh": ("Wh", 1e3, 0.0), "MWh": ("Wh", 1e6, 0.0),
    "varh": ("varh", 1.0, 0.0), "kvarh": ("varh", 1e3, 0.0), "Mvarh": ("varh", 1e6, 0.0),
    "V": ("V", 1.0, 0.0), "mV": ("V", 1e-3, 0.0), "kV": ("V", 1e3, 0.0),
    "A": ("A", 1.0, 0.0), "mA": ("A", 1e-3, 0.0), "kA": ("A", 1e3, 0.0),
    "Hz": ("Hz", 1.0, 0.0), "mHz": ("Hz", 1e-3, 0.0), "MHz": ("Hz", 1e6, 0.0),
    "C": ("C", 1.0, 0.0), "F": ("C", 5 / 9, -160 / 9), "K": ("C", 1.0, -273.15),
    "H/s": ("H/s", 1.0, 0.0), "MH/s": ("H/s", 1e6, 0.0), "GH/s": ("H/s", 1e9, 0.0),
    "TH/s": ("H/s", 1e12, 0.0), "PH/s": ("H/s", 1e15, 0.0),
    "%": ("%", 1.0, 0.0), "1": ("1", 1.0, 0.0), "": ("", 1.0, 0.0), "rpm": ("rpm", 1.0, 0.0),
    "s": ("s", 1.0, 0.0), "min": ("s", 60.0, 0.0), "h": ("s", 3600.0, 0.0),
    "l/min": ("l/min", 1.0, 0.0), "m3/h": ("l/min", 1000 / 60, 0.0),
    "bar": ("bar", 1.0, 0.0), "kPa": ("bar", 0.01, 0.0), "MPa": ("bar", 10.0, 0.0),
}  # fmt: skip


def to_canonical(unit: str) -> tuple[str, float, float]:
    """(canonical unit, factor, offset) of a unit as manufacturers write it. KeyError lists the known ones."""
    try:
        return _UNITS[unit]
    except KeyError:
        raise KeyError(f"unknown unit {unit!r}; known: {', '.join(sorted(u for u in _UNITS if u))}") from None
