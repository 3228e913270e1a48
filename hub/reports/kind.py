# SPDX-License-Identifier: Apache-2.0
"""A kind of report as one value: name, scope, the document from journal and ledger, and the document as a table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hub.metering.energy import EnergyBook
from hub.state.site import SiteState
from kernel.clock import iso
from kernel.span import Span
from treasury.ledger import Ledger

Table = Callable[[Mapping[str, Any]], tuple[Sequence[str], list[list[Any]]]]
"""(columns, rows) of a document. Called with the document as read back from its JSON."""


@dataclass(frozen=True, slots=True)
class ReportSources:
    """What a report is built of. `site` is the site that it is about; a report of the whole hub has none.

    `position` is the journal's, up to which was read.
    """

    hub: str
    ledger: Ledger
    book: EnergyBook | None = None
    site: SiteState | None = None
    position: int = 0


@dataclass(frozen=True, slots=True)
class ReportKind:
    """`build` gives the document as JSON values: at least `report` (this name), `version`, `site` ("" for the hub), `period`
    (`period_json`) and `draft`. The same sources and span give the same document. `text` is one sentence for people."""

    name: str
    scope: Literal["site", "hub"]
    text: str
    build: Callable[[ReportSources, Span], dict[str, Any]]
    table: Table


def period_json(span: Span) -> dict[str, Any]:
    """The period of a document: milliseconds, and the same as RFC 3339."""
    return {
        "start_ms": span.start_ms, "end_ms": span.end_ms, "start": iso(span.start_ms), "end": iso(span.end_ms),
    }  # fmt: skip
