# SPDX-License-Identifier: Apache-2.0
import asyncio

import pytest

from kernel.errors import TransportError
from kernel.reading import Absence, Reading
from kernel.receipt import Accepted, HubCause, Receipt, Refused, Unknown, Unreachable, Unsupported, Verified
from miner_control.control.actuator import SUPERSEDED
from miner_control.fleet.command import (
    CUT_SHORT,
    WITHDRAWN,
    Intent,
    Locate,
    Pool,
    PowerTarget,
    Reboot,
    SetMode,
    SetPools,
    Sleep,
    SwitchLoad,
    Wake,
)
from telemetry.collect.source import Tier
from tests.builders.actuation import Site, play
from tests.builders.commands import carry_out, journalled
from tests.miner_control.miners import EPOCH_MS, FakeMiner


def outcome(trait: str, intent: Intent, deadline_s: float = 120.0) -> tuple[Receipt, FakeMiner]:
    async def story(site: Site) -> None:
        await carry_out(site.actuator, journalled([site.ask(0, intent, deadline_s=deadline_s)]))

    site = play([trait], story)
    assert len(site.receipts) == 1, "one last receipt each"
    return site.receipts[0][1], site.miners["h/s/m0"]


def test_what_is_seen_afterwards_is_verified():
    receipt, miner = outcome("obeys", Sleep())
    assert isinstance(receipt, Verified)
    assert receipt.reading.values["state"] == "asleep"
    assert 5.0 <= receipt.took_s <= 15.0
    assert len(miner.writes) == 1


def test_a_lost_reply_is_proven_by_reading_and_never_sent_twice():
    receipt, miner = outcome("loses replies", Reboot())
    assert isinstance(receipt, Verified)
    assert len(miner.writes) == 1


def test_an_acknowledgement_without_effect_is_unknown():
    receipt, miner = outcome("ignores", Sleep())
    assert isinstance(receipt, Unknown) and "no proof" in receipt.text
    assert len(miner.writes) == 1


def test_an_echo_without_effect_is_unknown():
    receipt, _ = outcome("echoes", PowerTarget(2000.0))
    assert isinstance(receipt, Unknown)


def test_silence_after_the_command_is_unknown():
    assert isinstance(outcome("goes silent", Sleep())[0], Unknown)


def test_samples_from_before_the_command_prove_nothing():
    receipt, miner = outcome("old samples", Sleep())
    assert isinstance(receipt, Unknown)
    assert miner.reads > 3


def test_a_refusal_is_final():
    receipt, miner = outcome("refuses", Sleep())
    assert receipt == Refused("45", "access denied")
    assert miner.reads == 0


def test_unreachable_miners_are_commanded_until_the_deadline():
    receipt, miner = outcome("dead", Sleep(), deadline_s=30.0)
    assert isinstance(receipt, Unreachable)
    assert miner.writes == []


def test_a_miner_back_in_time_is_commanded_again():
    receipt, miner = outcome("dead for a minute", Sleep())
    assert isinstance(receipt, Verified)
    assert len(miner.writes) == 1 and miner.writes[0][0] >= 60


def test_what_cannot_be_seen_stays_accepted_and_what_cannot_be_done_is_not_sent():
    assert isinstance(outcome("obeys", Locate(True))[0], Accepted)
    receipt, miner = outcome("obeys", SwitchLoad(1, True))
    assert isinstance(receipt, Unsupported) and miner.writes == []


def test_the_same_command_twice_is_the_same_command():
    async def story(site: Site) -> None:
        asked = site.ask(0, Reboot())
        first, second = await asyncio.gather(
            carry_out(site.actuator, journalled([asked])), carry_out(site.actuator, journalled([asked]))
        )
        third = await carry_out(site.actuator, journalled([asked]))
        assert first == second == third

    site = play(["obeys"], story)
    assert len(site.miners["h/s/m0"].writes) == 1
    assert len(site.receipts) == 1


def test_the_dead_do_not_delay_the_living():
    async def story(site: Site) -> None:
        await carry_out(
            site.actuator, journalled([site.ask(at, Sleep(), deadline_s=60.0, priority=0) for at in range(400)])
        )

    site = play(["dead"] * 200 + ["obeys"] * 200, story, in_flight=20, watch_in_flight=10)
    last_s = max(miner.writes[0][0] for miner in site.miners.values() if miner.writes)
    assert last_s <= 400 / 20 * 0.1 + 0.2
    verified = [asked for asked, receipt in site.receipts if isinstance(receipt, Verified)]
    assert len(verified) == 200


@pytest.mark.parametrize("intent", [Sleep(), Wake()])
def test_retries_do_not_delay_fresh_waves(intent: Intent):
    """Each connect to a dead address costs seconds; retries have a narrow lane of their own, and take no turn to rise."""
    asked_s: dict[str, float] = {}

    async def story(site: Site) -> None:
        for miner in site.miners.values():
            miner.answer_s = 2.0 if miner.trait == "dead" else 0.1
        site.actuator.start(journalled([site.ask(at, intent, deadline_s=600.0) for at in range(20)]))
        await asyncio.sleep(100.0)
        for at in range(20, 40):
            await asyncio.sleep(7.0)
            made = site.ask(at, intent, EPOCH_MS + at)
            asked_s[made.device] = site.miners[made.device]._now_s()
            site.actuator.start(journalled([made]))
        await asyncio.sleep(20.0)

    site = play(["dead"] * 20 + ["obeys"] * 20, story, in_flight=2, watch_in_flight=4, inrush_w_per_s=3000.0)
    delays_s = [site.miners[device].writes[0][0] - at_s for device, at_s in asked_s.items()]
    assert len(delays_s) == 20 and max(delays_s) <= 0.2


def test_a_newer_command_replaces_the_older_one():
    async def story(site: Site) -> None:
        site.actuator.start(journalled([site.ask(0, Sleep())]))
        await asyncio.sleep(1.0)
        await carry_out(site.actuator, journalled([site.ask(0, SetMode("low"), EPOCH_MS + 1000)]))

    site = play(["obeys"], story)
    assert [type(receipt) for _, receipt in site.receipts] == [Unknown, Verified]
    assert site.receipts[0][1] == Unknown(SUPERSEDED, HubCause.SUPERSEDED)


def test_a_stop_lets_exchanges_end_and_waits_for_none_for_long():
    async def story(site: Site) -> None:
        site.miners["h/s/m1"].answer_s = 3600.0
        site.actuator.start(journalled([site.ask(at, Sleep()) for at in range(3)]))
        await asyncio.sleep(0.05)
        begun_s = site.miners["h/s/m0"]._now_s()
        await site.actuator.close()
        assert site.miners["h/s/m0"]._now_s() - begun_s <= 2.1

    site = play(["obeys"] * 3, story, in_flight=2)
    assert {asked.device[-2:]: receipt for asked, receipt in site.receipts} == {
        "m0": Unknown(CUT_SHORT, HubCause.CUT_SHORT), "m1": Unknown(CUT_SHORT, HubCause.CUT_SHORT),
        "m2": Unreachable(WITHDRAWN, HubCause.WITHDRAWN),
    }  # fmt: skip
    assert [len(site.miners[f"h/s/m{at}"].writes) for at in range(3)] == [1, 0, 0], "the first exchange came to its end"


def test_ordinary_polls_are_evidence():
    async def story(site: Site) -> None:
        miner = site.miners["h/s/m0"]
        future = site.actuator.start(journalled([site.ask(0, Sleep())])).popitem()[1]
        for _ in range(40):
            await asyncio.sleep(0.5)
            site.actuator.observe([await miner.read(None)])  # type: ignore[arg-type]
        assert isinstance(await future, Verified)

    site = play(["obeys"], story, pace_s=(30.0, 30.0))
    verified = site.receipts[0][1]
    assert isinstance(verified, Verified) and verified.took_s < 7.0


def test_a_poll_from_before_the_answer_proves_nothing_however_late_it_is_handed_in():
    async def story(site: Site) -> None:
        asleep = {"state": "asleep", "power_w": 20.0}
        future = site.actuator.start(journalled([site.ask(0, Sleep(), deadline_s=20.0)])).popitem()[1]
        await asyncio.sleep(1.0)
        for at_ms in (EPOCH_MS - 5000, EPOCH_MS + 50, EPOCH_MS + 100):
            site.actuator.observe([Reading("h/s/m0", "miner", at_ms, asleep)])
        await asyncio.sleep(1.0)
        assert not future.done()
        await future

    site = play(["ignores"], story, pace_s=(30.0, 30.0))
    assert isinstance(site.receipts[0][1], Unknown)


def test_polls_that_do_not_speak_of_the_effect_neither_prove_it_nor_keep_its_proof_away():
    """Fast polls closer together than our own pause, and none of them tells the pools."""
    pools = SetPools((Pool("stratum+tcp://a:1", "x.1"), Pool("stratum+tcp://b:1", "x.1")))

    async def story(site: Site) -> None:
        miner = site.miners["h/s/m0"]
        future = site.actuator.start(journalled([site.ask(0, pools, deadline_s=60.0)])).popitem()[1]
        while not future.done():
            await asyncio.sleep(0.5)
            site.actuator.observe([await miner.read(Tier.FAST)])

    verified = play(["obeys"], story).receipts[0][1]
    assert isinstance(verified, Verified) and verified.took_s < 15.0 and "pools_json" in verified.reading.values


def test_abort_takes_back_what_was_not_sent():
    async def story(site: Site) -> None:
        asked = [site.ask(at, Sleep()) for at in range(10)]
        site.actuator.start(journalled(asked))
        await asyncio.sleep(0.15)
        assert site.actuator.withdraw({str(one.id) for one in asked[:2]}) == 0, "these have left"
        assert site.actuator.withdraw({str(asked[9].id)}) == 1
        assert site.actuator.withdraw() == 5

    site = play(["obeys"] * 10, story, in_flight=2)
    sent = [asked.device for asked, receipt in site.receipts if not isinstance(receipt, Unreachable)]
    assert len(sent) == 4
    assert sum(len(miner.writes) for miner in site.miners.values()) <= 4


@pytest.mark.parametrize("sent", [False, True])
def test_a_stopping_hub_reports_unfinished_commands(sent: bool):
    async def story(site: Site) -> None:
        site.actuator.start(journalled([site.ask(0, Sleep(), deadline_s=600.0)]))
        if sent:
            await asyncio.sleep(2.0)

    site = play(["ignores"], story)
    assert isinstance(site.receipts[0][1], Unknown if sent else Unreachable)


def test_what_a_command_needs_is_made_beforehand_where_a_driver_can():
    class Able(FakeMiner):
        prepared = 0

        async def prepare(self) -> None:
            if self.trait == "dead":
                raise TransportError(Absence.UNREACHABLE, "refused")
            Able.prepared += 1

    async def story(site: Site) -> None:
        clock = site.actuator._clock
        site.miners |= {
            f"h/s/able{at}": Able(f"h/s/able{at}", clock, trait) for at, trait in enumerate(["obeys", "dead"])
        }
        assert await site.actuator.make_ready([*site.miners, "h/s/nobody"]) == 1

    play(["obeys"], story)
    assert Able.prepared == 1


@pytest.mark.parametrize("place", ["carry_out", "read"])
def test_a_defect_in_a_driver_loses_no_command(place: str):
    async def explode(*_: object) -> None:
        raise KeyError("a defect of ours")

    async def story(site: Site) -> None:
        setattr(site.miners["h/s/m0"], place, explode)
        await carry_out(site.actuator, journalled([site.ask(0, Sleep()), site.ask(1, Sleep())]))

    site = play(["obeys", "obeys"], story)
    outcomes = {asked.device: receipt for asked, receipt in site.receipts}
    assert isinstance(outcomes["h/s/m1"], Verified)
    broken = outcomes["h/s/m0"]
    assert isinstance(broken, Unknown) and "a defect of ours" in broken.text
