# SPDX-License-Identifier: Apache-2.0
"""Facts of where miners stand as somebody asks them to be taken in, checked against the site before they are journalled."""

from collections.abc import Mapping
from typing import Any, Final

from pydantic import Field

from hub.config.request import Instant, Request, ShortText, example
from hub.fleet.ip_report import MOST_CHARS
from hub.state.site import SiteState
from kernel.clock import from_iso, iso
from kernel.errors import ConfigError, Fault
from miner_control.inventory.asset_register import FACTS, Fact

BY_HAND: Final = "a person"
_ALIASES: Final = {"slot": "position"}


class FactRow(Request):
    """One fact of a miner."""

    device: ShortText = Field(description="Give the miner's name within the site")
    what: ShortText = Field(description=f"Give one of: {', '.join(FACTS)} (slot: position)")
    value: str = Field(description="Give a text")
    start: Instant | None = Field(default=None, alias="from", description="Write 2026-03-02T00:00:00+05:00")


class FactsRequest(Request):
    """Facts of one source; without `from` a fact holds from now on."""

    model_config = example({"facts": [{"device": "m1", "what": "rack", "value": "r3"}], "source": "a person"})

    facts: list[FactRow] = Field(min_length=1, description='Give [{"device": "m1", "what": "rack", "value": "r3"}]')
    source: str = Field(
        default=BY_HAND,
        min_length=1,
        max_length=MOST_CHARS,
        description=f"Give 1 to {MOST_CHARS} characters, or leave it out",
    )
    dry_run: bool = Field(default=False, description="true: only show the result")


def facts_asked(site: SiteState, sites: Mapping[str, SiteState], request: FactsRequest, now_ms: int) -> list[Fact]:
    """Facts of a request against the site. Raises ConfigError with every fault: all facts are taken, or none."""
    faults: list[Fault] = []
    found = [
        _fact(f"facts.{at}", row, site, sites, request.source, now_ms, faults) for at, row in enumerate(request.facts)
    ]
    if faults:
        raise ConfigError(faults)
    return found


def _fact(
    place: str,
    row: FactRow,
    site: SiteState,
    sites: Mapping[str, SiteState],
    source: str,
    now_ms: int,
    faults: list[Fault],
) -> Fact:
    device, value, what = f"{site.key}/{row.device}", row.value.strip(), str(_ALIASES.get(row.what, row.what))
    if device not in site.roster.index:
        faults.append(Fault(f"{place}.device", f"no miner {row.device[:60]!r}", "See `mining-hub miners list`"))
    faults += [Fault(f"{place}.{key}", problem, remedy) for key, problem, remedy in _wrong(what, value, site, sites)]
    from_ms = now_ms if row.start is None else from_iso(row.start)
    if not 0 < from_ms <= now_ms:
        faults.append(Fault(f"{place}.from", "is not in the past", "Record it when it holds"))
    return Fact(device, what, value, from_ms, source)


def _wrong(what: str, value: str, site: SiteState, sites: Mapping[str, SiteState]) -> list[tuple[str, str, str]]:
    """(key, problem, remedy) of a fact that cannot hold."""
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
