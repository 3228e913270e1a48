# SPDX-License-Identifier: Apache-2.0
"""Where blocking work runs: the threads of a live hub, and the direct call of virtual time."""

import asyncio
import threading
from contextvars import ContextVar

from hub.journal.recorder import Offload, at_once, in_thread

ASKED: ContextVar[str] = ContextVar("ASKED")


def test_work_apart_runs_in_one_thread_of_its_own_with_the_context_of_its_caller() -> None:
    async def story(offload: Offload) -> None:
        apart, other = offload.apart(), offload.apart()
        both_busy = threading.Barrier(2, timeout=10)

        def busy() -> int:
            both_busy.wait()
            return threading.get_ident()

        first, second = await asyncio.gather(apart(busy), other(busy))
        assert len({first, second, threading.get_ident()}) == 3
        # A thread of the default executor that is idle is not taken for it.
        common = {await offload(threading.get_ident) for _ in range(3)}
        assert {await apart(threading.get_ident) for _ in range(3)} == {first} and first not in common
        ASKED.set("by the caller")
        assert await apart(ASKED.get) == "by the caller"

    asyncio.run(story(in_thread()))


def test_work_apart_is_a_direct_call_in_virtual_time() -> None:
    async def story(offload: Offload) -> int:
        return await offload.apart()(threading.get_ident)

    assert asyncio.run(story(at_once())) == threading.get_ident()
