# SPDX-License-Identifier: Apache-2.0
"""Observe-only valued in money: what each tick would have done, and what that would have been worth, day by day.

Nothing is obeyed there, so the would-be power is that of the tick's own set-points once all of them held. The tick carries
both powers, both hashrates and the prices known then (`ShadowTick`); the book holds each until the next tick.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from kernel.clock import MS_PER_HOUR, to_datetime
from kernel.units import HS_PER_PHS, S_PER_DAY
from miner_control.fleet.fleet import Roster
from miner_control.health.third_party_control import ShadowInterval, ShadowWorth

LONGEST_MS: Final = 900_000
"""A tick speaks for no longer: after that the hub was down, and nobody watched."""


Change = tuple[str, Mapping[str, Any], str]
"""Device, intent as JSON, reason."""


@dataclass(frozen=True, slots=True)
class ShadowTick:
    """One tick in observe-only. Powers at the meter; a price is None where none was known, and `unpriced` says why."""

    power_w: float
    would_w: float
    hashrate_hs: float
    would_hs: float
    energy_price_per_mwh: float | None
    hash_value_per_ph_day: float | None
    unpriced: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _sleeps(intent: Mapping[str, Any] | None) -> bool:
    return intent is not None and intent["intent"] == "Sleep"


class ShadowBook:
    """The worth of commanding by the site's local days, as a fold over ticks that carry a glimpse."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._last: tuple[int, ShadowTick] | None = None
        self._would: dict[str, Mapping[str, Any]] = {}
        self.days: dict[str, ShadowWorth] = {}
        self.unpriced = ""

    def differences(self, changes: Sequence[Change]) -> tuple[list[Change], list[str]]:
        """(what would be asked now and would not, or otherwise, at the last tick; the devices of which nothing would be asked
        any more). Since nothing is obeyed a tick repeats nearly all of the one before; the journal holds the differences."""
        now = {device for device, _, _ in changes}
        new = [change for change in changes if self._would.get(change[0]) != change[1]]
        return new, sorted(device for device in self._would if device not in now)

    def apply(self, body: Mapping[str, Any], roster: Roster) -> None:
        """Take a tick; one that carries no glimpse was of a hub that commands, and ends what was held."""
        if "shadow" not in body:
            self._last = None
            self._would.clear()
            return
        at_ms, seen = int(body["tick_ms"]), ShadowTick(**body["shadow"])
        now = dict.fromkeys(body["no_more"]) | {device: intent for device, intent, _ in body["changes"]}
        started = [device for device, intent in now.items() if self._slept(device) and not _sleeps(intent)]
        for device, intent in now.items():
            if intent is None:
                self._would.pop(device, None)
            else:
                self._would[device] = intent
        if self._last is not None:
            self._count(self._last, at_ms, started, roster)
        self._last, self.unpriced = (at_ms, seen), seen.unpriced

    def _slept(self, device: str) -> bool:
        return _sleeps(self._would.get(device))

    def _count(self, last: tuple[int, ShadowTick], until_ms: int, woken: Sequence[str], roster: Roster) -> None:
        at_ms, seen = last
        started = [roster.index[device] for device in sorted(woken) if device in roster.index]
        lost_ph_days = 0.0
        for unit in started:
            envelope = roster.envelope(unit)
            lost_ph_days += envelope.start_lost_s / S_PER_DAY * envelope.mode(envelope.normal).hashrate_hs / HS_PER_PHS
        day = to_datetime(at_ms).astimezone(self._zone).date().isoformat()
        self.days.setdefault(day, ShadowWorth()).add(
            ShadowInterval(
                min(max(0, until_ms - at_ms), LONGEST_MS) / MS_PER_HOUR, seen.power_w, seen.would_w, seen.hashrate_hs,
                seen.would_hs, seen.energy_price_per_mwh, seen.hash_value_per_ph_day, len(started), lost_ph_days,
            )
        )  # fmt: skip

    def to_json(self, currency: str) -> dict[str, Any]:
        """The worth by day and in all; `unpriced` says why the newest tick could not be priced, where it could not."""
        total = ShadowWorth()
        for one in self.days.values():
            total.merge(one)
        return {
            "currency": currency,
            "days": [{"day": day, **self.days[day].to_json()} for day in sorted(self.days)],
            "total": total.to_json(),
            "unpriced": self.unpriced,
        }
