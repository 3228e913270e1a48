# SPDX-License-Identifier: Apache-2.0
"""What every table of the configuration is made of: names, zones, files, ports, and tables that know their keys."""

import re
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationInfo

from hub.config.lookup import not_found, places


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", text):
        raise ValueError("use 1 to 63 of a-z 0-9 . _ - (starting with a letter or digit)")
    return text


def _zone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError("not a zone of the IANA database, such as Asia/Almaty") from None
    return text


def _existing(path: Path, info: ValidationInfo) -> Path:
    folder = (info.context or {}).get("folder")
    for place in places(folder, path):
        if place.exists():
            return place.resolve()
    raise ValueError(not_found(folder, path))


Name = Annotated[str, AfterValidator(_name)]
Zone = Annotated[str, AfterValidator(_zone)]
Existing = Annotated[Path, AfterValidator(_existing)]
Port = Annotated[int, Field(ge=1, le=65535, examples=[1883])]
Watts = Annotated[float, Field(gt=0, examples=[4_000_000.0])]
Seconds = Annotated[float, Field(gt=0, le=86_400, examples=[5.0])]


class Part(BaseModel):
    """One table of the configuration: unknown keys are faults, values do not change after the start."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Located(Part):
    """A table that knows the folder of its `hub.toml`, where data files are looked up first."""

    _folder: Path | None = PrivateAttr(default=None)

    def model_post_init(self, context: Any) -> None:
        self._folder = (context or {}).get("folder")

    @property
    def folder(self) -> Path | None:
        """The folder of `hub.toml`; None where the table was made without a file."""
        return self._folder
