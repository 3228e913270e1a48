# SPDX-License-Identifier: Apache-2.0
"""A hub's folder as the commands read it, with or without a running hub."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hub.cli.output import say

if TYPE_CHECKING:
    from hub.state.site import SiteState

SiteFolder = Annotated[
    Path, typer.Option("--folder", help="The folder that holds hub.toml: its files go before the shipped ones.")
]


def opened(folder: Path):  # type: ignore[no-untyped-def]
    """(configuration, journal for reading, state folded from it)."""
    from hub.config import load
    from hub.wiring import folded, reading

    config = load(folder / "hub.toml", environment={})
    journal = reading(folder / config.hub.data)
    return config, journal, folded(config, journal)


def last_ms(journal: Any) -> int:
    """The instant of the newest thing in the journal: what 'now' means to a reader of a folder."""
    last = [reading.at_ms for kind in ("miner", "meter") for reading in journal.last(kind)]
    return max(last, default=0)


def say_observing(sites: "Iterable[SiteState]") -> None:
    """A remark for each site that only observes, next to its figures."""
    from hub.config.observe_only import FIELD, no_commands

    for site in sites:
        if site.config.observe_only:
            say(f"{no_commands(site.config)} ({FIELD}): nothing is commanded there")


def table_text(path: Path) -> str:
    """The text of a table that a person gives, whatever code page it is in. Raises ConfigError where it cannot be read."""
    from kernel.errors import ConfigError, Fault
    from miner_control.inventory.spreadsheet import decoded

    try:
        return decoded(path.read_bytes())
    except OSError as error:
        raise ConfigError([Fault(str(path), error.strerror or str(error), "Give the path of a CSV")]) from None
