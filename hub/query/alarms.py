# SPDX-License-Identifier: Apache-2.0
"""Alarms and log lines of a site for display."""

import hub.query.schema as shape
from hub.control.runtime import Components
from hub.query.event_text import line
from hub.query.rows import alarm_line


class AlarmReads:
    """Answers from memory. Raises NotFound for an unknown site."""

    def __init__(self, components: Components) -> None:
        self._components, self._state = components, components.state

    def alarms(self, site: str) -> list[shape.AlarmLine]:
        key, book = self._state.site(site).key, self._state.alarms
        found = [one for one in book.alarms(annunciated=False) if one.scope == key or one.scope.startswith(f"{key}/")]
        found.sort(key=lambda one: not one.annunciated)
        return [alarm_line(one, book) for one in found]

    def log(self, site: str, count: int) -> list[shape.EventLine]:
        return [line(event) for event in list(self._state.site(site).log)[:count]]
