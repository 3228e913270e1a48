# SPDX-License-Identifier: Apache-2.0
"""Names of miner models as makers, firmwares and people write them, brought to the names of the profiles.

Every part of a name counts: what no rule explains makes it another model, and the nearest one is never taken for it. The rules
are data (`configs/profiles/names/*.toml`): names of makers, other spellings of one part, marks of a board revision, other names.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from kernel.errors import ConfigError, Fault
from kernel.toml_model import checked, read_toml, within
from kernel.units import HS_PER_THS
from miner_control.fleet.envelope import Mode

_RATE: Final = re.compile(r"^(?P<model>.*?)[\s_\-]*\(?(?P<rate>\d{1,4}(?:\.\d+)?)\s*(?:t|th|ths|th/s)?\)?$")
_GAPS: Final = re.compile(r"[\s_\-.,]+")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Mark(_Part):
    """Letters at the end of a name that name a board or a connector, not another model. `pattern`: a regular expression."""

    pattern: str
    source: str


class Assumed(_Part):
    """Figures of a model without a profile, until it was measured."""

    power_w: float = Field(gt=0)
    hashrate_ths: float = Field(gt=0)
    source: str


class NameFile(_Part):
    """One file of rules.

    - `spellings` maps a spelling to the one of the profiles, `aliases` a whole name to a profile's.
    - `cooling` maps a part that some names have and others leave out to the cooling of the profile.
    """

    makers: tuple[str, ...] = ()
    spellings: Mapping[str, str] = Field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    digits_first: Mapping[str, str] = Field(default_factory=dict)
    aliases: Mapping[str, str] = Field(default_factory=dict)
    cooling: Mapping[str, str] = Field(default_factory=dict)
    without_profile: Assumed | None = None


@dataclass(frozen=True, slots=True)
class NameRules:
    """The rules of all files.

    - `digits_first`: by the name of a maker, the letter that its profiles write before a name which begins with a digit.
    - `assumed`: the mode of a model without a profile; None where no file declares one.
    """

    makers: tuple[str, ...] = ()
    spellings: Mapping[str, str] = field(default_factory=dict)
    marks: tuple[re.Pattern[str], ...] = ()
    digits_first: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    cooling: Mapping[str, str] = field(default_factory=dict)
    assumed: Mode | None = None

    def key(self, text: str) -> str:
        """One name without case, gaps and maker: `Antminer S21 Hydro` -> `s21hyd`."""
        bare, maker = self._without_maker(_lower(text))
        parts = [self.spellings.get(part, part) for part in _GAPS.split(bare.replace("+", " + ")) if part]
        key = "".join(parts)
        letter = self.digits_first.get(maker, "")
        return letter + key if letter and key[:1].isdigit() else key

    def candidates(self, text: str) -> Iterable[tuple[str, str]]:
        """(key, rate) pairs that a name may mean, the whole name first; `rate` is "" or the TH/s that it states."""
        whole = self.aliases.get(_lower(text), text)
        bare = self._without_marks(_lower(whole))
        for each in dict.fromkeys((_lower(whole), bare)):
            yield self.key(each), ""
        if found := _RATE.match(bare):
            for each in dict.fromkeys((found["model"], self._without_marks(found["model"]))):
                yield self.key(each), found["rate"]

    def _without_maker(self, text: str) -> tuple[str, str]:
        maker, left = "", text
        while found := next((one for one in self.makers if left.startswith(one)), ""):
            maker, left = found, left[len(found) :].lstrip(" _-")
        return left, maker

    def _without_marks(self, text: str) -> str:
        for mark in self.marks:
            text = mark.sub("", text)
        return text.strip(" _-")


def _lower(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def load_names(paths: Iterable[Path]) -> NameRules:
    """The rules of the files. Raises ConfigError with every fault of every file."""
    faults: list[Fault] = []
    files: list[NameFile] = []
    marks: list[re.Pattern[str]] = []
    for path in paths:
        try:
            found, wrong = checked(NameFile, read_toml(path))
        except ConfigError as error:
            found, wrong = None, list(error.faults)
        faults += within(f"{path.name} ", wrong)
        if found is None:
            continue
        files.append(found)
        for at, mark in enumerate(found.marks):
            try:
                marks.append(re.compile(rf"[\s_\-]*(?:{mark.pattern})$", re.IGNORECASE))
            except re.error as error:
                faults.append(Fault(f"{path.name} marks[{at}] pattern", f"is no expression: {error}", "Correct it"))
    if faults:
        raise ConfigError(faults)
    assumed = [one.without_profile for one in files if one.without_profile is not None]
    makers = sorted({_lower(maker) for one in files for maker in one.makers}, key=len, reverse=True)
    return NameRules(
        tuple(makers),
        {_lower(written): meant for one in files for written, meant in one.spellings.items()},
        tuple(marks),
        {_lower(maker): letter for one in files for maker, letter in one.digits_first.items()},
        {_lower(written): meant for one in files for written, meant in one.aliases.items()},
        {_lower(written): cooling for one in files for written, cooling in one.cooling.items()},
        Mode("normal", assumed[-1].power_w, assumed[-1].hashrate_ths * HS_PER_THS) if assumed else None,
    )
