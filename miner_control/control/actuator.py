# SPDX-License-Identifier: Apache-2.0
"""Actuator: sends commands in their turn and verifies each by a later reading.

- Turn: urgent first, sheds never behind wakes; a rise of power and a restart also wait for the inrush limit (`inrush`).
- Proof: a command is sent once through the miner's own lane and counts as done only when a reading sampled afterwards shows
  its effect (`readback`). Silence, or an acknowledgement without effect, is Unknown at the deadline.
- Retry: an unreachable miner is commanded again until the deadline, through a narrow lane that delays no other miner.
- Firmware goes to few miners at once (`uploads`), since an image is large and the network is shared; a miner that already
  reports the requested version is not written to.
- Replacement: a newer command for a device replaces the older one of its kind (load, or settings such as pools): an unsent
  one is withdrawn, one whose proof is awaited ends Unknown. A known id is the same command and gets the first's receipt.
"""

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from kernel.clock import Clock
from kernel.errors import DecodeError, TransportError
from kernel.reading import Absence, Reading
from kernel.receipt import Accepted, HubCause, Receipt, Refused, Unknown, Unreachable, Unsupported, Verified
from miner_control.control.inrush import Inrush, PrioritySemaphore, power_rise_w
from miner_control.control.readback import carries_evidence, is_observable, shows, tier_of
from miner_control.fleet.command import (
    CUT_SHORT,
    LOAD_NEUTRAL,
    WITHDRAWN,
    Command,
    InstallFirmware,
    Journalled,
    Reboot,
    RollBackFirmware,
)
from miner_control.fleet.driver import GivesReasons, MinerDriver, Preparing, SessionDriver
from miner_control.fleet.envelope import Envelope
from telemetry.collect.source import Tier

SUPERSEDED: Final = "superseded by a newer command"
GRACE_S: Final = 2.0
_REMEMBERED: Final = 5_000
_LEAST_URGENT: Final = 9

OnReceipt = Callable[[Command, Receipt, int], None]


async def _released(driver: SessionDriver) -> None:
    with contextlib.suppress(TransportError, DecodeError):
        await driver.release_session()


RESTARTS: Final = (Reboot, InstallFirmware, RollBackFirmware)
"""Intents after which the board starts again, and its power rises."""

_Slot = tuple[str, bool]


def _slot(command: Command) -> _Slot:
    """Key within which a newer command replaces the older: load commands of a device, and its load-neutral ones."""
    return command.device, isinstance(command.intent, LOAD_NEUTRAL)


@dataclass(slots=True)
class _Live:
    """A command in progress: `sent` from the moment its bytes may have left, `answered` set after the exchange, `done` with
    its receipt. `booked_w`: power that its restart may bring up."""

    command: Command
    done: "asyncio.Future[Receipt]"
    sent: bool = False
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    was_unreachable: bool = False
    sent_s: float = 0.0
    answered_ms: int = 0
    booked_w: float = 0.0
    before: Reading | None = None
    observed: asyncio.Event = field(default_factory=asyncio.Event)
    reading: Reading | None = None
    task: "asyncio.Task[None] | None" = None


class Actuator:
    """Carries out commands over drivers by device key.

    - `envelope_of(device)`, `latest(device)`: known envelope and last reading.
    - `bar(device)`: interlock; reason that forbids a write to a device ("": none), checked again before each sending.
    - `on_receipt(command, receipt, at_ms)`: called once per command with its last receipt, for the journal.
    - `in_flight` bounds writes, `watch_in_flight` read-backs and retries together, `uploads` images in transfer.
    - `pace_s`: first and longest pause between read-backs.
    """

    def __init__(
        self,
        drivers: Mapping[str, MinerDriver],
        clock: Clock,
        envelope_of: Callable[[str], Envelope],
        on_receipt: OnReceipt,
        *,
        latest: Callable[[str], Reading | None] = lambda device: None,
        bar: Callable[[str], str] = lambda device: "",
        inrush_w_per_s: float | None = None,
        in_flight: int = 512,
        watch_in_flight: int = 128,
        uploads: int = 4,
        pace_s: tuple[float, float] = (1.0, 15.0),
    ) -> None:
        self._drivers = drivers
        self._clock = clock
        self._envelope_of = envelope_of
        self._on_receipt = on_receipt
        self._latest = latest
        self._bar = bar
        self._inrush = Inrush(inrush_w_per_s, clock)
        self._writes = PrioritySemaphore(in_flight)
        self._watches = PrioritySemaphore(watch_in_flight)
        self._uploads = PrioritySemaphore(uploads)
        self._pace_s = pace_s
        self._live: dict[_Slot, _Live] = {}
        self._known: OrderedDict[UUID, asyncio.Future[Receipt]] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, issued: Journalled) -> dict[UUID, "asyncio.Future[Receipt]"]:
        """Start commands without waiting, urgent ones first; the futures hold their last receipts."""
        found = {}
        for command in sorted(issued.commands, key=lambda each: each.priority):
            known = self._known.get(command.id)
            found[command.id] = self._begin(command) if known is None else known
        return found

    def observe(self, readings: Iterable[Reading]) -> None:
        """Accept readings of ordinary polls, which count as evidence too."""
        for reading in readings:
            for work in (False, True):
                live = self._live.get((reading.device, work))
                fresh = live is not None and live.answered_ms and reading.at_ms > live.answered_ms
                if live is not None and fresh and carries_evidence(live.command.intent, reading):
                    live.reading = reading
                    live.observed.set()

    async def make_ready(self, devices: Iterable[str]) -> int:
        """Let drivers obtain in advance what a command will need (token, digest nonce), so that a shed costs one exchange
        per miner; on the narrow lane, at the lowest priority. Returns how many are ready; the others obtain it with the
        command."""

        async def one(driver: Preparing) -> bool:
            await self._watches.acquire(_LEAST_URGENT)
            try:
                await driver.prepare()
            except (TransportError, DecodeError):
                return False
            finally:
                self._watches.release()
            return True

        able: list[Preparing] = []
        for device in devices:
            driver: object = self._drivers.get(device)
            if isinstance(driver, Preparing) and not self._bar(device):
                able.append(driver)
        return sum(await asyncio.gather(*(one(driver) for driver in able)))

    def withdraw(self, commands: Iterable[str] | None = None) -> int:
        """Withdraw unsent commands (of these ids, or all); returns how many. Those already sent continue."""
        chosen = None if commands is None else set(commands)
        unsent = [
            live for live in self._live.values() if not live.sent and (chosen is None or str(live.command.id) in chosen)
        ]
        for live in unsent:
            self._end(live, Unreachable(WITHDRAWN, HubCause.WITHDRAWN))
        return len(unsent)

    @property
    def under_way(self) -> int:
        """Commands without their last receipt."""
        return len(self._live)

    @property
    def restarting_w(self) -> float:
        """Power of commanded restarts that may come up at any moment."""
        return self._inrush.restarting_w

    async def close(self) -> None:
        """End everything: unsent commands are withdrawn, sent ones are Unknown.

        A running exchange gets `GRACE_S` to end, since one cut off half-way leaves sessions open and lists half changed;
        sessions held in advance are released.
        """
        self.withdraw()
        exchanges = [asyncio.create_task(live.answered.wait()) for live in self._live.values()]
        if exchanges:
            _, late = await asyncio.wait(exchanges, timeout=GRACE_S)
            for exchange in late:
                exchange.cancel()
        for live in list(self._live.values()):
            cut_short, withdrawn = Unknown(CUT_SHORT, HubCause.CUT_SHORT), Unreachable(WITHDRAWN, HubCause.WITHDRAWN)
            self._end(live, cut_short if live.sent else withdrawn)
        await asyncio.gather(*self._tasks, return_exceptions=True)
        drivers: list[object] = list(self._drivers.values())
        releases = [asyncio.create_task(_released(driver)) for driver in drivers if isinstance(driver, SessionDriver)]
        if releases:
            _, silent = await asyncio.wait(releases, timeout=GRACE_S)
            for task in silent:
                task.cancel()

    # --- one command --------------------------------------------------------------------------------------------------

    def _begin(self, command: Command) -> "asyncio.Future[Receipt]":
        older = self._live.get(_slot(command))
        if older is not None:
            unsent = Unreachable(f"{WITHDRAWN}: {SUPERSEDED}", HubCause.SUPERSEDED)
            self._end(older, Unknown(SUPERSEDED, HubCause.SUPERSEDED) if older.sent else unsent)
        live = _Live(command, asyncio.get_running_loop().create_future(), before=self._latest(command.device))
        self._known[command.id] = live.done
        while len(self._known) > _REMEMBERED and next(iter(self._known.values())).done():
            self._known.popitem(last=False)
        self._live[_slot(command)] = live
        live.task = asyncio.create_task(self._complete(live))
        self._tasks.add(live.task)
        live.task.add_done_callback(self._tasks.discard)
        return live.done

    def _end(self, live: _Live, receipt: Receipt) -> None:
        """Set the last receipt of a command, once."""
        if live.done.done():
            return
        live.done.set_result(receipt)
        slot = _slot(live.command)
        if self._live.get(slot) is live:
            del self._live[slot]
        if live.task is not None and live.task is not asyncio.current_task():
            live.task.cancel()
        self._on_receipt(live.command, receipt, self._clock.now_ms())

    async def _complete(self, live: _Live) -> None:
        """Complete every command: a defect in a dialect ends it as Unknown, with the error as text."""
        try:
            await self._carry(live)
        except Exception as error:
            self._end(live, Unknown(f"defect while carrying out: {error!r}") if live.sent else Unreachable(repr(error)))

    async def _carry(self, live: _Live) -> None:
        command = live.command
        driver = self._drivers.get(command.device)
        if driver is None:
            self._end(live, Unreachable(f"no driver for {command.device}"))
            return
        if why := self._bar(command.device):
            self._end(live, Unreachable(f"{WITHDRAWN}: {why}", HubCause.BARRED))
            return
        envelope = self._envelope_of(command.device)
        if type(command.intent).__name__ not in envelope.commands:
            text = f"{envelope.model} with {envelope.firmware} has no {type(command.intent).__name__}"
            why = driver.unsupported_reason(command.intent) if isinstance(driver, GivesReasons) else ""
            self._end(live, Unsupported(f"{text}: {why}" if why else text))
            return
        if tier_of(command.intent) is Tier.DAILY:
            # The running version is compared with the requested one, and recent polls may not have reported it.
            reading = await self._read(live, driver)
            live.before = live.before if reading is None else reading
            if reading is not None and shows(command.intent, envelope, reading, since_s=0.0, was_unreachable=False):
                self._end(live, Verified(reading, 0.0))
                return
        rise_w = power_rise_w(command.intent, envelope, live.before)
        try:
            receipt = await self._send(live, driver, rise_w)
            if isinstance(receipt, Verified | Refused | Unsupported | Unreachable) or not is_observable(command.intent):
                self._end(live, receipt)
                return
            self._end(live, await self._confirm(live, driver, envelope, receipt))
        finally:
            # The reported version proves that the board is up; hashing comes after. Silent ones stay booked for a ramp.
            stays = live.done.done() and isinstance(live.done.result(), Refused | Unsupported)
            self._unbook(live, envelope.ramp_up_s if live.sent and not stays else 0.0)

    async def _take_turn(self, live: _Live, rise_w: float) -> None:
        if isinstance(live.command.intent, RESTARTS):
            await self._inrush.wait_to_restart(rise_w, live.command.priority)
            live.booked_w = rise_w
        else:
            await self._inrush.wait(rise_w)

    def _unbook(self, live: _Live, after_s: float = 0.0) -> None:
        self._inrush.came_up(live.booked_w, after_s)
        live.booked_w = 0.0

    def _left_s(self, live: _Live) -> float:
        return live.sent_s + live.command.deadline_s - self._clock.monotonic_s()

    async def _send(self, live: _Live, driver: MinerDriver, rise_w: float) -> Receipt:
        """Send a command in its turn; retry an unreachable miner on the narrow lane until the deadline.

        A repeated rise takes a new turn under the inrush limit, once the miner answers at all: a network switch that comes
        back must not start a whole row at once, and dead miners use no turn. An image takes its turn when its upload may
        begin: commands that wait for a free upload occupy no share of the limit.
        """
        command, pause_s, first = live.command, 1.0, True
        upload = isinstance(command.intent, InstallFirmware)
        gate = self._uploads if upload else self._writes
        live.sent_s = self._clock.monotonic_s()
        while True:
            if not upload:
                await self._take_turn(live, rise_w)
            await gate.acquire(command.priority)
            try:
                if upload:
                    await self._take_turn(live, rise_w)
                if why := self._bar(command.device):
                    return Unreachable(f"{WITHDRAWN}: {why}", HubCause.BARRED)
                if first:
                    live.sent_s = self._clock.monotonic_s()
                live.sent = True
                receipt = await driver.carry_out(command.intent, max(0.1, self._left_s(live)))
            except (TransportError, DecodeError) as error:
                receipt = Unknown(str(error))
            finally:
                gate.release()
            if not isinstance(receipt, Unreachable):
                live.answered_ms = self._clock.now_ms()
                live.answered.set()
                return receipt
            live.sent = False
            self._unbook(live)
            while True:
                if self._left_s(live) <= pause_s:
                    return receipt
                await asyncio.sleep(pause_s)
                gate, first = gate if upload else self._watches, False
                pause_s = min(2.0 * pause_s, 30.0)
                if rise_w <= 0 or await self._answers(live, driver):
                    break

    async def _answers(self, live: _Live, driver: MinerDriver) -> bool:
        """Whether a miner that was unreachable answers a read now, with any content."""
        await self._watches.acquire(live.command.priority)
        try:
            await driver.read(tier_of(live.command.intent))
        except TransportError:
            return False
        except DecodeError:
            return True
        finally:
            self._watches.release()
        return True

    async def _confirm(self, live: _Live, driver: MinerDriver, envelope: Envelope, answer: Receipt) -> Receipt:
        """Read until the effect shows, or until the deadline."""
        pause_s, answer_text = self._pace_s[0], answer.text if isinstance(answer, Accepted | Unknown) else ""
        last: Reading | None = None
        while (left_s := self._left_s(live)) > 0:
            reading = await self._evidence(live, driver, min(pause_s, left_s))
            pause_s, last = min(1.5 * pause_s, self._pace_s[1]), reading or last
            since_s = self._clock.monotonic_s() - live.sent_s
            if reading is not None and shows(
                live.command.intent,
                envelope,
                reading,
                since_s=since_s,
                was_unreachable=live.was_unreachable,
                before=live.before,
            ):
                return Verified(reading, since_s)
        reported = f"the miner answered: {answer_text}" if answer_text else "the miner did not answer the command"
        if tier_of(live.command.intent) is Tier.DAILY:
            runs = f"it runs {last.get('firmware')}" if last is not None else "no answer since"
            reported = f"{reported}; {runs}"
        return Unknown(f"no proof within {live.command.deadline_s:g} s; {reported}")

    async def _evidence(self, live: _Live, driver: MinerDriver, pause_s: float) -> Reading | None:
        """The next reading sampled after the command, of an ordinary poll or of a read after the pause. None: silence."""
        live.observed.clear()
        try:
            async with asyncio.timeout(pause_s):
                await live.observed.wait()
        except TimeoutError:
            pass
        else:
            return live.reading
        reading = await self._read(live, driver)
        return reading if reading is not None and reading.at_ms > live.answered_ms else None

    async def _read(self, live: _Live, driver: MinerDriver) -> Reading | None:
        """A reading of the miner now, on the narrow lane. None: silence, or an unreadable answer."""
        await self._watches.acquire(live.command.priority)
        try:
            reading = await driver.read(tier_of(live.command.intent))
        except TransportError as error:
            live.was_unreachable = live.was_unreachable or error.reason is Absence.UNREACHABLE
            return None
        except DecodeError:
            return None
        finally:
            self._watches.release()
        return reading if carries_evidence(live.command.intent, reading) else None
