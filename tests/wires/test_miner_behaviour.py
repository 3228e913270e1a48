# SPDX-License-Identifier: Apache-2.0
"""What miners do on real sockets, and what the driver makes of it: each behaviour to survive is one test."""

import asyncio

import orjson
import pytest

from kernel.errors import DecodeError, TransportError
from kernel.reading import Reading
from kernel.receipt import Refused, Unknown, Unreachable
from miner_control.fleet.command import Locate, Reboot, Sleep
from miner_control.fleet.driver import Rpc
from miner_control.io.miner_socket import Exchanges
from telemetry.collect.source import Tier
from tests.miner_control.dialect import fixtures
from tests.servers import free_port
from tests.wires.miner_peer import answers, holds, peer, port_of, read_once, says

ANTMINER = fixtures.antminer()
JOINED = orjson.dumps({name: [ANTMINER[name]] for name in ("summary", "stats", "pools")} | {"id": 1})


def hashes(reading: Reading) -> bool:
    return reading.number("hashrate_hs") == pytest.approx(95_000.5e9) and reading.get("state") == "hashing"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.replace(b"},{", b"}{"),
        lambda data: data.replace(b'"GHS av"', b'""GHS av"'),
        lambda data: b"," + data,
        lambda data: data.replace(b"}]", b",}]"),
        lambda data: data.replace(b"[{", b"[,{"),
        lambda data: data.replace(b'"test"', b'"te\nst"'),
        lambda data: data.replace(b'"Mode":2', b'"Mode":inf'),
        lambda data: data + b"\n",
    ],
)
def test_malformed_shapes_on_the_wire(spoil: object) -> None:
    sent = spoil(JOINED)  # type: ignore[operator]
    assert sent != JOINED
    assert hashes(asyncio.run(read_once(says(sent + b"\x00"))))


def test_clock_wrong_by_a_day_changes_no_instant() -> None:
    spoilt = fixtures.antminer()
    for part in spoilt.values():
        part["STATUS"][0]["When"] -= 86_400
    before = asyncio.run(read_once(answers(ANTMINER)))
    after = asyncio.run(read_once(answers(spoilt)))
    assert 0 <= after.at_ms - before.at_ms < 60_000
    assert dict(after.values) == dict(before.values)


def test_http_write_answered_with_404_is_refused() -> None:
    async def run() -> None:
        conf = http(200, orjson.dumps(fixtures.antminer_conf()))

        async def web(data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(conf if data.startswith(b"GET") else http(404, b"no such page"))
            await writer.drain()

        async with peer(web) as where:
            receipt = await port_of(where, http=where.port).carry_out(Sleep(), 3)
            assert receipt == Refused("404", "no such page")

    asyncio.run(run())


def test_write_refused_with_status_e() -> None:
    async def run() -> None:
        no = {"get_token": {"STATUS": "E", "When": 1, "Code": 45, "Msg": "no permission", "Description": ""}}
        async with peer(answers(no)) as where:
            receipt = await port_of(where, "whatsminer").carry_out(Sleep(), 3)
            assert receipt == Refused("45", "no token: no permission")

    asyncio.run(run())


def test_write_sent_and_never_answered_is_unknown() -> None:
    async def run() -> None:
        conf = http(200, orjson.dumps(fixtures.antminer_conf()))

        async def web(data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if data.startswith(b"GET"):
                writer.write(conf)
                await writer.drain()
            else:
                await asyncio.sleep(30)

        async with peer(web) as where:
            assert isinstance(await port_of(where, http=where.port).carry_out(Sleep(), 0.6), Unknown)
            assert sum(data.startswith(b"POST") for data in where.heard) == 1, "a write is never sent twice"

    asyncio.run(run())


def test_read_before_a_write_that_gets_no_answer_is_unreachable() -> None:
    async def run() -> None:
        async with peer(holds()) as where:
            assert isinstance(await port_of(where, http=where.port).carry_out(Sleep(), 0.5), Unreachable)

    asyncio.run(run())


def test_wrong_password_is_refused_after_one_signed_try() -> None:
    async def run() -> None:
        challenge = http(401, b"", 'WWW-Authenticate: Digest realm="antMiner", nonce="abc", qop="auth"')
        async with peer(says(challenge)) as where:
            receipt = await port_of(where, http=where.port).carry_out(Locate(True), 3)
            assert isinstance(receipt, Refused) and receipt.code == "401"
            assert len(where.heard) == 2
            assert b"Authorization: Digest" in where.heard[1]

    asyncio.run(run())


def test_an_unforeseen_shape_is_a_decode_error_and_nothing_else() -> None:
    """Whatever a dialect trips over, the collector sees one of its two errors."""

    class Careless:
        name = "careless"

        def read(self, access: object, tier: Tier, now_ms: int) -> object:
            answer = yield Rpc(b"{}", where_port)
            return {"hashrate_hs": orjson.loads(answer.body)["no"]["such"]}

    async def run() -> None:
        nonlocal where_port
        async with peer(says(b'{"no":1}')) as where:
            where_port = where.port
            port = port_of(where)
            port.dialect = Careless()  # type: ignore[assignment]
            with pytest.raises(DecodeError, match="unforeseen"):
                await port.read(Tier.FAST)

    where_port = 0
    asyncio.run(run())


def test_zero_rate_is_fault_unless_the_miner_says_it_sleeps() -> None:
    """Sick and asleep look alike over RPC: only the configuration tells them apart."""

    async def state(mode: str | None, elapsed: int = 7200) -> object:
        conf = http(404, b"") if mode is None else http(200, orjson.dumps(fixtures.antminer_conf(mode)))
        faulty = fixtures.antminer(rate_ghs=0.0, elapsed=elapsed)
        async with peer(answers(faulty)) as rpc, peer(says(conf)) as web:
            return (await port_of(rpc, http=web.port).read(Tier.FAST)).get("state")

    assert asyncio.run(state("1")) == "asleep"
    assert asyncio.run(state("0")) == "fault"
    assert asyncio.run(state(None)) == "fault"
    assert asyncio.run(state("0", elapsed=60)) == "ramping"


def test_mode_says_sleep_but_it_hashes() -> None:
    """A sleep acknowledged and without effect: the rate tells, not the setting."""

    async def run() -> None:
        async with peer(answers(fixtures.antminer(**{"miner-mode": 1}))) as rpc:
            assert (await port_of(rpc).read(Tier.FAST)).get("state") == "hashing"

    asyncio.run(run())


def test_joined_commands_are_learnt_to_be_unknown() -> None:
    async def run() -> None:
        async def singles(data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            command = orjson.loads(data)["command"]
            no = {"STATUS": fixtures.status(14, "Invalid command", "E"), "id": 1}
            writer.write(orjson.dumps(no if "+" in command else ANTMINER[command]) + b"\x00")
            await writer.drain()

        async with peer(singles) as where:
            port = port_of(where)
            assert hashes(await port.read(Tier.FAST))
            assert hashes(await port.read(Tier.FAST))
            asked = [orjson.loads(data)["command"] for data in where.heard]
            assert asked == ["summary+stats+pools", "summary", "stats", "pools", "stats", "stats"]
            await port.read(Tier.SLOW)
            asked = [orjson.loads(data)["command"] for data in where.heard]
            assert asked[6:] == ["summary", "stats", "pools"]

    asyncio.run(run())


def test_rpc_closed_is_read_over_the_web() -> None:
    async def run() -> None:
        pages = fixtures.antminer_cgi()

        async def web(data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            name = data.split(b" ")[1].decode().removeprefix("/cgi-bin/").removesuffix(".cgi")
            writer.write(http(200, orjson.dumps(pages[name])) if name in pages else http(404, b""))
            await writer.drain()

        async with peer(web) as where:
            port = port_of(where, http=where.port)
            port.access.ports = {"rpc": free_port(), "http": where.port}
            reading = await port.read(Tier.SLOW)
            assert reading.number("hashrate_hs") == pytest.approx(120.5e12)
            assert reading.get("state") == "hashing"
            assert reading.get("error_text") == "fans 2 fan lost"

    asyncio.run(run())


def test_a_hundred_miners_at_once_and_half_of_them_dead() -> None:
    async def run() -> None:
        exchanges = Exchanges(10.0, 20.0)
        dead = free_port()
        async with peer(answers(ANTMINER)) as alive:
            ports = []
            for index in range(100):
                port = port_of(alive, exchanges=exchanges)
                if index % 2:
                    port.access.ports = {"rpc": dead}
                ports.append(port)
            found = await asyncio.gather(*(port.read(Tier.FAST) for port in ports), return_exceptions=True)
            assert sum(isinstance(one, Reading) and hashes(one) for one in found) == 50
            assert sum(isinstance(one, TransportError) for one in found) == 50
            exchanges.close()

    asyncio.run(run())


def test_reboot_whose_connection_drops_is_unknown_until_seen() -> None:
    async def run() -> None:
        async with peer(says()) as where:
            assert isinstance(await port_of(where, http=where.port).carry_out(Reboot(), 2), Unknown)

    asyncio.run(run())


def http(status: int, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
