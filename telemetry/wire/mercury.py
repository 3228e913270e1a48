# SPDX-License-Identifier: Apache-2.0
"""The protocol of Incotex Mercury 203.2TD/204/208/230/231/234/236/238 meters: frames, and numbers packed in odd orders.

A frame is address, command, parameters and CRC-16/MODBUS. An answer is address, data and CRC; one data byte alone is a
status. Source: the maker's "Протокол обмена трёхфазных счётчиков Меркурий"; byte orders as in the public drivers
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
    """Open the channel: access level 1 reads, 2 configures; the password is six digits."""
    return request(address, bytes([1, level, *password]))


def judge(sent: bytes, heard: bytes, length: int) -> Judgement:
    """What the bytes heard are, for a request whose answer holds `length` data bytes (or one status byte)."""
    if heard and heard[0] != sent[0]:
        return Broken(f"meter {heard[0]} answered for meter {sent[0]}")
    for expected in sorted({length + 3, 4}):
        if len(heard) == expected and crc16(heard[:-2]) == heard[-2:]:
            return Whole(heard)
    return Incomplete() if len(heard) < length + 3 else Broken("checksum or length is wrong")


def status_of(frame: bytes) -> int | None:
    """The status where the answer is one, else None."""
    return frame[1] & 0x0F if len(frame) == 4 else None
