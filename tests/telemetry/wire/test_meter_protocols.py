# SPDX-License-Identifier: Apache-2.0
"""Mercury and IEC 61107 frames by themselves: known bytes, odd byte orders, garbage."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.device.codec_mercury import pack, unpack
from telemetry.wire import iec61107, mercury
from telemetry.wire.modbus_frame import Broken, Incomplete, Whole, crc16
from tests.servers import count


def test_mercury_numbers_in_their_byte_orders() -> None:
    # High byte with direction bits, then low, then middle: 0x00 0x9E 0x58 is 0x00589E = 22686 (226.86 V).
    assert unpack("mercury_u24", bytes([0x00, 0x9E, 0x58])) == 22686
    assert unpack("mercury_p24", bytes([0x80, 0xE1, 0x14])) == -5345
    assert unpack("mercury_q24", bytes([0x80, 0xE1, 0x14])) == 5345
    assert unpack("mercury_q24", bytes([0x40, 0xE1, 0x14])) == -5345
    # Second, first, fourth, third: 0x0001D6BE = 120510 Wh (120.51 kWh).
    assert unpack("mercury_u32", bytes([0x01, 0x00, 0xBE, 0xD6])) == 120510
    assert unpack("mercury_u32", b"\xff" * 4) is None and unpack("mercury_u24", b"\xff" * 3) is None


@given(st.sampled_from(["mercury_u24", "mercury_p24", "mercury_q24", "mercury_u32"]), st.integers(0, 2**22 - 2))
def test_mercury_numbers_round_trip(kind: str, number: int) -> None:
    signed = -number if kind in ("mercury_p24", "mercury_q24") else number
    assert unpack(kind, pack(kind, signed)) == signed
    with pytest.raises(OverflowError):
        pack(kind, 1 << 33)


def test_mercury_frames() -> None:
    # Address 0: test channel and its answer, CRC low byte first.
    assert mercury.request(0, b"\0") == bytes.fromhex("00000 1b0".replace(" ", ""))
    sent = mercury.open_channel(128, 1, [1] * 6)
    assert sent[:-2] == bytes.fromhex("800101010101010101") and crc16(sent[:-2]) == sent[-2:]
    body = bytes([128, 5])
    refused = mercury.judge(sent, body + crc16(body), 12)
    assert isinstance(refused, Whole) and mercury.status_of(refused.frame) == mercury.CHANNEL_NOT_OPEN


# Requests that real meters answered: issue 14 of Brokly/ESPHome-Mercury230 and issue 3 of DieMetRik's driver.
RECORDED = ["31081600817a", "31050000 1ed9", "310816114176", "310816214162", "31081640808a", "310101010101010101 2e10"]


@pytest.mark.parametrize("frame", RECORDED)
def test_mercury_requests_are_those_recorded(frame: str) -> None:
    recorded = bytes.fromhex(frame)
    assert mercury.request(recorded[0], recorded[1:-2]) == recorded


def test_a_recorded_mercury_answer() -> None:
    sent = mercury.request(0x4D, bytes.fromhex("081640"))
    heard = bytes.fromhex("4d008b133075")
    assert mercury.judge(sent, heard, 3) == Whole(heard)
    assert unpack("mercury_u24", heard[1:-2]) == 5003


def test_mercury_garbage_never_passes_for_an_answer() -> None:
    rng = np.random.default_rng(4)
    sent = mercury.request(7, bytes.fromhex("081600"))
    truth = bytes([7]) + bytes(range(12))
    truth += crc16(truth)
    for _ in range(count(10_000, 10_000)):
        data = bytearray(truth)
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(0, len(data)))] ^= int(rng.integers(1, 256))
        heard = bytes(data)[: int(rng.integers(0, len(data) + 1))]
        verdict = mercury.judge(sent, heard, 12)
        assert isinstance(verdict, Incomplete | Broken) or verdict.frame == truth
    assert mercury.judge(sent, truth, 12) == Whole(truth)


CE301 = {
    b"\x02VOLTA(233.751)\r\nVOLTA(235.418)\r\nVOLTA(234.796)\r\n\x03\x02": ("VOLTA", ["233.751", "235.418", "234.796"]),
    b"\x02POWEP(0.5266)\r\n\x03'": ("POWEP", ["0.5266"]),
    b"\x02CURRE(1.479)\r\nCURRE(2.8716)\r\nCURRE(0.782)\r\n\x03v": ("CURRE", ["1.479", "2.8716", "0.782"]),
    b"\x02FREQU(49.96)\r\n\x03x": ("FREQU", ["49.96"]),
}


@pytest.mark.parametrize("frame", CE301)
def test_iec_61107_answers_of_a_ce301_with_their_check_bytes(frame: bytes) -> None:
    name, reported = CE301[frame]
    assert iec61107.judge_message(frame) == Whole(frame)
    assert iec61107.values(frame, name) == reported
    assert iec61107.answer(name, reported) == frame
    for cut in range(len(frame)):
        assert isinstance(iec61107.judge_message(frame[:cut]), Incomplete)
    with_parity = bytes(byte | 0x80 if byte.bit_count() % 2 else byte for byte in frame)
    assert iec61107.plain(with_parity) == frame


def test_iec_61107_commands_with_their_check_bytes() -> None:
    assert iec61107.command("R1", "VOLTA()") == b"\x01R1\x02VOLTA()\x03_"
    assert iec61107.command("R1", "POWEP()") == b"\x01R1\x02POWEP()\x03d"
    assert iec61107.command("R1", "ET0PE()") == b"\x01R1\x02ET0PE()\x037"
    assert iec61107.sign_on("42") == b"/?42!\r\n" and iec61107.enter_programming("5") == b"\x06051\r\n"


def test_iec_61107_errors_and_garbage_are_reported() -> None:
    error = iec61107.answer("X", [])
    assert iec61107.values(error, "VOLTA") == []
    body = b"(ERR12)\r\n\x03"
    assert iec61107.values(b"\x02" + body + bytes([iec61107.check(body)]), "VOLTA") == "ERR12"
    with pytest.raises(ValueError, match="CURRE was answered for VOLTA"):
        iec61107.values(next(frame for frame in CE301 if b"CURRE" in frame), "VOLTA")
    rng = np.random.default_rng(9)
    frames = list(CE301)
    for _ in range(count(10_000, 10_000)):
        data = bytearray(frames[int(rng.integers(0, len(frames)))])
        for _ in range(int(rng.integers(1, 5))):
            data[int(rng.integers(0, len(data)))] = int(rng.integers(0, 256))
        verdict = iec61107.judge_message(iec61107.plain(bytes(data)))
        if isinstance(verdict, Whole) and verdict.frame[0] == iec61107.STX:
            assert iec61107.check(verdict.frame[1:-1]) == verdict.frame[-1]
