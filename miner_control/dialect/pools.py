# SPDX-License-Identifier: Apache-2.0
"""Pool metrics from miners' pool lists. Passwords are never copied."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import orjson

from miner_control.dialect.figures import NOT_REPORTED, Values, first, plain, put, put_text, spelt, total, truth, whole

ALIVE, DEAD, DISABLED = "alive", "dead", "disabled"


_SHARES = ("accepted", "rejected", "stale")


class ReportedPool(NamedTuple):
    """One pool as reported by the miner; `active` is the one in use, None where the miner does not report which that is."""

    url: str | None
    user: str
    state: str | None
    active: bool | None
    priority: int
    accepted: float | None
    rejected: float | None
    stale: float | None


def cgminer_pools(entries: Sequence[dict[str, Any]]) -> list[ReportedPool]:
    """Pools from POOLS entries in any of their spellings (RPC `URL`, CGI `url`). Entries with an empty address are left out."""
    found = []
    for index, entry in enumerate(entries):
        reported = first(entry, "URL", "url", "Stratum URL")
        url, status = spelt(reported), spelt(first(entry, "Status", "status")).lower()
        if not url and (reported is not None or not status):
            continue
        found.append(
            ReportedPool(
                url or None,
                spelt(first(entry, "User", "user", "account")),
                ALIVE if status.startswith("alive") or status == "working" else status or None,
                truth(first(entry, "Stratum Active", "stratum-active", "Stratum active", "active")),
                whole(first(entry, "Priority", "priority"), index),
                plain(first(entry, "Accepted", "accepted")),
                plain(first(entry, "Rejected", "rejected")),
                plain(first(entry, "Stale", "stale")),
            )
        )
    return found


def put_pool_state(values: Values, entries: Any) -> None:
    """Only the state of the pool in use, without building the list: for the fast tier."""
    if not isinstance(entries, list):
        return
    best: Any = None
    for entry in entries:
        if type(entry) is dict:
            status = entry.get("Status") or entry.get("status")
            if entry.get("Stratum Active") is True:
                best = status
                break
            if best is None or (status == "Alive" and best != "Alive"):
                best = status
    put_text(values, "pool_state", best.lower() if type(best) is str else None)


def put_pools(values: Values, pools: Sequence[ReportedPool], as_json: bool = True) -> None:
    """The pool metrics: of the active pool, else of the first living by priority, else of the first.

    Share counters missing from the summary are summed over the pools that count shares.
    """
    if not pools:
        for metric in ("pool_url", "pool_user", "pool_state"):
            values[metric] = NOT_REPORTED
    else:
        order = sorted(pools, key=lambda pool: (not pool.active, pool.state != ALIVE, pool.priority))
        put_text(values, "pool_url", order[0].url)
        put_text(values, "pool_user", order[0].user)
        put_text(values, "pool_state", order[0].state)
    counting = [pool for pool in pools if any(getattr(pool, name) is not None for name in _SHARES)]
    for name in _SHARES:
        if f"shares_{name}" not in values:
            put(values, f"shares_{name}", total(getattr(pool, name) for pool in counting))
    if as_json:
        values["pools_json"] = orjson.dumps([pool._asdict() for pool in pools]).decode()
