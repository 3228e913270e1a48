# SPDX-License-Identifier: Apache-2.0
"""Facts of where miners stand as somebody asks them to be taken in, checked against the site before they are journalled."""

from collections.abc import Mapping
from typing import Any, Final

from hub.fleet.ip_report import MOST_CHARS
from hub.state.site import SiteState
from kernel.clock import from_iso, iso
from kernel.errors import ConfigError, Fault
from miner_control.inventory.asset_register import FACTS, Fact

BY_HAND: Final = "a person"
_ALIASES: Final = {"slot": "position"}
_KEYS: Final = ("device", "what", "value", "from")


def facts_asked(site: SiteState, sites: Mapping[str, SiteState], body: Mapping[str, Any], now_ms: int) -> list[Fact]:
    """The facts of a request `facts: [{device, what, value, from}]`, `source`. `device` is a name within the site; without
    `from` (RFC 3339) a fact holds from `now_ms` on. Raises ConfigError with every fault: of the whole only all or nothing.
    """
    rows, source = body.get("facts"), body.get("source", BY_HAND)
    faults: list[Fault] = []
    if not isinstance(source, str) or not 0 < len(source) <= MOST_CHARS:
        faults.append(Fault("source", "is no text", f"Write 1 to {MOST_CHARS} characters, or leave it out"))
    if not isinstance(rows, list) or not rows:
        faults.append(Fault("facts", "is no list of facts", 'Send [{"device": "m1", "what": "rack", "value": "r3"}]'))
        rows = []
    found = [_fact(f"facts.{at}", row, site, sites, str(source), now_ms, faults) for at, row in enumerate(rows)]
    if faults:
        raise ConfigError(faults)
    return [fact for fact in found if fact is not None]


def _fact(
    place: str,
    row: Any,
    site: SiteState,
    sites: Mapping[str, SiteState],
    source: str,
    now_ms: int,
    faults: list[Fault],
) -> Fact | None:
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in _KEYS[:3]):
        faults.append(Fault(place, "lacks device, what or value as texts", "Give all three"))
        return None
    if strange := sorted(set(row) - set(_KEYS)):
        faults.append(Fault(place, f"has unknown {', '.join(map(str, strange))}", f"Use {', '.join(_KEYS)}"))
    device, value = f"{site.key}/{row['device']}", str(row["value"]).strip()
    what = str(_ALIASES.get(row["what"], row["what"]))
    if device not in site.roster.index:
        faults.append(Fault(f"{place}.device", f"no miner {row['device'][:60]!r}", "See `mining-hub miners list`"))
    faults += [Fault(f"{place}.{key}", problem, remedy) for key, problem, remedy in _wrong(what, value, site, sites)]
    from_ms = now_ms
    if row.get("from") is not None:
        try:
            from_ms = from_iso(str(row["from"]))
        except ValueError as error:
            faults.append(Fault(f"{place}.from", str(error), "Write 2026-03-02T00:00:00+05:00"))
        if not 0 < from_ms <= now_ms:
            faults.append(Fault(f"{place}.from", "is not in the past", "Say it when it holds"))
    return Fact(device, what, value, from_ms, source)


def _wrong(what: str, value: str, site: SiteState, sites: Mapping[str, SiteState]) -> list[tuple[str, str, str]]:
    """(key, problem, remedy) of what cannot be said of a miner."""
    if what not in FACTS:
        return [("what", f"{what[:40]!r} is none", f"Use {', '.join(FACTS)}")]
    if what == "feeder":
        known = sorted(feeder.name for feeder in site.config.feeders)
        wrong = value not in known
    elif what == "phase":
        known = ["0", "1", "2", "nothing for all three"]
        wrong = value not in ("", "0", "1", "2")
    elif what == "site":
        known = sorted(one.config.name for one in sites.values())
        wrong = value not in known
    elif len(value) > MOST_CHARS or not value.isprintable() or "/" in value:
        return [("value", "cannot be written so", f"Use at most {MOST_CHARS} printable characters without /")]
    else:
        return []
    return [("value", f"{value[:40]!r} is no {what} here", f"Write one of: {', '.join(known)}")] if wrong else []


def fact_line(fact: Fact) -> dict[str, Any]:
    """A fact as API and command line tell it."""
    return {
        "device": fact.device.rpartition("/")[2],
        "what": fact.what,
        "value": fact.value,
        "from": iso(fact.from_ms),
        "source": fact.source,
    }
