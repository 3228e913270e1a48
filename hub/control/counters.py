# SPDX-License-Identifier: Apache-2.0
"""Counters of the hub itself for `/metrics`, and the loss watch over those that count what was lost.

A loss counter that grew is journalled (`data.lost`), at most once a turn, and stands among the feeds for `SHOWN_MS`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hub.journal.payloads import DataLost
from hub.journal.recorder import Recorder
from kernel.clock import MS_PER_HOUR, Clock
from kernel.event import EventKind
from miner_control.control.actuator import Actuator
from telemetry.collect.collector import Counts
from telemetry.wire.exposition import Figure

Counters = Callable[[], Sequence[Figure]]
"""The counters of one part, as they stand now."""

SHOWN_MS = MS_PER_HOUR


@dataclass(frozen=True, slots=True)
class Loss:
    """One loss counter since the hub's start: its count, what it counts, and when it grew last."""

    count: int
    help: str
    last_ms: int

    def recent(self, now_ms: int) -> bool:
        return now_ms - self.last_ms <= SHOWN_MS

    @property
    def text(self) -> str:
        return f"{self.count} since the start: {self.help[0].lower()}{self.help[1:].rstrip('.')}"


def poll_figures(counts: Counts) -> list[Figure]:
    """What the collector did."""
    reasons = [
        Figure(
            "polls_failed_by_reason", float(count), "Polls that failed, by reason.", counter=True,
            labels={"reason": reason.name.lower()},
        )
        for reason, count in sorted(counts.reasons.items())
    ]  # fmt: skip
    return [
        Figure("polls_ok", float(counts.ok), "Polls that were answered.", counter=True),
        Figure("polls_failed", float(counts.failed), "Polls that were not.", counter=True),
        Figure("polls_late", float(counts.late), "Polls that ended after their next turn had come.", counter=True),
        Figure("polls_in_flight", float(counts.in_flight), "Polls under way."),
        *reasons,
    ]


def tick_figures(ticks: int) -> list[Figure]:
    """What the control loops did."""
    return [Figure("control_ticks", float(ticks), "Control steps taken.", counter=True)]


def actuator_figures(actuators: Mapping[str, Actuator]) -> list[Figure]:
    """What is under way at each site."""
    return [
        figure
        for site, actuator in actuators.items()
        for figure in (
            Figure(
                "commands_under_way", float(actuator.under_way), "Commands without a receipt.", labels={"site": site}
            ),
            Figure(
                "restarting_w", actuator.restarting_w, "Power booked for restarts under way.", labels={"site": site}
            ),
        )
    ]


def recorder_figures(recorder: Recorder) -> list[Figure]:
    """Journal on disk, and readings that it could not take."""
    bytes_used = float(recorder.journal.health().bytes_used)
    lost_help = "Readings dropped because the journal could not be written for too long."
    return [
        Figure("journal_bytes", bytes_used, "Bytes of the journal on disk."),
        Figure("journal_position", float(recorder.position), "Records in the journal.", counter=True),
        Figure("readings_lost", float(recorder.readings_lost), lost_help, counter=True, loss=True),
    ]


class LossDuty:
    """Compares the loss counters with those of its last turn; growth is journalled and kept in `board` by name."""

    name = "loss counters"

    def __init__(
        self, hub: str, parts: Sequence[Counters], recorder: Recorder, clock: Clock, board: dict[str, Loss],
        every_s: float,
    ) -> None:  # fmt: skip
        self.every_s = every_s
        self._hub, self._parts, self._recorder, self._clock, self._board = hub, parts, recorder, clock, board
        # A counter that outlives a restart (what a sink set aside) was reported when it grew.
        self._at_start = {name: count for name, (count, _) in _losses(parts).items()}

    async def do(self) -> None:
        """One comparison."""
        now_ms, grown = self._clock.now_ms(), {}
        for name, (count, text) in _losses(self._parts).items():
            since_start = count - self._at_start.get(name, 0)
            before = self._board[name].count if name in self._board else 0
            if since_start > before:
                grown[name] = since_start - before
                self._board[name] = Loss(since_start, text, now_ms)
        if grown:
            self._recorder.emit(self._hub, EventKind.DATA_LOST, DataLost(grown=grown))


def _losses(parts: Sequence[Counters]) -> Mapping[str, tuple[int, str]]:
    """(count, help) of each loss counter by name, summed over its labels."""
    found: dict[str, tuple[int, str]] = {}
    for figure in (figure for part in parts for figure in part() if figure.loss):
        found[figure.name] = (found.get(figure.name, (0, ""))[0] + int(figure.value), figure.help)
    return found
