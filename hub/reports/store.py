# SPDX-License-Identifier: Apache-2.0
"""The hub's office: the ledger at a glance, and the reports that were made, listed and handed out as files."""

from collections.abc import Callable
from pathlib import Path

import orjson

from hub.query.schema import Ledger as LedgerLook
from hub.query.schema import ReportLine
from hub.reports.kind import ReportKind, ReportSources
from hub.reports.sign import report_key
from hub.reports.write import ReportFiles, write_report
from hub.settlement.duty import OpenPayout
from kernel.clock import Clock
from kernel.errors import NotFound
from kernel.ids import sha256_hex
from kernel.span import Span
from treasury.checks import check
from treasury.ledger import Ledger

OpenItems = Callable[[], tuple[list[OpenPayout] | None, list[str]]]

CHECK_EVERY_S = 30.0
FORMS = ("json", "csv", "sig")


class ReportStore:
    """Over a ledger and a folder of reports. Checks are run anew at most each CHECK_EVERY_S, and after each change.

    `open_items` gives the payouts that are not wholly settled (None: no round was made yet), and what is held.
    """

    def __init__(self, ledger: Ledger, folder: Path, clock: Clock, open_items: OpenItems | None = None) -> None:
        self.ledger, self.reports = ledger, folder / "reports"
        self.open_items: OpenItems = open_items or (lambda: ([], []))
        self._keys = folder / "keys"
        self._clock = clock
        self._checked: tuple[int, float] | None = None
        self._findings: list[str] = []

    def look(self) -> LedgerLook:
        """Balances, head, findings, and what is open."""
        head, accounts = self.ledger.head(), self.ledger.accounts()
        now_s = self._clock.monotonic_s()
        if self._checked is None or self._checked[0] != head.size or now_s - self._checked[1] > CHECK_EVERY_S:
            self._findings = [str(finding) for finding in check(self.ledger)]
            self._checked = (head.size, now_s)
        balances, (waiting, held) = self.ledger.balances(), self.open_items()
        return {
            "as_of_ms": self._clock.now_ms(),
            "transfers": head.size - len(accounts),
            "balanced": not self._findings,
            "head": head.chain.hex(),
            "findings": list(self._findings),
            "waiting": waiting,
            "held": held,
            "balances": [
                {"account": code, "unit": str(account.unit), "net": balances[code].net if code in balances else 0}
                for code, account in accounts.items()
            ],
        }

    def make(self, kind: ReportKind, sources: ReportSources, span: Span) -> ReportFiles:
        """A report of a span, built, signed and written."""
        return write_report(kind.build(sources, span), self.reports, report_key(self._keys), kind.table)

    def lines(self, site: str) -> list[ReportLine]:
        """The reports of a site, and those of the whole hub, newest first."""
        found: list[ReportLine] = []
        for path in self.reports.glob("*.json"):
            document = orjson.loads(path.read_bytes())
            scope = str(document.get("site", ""))
            if scope and scope.rpartition("/")[2] != site:
                continue
            files = {form: path.with_suffix(f".{form}") for form in FORMS}
            found.append(
                {
                    "id": path.stem,
                    "kind": str(document["report"]),
                    "site": scope,
                    "period_start_ms": int(document["period"]["start_ms"]),
                    "period_end_ms": int(document["period"]["end_ms"]),
                    "made_ms": int(path.stat().st_mtime * 1000),
                    "sha256": sha256_hex(path.read_bytes()),
                    "signed_by": _signed_by(files["sig"]),
                    "draft": bool(document.get("draft", False)),
                    "files": {form: file.stat().st_size for form, file in files.items() if file.exists()},
                }
            )
        return sorted(found, key=lambda line: (line["made_ms"], line["id"]), reverse=True)

    def file(self, report: str, form: str) -> tuple[str, bytes]:
        """(file name, bytes). Raises NotFound; a name that is no plain file name is none."""
        if form not in FORMS or Path(report).name != report:
            raise NotFound(f"no report {report!r} as {form!r}")
        path = self.reports / f"{report}.{form}"
        if not path.is_file():
            raise NotFound(f"no report {report!r} as {form!r}")
        return path.name, path.read_bytes()


def _signed_by(path: Path) -> str:
    if not path.exists():
        return ""
    try:
        return str(orjson.loads(path.read_bytes()).get("key_id", ""))
    except orjson.JSONDecodeError:
        return ""
