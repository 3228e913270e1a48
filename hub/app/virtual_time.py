# SPDX-License-Identifier: Apache-2.0
"""An event loop that jumps instead of waiting: a day of one-second polls takes seconds, and the same order every time.

Nothing real may be awaited in it (no socket, no thread): a wait with no timer left is a deadlock and is raised as one.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from kernel.errors import BrokenInvariant

T = TypeVar("T")


class _NoWait(selectors.BaseSelector):
    """A selector that never waits: the time that a real one would have slept is added to the loop's clock."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.slept_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise BrokenInvariant("virtual time stands still: everything waits and no timer is set")
        self.slept_s += max(timeout, 0.0)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Any:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """asyncio's own loop with `time()` starting at 0 and advancing only by what would have been slept."""

    def __init__(self) -> None:
        self._no_wait = _NoWait()
        super().__init__(self._no_wait)
        # Timers due within the clock's resolution run together; ours is exact.
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._no_wait.slept_s


def run(main: Coroutine[Any, Any, T], loop: VirtualLoop) -> T:
    """Run to completion in virtual time and close the loop."""
    asyncio.set_event_loop(loop)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
