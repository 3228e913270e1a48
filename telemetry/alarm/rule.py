# SPDX-License-Identifier: Apache-2.0
"""Alarm rules as data, from `configs/alarms/*.toml`; all faults are reported at once.

A rule names what it watches, when it raises and clears, the delays of both, and the operator's action. A rule without an
action is no alarm (ISA-18.2) and is refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from kernel.errors import ConfigError, Fault
from kernel.metric import SCHEMAS, TEXT_METRICS
from kernel.toml_model import read_toml, table_in, tables_in


class Priority(StrEnum):
    """Urgency of the operator's action, most urgent first."""

    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        return list(Priority).index(self)


GROUPS = ("rack", "feeder", "site")


@dataclass(frozen=True, slots=True)
class Threshold:
    """Raises above `high` or below `low`; clears `hysteresis` inside the limit.

    With `load_metric`: evaluated only where that metric of the same device is at least `load_least` (a power factor has no
    meaning for a load that is switched off).
    """

    metric: str
    high: float | None = None
    low: float | None = None
    hysteresis: float = 0.0
    load_metric: str = ""
    load_least: float = 0.0


@dataclass(frozen=True, slots=True)
class Rate:
    """Raises where the metric changes faster than `per_s` (canonical unit per second), over at least `window_s`.

    `direction`: "rising", "falling" or "either". It has no default: heating too fast and cooling too fast are different
    faults with different actions.
    """

    metric: str
    per_s: float
    window_s: float
    direction: str


@dataclass(frozen=True, slots=True)
class Stale:
    """Raises where a device has reported no value for `after_s`."""

    after_s: float


@dataclass(frozen=True, slots=True)
class InState:
    """Raises where a text or state metric is one of `any_of`."""

    metric: str
    any_of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """Raises where a metric deviates from another of the same device by more than `over_share` of that other.

    `direction`: "either", "below" or "above" the reference. Not evaluated where the reference is at or below `low`.
    """

    metric: str
    reference: str
    over_share: float
    direction: str
    low: float = 0.0


@dataclass(frozen=True, slots=True)
class Balance:
    """Raises where the whole (devices of role `whole`) and the sum of its parts differ by more than `over_share` of the whole
    plus `margin` (in the metric's unit: the no-load loss of a transformer).

    - Both directions raise: a loss and an excess both indicate a wrong meter. The value shown is (whole - parts) / whole.
    - Evaluated per site: main meter against feeders, feeders against the miners' own reports; only where all of them
      reported, and where the whole is more than `low`.
    - `plus`: a role whose sum is added to the whole (generation behind the main meter).
    """

    metric: str
    whole: str
    parts: str
    over_share: float
    low: float = 0.0
    plus: str = ""
    margin: float = 0.0


@dataclass(frozen=True, slots=True)
class Pattern:
    """Raises for a group (rack, feeder, site) where at least `share` and `min_devices` of its devices meet a condition."""

    group: str
    share: float
    min_devices: int
    of: "Threshold | InState | Stale | Difference"


DIRECTIONS: Mapping[type[Any], tuple[str, ...]] = {
    Rate: ("rising", "falling", "either"),
    Difference: ("below", "above", "either"),
}
"""Allowed directions of conditions that compare; each of these conditions must give one."""

Condition = Threshold | Rate | Stale | InState | Difference | Balance | Pattern


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """One rule.

    - `suppressed_by`: designed states in which it does not raise.
    - `covers`: rules of the group's devices that are suppressed while this one is active (one alarm for a dead rack, not
      forty).
    """

    id: str
    kind: str
    priority: Priority
    text: str
    action: str
    when: Condition
    on_delay_s: float
    off_delay_s: float
    max_age_s: float
    suppressed_by: tuple[str, ...] = ()
    covers: tuple[str, ...] = ()


DESIGNED = ("curtailed", "asleep", "starting", "changing", "maintenance")
"""States of a device that the hub knows and that make an alarm pointless: below its normal mode by command, asleep, starting,
changing to a commanded state, in maintenance by a person."""


def load_rules(paths: Iterable[Path]) -> list[AlarmRule]:
    """All rules of some files. ConfigError with every fault of every file."""
    faults: list[Fault] = []
    rules: list[AlarmRule] = []
    for path in paths:
        try:
            document = read_toml(path, "Name a file of alarm rules")
        except ConfigError as error:
            faults += error.faults
            continue
        for number, entry in enumerate(tables_in(document, "rule", path.name, faults), 1):
            place = f"{path.name} rule {entry.get('id', number)!r}"
            found = _rule(place, entry, faults)
            if found is not None:
                rules.append(found)
    faults += _across(rules)
    if faults:
        raise ConfigError(faults)
    return rules


def _across(rules: list[AlarmRule]) -> list[Fault]:
    ids = [rule.id for rule in rules]
    doubled = sorted({name for name in ids if ids.count(name) > 1})
    unknown = [(rule.id, name) for rule in rules for name in rule.covers if name not in ids]
    return [
        *(Fault(f"rule {name!r}", "two rules have this id", "Give each its own") for name in doubled),
        *(Fault(f"rule {rule!r} covers", f"no rule {name!r}", "Name a rule that exists") for rule, name in unknown),
    ]


_REQUIRED = ("id", "kind", "priority", "text", "action", "when")
_OPTIONAL = ("on_delay_s", "off_delay_s", "max_age_s", "suppressed_by", "covers")


def _rule(place: str, entry: Mapping[str, Any], faults: list[Fault]) -> AlarmRule | None:
    before = len(faults)
    for name in _REQUIRED:
        if not entry.get(name):
            remedy = "Give the operator's action, or remove the rule" if name == "action" else "Give it"
            faults.append(Fault(place, f"{name} is missing", remedy))
    known = ", ".join((*_REQUIRED, *_OPTIONAL))
    strange = sorted(set(entry) - {*_REQUIRED, *_OPTIONAL})
    faults += [Fault(place, f"unknown key {name!r}", f"Known: {known}") for name in strange]
    kind = entry.get("kind", "")
    if kind and kind not in SCHEMAS:
        faults.append(Fault(place, f"unknown kind {kind!r}", f"One of {', '.join(SCHEMAS)}"))
    if entry.get("priority") and entry["priority"] not in list(Priority):
        faults.append(Fault(place, f"unknown priority {entry['priority']!r}", f"One of {', '.join(Priority)}"))
    undesigned = [name for name in entry.get("suppressed_by", []) if name not in DESIGNED]
    faults += [Fault(place, f"suppressed_by {name!r} is unknown", f"Of {', '.join(DESIGNED)}") for name in undesigned]
    times = {name: entry.get(name, 0.0) for name in ("on_delay_s", "off_delay_s", "max_age_s")}
    wrong = [name for name, given in times.items() if not isinstance(given, int | float) or given < 0]
    faults += [Fault(place, f"{name} must be a number of seconds, 0 or more", "Correct it") for name in wrong]
    when = None
    if len(faults) == before:
        given = table_in(entry, "when", place, faults)
        when = _condition(place, kind, dict(given), faults) if given else None
    if len(faults) > before or when is None:
        return None
    return AlarmRule(
        str(entry["id"]),
        kind,
        Priority(entry["priority"]),
        str(entry["text"]),
        str(entry["action"]),
        when,
        float(entry.get("on_delay_s", 0.0)),
        float(entry.get("off_delay_s", 0.0)),
        float(entry.get("max_age_s", 300.0)),
        tuple(entry.get("suppressed_by", ())),
        tuple(entry.get("covers", ())),
    )


_CONDITIONS: Mapping[str, type[Any]] = {
    "threshold": Threshold,
    "rate": Rate,
    "stale": Stale,
    "state": InState,
    "difference": Difference,
    "balance": Balance,
    "pattern": Pattern,
}


def _condition(place: str, kind: str, given: dict[str, Any], faults: list[Fault]) -> Condition | None:
    name = given.pop("type", "")
    shape = _CONDITIONS.get(name)
    if shape is None:
        faults.append(Fault(f"{place} when", f"unknown type {name!r}", f"One of {', '.join(_CONDITIONS)}"))
        return None
    if shape is Pattern:
        inner = _condition(f"{place} of", kind, dict(table_in(given, "of", f"{place} when", faults)), faults)
        given["of"] = inner
        if given.get("group") not in GROUPS:
            faults.append(Fault(f"{place} when", "group is missing or unknown", f"One of {', '.join(GROUPS)}"))
        if isinstance(inner, Pattern | Rate | Balance):
            faults.append(
                Fault(f"{place} of", "not usable within a pattern", "Use threshold, state, stale, difference")
            )
    if shape in DIRECTIONS and given.get("direction") not in DIRECTIONS[shape]:
        problem = f"direction is {given['direction']!r}" if "direction" in given else "direction is missing"
        faults.append(Fault(f"{place} when", problem, f"Give one of: {', '.join(DIRECTIONS[shape])}"))
        given["direction"] = "either"
    numbers = {name: given[name] for name in ("per_s", "window_s") if shape is Rate and name in given}
    wrong = [name for name, value in numbers.items() if not isinstance(value, int | float) or value <= 0]
    faults += [Fault(f"{place} when", f"{name} is {given[name]!r}", "Give a number above 0") for name in wrong]
    if shape is Threshold and ("load_metric" in given) != ("load_least" in given):
        faults.append(Fault(f"{place} when", "load_metric and load_least go together", "Give both, or neither"))
    for metric in ("metric", "reference", "load_metric"):
        if metric in given and given[metric] not in SCHEMAS[kind]:
            faults.append(Fault(f"{place} when", f"{kind} has no metric {given[metric]!r}", "See kernel.metric"))
        elif metric in given and (given[metric] in TEXT_METRICS[kind]) != (shape is InState):
            faults.append(Fault(f"{place} when", f"{given[metric]!r} does not fit type {name!r}", "Use a fitting type"))
    if shape is InState:
        given["any_of"] = tuple(given.get("any_of", ()))
    if shape is Threshold and (given.get("high") is None) == (given.get("low") is None):
        faults.append(Fault(f"{place} when", "give either high or low", "One of the two"))
    try:
        found: Condition = shape(**given)
    except TypeError as error:
        text = str(error).replace(f"{shape.__name__}.__init__() ", "")
        faults.append(Fault(f"{place} when", text, f"See telemetry.alarm.rule.{shape.__name__}"))
        return None
    return found
