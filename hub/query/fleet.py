# SPDX-License-Identifier: Apache-2.0
"""Miners of a site: the fleet as columns, one miner in full, tickets, missing miners, commands."""

from typing import Any, Final

import hub.query.schema as shape
from hub.config.observe_only import FIELD
from hub.control.interlock import bar as barred
from hub.control.runtime import Components
from hub.query import status
from hub.query.frame import frame
from hub.query.learnt import envelope_json, learnt_lines, usual_json
from hub.query.missing_miners import missing, restores
from hub.query.rows import receipt_line, third_party_line
from hub.state.site import SiteState
from hub.state.situation import SiteSituation
from kernel.errors import NotFound
from kernel.reading import Missing
from miner_control.fleet.miner import State

_CODE: Final = {name: code for code, name in enumerate(shape.STATE_CODES)}


class FleetReads:
    """Answers from memory. Raises NotFound for an unknown site or miner."""

    def __init__(self, components: Components) -> None:
        self._components, self._state = components, components.state

    def _situation(self, site: SiteState) -> SiteSituation:
        return frame(self._components, site)

    def fleet(self, site: str) -> shape.Fleet:
        here = self._state.site(site)
        now = self._situation(here)
        now_ms, fleet, table = now.now_ms, now.fleet, self._state.snapshot.kind("miner")
        temps, codes, age_s = table.values("temp_chip_max_c", now_ms)
        boards, board_codes, board_age_s = table.values("temp_board_max_c", now_ms)

        def temp(device: str) -> float | None:
            row = table.index.get(device)
            if row is None:
                return None
            if len(temps) and not codes[row] and age_s[row] < 900:
                return round(float(temps[row]), 1)
            if len(boards) and not board_codes[row] and board_age_s[row] < 900:
                return round(float(boards[row]), 1)
            return None

        devices = fleet.devices
        racks = [self._state.miners[device].rack for device in devices]
        states = [_CODE[status.STATE_NAMES[code]] for code in fleet.state.tolist()]
        return {
            "as_of_ms": now_ms,
            "observe_only": here.config.observe_only,
            "layout": f"{len(devices)}-{hash((devices, *racks)) & 0xFFFFFFFF:08x}",
            "devices": [device.rpartition("/")[2] for device in devices],
            "racks": racks,
            "models": [self._state.miners[device].model for device in devices],
            "state": states,
            "temp_c": [temp(device) for device in devices],
            "power_w": [
                round(watts) if fresh else None
                for watts, fresh in zip(fleet.power_w.tolist(), fleet.fresh.tolist(), strict=True)
            ],
            "hashrate_hs": [
                rate if fresh else None
                for rate, fresh in zip(fleet.hashrate_hs.tolist(), fleet.fresh.tolist(), strict=True)
            ],
        }

    def miner(self, site: str, device: str) -> dict[str, Any]:
        here = self._state.site(site)
        key = f"{here.key}/{device}"
        index = here.roster.index.get(key)
        if index is None:
            raise NotFound(f"no miner {device!r} in {site}")
        fleet = self._situation(here).fleet
        state = status.STATE_NAMES[int(fleet.state[index])]
        table = self._state.snapshot.kind("miner")
        found = table.reading(key) if key in table.index else None
        values = {
            name: {"missing": value.reason.name.lower(), "detail": value.detail}
            if isinstance(value, Missing)
            else value
            for name, value in (found.values.items() if found else ())
        }
        commands = [receipt for receipt in self.receipts(site, 2000) if receipt["device"] == device]
        silent = here.silent.get(key)
        why = commands[0]["reason"] if commands and state in (State.ASLEEP, State.RAMPING) else ""
        if silent is not None:
            why = f"silent: {silent.body.get('reason', '')} {silent.body.get('detail', '')}".strip()
        miner = self._state.miners[key]
        reasons = (barred(self._state, here, key), why or str(values.get("error_text") or ""))
        return {
            "device": device,
            FIELD: here.config.observe_only,
            **{name: getattr(miner, name) for name in ("model", "rack", "position", "feeder", "owner")},
            "state": state,
            "mode": values.get("mode"),
            "at_ms": found.at_ms if found else None,
            "values": values,
            "envelope": envelope_json(here.envelope(key)),
            "performance": usual_json(here.usual, index, found),
            "why": "; ".join(filter(None, reasons)),
            "commands": commands[:50],
        }

    def tickets(self, site: str, closed: bool) -> list[dict[str, Any]]:
        return [ticket.to_json() for ticket in self._state.site(site).tickets.tickets(closed=closed)]

    def missing(self, site: str, after_s: float) -> list[dict[str, Any]]:
        here = self._state.site(site)
        return missing(here, self._situation(here), after_s)

    def restores(self, site: str) -> list[dict[str, Any]]:
        return restores(self._state.site(site))

    def third_parties(self, site: str) -> list[dict[str, Any]]:
        return [third_party_line(scope, event) for scope, event in sorted(self._state.site(site).third_parties.items())]

    def learnt(self, site: str) -> list[dict[str, Any]]:
        here = self._state.site(site)
        return learnt_lines(here.identification.reported, here.assumed)

    def receipts(self, site: str, count: int) -> list[shape.ReceiptLine]:
        return [receipt_line(body) for body in list(self._state.site(site).receipts)[:count]]
