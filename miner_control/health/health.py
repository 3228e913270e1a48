# SPDX-License-Identifier: Apache-2.0
"""Health checks of a miner: findings with evidence, remedy and lost hashrate, for work tickets.

Each check judges one reading (with the unit's performance reference) and returns nothing where the reading lacks the values.
A miner that sleeps, ramps or is silent is not judged by its hashrate.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from kernel.reading import Missing, Reading
from miner_control.fleet.envelope import Envelope
from miner_control.fleet.miner import State

_HASHING: Final = State.HASHING.value
ANOTHER: Final = "another machine"
WORSE_SHARE: Final = 1.08
LOW_SHARE: Final = 0.85
REJECTED_SHARE: Final = 0.03
STALE_SHARE_S: Final = 900.0
STALE_GAPS: Final = 12.0
"""Shares of a small miner are rare: nothing is stale before this many of its own mean gaps."""
NEVER_SHARE_S: Final = 3600.0
_NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "fault": ("state",), "dead board": ("boards_hashing", "boards_expected"), "low hashrate": ("hashrate_hs",),
    "throttling": ("hashrate_hs", "temp_chip_max_c"), "stopped fan": ("fan_min_rpm", "fan_max_rpm"),
    "rejected shares": ("shares_accepted", "shares_rejected"),
}  # fmt: skip
"""Metrics without which a reading cannot prove that a finding is over."""
_WHILE_HASHING: Final = frozenset(
    {"dead board", "low hashrate", "degrading efficiency", "throttling", "stopped fan", "stale pool"}
)


@dataclass(frozen=True, slots=True)
class PerformanceReference:
    """Performance reference of a unit in its normal mode (its own long-run medians), and its recent behaviour.

    - `no_share_s`: hashing time without an accepted share, None where the count is not reported.
    - `shares_rose`: the count was observed to rise.
    - `lately_j_per_th`: efficiency over the last rounds in its normal mode, None outside it.
    - `others_factor`: present over usual J/TH of like units, at least 1.
    """

    hashrate_hs: float | None = None
    j_per_th: float | None = None
    chip_c: float | None = None
    no_share_s: float | None = None
    lately_j_per_th: float | None = None
    shares_rose: bool = True
    others_factor: float = 1.0


@dataclass(frozen=True, slots=True)
class PoolRule:
    """Own pools and worker names: `hosts` as `host:port`; `worker` with {device} for the last part of the key, or `workers`
    by device key."""

    hosts: frozenset[str]
    worker: str = ""
    workers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HealthFinding:
    """One fault of one miner. `loss_hs` is the hashrate it costs, where that is known."""

    device: str
    what: str
    text: str
    remedy: str
    evidence: Mapping[str, Any]
    loss_hs: float = 0.0


Check = Callable[[Reading, Envelope, PerformanceReference, PoolRule | None], HealthFinding | None]


def _finding(
    reading: Reading, what: str, text: str, remedy: str, *metrics: str, loss_hs: float = 0.0, **known: float | None
) -> HealthFinding:
    measured = {name: reading.values[name] for name in metrics if isinstance(reading.get(name), int | float | str)}
    more = {name: round(value, 3) for name, value in known.items() if value is not None}
    return HealthFinding(reading.device, what, text, remedy, {"at_ms": reading.at_ms, **measured, **more}, loss_hs)


def _nominal_hs(reading: Reading, envelope: Envelope) -> float:
    mode = reading.get("mode")
    name = mode if isinstance(mode, str) and mode in envelope.names else envelope.normal
    return envelope.mode(name).hashrate_hs


def _expected_hs(reading: Reading, envelope: Envelope, usual: PerformanceReference) -> float:
    """Expected hashrate in the reported mode: that of its model, or its own reference where that is higher.

    The reference is of the normal mode; a unit that was weak from its first day is not healthy because it is constant.
    """
    nominal_hs, normal_hs = _nominal_hs(reading, envelope), envelope.mode(envelope.normal).hashrate_hs
    return nominal_hs * max(1.0, (usual.hashrate_hs or 0.0) / normal_hs)


def dead_board(
    reading: Reading, envelope: Envelope, usual: PerformanceReference, rule: PoolRule | None
) -> HealthFinding | None:
    there, expected = reading.number("boards_hashing"), reading.number("boards_expected")
    if there is None or expected is None or there >= expected or reading.get("state") != _HASHING:
        return None
    lost = expected - there
    text = f"{lost:.0f} of {expected:.0f} boards do not hash"
    loss_hs = _nominal_hs(reading, envelope) * lost / expected
    return _finding(
        reading, "dead board", text, "Reseat the board and its cables; swap it if it stays dead",
        "boards_hashing", "boards_expected", "hashrate_hs", "boards_json", loss_hs=loss_hs,
    )  # fmt: skip


def faulty(
    reading: Reading, envelope: Envelope, usual: PerformanceReference, rule: PoolRule | None
) -> HealthFinding | None:
    if reading.get("state") != State.FAULT.value:
        return None
    power_w = reading.number("power_w")
    draws = f" while drawing {power_w:.0f} W" if power_w is not None else ""
    error_text = reading.get("error_text")
    text = f"in fault{draws}" + (f": {error_text}" if isinstance(error_text, str) and error_text else "")
    return _finding(
        reading, "fault", text, "Read its log, reboot it once; to the bench if it comes back",
        "hashrate_hs", "power_w", "error_text", "temp_chip_max_c", loss_hs=_nominal_hs(reading, envelope),
    )  # fmt: skip


def weak(
    reading: Reading, envelope: Envelope, usual: PerformanceReference, rule: PoolRule | None
) -> HealthFinding | None:
    rate = reading.number("hashrate_hs")
    expected = _expected_hs(reading, envelope, usual)
    if rate is None or reading.get("state") != _HASHING or rate >= LOW_SHARE * expected:
        return None
    text = f"hashes at {rate / expected:.0%} of what is usual"
    return _finding(
        reading, "low hashrate", text, "Look for heat, a weak board or a wrong mode",
        "hashrate_hs", "mode", "chips_hashing", "chips_expected", "temp_chip_max_c", loss_hs=expected - rate,
    )  # fmt: skip


def degraded(
    reading: Reading, envelope: Envelope, usual: PerformanceReference, rule: PoolRule | None
) -> HealthFinding | None:
    lately, before = usual.lately_j_per_th, usual.j_per_th
    if (
        reading.get("state") != _HASHING
        or lately is None
        or before is None
        or lately <= WORSE_SHARE * before * usual.others_factor
    ):
        return None
    text = f"needs {lately:.1f} J/TH, {lately / before - 1:.0%} more than it used to"
    if usual.others_factor > 1.005:
        text += f", those alike {usual.others_factor - 1:.0%} more"
    return _finding(
        reading, "degrading efficiency", text, "Clean it, check paste and fans; retune",
        "hashrate_hs", "power_w", "mode", "temp_chip_max_c", j_per_th=lately, usual_j_per_th=before,
        usual_hashrate_hs=usual.hashrate_hs, usual_chip_c=usual.chip_c, others_factor=usual.others_factor,
    )  # fmt: skip


def throttled(
    reading: Reading, envelope: Envelope, usual: PerformanceReference, rule: PoolRule | None
) -> HealthFinding | None:
    chip_c, rate = reading.number("temp_chip_max_c"), reading.number("hashrate_hs")
    expected = _expected_hs(reading, envelope, usual)
    if chip_c is None or rate is None or reading.get("state") != _HASHING or chip_c < 90.0 or rate >= 0.95 * expected:
        return None
    text = f"{chip_c:.0f} C at the chip and {rate / expected:.0%} of its hashrate: it throttles itself"
    return _finding(
        reading, "throttling", text, "Cool the aisle, check its fans", "temp_chip_max_c", "temp_inlet_c", "hashrate_hs",
        loss_hs=expected - rate,
    )  # fmt: skip


def stopped_fan(
    reading: Reading, envelope: Envelope, usual: PerformanceReference, rule: PoolRule | None
) -> HealthFinding | None:
    low, high = reading.number("fan_min_rpm"), reading.number("fan_max_rpm")
    if low is None or high is None or reading.get("state") != _HASHING or low > 0 or high <= 0:
        return None
    return _finding(reading, "stopped fan", "one fan stands still", "Replace the fan", "fan_min_rpm", "fan_max_rpm")


def stale_pool(
    reading: Reading, envelope: Envelope, usual: PerformanceReference, rule: PoolRule | None
) -> HealthFinding | None:
    state = reading.get("pool_state")
    hashes = reading.get("state") == _HASHING
    silent = usual.no_share_s is not None and hashes and usual.no_share_s > _patience_s(reading, usual.no_share_s)
    if not silent and not (isinstance(state, str) and state.lower() in ("dead", "disabled", "rejecting")):
        return None
    text = f"no accepted share for {usual.no_share_s:.0f} s" if silent else f"its pool is {state}"
    return _finding(
        reading, "stale pool", text, "Check the pool and the way to it", "pool_url", "pool_state", "shares_accepted",
        "uptime_s", loss_hs=reading.number("hashrate_hs") or 0.0, no_share_s=usual.no_share_s,
    )  # fmt: skip


def _patience_s(reading: Reading, no_share_s: float) -> float:
    """Allowed time without an accepted share, by the mean gap between those since the miner's start."""
    accepted, uptime_s = reading.number("shares_accepted"), reading.number("uptime_s")
    if not accepted:
        return NEVER_SHARE_S
    gap_s = 0.0 if uptime_s is None else max(0.0, uptime_s - no_share_s) / accepted
    return max(STALE_SHARE_S, STALE_GAPS * gap_s)


def rejected(
    reading: Reading, envelope: Envelope, usual: PerformanceReference, rule: PoolRule | None
) -> HealthFinding | None:
    accepted, refused = reading.number("shares_accepted"), reading.number("shares_rejected")
    if accepted is None or refused is None or accepted + refused < 500:
        return None
    share = refused / (accepted + refused)
    if share <= REJECTED_SHARE:
        return None
    return _finding(
        reading, "rejected shares", f"{share:.1%} of its shares are rejected", "Check latency, clock and overclock",
        "shares_accepted", "shares_rejected", loss_hs=share * (reading.number("hashrate_hs") or 0.0),
    )  # fmt: skip


def wrong_pool(
    reading: Reading, envelope: Envelope, usual: PerformanceReference, rule: PoolRule | None
) -> HealthFinding | None:
    if rule is None:
        return None
    name = reading.device.rpartition("/")[2]
    worker = rule.workers.get(reading.device) or rule.worker.replace("{device}", name)
    for url, user in pools_of(reading):
        if host_of(url) not in rule.hosts:
            return _finding(
                reading, "wrong pool", f"hashes for {host_of(url)} as {user or 'no user'}", "Set the pools; ask who changed them",
                "pool_url", "pool_user", loss_hs=reading.number("hashrate_hs") or 0.0,
            )  # fmt: skip
        if worker and user and user != worker:
            return _finding(
                reading,
                "wrong worker",
                f"works as {user}, not as {worker}",
                "Set the worker name",
                "pool_url",
                "pool_user",
            )
    return None


def host_of(url: str) -> str:
    """`stratum+tcp://user@Pool.example:3333/x` -> `pool.example:3333`."""
    return url.partition("://")[2].rpartition("@")[2].partition("/")[0].lower() or url.lower()


def pools_of(reading: Reading) -> list[tuple[str, str]]:
    """(url, user) of every pool that a miner reports, in its order; empty where it reports none."""
    found = reading.get("pools_json")
    if isinstance(found, str):
        listed = [entry for entry in json.loads(found) if isinstance(entry, dict) and entry.get("url")]
        return [(str(entry["url"]), str(entry.get("user", ""))) for entry in listed]
    url = reading.get("pool_url")
    return [(url, str(reading.get("pool_user") or ""))] if isinstance(url, str) and url else []


CHECKS: Final[Sequence[Check]] = (
    faulty, dead_board, weak, throttled, degraded, stopped_fan, stale_pool, rejected, wrong_pool,
)  # fmt: skip


def may_be_over(what: str, reading: Reading, usual: PerformanceReference) -> bool:
    """Whether a reading without a finding proves that the finding is over: a sleeping miner has no hashrate to judge, and a
    hub that has just started has no recent behaviour yet."""
    if what in _WHILE_HASHING and reading.get("state") != _HASHING:
        return False
    if any(isinstance(reading.get(name), Missing) for name in _NEEDS.get(what, ())):
        return False
    if what == ANOTHER:
        return any(isinstance(reading.get(name), str) for name in ("serial", "mac"))
    if what in ("wrong pool", "wrong worker"):
        return bool(pools_of(reading))
    if what == "degrading efficiency":
        return usual.j_per_th is None or usual.lately_j_per_th is not None
    return what != "stale pool" or usual.no_share_s is None or usual.shares_rose


def examine(
    reading: Reading, envelope: Envelope, usual: PerformanceReference, rule: PoolRule | None = None
) -> list[HealthFinding]:
    """All findings of a reading, costliest first. A dead board explains a low hashrate, which is then left out."""
    found = [finding for check in CHECKS if (finding := check(reading, envelope, usual, rule)) is not None]
    names = {finding.what for finding in found}
    if names & {"dead board", "throttling"}:
        found = [finding for finding in found if finding.what != "low hashrate"]
    return sorted(found, key=lambda finding: -finding.loss_hs)
