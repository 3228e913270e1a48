# SPDX-License-Identifier: Apache-2.0
"""Catalogue of miner models: profiles in `configs/profiles/miners/` and firmware capabilities, joined to envelopes.

A model profile holds published figures of the maker (or of a named list): nameplate per variant, modes, operating curves by
firmware. An envelope joins it with the firmware's `Capability`. A curve of that very model and firmware gives the modes;
without one, the shares of the firmware's modes on the nameplate do, marked assumed as they are there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from kernel.errors import ConfigError, Fault
from kernel.units import HS_PER_THS
from miner_control.fleet.envelope import Envelope, Mode, PowerRange, Provenance
from miner_control.inventory.capability import Capability, ModeShare, Table, document, load_capabilities
from miner_control.inventory.model_names import NameRules, load_names

_MOST_MODES: Final = 12
_NEEDS_A_MODEL: Final = frozenset({"SetMode", "PowerTarget", "PowerPercent", "InstallFirmware", "RollBackFirmware"})
"""Intents whose figures or images are those of one model."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One nameplate of a model (25 C inlet, at the wall); `modes` are those published by its maker with figures."""

    name: str
    power_w: float
    hashrate_hs: float
    tier: str
    certainty: str
    source: str
    modes: tuple[Mode, ...]


@dataclass(frozen=True, slots=True)
class OperatingCurve:
    """Presets of one firmware on one model, by rising power; `certainty` gives the origin of the watts."""

    dialect: str
    firmware: str
    modes: tuple[Mode, ...]
    certainty: str
    source: str


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """A model as sold by its maker."""

    make: str
    model: str
    cooling: str
    variants: tuple[Variant, ...]
    default: str
    curves: tuple[OperatingCurve, ...]
    boards: int | None
    chips_per_board: int | None
    fans: int | None
    inlet_low_c: float | None
    inlet_high_c: float | None

    def variant(self, name: str = "") -> Variant:
        """The variant of a name; the default for "". Raises KeyError that lists the existing names."""
        for variant in self.variants:
            if variant.name == (name or self.default):
                return variant
        raise KeyError(f"{self.model} has no variant {name!r}: {', '.join(v.name for v in self.variants)}")


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All model profiles by the key of their name (`NameRules.key`), and firmware capabilities."""

    models: Mapping[str, ModelProfile]
    firmwares: Mapping[str, tuple[Capability, ...]]
    names: NameRules = field(default_factory=NameRules)

    def find(self, text: str) -> tuple[ModelProfile, Variant] | None:
        """The profile of a name as written by people and by miners: `Antminer S19j Pro 104`, `WhatsMiner M30S++ VH60`.

        Every part counts; a stated rate has to be that of a variant. None where no model fits: the nearest is never taken.
        """
        for key, rate in self.names.candidates(text):
            profile = self.models.get(key) or self._by_its_cooling(key)
            if profile is None:
                continue
            if not rate:
                return profile, profile.variant()
            return next(((profile, one) for one in profile.variants if one.name == rate), None)
        return None

    def _by_its_cooling(self, key: str) -> ModelProfile | None:
        """The model of a key that adds its own cooling to its name: `Whatsminer M63S Hydro` is sold with no other."""
        for written, cooling in self.names.cooling.items():
            profile = self.models.get(key.removesuffix(written)) if key.endswith(written) else None
            if profile is not None and profile.cooling == cooling:
                return profile
        return None

    def capability(self, dialect: str, version: str = "") -> Capability:
        """Capability of a firmware in a version. Raises KeyError where the dialect is not declared, or no range holds the
        version."""
        for edition in self.firmwares[dialect]:
            if edition.holds(version):
                return edition
        raise KeyError(f"{dialect} {version!r} lies in no declared range of versions")

    def envelope(self, model: str, dialect: str, version: str = "") -> Envelope:
        """The envelope of a model under a firmware. Raises KeyError that names what is not declared.

        A model without a profile has one mode of assumed figures, and the commands that its firmware carries out whatever
        the model is: it never keeps the others from being run.
        """
        found = self.find(model)
        can = self.capability(dialect, version)
        if found is not None:
            return _envelope(model, *found, can)
        if self.names.assumed is None:
            raise KeyError(f"no profile for model {model!r}, and no [without_profile] in profiles/names")
        return _without_profile(model, self.names.assumed, can)

    def envelopes(self, pairs: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Envelope]:
        """Envelopes of (model, dialect) pairs. Raises ConfigError naming every pair that has none."""
        found: dict[tuple[str, str], Envelope] = {}
        faults: list[Fault] = []
        for model, dialect in sorted(set(pairs)):
            try:
                found[model, dialect] = self.envelope(model, dialect)
            except KeyError as error:
                faults.append(
                    Fault(
                        f"{model} with {dialect}",
                        str(error.args[0]),
                        "Declare it in profiles/miners or profiles/firmware of the site's folder",
                    )
                )
        if faults:
            raise ConfigError(faults)
        return found


def _without_profile(model: str, assumed: Mode, can: Capability) -> Envelope:
    variant = Variant("", assumed.power_w, assumed.hashrate_hs, "", "assumed", "", ())
    profile = ModelProfile("", model, "", (variant,), "", (), None, None, None, None, None)
    plain = replace(can, modes=(), power_target=None, intents=can.intents - _NEEDS_A_MODEL)
    return replace(_envelope(model, profile, variant, plain), profiled=False, provenance=Provenance.ASSUMED)


def _envelope(model: str, profile: ModelProfile, variant: Variant, can: Capability) -> Envelope:
    modes, normal, provenance = _modes(profile, variant, can)
    target = can.power_target if can.power_target is not None and can.power_target.fits(profile.model) else None
    intents = can.intents if target is not None or can.power_target is None else can.intents - {"PowerTarget"}
    dynamics = can.dynamics
    return Envelope(
        model=model,
        firmware=can.dialect,
        modes=modes,
        normal=normal,
        sleep_w=min(dynamics["sleep_w"].value, 0.5 * modes[0].power_w),
        ramp_up_s=dynamics["ramp_up_s"].value,
        ramp_down_s=dynamics["ramp_down_s"].value,
        start_lost_s=dynamics["start_lost_s"].value,
        min_on_s=dynamics["min_on_s"].value,
        min_off_s=dynamics["min_off_s"].value,
        can_sleep="Sleep" in can.intents,
        power_range=None
        if target is None
        else PowerRange(
            target.low.value * variant.power_w, target.high.value * variant.power_w, target.step_w, target.needs_restart
        ),
        commands=intents,
        provenance=provenance,
        random_start_delay_s=can.random_start_delay_s,
        wakes_into_any_mode=can.wakes_into_any_mode,
        recovery_steps=can.recovery_steps,
    )


def _modes(profile: ModelProfile, variant: Variant, can: Capability) -> tuple[tuple[Mode, ...], str, Provenance]:
    """(modes by rising power, name of the normal one, provenance): a curve of this firmware, else the firmware's modes.

    A mode that the firmware cannot be commanded to is left out, even where its maker publishes figures; where it can,
    those figures replace the firmware's assumed shares.
    """
    stock = Mode("normal", variant.power_w, variant.hashrate_hs)
    curves = [curve for curve in profile.curves if curve.dialect == can.dialect and len(curve.modes) > 1]
    if curves:
        curve = max(curves, key=lambda curve: len(curve.modes))
        normal = min(curve.modes, key=lambda mode: abs(mode.hashrate_hs - variant.hashrate_hs))
        normal = next((mode for mode in curve.modes if mode.name == "default"), normal)
        sure = Provenance.ASSUMED if "assumed" in curve.certainty else Provenance.SOURCED
        return _thin(curve.modes, normal), normal.name, sure
    shares = [share for share in can.modes if share.fits(profile.model)]
    if not shares:
        return (stock,), "normal", Provenance.SOURCED
    published = {mode.name: mode for mode in variant.modes}
    modes = tuple(sorted((published.get(s.name) or _share(stock, s) for s in shares), key=lambda mode: mode.power_w))
    normal = min(modes, key=lambda mode: abs(mode.power_w - stock.power_w))
    assumed = any(s.name not in published and s.power.provenance is Provenance.ASSUMED for s in shares)
    return modes, normal.name, Provenance.ASSUMED if assumed else Provenance.SOURCED


def _share(stock: Mode, share: ModeShare) -> Mode:
    return Mode(share.name, stock.power_w * share.power.value, stock.hashrate_hs * share.hashrate.value)


def _thin(modes: tuple[Mode, ...], normal: Mode) -> tuple[Mode, ...]:
    """At most `_MOST_MODES` of a long list of presets: the ends and the normal one kept, the others evenly by rank; power
    and hashrate rise strictly."""
    rising: list[Mode] = []
    for mode in sorted(modes, key=lambda mode: (mode.power_w, mode.hashrate_hs)):
        if mode is normal:
            rising = [m for m in rising if m.power_w < mode.power_w and m.hashrate_hs < mode.hashrate_hs]
        if not rising or (mode.power_w > rising[-1].power_w and mode.hashrate_hs > rising[-1].hashrate_hs):
            rising.append(mode)
    if len(rising) <= _MOST_MODES:
        return tuple(rising)
    step = (len(rising) - 1) / (_MOST_MODES - 1)
    chosen = {round(step * at) for at in range(_MOST_MODES)}
    at_normal = rising.index(normal)
    nearest = min(chosen - {0, len(rising) - 1}, key=lambda at: abs(at - at_normal))
    chosen = (chosen - {nearest}) | {at_normal}
    return tuple(rising[at] for at in sorted(chosen))


def load_catalogue(models: Iterable[Path], firmwares: Iterable[Path], names: Iterable[Path] = ()) -> Catalogue:
    """Read the files of models, of firmware and of names. Raises ConfigError with every fault of all, with file and key."""
    faults: list[Fault] = []
    profiles: dict[str, ModelProfile] = {}
    try:
        rules = load_names(names)
    except ConfigError as error:
        faults.extend(error.faults)
        rules = NameRules()
    for path in models:
        held = document(path, faults)
        profile = _profile(path.name, held, faults) if held is not None else None
        if profile is None:
            continue
        key = rules.key(profile.model)
        if key in profiles:
            faults.append(Fault(path.name, f"model {profile.model} is declared twice", "Keep one file a model"))
        profiles[key] = profile
    try:
        capabilities = load_capabilities(firmwares)
    except ConfigError as error:
        faults.extend(error.faults)
        capabilities = {}
    if faults:
        raise ConfigError(faults)
    return Catalogue(profiles, capabilities, rules)


def _profile(place: str, document: Mapping[str, Any], faults: list[Fault]) -> ModelProfile | None:
    before = len(faults)
    head = Table(place, document, faults)
    make, model, cooling = head.get("make", str), head.get("model", str), head.get("cooling", str)
    for required in ("unit", "source_url"):
        head.get(required, str)
    head.get("checked", dict)
    variants = tuple(
        _variant(f"{place} variants[{at}]", table, faults)
        for at, table in enumerate(head.tables("variants", needed=True))
    )
    default = head.get("default", str)
    if variants and default is not None and default not in [variant.name for variant in variants]:
        head.fault("default", f"names no variant: {default!r}", f"Use one of {', '.join(v.name for v in variants)}")
    if not variants:
        head.fault("variants", "is empty", "Give at least one nameplate")
    geometry = Table(f"{place} geometry", head.get("geometry", dict, {}), faults)
    inlet = Table(f"{place} inlet", head.get("inlet", dict, {}), faults)
    curves = tuple(_curve(f"{place} curves[{at}]", t, faults) for at, t in enumerate(head.tables("curves")))
    if len(faults) > before:
        return None
    return ModelProfile(
        str(make),
        str(model),
        str(cooling),
        variants,
        str(default),
        curves,
        geometry.found.get("boards"),
        geometry.found.get("chips_per_board"),
        geometry.found.get("fans"),
        inlet.found.get("low_c"),
        inlet.found.get("high_c"),
    )


def _mode_of(place: str, table: Mapping[str, Any], faults: list[Fault]) -> Mode:
    part = Table(place, table, faults)
    name, power, rate = part.get("name", str), part.get("power_w", (int, float)), part.get("hashrate_ths", (int, float))
    for key, value in (("power_w", power), ("hashrate_ths", rate)):
        if value is not None and value <= 0:
            part.fault(key, f"is {value}", "Write a number above 0")
    return Mode(str(name), float(power or 1.0), float(rate or 1.0) * HS_PER_THS)


def _variant(place: str, table: Mapping[str, Any], faults: list[Fault]) -> Variant:
    part = Table(place, table, faults)
    stock = _mode_of(place, table, faults)
    modes = tuple(_mode_of(f"{place} modes[{at}]", t, faults) for at, t in enumerate(part.tables("modes")))
    return Variant(
        stock.name,
        stock.power_w,
        stock.hashrate_hs,
        str(part.get("tier", str)),
        str(part.get("certainty", str)),
        str(part.get("source", str)),
        tuple(sorted(modes, key=lambda mode: mode.power_w)),
    )


def _curve(place: str, table: Mapping[str, Any], faults: list[Fault]) -> OperatingCurve:
    part = Table(place, table, faults)
    points = tuple(
        _mode_of(f"{place} points[{at}]", t, faults) for at, t in enumerate(part.tables("points", needed=True))
    )
    return OperatingCurve(
        str(part.get("dialect", str)),
        str(part.get("firmware", str)),
        tuple(sorted(points, key=lambda mode: mode.power_w)),
        str(part.get("certainty", str)),
        str(part.get("source", str)),
    )
