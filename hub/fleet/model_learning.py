# SPDX-License-Identifier: Apache-2.0
"""The running hub learns what its miners really do, from its own verified commands and from those that run steadily.

Each turn looks at the commands since the last one. Of the stretches that are over, a few per model and kind are read from
the archive, until the model is known well; then once a day again. What became sure, or changed, is journalled
(`dynamics.identified`), and the fold puts it into the envelopes that control, planner and people see.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import Final

import numpy as np

from hub.journal.recorder import Offload, Recorder
from hub.state.site import SiteState
from hub.state.situation import Situations
from kernel.clock import Clock
from kernel.event import EventKind
from kernel.span import Span
from kernel.units import MS_PER_DAY
from miner_control.control.disaggregation import FeederRows
from miner_control.fleet.command import Sleep
from miner_control.learning.batch import SETTLED_S, DynamicsIdentified
from miner_control.learning.dynamics import Episode, Key, Track
from miner_control.learning.windows import Followed, IdentificationBook, Steadiness, SteadyMode, Window, steady_round
from telemetry.store.archive import Archive

LONGEST_S: Final = 3600.0
CALM_S: Final = 900.0
"""No feeder's meter tells of steady miners sooner after a command."""
EVENTS_A_TURN: Final = 5_000
STRETCHES_A_TURN: Final = 16
"""Of each model and kind of command; the others teach nothing new."""
AGAIN_MS: Final = MS_PER_DAY
"""Who is known well is listened to again after a day."""

_FIGURES: Final = {True: ("ramp_down_s", "sleep_w"), False: ("ramp_up_s", "start_lost_s")}


class _SiteModel:
    """What is under way for one site between turns."""

    def __init__(self, site: SiteState) -> None:
        self.book: IdentificationBook = site.identification.copy()
        self.followed = Followed(LONGEST_S / site.config.simulated_speed_factor)
        self.steadiness = Steadiness.of(site.roster)
        self.settled_s, self.calm_s = (
            SETTLED_S / site.config.simulated_speed_factor,
            CALM_S / site.config.simulated_speed_factor,
        )
        self.listened_ms: dict[tuple[Key, bool], int] = {}
        self.heard: Counter[tuple[Key, bool]] = Counter()
        self.rows, self.feeder = FeederRows(), site.roster.feeder


class LearningDuty:
    """One turn each `every_s`."""

    name = "model learning"

    def __init__(
        self,
        situations: Situations,
        recorder: Recorder,
        clock: Clock,
        offload: Offload,
        archive: Archive,
        every_s: float,
    ) -> None:
        self.every_s = every_s
        state = self._state = situations.state
        self._situations, self._fresh_s = situations, situations.freshness.miner_s
        self._recorder, self._clock, self._offload, self._archive = recorder, clock, offload, archive
        self._after = recorder.position
        self._pupils = {key: _SiteModel(site) for key, site in state.sites.items()}

    async def do(self) -> None:
        """One turn; what is new is journalled, and known once that is done."""
        now_ms = self._clock.now_ms()
        # The snapshot is read here, in the loop that changes it; files are read elsewhere.
        rounds = {key: self._round(site, now_ms) for key, site in self._state.sites.items()}
        for key, body in await self._offload(self._turn, rounds, now_ms):
            await self._recorder.commit(key, EventKind.DYNAMICS_IDENTIFIED, body)

    def _round(self, site: SiteState, now_ms: int) -> list[SteadyMode]:
        site_model, now = self._pupils[site.key], self._situations.at(site, now_ms)
        seen, asked = now.seen, now.asked
        if site_model.feeder is not site.roster.feeder:
            # Miners stand elsewhere: what was read off the feeders' meters was of others.
            site_model.rows, site_model.feeder = FeederRows(), site.roster.feeder
        steady = site_model.steadiness.look(seen, asked, now_ms, self._fresh_s, site_model.settled_s)
        by_scope = now.meters_w
        meters_w = {
            name: by_scope[f"{site.key}/{name}"] / site.feeder_factor
            for name in site.roster.feeder_names
            if f"{site.key}/{name}" in by_scope
        }
        site_model.rows.look(site.roster, seen, asked, meters_w, now_ms, self._fresh_s, site_model.calm_s)
        return [*steady_round(site.roster, seen, steady), *site_model.rows.solve(site.roster)]

    def _turn(self, rounds: dict[str, list[SteadyMode]], now_ms: int) -> list[tuple[str, DynamicsIdentified]]:
        events = self._recorder.journal.events([EventKind.COMMAND_ISSUED, EventKind.COMMAND_RECEIPT], self._after)
        for position, event in islice(events, EVENTS_A_TURN):
            self._after = position
            if event.site in self._pupils:
                self._pupils[event.site].followed.apply(event)
        reported = []
        for key, site in self._state.sites.items():
            site_model = self._pupils[key]
            site_model.book.take_round(rounds[key])
            site_model.book.take(self._episodes(site, site_model, now_ms))
            for model in site_model.book.reportable():
                body = site_model.book.body(model)
                site_model.book.apply(body)
                reported.append((key, body))
        return reported

    def _episodes(self, site: SiteState, site_model: _SiteModel, now_ms: int) -> list[Episode]:
        chosen = self._chosen(site, site_model, now_ms)
        if not chosen:
            return []
        # One sample from before the command tells where it started from.
        before_ms = round(2 * self._fresh_s * 1000)
        span = Span(min(one.sent_ms for one, _ in chosen) - before_ms, max(one.end_ms for one, _ in chosen) + 1)
        tracks = tracks_between(self._archive, span, sorted({one.device for one, _ in chosen}))
        return [
            Episode(key, one.device, one.intent, one.sent_ms, _cut(tracks[one.device], one, before_ms))
            for one, key in chosen
            if one.device in tracks
        ]

    def _chosen(self, site: SiteState, site_model: _SiteModel, now_ms: int) -> list[tuple[Window, Key]]:
        """A few of the stretches that are over, the newest of each model and kind, and none from long before them."""
        over = site_model.followed.over(now_ms)
        taken: Counter[tuple[Key, bool]] = Counter()
        found = []
        for one in reversed(over):
            key = site.roster.envelope(site.roster.index[one.device]).key
            kind = key, isinstance(one.intent, Sleep)
            if taken[kind] >= STRETCHES_A_TURN or one.end_ms < over[-1].end_ms - round(LONGEST_S * 1000):
                continue
            if not taken[kind]:
                # A figure missing after many windows is not reported by this model, or too seldom.
                enough = site_model.heard[kind] >= STRETCHES_A_TURN
                known = site_model.book.is_known(key, _FIGURES[kind[1]], unreported_too=enough)
                if known and now_ms - site_model.listened_ms.get(kind, 0) < AGAIN_MS:
                    continue
                site_model.listened_ms[kind] = now_ms
            taken[kind] += 1
            found.append((one, key))
        site_model.heard.update(taken)
        return found


def tracks_between(archive: Archive, span: Span, devices: Sequence[str]) -> dict[str, Track]:
    """Reported power and hashrate of some miners in a span, by device; silent ones are left out."""
    table = archive.readings("miner", span, devices, ["power_w", "hashrate_hs"])
    at_ms = table["at_ms"].to_numpy().astype(np.int64)
    # What is missing is null there, and NaN for a moment here.
    power, rate = (table[name].to_numpy().astype(np.float64) for name in ("power_w", "hashrate_hs"))
    names, first = np.unique(table["device"].to_numpy().astype(str), return_index=True)
    ends = [*first[1:].tolist(), len(at_ms)]
    found = {}
    for name, start, end in zip(names.tolist(), first.tolist(), ends, strict=True):
        watts, hashes = power[start:end], rate[start:end]
        has_power, has_rate = ~np.isnan(watts), ~np.isnan(hashes)
        found[name] = Track(
            at_ms[start:end], np.where(has_power, watts, 0.0), has_power, np.where(has_rate, hashes, 0.0), has_rate
        )
    return found


def _cut(track: Track, one: Window, before_ms: int) -> Track:
    first, last = np.searchsorted(track.at_ms, [one.sent_ms, one.end_ms])
    start = max(0, int(first) - 1)
    if start < first and track.at_ms[start] < one.sent_ms - before_ms:
        start = int(first)
    return Track(*(getattr(track, name)[start:last] for name in Track.__slots__))
