# SPDX-License-Identifier: Apache-2.0
"""End of a reply: one pure function for each message end used by miners; `ended` marks the end of the stream."""

from collections.abc import Callable

import orjson


def rpc_is_whole(buffer: bytearray, ended: bool) -> bool:
    """cgminer style: NUL, or a complete JSON document, or the end of the stream, whichever comes first."""
    if ended or buffer[-1] == 0:
        return True
    if buffer[-1] not in b"}]\n\r \t":
        return False
    # Counting is far cheaper than parsing, and decides nearly every unfinished reply.
    if buffer.count(b"{") != buffer.count(b"}") or buffer.count(b"[") != buffer.count(b"]"):
        return False
    try:
        orjson.loads(buffer)
    except orjson.JSONDecodeError:
        return False
    return True


def framed_is_whole(buffer: bytearray, ended: bool) -> bool:
    """Four bytes of little-endian length, then that many bytes. A frame cut short is never whole."""
    return len(buffer) >= 4 and len(buffer) >= 4 + int.from_bytes(buffer[:4], "little")


def http_is_whole(buffer: bytearray, ended: bool) -> bool:
    """HTTP/1.x: by Content-Length, by the last chunk, by a status without body, else by the end of the stream."""
    head_end = buffer.find(b"\r\n\r\n")
    if head_end < 0:
        return False
    head = bytes(buffer[:head_end]).lower()
    body_at = head_end + 4
    if head[9:12] in (b"204", b"304"):
        return True
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        text = head[at + 17 : head.find(b"\r\n", at + 2) if head.find(b"\r\n", at + 2) > 0 else None].strip()
        return text.isdigit() and len(buffer) - body_at >= int(text)
    if b"\r\ntransfer-encoding:" in head and b"chunked" in head:
        return buffer.find(b"0\r\n", body_at) >= 0 and (buffer.endswith(b"0\r\n\r\n") or ended)
    return ended


def settled(whole: Callable[[bytearray, bool], bool], buffer: bytearray) -> bool:
    """Whether a silent reply without an end mark counts as whole.

    Some miners keep the socket open and mark no end, or mark it within JSON that cannot be parsed. Silence alone proves
    nothing, since a busy miner pauses within a reply too: its brackets must be closed, or its text end in a bar.
    """
    if whole is http_is_whole:
        head_end = buffer.find(b"\r\n\r\n")
        body = buffer[head_end + 4 :] if head_end >= 0 else bytearray()
        return b"content-length" not in buffer[: max(head_end, 0)].lower() and _closed(body)
    return whole is rpc_is_whole and _closed(buffer)


def _closed(buffer: bytearray) -> bool:
    text = buffer.rstrip(b"\x00\r\n\t ")
    if text.endswith(b"|"):
        return True
    if not text.endswith((b"}", b"]")):
        return False
    return text.count(b"{") == text.count(b"}") and text.count(b"[") == text.count(b"]")
