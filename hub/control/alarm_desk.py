# SPDX-License-Identifier: Apache-2.0
"""Alarm desk: acknowledgement, shelving and service state of alarms, journalled."""

from collections.abc import Callable, Mapping
from typing import Final, Literal

from hub.control.runtime import Components
from kernel.actor import Actor
from kernel.errors import ConfigError, Fault, NotFound
from kernel.event import EventKind
from telemetry.alarm.alarm import AlarmBook, AlarmChanged

AlarmAct = Literal["unshelve", "out-of-service", "in-service"]
Change = Callable[[AlarmBook], list[AlarmChanged]]


class AlarmDesk:
    """Each act returns once the journal holds it. Raises NotFound where there is no such alarm."""

    def __init__(self, components: Components) -> None:
        self._components, self._state = components, components.state

    async def acknowledge(self, site: str, rule: str, scope: str, by: Actor) -> None:
        """A person has seen the alarm."""
        await self._change(site, scope, by, lambda book: book.acknowledge(rule, scope, by.person))

    async def shelve(self, site: str, rule: str, scope: str, by: Actor, why: str, until_ms: int) -> None:
        """Hide it until an instant. Raises ConfigError without a reason or with an end out of bounds."""
        now_ms = self._components.clock.now_ms()
        await self._change(site, scope, by, lambda book: book.shelve(rule, scope, by.person, why, until_ms, now_ms))

    async def set(self, site: str, rule: str, scope: str, by: Actor, what: AlarmAct, why: str) -> None:
        """Unshelve, or take out of and back into service. Raises ConfigError without a reason where one is needed."""
        acts: Final[Mapping[AlarmAct, Change]] = {
            "unshelve": lambda book: book.unshelve(rule, scope, by.person),
            "out-of-service": lambda book: book.out_of_service(rule, scope, by.person, why),
            "in-service": lambda book: book.in_service(rule, scope, by.person),
        }
        await self._change(site, scope, by, acts[what])

    async def _change(self, site: str, scope: str, by: Actor, change: Change) -> None:
        key = self._state.site(site).key
        if scope != key and not scope.startswith(f"{key}/"):
            raise NotFound(f"no alarm at {scope} in {site}")
        async with self._components.turn:
            try:
                changes = change(self._state.alarms)
            except KeyError:
                raise NotFound(f"no such alarm at {scope}") from None
            except ValueError as error:
                raise ConfigError([Fault("alarm", str(error), "Give a reason, and a time within its bounds")]) from None
            for body in changes:
                await self._components.recorder.commit(key, EventKind.ALARM_CHANGED, by.on(body))
