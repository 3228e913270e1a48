# SPDX-License-Identifier: Apache-2.0
"""Protocol of Incotex Mercury 203.2TD/204/208/230/231/234/236/238 meters: frames and status codes.

A frame is address, command, parameters and CRC-16/MODBUS. An answer is address, data and CRC; one data byte alone is a
status. Source: the manufacturer's "Протокол обмена трёхфазных счётчиков Меркурий"; byte orders as in the public drivers
Shden/mercury236 (C) and ruslankerimov/mercury236-js, which agree.
"""

from collections.abc import Mapping, Sequence

from telemetry.wire.modbus_frame import Broken, Incomplete, Judgement, Whole, crc16

STATUSES: Mapping[int, str] = {
    0: "ok", 1: "illegal command or parameter", 2: "internal error of the meter", 3: "access level too low",
    4: "clock was corrected today already", 5: "channel is not open",
}  # fmt: skip
CHANNEL_NOT_OPEN = 5


def request(address: int, command: bytes) -> bytes:
    """A request frame."""
    body = bytes([address]) + command
    return body + crc16(body)


def open_channel(address: int, level: int, password: Sequence[int]) -> bytes:
    """Request to open the channel: access level 1 reads, 2 configures; the password is six digits."""
    return request(address, bytes([1, level, *password]))


def judge(sent: bytes, received: bytes, length: int) -> Judgement:
    """Classify the bytes received for a request whose answer has `length` data bytes (or one status byte)."""
    if received and received[0] != sent[0]:
        return Broken(f"meter {received[0]} answered for meter {sent[0]}")
    for expected in sorted({length + 3, 4}):
        if len(received) == expected and crc16(received[:-2]) == received[-2:]:
            return Whole(received)
    return Incomplete() if len(received) < length + 3 else Broken("checksum or length is wrong")


def status_of(frame: bytes) -> int | None:
    """Status code of an answer that is a status, else None."""
    return frame[1] & 0x0F if len(frame) == 4 else None
