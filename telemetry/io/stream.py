# SPDX-License-Identifier: Apache-2.0
"""Byte stream to meters behind a TCP gateway: one connection, one request at a time."""

import asyncio
import contextlib
from collections.abc import Callable

from kernel.errors import TransportError
from kernel.reading import Absence
from telemetry.wire.modbus_frame import Broken, Judgement, Whole

_MOST_BYTES = 8192


class StreamLine:
    """One gateway. The caller holds `turn`.

    Any fault closes the connection, so that a late answer is never taken for a new one.
    """

    def __init__(self, host: str, port: int, *, timeout_s: float = 2.0, connect_timeout_s: float = 2.0) -> None:
        self.host, self.port = host, port
        self.name = f"stream://{host}:{port}"
        self.turn = asyncio.Lock()
        self._timeout_s, self._connect_timeout_s = timeout_s, connect_timeout_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, sent: bytes, judge: Callable[[bytes], Judgement]) -> bytes:
        """Send, and receive until `judge` reports a complete answer. Raises TransportError."""
        reader, writer = await self._connected()
        received = b""
        try:
            async with asyncio.timeout(self._timeout_s):
                writer.write(sent)
                await writer.drain()
                while True:
                    judged = judge(received)
                    if isinstance(judged, Whole):
                        return judged.frame
                    if isinstance(judged, Broken):
                        raise TransportError(Absence.MALFORMED, f"{self.name}: {judged.text}")
                    if len(received) > _MOST_BYTES:
                        raise TransportError(Absence.MALFORMED, f"{self.name}: an answer without end")
                    more = await reader.read(1024)
                    if not more:
                        raise TransportError(Absence.UNREACHABLE, f"{self.name}: connection closed")
                    received += more
        except TimeoutError:
            self.close()
            raise TransportError(Absence.TIMED_OUT, f"{self.name}: no answer in {self._timeout_s:g} s") from None
        except OSError as error:
            self.close()
            raise TransportError(Absence.UNREACHABLE, f"{self.name}: {error}") from None
        except BaseException:
            self.close()
            raise

    async def send(self, sent: bytes) -> None:
        """Send without an answer. TransportError where there is no connection."""
        _, writer = await self._connected()
        with contextlib.suppress(OSError):
            writer.write(sent)
            await writer.drain()

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None or self._streams[1].is_closing() or self._streams[0].at_eof():
            self.close()
            try:
                async with asyncio.timeout(self._connect_timeout_s):
                    self._streams = await asyncio.open_connection(self.host, self.port, limit=_MOST_BYTES)
            except (OSError, TimeoutError) as error:
                raise TransportError(Absence.UNREACHABLE, f"{self.name}: no connection ({error})") from None
        return self._streams
