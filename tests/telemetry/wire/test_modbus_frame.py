# SPDX-License-Identifier: Apache-2.0
"""Frames judged byte by byte: published examples, and 10,000 malformed answers of which none becomes a wrong value."""

import numpy as np
import pytest
from pymodbus.framer import FramerRTU

from telemetry.wire.modbus_frame import Broken, Incomplete, Whole, crc16, exception_text, judge
from tests.servers import count


def request(framing: str, tid: int, unit: int, start: int, quantity: int) -> bytes:
    pdu = bytes([unit, 3]) + start.to_bytes(2, "big") + quantity.to_bytes(2, "big")
    if framing == "rtu":
        return pdu + crc16(pdu)
    return tid.to_bytes(2, "big") + b"\0\0" + len(pdu).to_bytes(2, "big") + pdu


def right_answer(framing: str, tid: int, unit: int, data: bytes) -> bytes:
    pdu = bytes([unit, 3, len(data)]) + data
    if framing == "rtu":
        return pdu + crc16(pdu)
    return tid.to_bytes(2, "big") + b"\0\0" + len(pdu).to_bytes(2, "big") + pdu


def test_the_checksum_agrees_with_pymodbus_and_the_specification_example() -> None:
    assert crc16(bytes.fromhex("0207")) == bytes.fromhex("4112")
    rng = np.random.default_rng(5)
    for _ in range(200):
        data = rng.bytes(int(rng.integers(1, 60)))
        assert int.from_bytes(crc16(data), "big") == FramerRTU.compute_CRC(data)


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
def test_every_prefix_of_a_right_answer_is_incomplete_and_the_whole_is_whole(framing: str) -> None:
    sent = request(framing, 7, 1, 100, 3)
    frame = right_answer(framing, 7, 1, bytes(range(6)))
    for cut in range(len(frame)):
        assert isinstance(judge(framing, sent, frame[:cut]), Incomplete)  # type: ignore[arg-type]
    assert judge(framing, sent, frame) == Whole(frame)  # type: ignore[arg-type]


def test_older_answers_are_skipped_by_their_transaction_id() -> None:
    sent = request("tcp", 7, 1, 100, 3)
    late = right_answer("tcp", 6, 1, bytes(6)) + right_answer("tcp", 5, 1, bytes(20))
    frame = right_answer("tcp", 7, 1, b"abcdef")
    assert judge("tcp", sent, late + frame) == Whole(frame, len(late))
    assert isinstance(judge("tcp", sent, late), Incomplete)


def test_exceptions_are_whole_answers() -> None:
    sent = request("rtu", 0, 1, 100, 3)
    frame = bytes([1, 0x83, 2])
    assert judge("rtu", sent, frame + crc16(frame)) == Whole(frame + crc16(frame))
    assert exception_text(2) == "exception 2 illegal data address" and "unknown" in exception_text(99)


def spoil(frame: bytes, rng: np.random.Generator) -> bytes:
    """One of: bits flipped, cut, doubled, padded, bytes moved, or plain noise."""
    kind = int(rng.integers(0, 6))
    if kind == 0:
        data = bytearray(frame)
        for _ in range(int(rng.integers(1, 4))):
            data[int(rng.integers(0, len(data)))] ^= int(rng.integers(1, 256))
        return bytes(data)
    if kind == 1:
        return frame[: int(rng.integers(0, len(frame)))]
    if kind == 2:
        return frame[: int(rng.integers(1, len(frame)))] + frame
    if kind == 3:
        return frame + rng.bytes(int(rng.integers(1, 20)))
    if kind == 4:
        at = int(rng.integers(0, len(frame)))
        return frame[at:] + frame[:at]
    return rng.bytes(int(rng.integers(0, 300)))


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
def test_malformed_answers_are_never_a_wrong_value(framing: str) -> None:
    """Whatever comes, a frame taken as the answer has our unit, function, length and, on RTU, checksum; on TCP, id."""
    rng = np.random.default_rng(20261123)
    judged = {Whole: 0, Broken: 0, Incomplete: 0}
    cases = count(10_000, 10_000)
    for _ in range(cases):
        quantity = int(rng.integers(1, 126))
        sent = request(framing, int(rng.integers(1, 0x10000)), int(rng.integers(1, 248)), 100, quantity)
        tid, unit = int.from_bytes(sent[:2], "big"), sent[6] if framing == "tcp" else sent[0]
        truth = right_answer(framing, tid, unit, rng.bytes(2 * quantity))
        heard = spoil(truth, rng)
        verdict = judge(framing, sent, heard)  # type: ignore[arg-type]
        judged[type(verdict)] += 1
        if isinstance(verdict, Whole):
            body = verdict.frame[6:] if framing == "tcp" else verdict.frame[:-2]
            assert body[0] == unit
            assert (body[1] == 3 and len(body) == 3 + 2 * quantity == 3 + body[2]) or (
                body[1] == 0x83 and len(body) == 3
            )
            if framing == "rtu":
                assert crc16(body) == verdict.frame[-2:] and body == truth[:-2], "a spoilt frame passed its checksum"
            else:
                assert verdict.frame[:4] == sent[:2] + b"\0\0"
        elif isinstance(verdict, Broken):
            assert verdict.text
    assert sum(judged.values()) == cases and all(judged.values())
