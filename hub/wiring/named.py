# SPDX-License-Identifier: Apache-2.0
"""Implementations of a port by name: those that ship, and entry points of installed distributions.

An entry point is loaded when its name is asked for, never before: a broken one stops nothing that does not use it. A name
that two distributions give, or one that ships already, is a fault for each that asks for it; no one of them is preferred.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, EntryPoint, distributions
from typing import Any, Generic, TypeVar

from hub.wiring.contained import Contained
from kernel.errors import ConfigError, Fault

T = TypeVar("T")

SHIPPED = "mining-hub"
PREFIX = "mining_hub."


@dataclass(frozen=True, slots=True)
class Row:
    """One name of a table: the distributions that give it, and why it cannot be used ("" where it can)."""

    what: str
    name: str
    origin: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """An entry point, and the distribution and version that bring it."""

    point: EntryPoint
    origin: str


class Named(Mapping[str, T]):
    """A table of implementations of one port. `fault_of` judges what an entry point gave: "" where it fits. `contained` are
    the methods of the values themselves whose errors must not end the hub."""

    def __init__(
        self,
        what: str,
        group: str,
        shipped: Mapping[str, T],
        fault_of: Callable[[Any], str],
        contained: tuple[str, ...] = (),
    ) -> None:
        self.what, self.group, self._contained = what, group, contained
        self._shipped, self._fault_of = dict(shipped), fault_of
        self._loaded: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        """KeyError where no one gives it, ConfigError naming the distribution where it cannot be used."""
        offers = self._offers(name)
        if name in self._shipped and not offers:
            return self._shipped[name]
        if not offers:
            raise KeyError(name)
        if name not in self._loaded:
            self._loaded[name] = self._load(name, offers)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted({*self._shipped, *(offer.point.name for offer in offers_of(self.group))}))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in self._shipped or any(offer.point.name == name for offer in offers_of(self.group))

    def find(self, name: str, place: str) -> T:
        """The implementation of that name. Raises ConfigError at `place`, a key of the configuration."""
        if name not in self:
            raise ConfigError([Fault(place, f"no {self.what} {name!r}", f"Write one of: {', '.join(self)}")])
        try:
            return self[name]
        except ConfigError as error:
            raise ConfigError([Fault(f"{place}: {f.place}", f.problem, f.remedy) for f in error.faults]) from None

    def origin(self, name: str) -> str:
        """Whose it is: `mining-hub`, or distribution and version; each of them where there are several."""
        shipped = [SHIPPED] if name in self._shipped else []
        return " and ".join([*shipped, *(offer.origin for offer in self._offers(name))])

    def rows(self) -> list[Row]:
        """Each name with its origin; loads every entry point to see whether it can be used."""
        found = []
        for name in self:
            try:
                self[name]
                fault = ""
            except ConfigError as error:
                fault = "; ".join(one.problem for one in error.faults)
            found.append(Row(self.what, name, self.origin(name), fault))
        return found

    def _offers(self, name: str) -> list[Offer]:
        return [offer for offer in offers_of(self.group) if offer.point.name == name]

    def _load(self, name: str, offers: list[Offer]) -> T:
        if name in self._shipped or len(offers) > 1:
            remedy = "Uninstall all but one of them, or let the author rename it"
            raise ConfigError([Fault(self.group, f"{name!r} is given by {self.origin(name)}", remedy)])
        offer, remedy = offers[0], f"Repair or uninstall {offers[0].origin}"
        try:
            found = offer.point.load()
        except (Exception, SystemExit) as error:  # any code may run there, and fail in any way
            problem = f"{name!r} of {offer.origin} does not load: {type(error).__name__}: {error}"
            raise ConfigError([Fault(self.group, problem, remedy)]) from None
        wrong = self._fault_of(found)
        if wrong:
            raise ConfigError([Fault(self.group, f"{name!r} of {offer.origin} does not fit: {wrong}", remedy)])
        made: Any = Contained(found, self._contained, offer.origin) if self._contained else found
        given: T = made
        return given


S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Maker(Generic[S, T]):
    """How a table's values make the port: from `settings`, with these methods afterwards."""

    table: Named[Callable[[S], T]]
    methods: tuple[str, ...]

    def make(self, name: str, place: str, settings: S) -> T:
        """The port of that name. Raises ConfigError at `place`, naming the distribution where a plug-in is at fault."""
        build = self.table.find(name, place)
        origin = self.table.origin(name)
        if origin == SHIPPED:
            return build(settings)
        remedy = f"Ask the author of {origin}"
        try:
            made = build(settings)
        except ConfigError:
            raise
        except Exception as error:  # any code may run there, and fail in any way
            problem = f"{self.table.what} {name!r} of {origin} could not be made: {type(error).__name__}: {error}"
            raise ConfigError([Fault(place, problem, remedy)]) from None
        wrong = lacks(made, self.methods)
        if wrong:
            raise ConfigError([Fault(place, f"{self.table.what} {name!r} of {origin} does not fit: {wrong}", remedy)])
        contained: T = Contained(made, self.methods, origin)  # type: ignore[assignment]
        return contained


def lacks(value: Any, methods: tuple[str, ...]) -> str:
    """Which methods a value has not; "" where it has them all."""
    absent = [method for method in methods if not callable(getattr(value, method, None))]
    return f"it has no {', '.join(absent)}" if absent else ""


def not_callable(value: Any) -> str:
    """Why a value is no factory; "" where it can be called."""
    return "" if callable(value) else "it is no function or class"


@dataclass(frozen=True, slots=True)
class Installed:
    """Entry points by group, and distributions whose entry points cannot be read."""

    offers: Mapping[str, tuple[Offer, ...]]
    unreadable: tuple[str, ...]


def offers_of(group: str) -> tuple[Offer, ...]:
    """The entry points of a group."""
    return installed().offers.get(group, ())


@cache
def installed() -> Installed:
    """What the distributions on the path offer to the hub; read once, nothing is loaded."""
    found: dict[str, list[Offer]] = {}
    unreadable, seen = [], set[str]()
    for one in distributions():
        origin = _origin(one)
        name = origin.partition(" ")[0].lower().replace("_", "-")
        # The first on the path is the one that is imported; a second copy of a distribution is shadowed.
        if not name or name in seen:
            continue
        seen.add(name)
        text = one.read_text("entry_points.txt") or ""
        if f"[{PREFIX}" not in text:
            continue
        try:
            points = list(one.entry_points)
        except Exception as error:  # a malformed file of theirs is a line in the doctor, not the end of the hub
            unreadable.append(f"{origin}: its entry points cannot be read: {error}")
            continue
        for point in points:
            if point.group.startswith(PREFIX):
                found.setdefault(point.group, []).append(Offer(point, origin))
    return Installed({group: tuple(offers) for group, offers in found.items()}, tuple(unreadable))


def _origin(one: Distribution) -> str:
    """Name and version; "" where a distribution has no name that can be read."""
    try:
        return f"{one.metadata['Name']} {one.version}" if one.metadata["Name"] else ""
    except Exception:  # an unfinished installation has no metadata
        return ""
