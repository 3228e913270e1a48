# SPDX-License-Identifier: Apache-2.0
"""Each fault of the twin in each dialect, met by the hub's own drivers: nothing is invented, no receipt is a lie."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from kernel.clock import system_clock
from kernel.errors import DecodeError, TransportError
from kernel.reading import Absence, Missing, Reading
from kernel.receipt import Accepted, Receipt, Refused, Unknown, Unreachable, Unsupported
from miner_control.dialect import DIALECTS
from miner_control.fleet.command import Intent, Sleep, Wake
from miner_control.fleet.driver import Access
from miner_control.fleet.miner import Miner
from miner_control.io.miner_socket import Exchanges, MinerPort
from telemetry.collect.source import Tier
from tests.servers import SOAK
from tests.twins import Twin, await_ports, running_twin

MODELS = {
    "antminer-s21": 1, "whatsminer-m50s": 1, "whatsminer-m60s": 1, "luxos-s19k-pro": 1, "braiins-s21-pro": 1,
    "vnish-s21-pro": 1, "avalon-a1466": 1, "epic-s19-xp": 1, "auradine-at2880": 1, "bitaxe-supra": 1,
}  # fmt: skip
NAMES = ["antminer", "whatsminer", "whatsminer_v3", "luxos", "braiins", "vnish", "avalon", "epic", "auradine", "bitaxe"]
OVER_HTTP = ["antminer", "braiins", "vnish", "epic", "auradine", "bitaxe"]
FEW = NAMES if SOAK else ["antminer", "whatsminer", "whatsminer_v3", "braiins"]
"""The shell is one for all: every day one dialect of each wire is enough for what the shell alone decides."""
READABLE = ["no_nul", "segments", "clock_off", "duplicate_serial"]
MENDABLE = ["missing_comma", "stray_comma", "list_comma", "double_quote", "leading_comma"]
UNREADABLE = ["garbage", "truncated", "huge", "raw_newline", "inf_nan"]

# As a running hub holds it: a session that an earlier test took is still ours.
ACCESS: dict[str, Access] = {}


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Twin]:
    with running_twin(tmp_path_factory.mktemp("twin"), miners=10, models=MODELS, feeders=1, pace=3000.0) as found:
        yield found


class Bench:
    """One miner of a dialect, its driver with short time-outs, and a way to break it."""

    def __init__(self, twin: Twin, dialect: str) -> None:
        self.twin = twin
        self.miner = twin.first(dialect)
        self.device = self.miner["device"]
        fresh = Access(twin.ready["accounts"][dialect], twin.ready["password"], self.miner["ports"])
        self.access = ACCESS.setdefault(self.device, fresh)
        self.named = Miner(
            device=self.device, model=self.miner["model"], dialect=dialect, host=self.miner["host"],
            ports=tuple(self.miner["ports"].items()), feeder="f1",
        )  # fmt: skip

    def _port(self, total_s: float) -> MinerPort:
        exchanges = Exchanges(connect_s=10.0, total_s=total_s)
        return MinerPort(self.named, DIALECTS[self.named.dialect], self.access, system_clock(), exchanges)

    def breaks(self, *faults: str) -> None:
        self.twin.fault({"device": self.device, "faults": list(faults)})

    def read(self, tier: Tier = Tier.SLOW, total_s: float = 15.0) -> Reading:
        async def once() -> Reading:
            return await self._port(total_s).read(tier)

        return asyncio.run(once())

    def ask(self, intent: Intent, deadline_s: float = 15.0, total_s: float = 15.0) -> Receipt:
        async def once() -> Receipt:
            return await self._port(total_s).carry_out(intent, deadline_s)

        return asyncio.run(once())

    def prepare(self) -> None:
        """Tokens, nonces and sessions beforehand, so that the write itself meets the fault."""

        async def once() -> None:
            await self._port(15.0).prepare()

        asyncio.run(once())

    def truth(self) -> dict[str, Any]:
        return self.twin.truth(self.device)


@pytest.fixture
def bench(twin: Twin, request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(twin, request.param)
    made.breaks()
    yield made
    made.breaks()
    if made.truth()["asleep"]:
        assert isinstance(made.ask(Wake()), Accepted)
    twin.until(made.device, "state", "hashing", 60)


def each(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("bench", names or NAMES, indirect=True)


def true_or_missing(reading: Reading, truth: dict[str, Any]) -> None:
    """Each figure is right, or Missing with a reason; a hashing miner is never said to sleep."""
    rate, power = reading.get("hashrate_hs"), reading.get("power_w")
    assert isinstance(rate, Missing) or rate == pytest.approx(truth["hashrate_hs"], rel=0.08)
    assert isinstance(power, Missing) or power == pytest.approx(truth["power_w"], rel=0.06, abs=0.6)
    assert reading.get("state") not in ("asleep", "stopped")


@pytest.mark.parametrize("fault", READABLE)
@each()
def test_odd_but_readable_answers_are_read(bench: Bench, fault: str) -> None:
    bench.breaks(fault)
    reading = bench.read()
    true_or_missing(reading, bench.truth())
    assert reading.get("state") == "hashing"


@pytest.mark.parametrize("fault", MENDABLE + UNREADABLE)
@each(*FEW)
def test_malformed_answers_invent_nothing(bench: Bench, fault: str) -> None:
    bench.breaks(fault)
    try:
        reading = bench.read(total_s=3.0)
    except (DecodeError, TransportError):
        return
    true_or_missing(reading, bench.truth())


@each()
def test_a_faulty_miner_is_a_fault_and_not_asleep(bench: Bench) -> None:
    bench.breaks("hashless")
    reading = bench.read()
    assert reading.number("hashrate_hs") == 0.0
    assert reading.get("state") not in ("asleep", "stopped", "hashing")


@each(*(NAMES if SOAK else ["antminer"]))
def test_an_overheated_miner_is_a_fault_in_every_tier_and_says_so(bench: Bench) -> None:
    """It stopped by itself, hashes nothing and draws little: all that a sleeper does, and yet no sleep."""
    bench.breaks("overheat")
    bench.twin.until(bench.device, "state", "fault", 60)
    for tier in (Tier.FAST, Tier.SLOW, Tier.DAILY):
        reading = bench.read(tier)
        assert reading.get("state") == "fault", (tier, reading.get("state"), reading.get("uptime_s"))
    reported = reading.get("error_text")
    if bench.named.dialect != "auradine":
        # It has no word for it: that it does not sleep, and does not hash, is all that it tells.
        assert isinstance(reported, str) and reported, reported


@each(*FEW)
def test_silence_is_timed_out_and_a_command_into_it_unknown_or_unreachable(bench: Bench) -> None:
    bench.breaks("hung")
    with pytest.raises(TransportError) as caught:
        bench.read(Tier.FAST, total_s=0.4)
    assert caught.value.reason is Absence.TIMED_OUT
    assert isinstance(bench.ask(Sleep(), 0.5, 0.4), Unknown | Unreachable)
    assert bench.truth()["asleep"] is False


@each(*FEW)
def test_no_power_is_unreachable(bench: Bench) -> None:
    bench.breaks("dead")
    await_ports(bench.miner, opened=False)
    with pytest.raises(TransportError) as caught:
        bench.read(Tier.FAST)
    assert caught.value.reason is Absence.UNREACHABLE
    assert isinstance(bench.ask(Sleep()), Unreachable)
    bench.breaks()
    await_ports(bench.miner, opened=True)


@each()
def test_a_refusal_is_refused(bench: Bench) -> None:
    bench.breaks("refuses_writes")
    receipt = bench.ask(Sleep())
    assert isinstance(receipt, Refused), receipt
    assert receipt.text or receipt.code
    assert bench.truth()["asleep"] is False


@each(*OVER_HTTP)
def test_a_write_answered_with_404_is_refused(bench: Bench) -> None:
    bench.breaks("write_404")
    assert isinstance(bench.ask(Sleep()), Refused | Unsupported)
    assert bench.truth()["asleep"] is False


@each()
def test_an_acknowledgement_without_effect_is_at_most_accepted(bench: Bench) -> None:
    bench.breaks("deaf")
    assert isinstance(bench.ask(Sleep()), Accepted)
    assert bench.truth()["asleep"] is False
    assert bench.read().get("state") == "hashing", "the next reading tells"


@each()
def test_a_lost_reply_is_unknown_never_a_failure(bench: Bench) -> None:
    bench.prepare()
    bench.breaks("lost_reply")
    receipt = bench.ask(Sleep())
    done = bench.truth()["asleep"]
    assert isinstance(receipt, Unknown) or (isinstance(receipt, Unreachable) and not done), (receipt, done)
    if bench.named.dialect == "avalon":
        bench.twin.until(bench.device, "asleep", True)


@each()
def test_a_reboot_over_the_command_is_no_success(bench: Bench) -> None:
    bench.prepare()
    bench.breaks("reboots_on_write")
    receipt = bench.ask(Sleep())
    assert isinstance(receipt, Unknown | Unreachable | Accepted), receipt
    if isinstance(receipt, Accepted):
        assert bench.named.dialect == "avalon", "only a clocked command can be accepted before the reboot"
    bench.breaks()
    bench.twin.until(bench.device, "board_up", True, 60)
    assert bench.truth()["asleep"] is False


@each()
def test_half_a_shed_shows_in_the_readings(bench: Bench) -> None:
    before = bench.truth()["power_w"]
    bench.breaks("half_shed")
    assert isinstance(bench.ask(Sleep()), Accepted)
    for _ in range(60):
        asyncio.run(asyncio.sleep(0.2))
        if bench.truth()["power_w"] < 0.6 * before:
            break
    truth = bench.truth()
    assert truth["power_w"] == pytest.approx(before / 2, rel=0.1)
    reading = bench.read()
    power = reading.get("power_w")
    assert isinstance(power, Missing) or power == pytest.approx(truth["power_w"], rel=0.06, abs=0.6)
    if bench.named.dialect == "bitaxe":
        # Its rate is a mean over minutes, so its own word counts for the state; the watts it measures give it away.
        assert not isinstance(power, Missing)
    else:
        assert reading.get("state") != "asleep", "half of it still hashes"


@pytest.mark.parametrize("dialect", NAMES)
def test_a_worn_miner_shows_it_and_shares_stand_where_the_dialect_counts_them(twin: Twin, dialect: str) -> None:
    bench = Bench(twin, dialect)
    bench.breaks()
    well = bench.read()
    bench.breaks("worn", "no_shares")
    worn, later = bench.read(), bench.read()
    bench.breaks()
    before_w, after_w = well.number("power_w"), worn.number("power_w")
    assert before_w is not None and after_w is not None and 1.05 < after_w / before_w < 1.3
    counts = dialect != "whatsminer_v3"  # Its protocol tells reject rates and no counts.
    assert (worn.number("shares_accepted") is not None) is counts
    assert later.number("shares_accepted") == worn.number("shares_accepted")
