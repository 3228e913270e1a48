# SPDX-License-Identifier: Apache-2.0
"""Units in transition: from the issue of a command until they have settled after its receipt.

A fold of `command.issued` and `command.receipt`, so that a restart or a replay gives the same. Symptoms meanwhile (silence
of a restarting board, rising hashrate, a temperature change) are the command's effect and no fault. A command without
effect excuses no symptom: the unit is unchanged. A setting of unknown outcome, or one superseded by a newer command, may
have taken effect: the unit may run in it until the next one.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

import numpy as np

from kernel.event import EventKind
from miner_control.control.auxiliary_load import FEEDING, Load
from miner_control.fleet.command import intent_from_json
from miner_control.fleet.command_state import NO_EFFECT, mode_of
from miner_control.fleet.envelope import Envelope
from miner_control.fleet.fleet import UNSURE, Bools, Codes, Roster

MARGIN_FACTOR: Final = 1.5
"""Envelope times hold for most units: the slow ones take half as long again."""
AFTER_S: Final = 30.0
"""Allowance for the first poll, and for sums of meters, after all has settled."""
_LEAVES_LOAD: Final = frozenset({"Locate", "SetCredential"})
_LOWERS: Final = frozenset({"Sleep"})
_SETS: Final = frozenset({"SetMode", "PowerTarget", "PowerPercent"})


def settling_s(envelope: Envelope, intent: str) -> float:
    """Time after its receipt during which a command (the name of its intent) may still show, in seconds.

    Depending on the firmware any setting but sleep may restart the miner: it falls first and comes up again.
    """
    down_s = MARGIN_FACTOR * envelope.ramp_down_s
    if intent in _LOWERS:
        return down_s + AFTER_S
    return down_s + MARGIN_FACTOR * envelope.ramp_up_s + envelope.random_start_delay_s + AFTER_S


class Changing:
    """Commands without a receipt by unit, settling time of each unit, and the mode last set on it; `size` units in the
    roster's order."""

    def __init__(self, size: int) -> None:
        self._pending: dict[int, dict[str, str]] = {}
        self._until_ms = np.zeros(size, dtype=np.int64)
        self._up_until_ms = np.zeros(size, dtype=np.int64)
        self._mode = np.full(size, UNSURE, dtype=np.int8)

    def apply(self, kind: str, body: Mapping[str, Any], at_ms: int, roster: Roster, loads: Mapping[str, Load]) -> None:
        """Fold one event of a command, to a miner or to a load (by its key) that feeds miners; others change nothing."""
        intent = str(body["intent"])
        if intent in _LEAVES_LOAD:
            return
        for device in _moved(str(body["device"]), loads):
            unit = roster.index.get(device)
            if unit is None:
                continue
            if kind == EventKind.COMMAND_ISSUED:
                self._pending.setdefault(unit, {})[str(body["id"])] = intent
            else:
                self._answered(unit, body, intent, at_ms, roster.envelope(unit))

    def _answered(self, unit: int, body: Mapping[str, Any], intent: str, at_ms: int, envelope: Envelope) -> None:
        pending = self._pending.get(unit, {})
        pending.pop(str(body["id"]), None)
        if not pending:
            self._pending.pop(unit, None)
        if body["outcome"] in NO_EFFECT:
            return
        if intent in _SETS and (mode := mode_of(intent_from_json(body), envelope, UNSURE)) is not None:
            self._mode[unit] = mode
        until_ms = at_ms + round(settling_s(envelope, intent) * 1000)
        if intent in _LOWERS:
            # A sleep ends every rise that was still expected.
            self._until_ms[unit], self._up_until_ms[unit] = until_ms, 0
        else:
            self._until_ms[unit] = max(int(self._until_ms[unit]), until_ms)
            self._up_until_ms[unit] = max(int(self._up_until_ms[unit]), until_ms)

    def changing(self, now_ms: int) -> Bools:
        """Units with a pending or unsettled command, shape [N]."""
        found: Bools = self._until_ms > now_ms
        found[list(self._pending)] = True
        return found

    def mode(self) -> Codes:
        """The mode that a command of the hub last set, or may have set, shape [N]; UNSURE: never. A wake sets none."""
        return self._mode.copy()

    def starting(self, now_ms: int) -> Bools:
        """Changing units that rise, or may restart and rise, shape [N]."""
        found: Bools = self._up_until_ms > now_ms
        found[[unit for unit, asked in self._pending.items() if not _LOWERS.issuperset(asked.values())]] = True
        return found


def _moved(key: str, loads: Mapping[str, Load]) -> Collection[str]:
    """The miners moved by a command to a device: itself, or those behind a socket or contactor; cooling moves none."""
    load = loads.get(key)
    if load is None:
        return (key,)
    return load.feeds if load.kind in FEEDING else ()
