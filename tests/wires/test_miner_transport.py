# SPDX-License-Identifier: Apache-2.0
"""Connections of miners: silent, slow, cut, refused, too long; each costs only itself."""

import asyncio
import contextlib
import socket

import orjson
import pytest

from kernel.errors import DecodeError, TransportError
from kernel.reading import Absence, Missing, Reading
from kernel.receipt import Unreachable
from miner_control.fleet.command import Sleep
from miner_control.io.miner_socket import Exchanges
from telemetry.collect.source import Tier
from tests.miner_control.dialect import fixtures
from tests.servers import free_port
from tests.wires.miner_peer import IMPATIENT, answers, holds, peer, port_of, read_once, says

ANTMINER = fixtures.antminer()
JOINED = orjson.dumps({name: [ANTMINER[name]] for name in ("summary", "stats", "pools")} | {"id": 1})


def hashes(reading: Reading) -> bool:
    return reading.number("hashrate_hs") == pytest.approx(95_000.5e9) and reading.get("state") == "hashing"


def test_accepts_and_never_answers() -> None:
    async def run() -> None:
        async with peer(holds()) as where:
            with pytest.raises(TransportError) as caught:
                await port_of(where, exchanges=Exchanges(*IMPATIENT)).read(Tier.FAST)
            assert caught.value.reason is Absence.TIMED_OUT

    asyncio.run(run())


def test_answers_but_keeps_the_socket_open_without_end_mark() -> None:
    assert hashes(asyncio.run(read_once(holds(JOINED))))


def test_malformed_and_keeps_the_socket_open() -> None:
    """No NUL, no close, no valid JSON: silence after something readable is the end."""
    broken = JOINED.replace(b"},{", b"}{")
    assert broken != JOINED
    assert hashes(asyncio.run(read_once(holds(broken))))


def test_a_pause_in_the_middle_is_no_end() -> None:
    """A busy miner falls silent for longer than the quiet rule allows: what came so far is not taken for the whole."""
    half = len(JOINED) // 2
    assert JOINED[half - 1 : half] != b"}"

    async def run() -> None:
        async with peer(says(JOINED[:half], 0.7, JOINED[half:], b"\x00")) as where:
            reading = await port_of(where, exchanges=Exchanges(10.0, 20.0)).read(Tier.FAST)
            assert hashes(reading) and reading.number("fan_max_rpm") == 4260

    asyncio.run(run())


def test_text_reply_on_a_socket_kept_open() -> None:
    text = (
        b"STATUS=S,When=1,Code=11,Msg=Summary|SUMMARY,Elapsed=5400,MHS av=9.5e7,MHS 5s=95000000,Accepted=80,Rejected=1|"
    )
    assert asyncio.run(read_once(holds(text), "avalon")).number("hashrate_hs") == 95e12


def test_closing_ends_waiting_and_running_exchanges() -> None:
    async def run() -> None:
        exchanges = Exchanges()
        async with peer(holds()) as where:
            flying = asyncio.ensure_future(port_of(where, exchanges=exchanges).read(Tier.FAST))
            await asyncio.sleep(0.1)
            waiting = asyncio.ensure_future(port_of(where, exchanges=exchanges).read(Tier.FAST))
            await asyncio.sleep(0)
            exchanges.close()
            found = await asyncio.wait_for(asyncio.gather(flying, waiting, return_exceptions=True), 2)
            assert all(isinstance(one, TransportError) for one in found)

    asyncio.run(run())


def test_reply_in_three_segments() -> None:
    third = len(JOINED) // 3
    parts = (JOINED[:third], 0.05, JOINED[third : 2 * third], 0.05, JOINED[2 * third :])
    assert hashes(asyncio.run(read_once(holds(*parts))))
    assert hashes(asyncio.run(read_once(says(*parts, b"\x00"))))


def test_reply_byte_by_byte() -> None:
    small = orjson.dumps({"summary": [ANTMINER["summary"]], "stats": [ANTMINER["stats"]], "pools": [ANTMINER["pools"]]})
    assert hashes(asyncio.run(read_once(says(*(small[at : at + 37] for at in range(0, len(small), 37)), b"\x00"))))


def test_connection_refused() -> None:
    async def run() -> None:
        async with peer(says()) as where:
            where.port = free_port()
            port = port_of(where)
            with pytest.raises(TransportError) as caught:
                await port.read(Tier.FAST)
            assert caught.value.reason is Absence.UNREACHABLE
            assert isinstance(await port_of(where, "whatsminer").carry_out(Sleep(), 2), Unreachable)

    asyncio.run(run())


def test_an_address_that_cannot_be_costs_only_itself() -> None:
    async def run() -> None:
        exchanges = Exchanges(10.0, 20.0)
        async with peer(answers(ANTMINER)) as where:
            good, bad = port_of(where, exchanges=exchanges), port_of(where, exchanges=exchanges)
            bad.access.ports = {"rpc": 70_000}
            found = await asyncio.gather(bad.read(Tier.FAST), good.read(Tier.FAST), return_exceptions=True)
            assert isinstance(found[0], TransportError) and isinstance(found[1], Reading)
        exchanges.close()

    asyncio.run(run())


def test_exhausted_file_descriptors_are_reported_and_survived() -> None:
    """Out of descriptors, the poll fails as unreachable; with one again, it works."""
    import resource

    async def run() -> None:
        exchanges = Exchanges(10.0, 20.0)
        async with peer(answers(ANTMINER)) as where:
            port = port_of(where, exchanges=exchanges)
            assert hashes(await port.read(Tier.FAST))
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
            try:
                with pytest.raises(TransportError, match="emfile"):
                    await port.read(Tier.FAST)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            assert hashes(await port.read(Tier.FAST))
        exchanges.close()

    asyncio.run(run())


def test_closes_without_an_answer() -> None:
    with pytest.raises(TransportError) as caught:
        asyncio.run(read_once(says()))
    assert caught.value.reason is Absence.UNREACHABLE


def test_reboots_in_the_middle_of_a_reply() -> None:
    """What was cut off is not invented; what came whole is kept; nothing readable is an error."""
    reading = asyncio.run(read_once(says(JOINED[: len(JOINED) // 2])))
    assert isinstance(reading, Reading)
    assert isinstance(reading.get("pool_url"), Missing) or reading.get("pool_url") == "stratum+tcp://b.example:3333"
    with pytest.raises((DecodeError, TransportError)):
        asyncio.run(read_once(says(JOINED[:9])))


def test_reset_instead_of_close() -> None:
    async def run() -> None:
        async def slam(data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            writer.transport.abort()

        async with peer(slam) as where:
            with pytest.raises(TransportError) as caught:
                await port_of(where).read(Tier.FAST)
            assert caught.value.reason is Absence.UNREACHABLE

    asyncio.run(run())


def test_reply_of_ten_megabytes_is_cut_off() -> None:
    async def run() -> None:
        async with peer(says(b'{"STATS":[' + b'{"a":1},' * 1_300_000)) as where:
            with pytest.raises(TransportError) as caught:
                await port_of(where).read(Tier.FAST)
            assert caught.value.reason is Absence.MALFORMED

    asyncio.run(run())


def test_ipv6() -> None:
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        assert hashes(asyncio.run(read_once(answers(ANTMINER), host="::1")))
        return
    pytest.skip("this machine has no IPv6 loopback")


def test_one_connection_at_a_time() -> None:
    """A miner's API has one thread: read and command of one miner never overlap, whoever calls."""

    async def run() -> None:
        async with peer(says(0.05, JOINED, b"\x00")) as where:
            port = port_of(where)
            await asyncio.gather(*(port.read(Tier.FAST) for _ in range(5)))
            assert len(where.heard) == 6, "five polls, and once the question for the new API"
            assert where.open_most == 1

    asyncio.run(run())


def test_a_cancelled_caller_blocks_no_other() -> None:
    """Cancelled while it waits for the lane, while it asks, and at the very moment its turn comes: the next is served."""

    async def run() -> None:
        async with peer(says(0.03, JOINED, b"\x00")) as where:
            port = port_of(where)
            await port.read(Tier.FAST)
            for pause_s in (0.0, 0.01, 0.02, 0.03, 0.04, 0.06):
                tasks = [asyncio.ensure_future(port.read(Tier.FAST)) for _ in range(4)]
                await asyncio.sleep(pause_s)
                tasks[0].cancel()
                tasks[2].cancel()
                found = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
                assert isinstance(found[1], Reading) and isinstance(found[3], Reading)
            assert where.open_most == 1 or where.open_most == 2, "a cancelled conversation may still be closing"
            assert isinstance(await asyncio.wait_for(port.read(Tier.FAST), 2), Reading)

    asyncio.run(run())
