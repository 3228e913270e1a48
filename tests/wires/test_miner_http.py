# SPDX-License-Identifier: Apache-2.0
"""HTTP and framed RPC on real sockets: digest with a nonce used again, odd endings, and what a write really did."""

import asyncio
import hashlib
import re
from typing import Any

import orjson
import pytest

from kernel.errors import DecodeError, TransportError
from kernel.receipt import Accepted, Refused, Unknown, Unreachable
from miner_control.fleet.command import Locate, SetCredential, Sleep, Wake
from miner_control.fleet.driver import Answer
from miner_control.io.exchanges import Exchanges
from miner_control.io.miner_http import Digest, parse_http
from telemetry.collect.source import Tier
from tests.miner_control.dialect import fixtures, fixtures_more
from tests.wires.miner_peer import IMPATIENT, Speak, answers, peer, port_of, says

FIELD = re.compile(r'(\w+)="?([^",]*)"?')


class DigestWeb:
    """A web page behind RFC 7616 digest, checking each signature by itself; a nonce lives for so many requests."""

    def __init__(
        self, pages: dict[str, Any], algorithm: str = "MD5", qop: str = 'qop="auth", ', life: int = 99
    ) -> None:
        self.pages, self.algorithm, self.qop, self.life = pages, algorithm, qop, life
        self.nonce, self.used, self.challenges = 0, 0, 0
        self.counts: list[str] = []
        self.posted: list[Any] = []

    async def __call__(self, data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n")[0].decode().split(" ")
        signed = next((line for line in head.decode().split("\r\n") if line.startswith("Authorization: Digest")), "")
        if not self._right(method, path, dict(FIELD.findall(signed))):
            self.nonce, self.used, self.challenges = self.nonce + 1, 0, self.challenges + 1
            stale = ", stale=true" if signed else ""
            challenge = f'Digest realm="antMiner", {self.qop}nonce="n{self.nonce}", algorithm={self.algorithm}{stale}'
            answer = f"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n\r\n".encode()
        else:
            self.used += 1
            if method == "POST":
                self.posted.append(orjson.loads(body))
            page = orjson.dumps(self.pages[path.removeprefix("/cgi-bin/").removesuffix(".cgi")])
            answer = f"HTTP/1.1 200 OK\r\nContent-Length: {len(page)}\r\n\r\n".encode() + page
        writer.write(answer)
        await writer.drain()

    def _right(self, method: str, path: str, field: dict[str, str]) -> bool:
        if field.get("nonce") != f"n{self.nonce}" or self.used >= self.life:
            return False

        def name(text: str) -> str:
            return hashlib.new({"MD5": "md5", "SHA-256": "sha256"}[self.algorithm], text.encode()).hexdigest()

        secret, target = name("root:antMiner:root"), name(f"{method}:{path}")
        if not self.qop:
            return field["response"] == name(f"{secret}:{field['nonce']}:{target}")
        self.counts.append(field["nc"])
        middle = f"{field['nonce']}:{field['nc']}:{field['cnonce']}:auth"
        return field["response"] == name(f"{secret}:{middle}:{target}")


PAGES = {"get_miner_conf": fixtures.antminer_conf(), "set_miner_conf": {"stats": "success", "code": "M000", "msg": "OK!"},
         "blink": {"code": "B000"}}  # fmt: skip


@pytest.mark.parametrize(
    ("algorithm", "qop"), [("MD5", 'qop="auth", '), ("SHA-256", 'qop="auth,auth-int", '), ("MD5", "")]
)
def test_digest_nonce_is_used_again(algorithm: str, qop: str) -> None:
    async def run() -> None:
        web = DigestWeb(PAGES, algorithm, qop)
        async with peer(web) as where:
            port = port_of(where, http=where.port)
            await port.prepare()
            assert web.challenges == 1
            heard = len(where.heard)
            assert isinstance(await port.carry_out(Locate(True), 5), Accepted)
            assert len(where.heard) == heard + 1, "prepared: a command costs one exchange"
            assert isinstance(await port.carry_out(Sleep(), 5), Accepted)
            assert web.challenges == 1
            assert web.counts == sorted(set(web.counts)), "the count of a nonce rises"
            assert web.posted[-1]["miner-mode"] == 1

    asyncio.run(run())


def test_stale_nonce_is_renewed_and_the_write_happens_once() -> None:
    async def run() -> None:
        web = DigestWeb(PAGES, life=1)
        async with peer(web) as where:
            port = port_of(where, http=where.port)
            for _ in range(3):
                assert isinstance(await port.carry_out(Locate(True), 5), Accepted)
            assert len(web.posted) == 3

    asyncio.run(run())


def test_wrong_password_never_writes() -> None:
    async def run() -> None:
        web = DigestWeb(PAGES)
        async with peer(web) as where:
            receipt = await port_of(where, http=where.port, password="wrong").carry_out(Sleep(), 5)
            assert isinstance(receipt, Refused) and receipt.code == "401"
            assert not web.posted

    asyncio.run(run())


def test_a_write_refused_for_its_token_and_then_silence_had_no_effect() -> None:
    """401 proves that nothing happened; what comes to grief after it is unreachable, not unknown."""

    async def run() -> None:
        async def web(data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if b"/unlock" in data:
                await asyncio.sleep(9)
            writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

        async with peer(web) as where:
            port = port_of(where, "vnish", http=where.port)
            port.access.memory["token"] = "old"
            assert isinstance(await port.carry_out(Sleep(), 3), Unreachable)

    asyncio.run(run())


def test_the_same_on_uvloop() -> None:
    """The hub runs on uvloop; the epoll of its own must be watched there too."""
    import uvloop

    async def run() -> None:
        async with peer(answers(fixtures.antminer())) as where:
            reading = await port_of(where).read(Tier.DAILY)
            assert reading.get("state") == "hashing"
        async with peer(says(5.0)) as silent:
            with pytest.raises(TransportError):
                await port_of(silent, exchanges=Exchanges(*IMPATIENT)).read(Tier.FAST)

    uvloop.run(run())


BODY = orjson.dumps(fixtures_more.bitaxe()["system_info"])


@pytest.mark.parametrize(
    "speak",
    [
        says(b"HTTP/1.1 200 OK\r\n\r\n" + BODY),
        says(b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\n" + BODY[:50], 0.05, BODY[50:]),
        says(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY, 9.0),
        says(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n" % len(BODY), 0.05, b"\r\n" + BODY, 9.0),
        says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % 100 + BODY[:100] + b"\r\n", 0.05,
             b"%x;note=1\r\n" % (len(BODY) - 100) + BODY[100:] + b"\r\n0\r\n\r\n", 9.0),
    ],
    ids=["to the end", "HTTP/1.0 in pieces", "keeps open", "head in pieces", "chunked"],
)  # fmt: skip
def test_http_bodies_end_in_every_way(speak: Speak) -> None:
    async def run() -> None:
        async with peer(speak) as where:
            reading = await port_of(where, "bitaxe", http=where.port).read(Tier.FAST)
            assert reading.get("state") == "hashing"

    asyncio.run(run())


@pytest.mark.parametrize(
    "junk", [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n<html></html>", b"HTTP/1.1 503 Busy\r\n\r\n"]
)
def test_what_is_no_answer_is_a_decode_error(junk: bytes) -> None:
    async def run() -> None:
        async with peer(says(junk)) as where:
            with pytest.raises(DecodeError):
                await port_of(where, "bitaxe", http=where.port).read(Tier.FAST)

    asyncio.run(run())


def test_http_cut_in_its_body_is_unreachable() -> None:
    async def run() -> None:
        async with peer(says(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + BODY[:80])) as where:
            with pytest.raises(TransportError):
                await port_of(where, "bitaxe", http=where.port).read(Tier.FAST)

    asyncio.run(run())


def test_framed_replies_in_pieces_and_never_by_a_partial_frame() -> None:
    reported = fixtures_more.whatsminer_v3()

    async def speak(data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert int.from_bytes(data[:4], "little") == len(data) - 4
        asked = orjson.loads(data[4:])
        name = (
            asked["cmd"]
            if "param" not in asked or asked["cmd"] == "get.device.info"
            else f"{asked['cmd']} {asked['param']}"
        )
        body = orjson.dumps(reported.get(name, {"code": -2, "msg": "invalid"}))
        frame = len(body).to_bytes(4, "little") + body
        for piece in (frame[:2], frame[2:40], frame[40:]):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)
        await asyncio.sleep(5)

    async def run() -> None:
        async with peer(speak) as where:
            port = port_of(where, "whatsminer_v3")
            assert (await port.read(Tier.FAST)).number("power_w") == 3100
            daily = await port.read(Tier.DAILY)
            assert daily.get("serial") == "SN1" and daily.number("boards_hashing") == 2
        async with peer(says(b"\x40\x00\x00\x00{}")) as where:
            with pytest.raises(TransportError):
                await port_of(where, "whatsminer_v3").read(Tier.FAST)

    asyncio.run(run())


def test_acknowledged_without_effect_is_only_accepted_and_the_reading_shows_it() -> None:
    """The driver never says more than the miner did; that it still hashes is what the next reading tells."""

    async def run() -> None:
        web = DigestWeb(PAGES)
        async with peer(answers(fixtures.antminer())) as rpc, peer(web) as page:
            port = port_of(rpc, http=page.port)
            assert isinstance(await port.carry_out(Sleep(), 5), Accepted)
            assert (await port.read(Tier.FAST)).get("state") == "hashing"

    asyncio.run(run())


def test_reply_lost_after_a_write_is_unknown_and_not_sent_again() -> None:
    """A lost reply once rebooted a miner four times elsewhere: here one write leaves, whatever becomes of its answer."""

    async def run() -> None:
        async with peer(says()) as where:
            port = port_of(where, "bitaxe", http=where.port)
            assert isinstance(await port.carry_out(Wake(), 2), Unknown)
            await asyncio.sleep(0.2)
            assert len(where.heard) == 1

    asyncio.run(run())


def test_silent_miner_is_never_a_reading() -> None:
    """Time-outs elsewhere became `success, sleeping, 0 TH/s`: here they are an error, whichever page is silent."""

    async def run() -> None:
        async def half(data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if b"get_miner_conf" in data:
                page = orjson.dumps(fixtures.antminer_conf("0"))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(page) + page)
                await writer.drain()
                return
            await asyncio.sleep(9)

        async with peer(half) as where:
            with pytest.raises(TransportError):
                await port_of(where, exchanges=Exchanges(*IMPATIENT), http=where.port).read(Tier.FAST)

    asyncio.run(run())


def test_two_addresses_with_one_serial_number_both_say_it() -> None:
    """The driver hides nothing: both readings carry the serial, and the register finds the double."""

    async def run() -> None:
        documents = fixtures_more.luxos()
        async with peer(answers(documents)) as one, peer(answers(documents)) as two:
            first, second = await port_of(one, "luxos").read(Tier.DAILY), await port_of(two, "luxos").read(Tier.DAILY)
            assert first.get("serial") == second.get("serial") == "S1"

    asyncio.run(run())


def test_digest_challenges_that_are_none() -> None:
    assert Digest.from_challenge({}, "a", "b") is None
    assert Digest.from_challenge({"www-authenticate": 'Basic realm="x"'}, "a", "b") is None
    assert Digest.from_challenge({"www-authenticate": 'Digest realm="x", nonce="n", algorithm=TIGER'}, "a", "b") is None
    both = {"www-authenticate": 'Basic realm="x", Digest realm="x", nonce="n"'}
    assert Digest.from_challenge(both, "a", "b") is not None


def test_parse_http() -> None:
    found = parse_http(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 2\r\n\r\nabcd")
    assert found == Answer(b"ab", 200, {"x-a": "1, 2", "content-length": "2"})
    with pytest.raises(DecodeError):
        parse_http(b"nonsense")


class BraiinsDoor:
    """Where the new password is said to be taken; `keeps`: and the old one goes on to open."""

    def __init__(self, keeps: bool) -> None:
        self.keeps, self.password = keeps, "first"

    async def __call__(self, data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        reported, status, answer = (orjson.loads(body) if body else {}), "200 OK", b"{}"
        if b"/auth/login" in head:
            opens = reported["password"] == self.password
            status, answer = ("200 OK", b'{"token":"t1","timeout_s":3600}') if opens else ("401 Unauthorized", b"{}")
        elif b"/auth/password" in head and not self.keeps:
            self.password = reported["password"]
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(answer)}\r\n\r\n".encode() + answer)


@pytest.mark.parametrize("keeps", [False, True])
def test_a_new_password_is_tried_before_it_is_accepted(keeps: bool) -> None:
    async def main() -> None:
        async with peer(BraiinsDoor(keeps)) as where:
            port = port_of(where, "braiins", http=where.port, account="root", password="first")
            receipt = await port.carry_out(SetCredential("root", "second", "newer"), 5.0)
            assert port.access.password == ("first" if keeps else "second")
            if keeps:
                assert isinstance(receipt, Unknown) and "the new password is refused" in receipt.text
                assert "first" not in receipt.text and "second" not in receipt.text, "no secret in a receipt"
            else:
                assert isinstance(receipt, Accepted)

    asyncio.run(main())
