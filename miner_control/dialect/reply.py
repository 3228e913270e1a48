# SPDX-License-Identifier: Apache-2.0
"""When is a reply whole? One pure function for each way miners end a message; `ended` says that nothing more will come."""

import orjson


def rpc_is_whole(buffer: bytearray, ended: bool) -> bool:
    """cgminer style: NUL, or a complete JSON document, or the end of the stream, whichever comes first."""
    if ended or buffer[-1] == 0:
        return True
    if buffer[-1] not in b"}]\n\r \t":
        return False
    # Counting is far cheaper than parsing, and settles nearly every unfinished reply.
    if buffer.count(b"{") != buffer.count(b"}") or buffer.count(b"[") != buffer.count(b"]"):
        return False
    try:
        orjson.loads(buffer)
    except orjson.JSONDecodeError:
        return False
    return True


def framed_is_whole(buffer: bytearray, ended: bool) -> bool:
    """Four bytes of little-endian length, then so many bytes. A frame cut short is never whole."""
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
