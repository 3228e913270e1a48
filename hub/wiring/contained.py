# SPDX-License-Identifier: Apache-2.0
"""Calls into plug-ins: what they raise beyond their port's errors becomes a DecodeError that names the distribution.

An error that is no one's port is a fault of ours and ends the hub; a plug-in's must not, for control goes on without it.
"""

import inspect
from collections.abc import Awaitable, Callable, Collection, Generator
from typing import Any

from kernel.errors import ConfigError, DecodeError, TransportError
from telemetry.store.sink import SinkDown, SinkRefused

EXPECTED = (TransportError, DecodeError, ConfigError, OSError, SinkDown, SinkRefused)
"""What a port may raise, passed on as it is."""


class Contained:
    """A plug-in's object. `methods` are called with containment, plain, as coroutines or as generators; the rest is its own."""

    def __init__(self, made: Any, methods: Collection[str], origin: str) -> None:
        self._made, self._methods, self._origin = made, frozenset(methods), origin

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._made, name)
        return self._call(found) if name in self._methods else found

    def _call(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*values: Any, **named: Any) -> Any:
            try:
                given = method(*values, **named)
            except EXPECTED:
                raise
            except Exception as error:
                raise self._fault(error) from error
            if inspect.isgenerator(given):
                return self._talk(given)
            return self._awaited(given) if inspect.isawaitable(given) else given

        return call

    async def _awaited(self, given: Awaitable[Any]) -> Any:
        try:
            return await given
        except EXPECTED:
            raise
        except Exception as error:
            raise self._fault(error) from error

    def _talk(self, given: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        try:
            return (yield from given)
        except EXPECTED:
            raise
        except Exception as error:
            raise self._fault(error) from error

    def _fault(self, error: Exception) -> DecodeError:
        return DecodeError(self._origin, f"the plug-in failed: {type(error).__name__}: {error}")
