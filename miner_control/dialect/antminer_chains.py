# SPDX-License-Identifier: Apache-2.0
"""Hash boards of stock Antminers: numbered keys over RPC (`chain_rate1`), a list over the CGI (`chain`)."""

import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from kernel.reading import Missing
from kernel.units import HS_PER_GHS, HZ_PER_MHZ
from miner_control.dialect.figures import (
    NOT_REPORTED,
    SENTINEL,
    Values,
    above_zero,
    first,
    number,
    plain,
    put,
    put_max,
    spelt,
    total,
    whole,
)

Stats = Mapping[str, Any]

_RATES = {"GH": 1e9, "MH": 1e6, "TH": 1e12, "KH": 1e3, "PH": 1e15, "H": 1.0, "SOL": 1.0, "KSOL": 1e3, "MSOL": 1e6}
_SERIES = re.compile(r"\s*(?:(?:bitmain|antminer)[\s_-]*)*([A-Z]+)(\d*)", re.IGNORECASE)
# Meaning of `GHS` on models of other algorithms: beyond this many GH/s (which no such machine does) it is in this unit.
# Their makers' own pages give MH/s, KSol/s or H/s for the same figures; SHA-256 models and all others mean GH/s.
_GHS_MEANS: Mapping[str, tuple[float, float]] = {
    "L3": (0.0, 1e6), "L": (200.0, 1e6), "D3": (0.0, 1e6), "E3": (0.0, 1e6), "E": (50.0, 1e6),
    "B3": (0.0, 1.0), "Z9": (0.0, 1e3), "Z11": (0.0, 1e3), "Z": (1.0, 1e3),
    "X": (0.01, 1e3),
}  # fmt: skip
_PCB_KEYS = tuple(f"temp_pcb{index}" for index in range(1, 17))
_CHIP_KEYS = tuple(f"temp_chip{index}" for index in range(1, 17))
_PCB_NAMES, _CHIP_NAMES = ("temp", "temp_in_pcb_", "temp_out_pcb_"), ("temp2_", "temp_in_chip_", "temp_out_chip_")
_WATT_KEYS = tuple((f"chain_power{index}", f"chain_consumption{index}") for index in range(1, 17))
_PLACES = tuple((f"chain_rate{index}", f"chain_acn{index}") for index in range(1, 17))
_INLET = re.compile(r"(^|_)(inlet|temp_in|water_in)(_|\d|$)", re.IGNORECASE)
_OUTLET = re.compile(r"(^|_)(outlet|temp_out|water_out)(_|\d|$)", re.IGNORECASE)


def scale(section: Stats) -> float:
    """H/s of one unit of the section's rates; GH/s where no unit is given, NaN for an unknown one."""
    unit = section.get("rate_unit")
    if unit is None or unit == "GH" or unit == "":
        return HS_PER_GHS
    return _RATES.get(str(unit).strip().upper().removesuffix("/S").removesuffix("S"), math.nan)


@lru_cache(maxsize=256)
def _ghs_means(model: str) -> tuple[float, float]:
    found = _SERIES.match(model)
    letters, digits = (found[1].upper(), found[2]) if found else ("", "")
    return _GHS_MEANS.get(letters + digits) or _GHS_MEANS.get(letters, (math.inf, HS_PER_GHS))


def ghs(model: str, *figures: Any) -> float:
    """H/s of one unit of `model`'s GHS, judged by the greatest of the `figures` written in it."""
    limit, beyond = _ghs_means(model)
    if limit == math.inf:
        return HS_PER_GHS
    return beyond if max((plain(figure) or 0.0 for figure in figures), default=0.0) > limit else HS_PER_GHS


def hottest(raws: Iterable[Any]) -> float | None:
    """The greatest temperature of texts such as `"78-50-69-70"`, or of lists; zero is an absent sensor."""
    best = 0.0
    for raw in raws:
        if type(raw) is str:
            if raw == "0-0-0-0":
                continue
            try:
                top: float = max(map(int, raw.split("-")))
            except ValueError:
                top = max(dashed(raw), default=0.0)
        elif raw is None:
            continue
        else:
            top = max(dashed(raw), default=0.0)
        if top > best:
            best = top
    return best or None


def dashed(raw: Any) -> list[float]:
    """Temperatures of a text, a list, or one figure; zeros are left out."""
    if isinstance(raw, str):
        # A dash after a dash, or at the start, is a sign: "-5--3-20" are three.
        parts: list[Any] = re.findall(r"(?:^|(?<=-))-?\d+(?:\.\d+)?", raw)
    else:
        parts = raw if isinstance(raw, list) else [raw]
    figures = (number(part) for part in parts)
    return [float(figure) for figure in figures if not isinstance(figure, Missing) and figure != 0]


def put_heat(values: Values, stats: Stats, model: str) -> None:
    """The hottest board and chip sensor, from either shape; for hydro models with water sensors among them, the water too."""
    chains = stats.get("chain")
    if isinstance(chains, list):
        board = hottest(first(chain, "temp_pcb", "temp_pic") for chain in chains if isinstance(chain, dict))
        chip = hottest(chain.get("temp_chip") for chain in chains if isinstance(chain, dict))
        reported = bool(chains)
        _put_water(values, [stats, *(chain for chain in chains if isinstance(chain, dict))])
    else:
        board = hottest([stats[key] for key in _PCB_KEYS if key in stats])
        chip = hottest([stats[key] for key in _CHIP_KEYS if key in stats])
        if board is None:
            board = hottest(stats.get(f"{name}{index}") for name in _PCB_NAMES for index in range(1, 17))
        if chip is None:
            chip = hottest(stats.get(f"{name}{index}") for name in _CHIP_NAMES for index in range(1, 17))
        reported = "temp_chip1" in stats or "temp_pcb1" in stats or "temp1" in stats
    absent = SENTINEL if reported else NOT_REPORTED
    for metric, found in (("temp_board_max_c", board), ("temp_chip_max_c", chip)):
        if found is None:
            values[metric] = absent
        else:
            put(values, metric, found)
    if "HYD" in model.upper():
        _put_s21_water(values, stats, model.upper().replace(" ", ""))


def _put_s21_water(values: Values, stats: Stats, model: str) -> None:
    """S21 Hyd models of some firmwares have the water's inlet and outlet where others have two chips (`[31, 42, 0, 0]`), the
    S21+ Hyd among the board sensors: board 0 inlet, board 2 outlet, and its chip is the first of `temp_pic`."""
    chips, boards, pics = (_quads(stats, name) for name in ("temp_chip", "temp_pcb", "temp_pic"))
    inlet = outlet = None
    if "S21+HYD" in model and boards and pics:
        inlet, outlet = [quad[0] for quad in boards], [quad[2] for quad in boards]
        put_max(values, "temp_chip_max_c", [quad[0] for quad in pics])
        put_max(values, "temp_board_max_c", [*(x for q in boards for x in q[1::2]), *(x for q in pics for x in q[1:])])
    elif "S21" in model and chips and all(quad[0] and quad[1] and not quad[2] and not quad[3] for quad in chips):
        inlet, outlet = [quad[0] for quad in chips], [quad[1] for quad in chips]
        values["temp_chip_max_c"] = SENTINEL
    if inlet and outlet:
        put_max(values, "temp_inlet_c", inlet)
        put_max(values, "temp_outlet_c", outlet)


def _quads(stats: Stats, name: str) -> list[list[float]]:
    """The four sensors of each board that has them, from either shape; absent boards are left out."""
    chains = stats.get("chain")
    if isinstance(chains, list):
        raws = [chain.get(name) for chain in chains if isinstance(chain, dict)]
    else:
        raws = [stats[key].split("-") for index in range(1, 17) if isinstance(stats.get(key := f"{name}{index}"), str)]
    quads = [[plain(part) or 0.0 for part in raw] for raw in raws if isinstance(raw, list) and len(raw) == 4]
    return [quad for quad in quads if any(quad)]


def _put_water(values: Values, sections: list[Stats]) -> None:
    """Water temperatures: hydro models name inlet and outlet, air-cooled models do not."""
    for metric, pattern in (("temp_inlet_c", _INLET), ("temp_outlet_c", _OUTLET)):
        raws = [
            raw
            for section in sections
            for key, raw in section.items()
            if pattern.search(key) and "chip" not in key and "pcb" not in key
        ]
        reported = [figure for raw in raws for figure in dashed(raw)]
        if reported:
            put_max(values, metric, reported)


def hashing(stats: Stats) -> float | None:
    """Number of hashing boards, or None where no board is reported."""
    chains = stats.get("chain")
    if isinstance(chains, list):
        if not chains:
            return 0.0
        rates = [_rate(chain.get("rate_real"), chain.get("asic_num")) for chain in chains if isinstance(chain, dict)]
    else:
        rates = [_rate(stats.get(rate), stats.get(chips)) for rate, chips in _PLACES if rate in stats or chips in stats]
    return above_zero(rates)


def _rate(rate: Any, chips: Any) -> float | None:
    """Rate of one place; 0 for one without chips and without a reported rate."""
    return 0.0 if not spelt(rate) and not plain(chips) else plain(rate)


def rate_hs(stats: Stats, model: str) -> float | None:
    """The sum of the boards' present rates, or None where no board reports one."""
    chains = stats.get("chain")
    if isinstance(chains, list):
        reported = [plain(chain.get("rate_real"), scale(stats)) for chain in chains if isinstance(chain, dict)]
    else:
        reported = [plain(stats[key], ghs(model, stats[key])) for key, _ in _PLACES if spelt(stats.get(key))]
    return total(reported)


def watts(stats: Stats) -> float | None:
    """The sum of the boards' power by the firmware's own estimate, or None where no board reports it."""
    reported = [first(stats, one, other) for one, other in _WATT_KEYS if one in stats or other in stats]
    return total(plain(raw) for raw in reported if spelt(raw))


def boards(stats: Stats, model: str) -> list[dict[str, Any]]:
    """One entry a board, for `boards_json`."""
    chains = stats.get("chain")
    if isinstance(chains, list):
        return _listed([chain for chain in chains if isinstance(chain, dict)], scale(stats))
    return _numbered(stats, model)


def put_boards(values: Values, stats: Stats, found: list[dict[str, Any]]) -> None:
    """Counts of boards and chips, and the mean frequency."""
    put(values, "boards_expected", plain(first(stats, "miner_count", "chain_num")) or None)
    # Models without a chip map report the number of chips.
    mapped = any(board["chips_hashing"] is not None and board["chips"] for board in found)
    put(values, "chips_hashing", total(board["chips_hashing" if mapped else "chips"] for board in found))
    put(values, "frequency_hz", first(stats, "total_freqavg", "frequency", "freq_avg"), HZ_PER_MHZ)
    if not values["frequency_hz"]:
        # Some leave the mean at zero, or empty, and report each board's.
        tuned = [board["frequency_hz"] for board in found if board["frequency_hz"]]
        if tuned or values["hashrate_hs"] or values["frequency_hz"] != 0:
            put(values, "frequency_hz", sum(tuned) / len(tuned) if tuned else None)
    volts = [volt for volt in (plain(stats.get(f"chain_voltage{board['board']}")) for board in found) if volt]
    put(values, "voltage_v", sum(volts) / len(volts) if volts else None)


def _numbered(stats: Stats, model: str) -> list[dict[str, Any]]:
    """The chains with chips or a rate: further places are zeros and empty texts."""
    found = []
    for index in range(1, 17):
        chips, rate = plain(stats.get(f"chain_acn{index}")), plain(stats.get(f"chain_rate{index}"))
        if not chips and not rate:
            continue
        found.append(
            {
                "board": index,
                "hashrate_hs": None if rate is None else rate * ghs(model, rate),
                "chips": chips,
                "chips_hashing": _mapped(stats.get(f"chain_acs{index}"), chips),
                "frequency_hz": plain(first(stats, f"freq{index}", f"freq_avg{index}"), HZ_PER_MHZ),
                "hw_errors": plain(stats.get(f"chain_hw{index}")),
                "temps_board_c": dashed(first(stats, f"temp_pcb{index}", f"temp{index}")),
                "temps_chip_c": dashed(first(stats, f"temp_chip{index}", f"temp2_{index}")),
            }
        )
    return found


def _mapped(chip_map: Any, chips: float | None) -> float | None:
    """Number of hashing chips by the map (`" oooo ooxo"`); without one it is known only for a board without chips."""
    text = spelt(chip_map)
    return float(text.count("o")) if text else 0.0 if chips == 0 else None


def _listed(chains: list[dict[str, Any]], unit_hs: float) -> list[dict[str, Any]]:
    return [
        {
            "board": whole(chain.get("index"), at),
            "hashrate_hs": plain(chain.get("rate_real"), unit_hs),
            "hashrate_nominal_hs": plain(chain.get("rate_ideal"), unit_hs),
            "chips": plain(chain.get("asic_num")),
            "chips_hashing": _mapped(chain.get("asic"), plain(chain.get("asic_num"))),
            "frequency_hz": plain(chain.get("freq_avg"), HZ_PER_MHZ),
            "hw_errors": plain(chain.get("hw")),
            "temps_board_c": dashed(first(chain, "temp_pcb", "temp_pic")),
            "temps_chip_c": dashed(chain.get("temp_chip")),
            "serial": chain.get("sn"),
        }
        for at, chain in enumerate(chains)
    ]
