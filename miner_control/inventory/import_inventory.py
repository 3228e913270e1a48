# SPDX-License-Identifier: Apache-2.0
"""Import of another system's export: valid lines become the inventory, the rest is returned with its faults.

No line is lost: each is either a miner of the register or one of the `left`, unchanged and with its faults.
"""

import csv
import io
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from kernel.csv_table import csv_table
from kernel.errors import ConfigError, Fault
from miner_control.health.third_party_control import from_foreign
from miner_control.inventory.asset_register import AssetRegister, register_of
from miner_control.inventory.spreadsheet import delimiter_of, kept

FAULT_COLUMN: Final = "fault"


@dataclass(frozen=True, slots=True)
class Imported:
    """`register` of the valid lines, the `left` ones unchanged with a column `fault`, and every fault and remark."""

    register: AssetRegister
    left: tuple[Mapping[str, str], ...]
    faults: tuple[Fault, ...]


def imported(
    text: str, place: str, hub: str, site: str, knows_model: Callable[[str], bool], feeder: str = "unassigned"
) -> Imported:
    """Import of a CSV export (`DELIMITERS`). `feeder` is for lines that name none. Raises ConfigError for a text that is no
    table."""
    raw = _rows(text, place)
    rows, faults = from_foreign(raw, feeder)
    wrong: dict[int, list[Fault]] = defaultdict(list)
    remarks: list[Fault] = []
    for fault in faults:
        line = _line(fault.place)
        if line is None:
            remarks.append(fault)
        else:
            wrong[line].append(fault)
    for line, row in enumerate(rows, start=2):
        if row.get("model") and not knows_model(row["model"]):
            remedy = "It runs on assumed figures: write it as the maker does, or give it a profile (miners models)"
            remarks.append(Fault(f"line {line}", f"no model {row['model']!r} is known", remedy))
    register = AssetRegister(())
    while True:
        fit = [(f"line {line}", row) for line, row in enumerate(rows, start=2) if line not in wrong]
        try:
            register = register_of(fit, hub, site)
            break
        except ConfigError as error:
            for fault in error.faults:
                wrong[_line(fault.place) or 0].append(fault)
    left = tuple(
        {**row, FAULT_COLUMN: "; ".join(fault.problem for fault in wrong[line])}
        for line, row in enumerate(raw, start=2)
        if line in wrong
    )
    reported = [fault for line in sorted(wrong) for fault in wrong[line]]
    return Imported(register, left, (*reported, *remarks))


def left_csv(left: Sequence[Mapping[str, str]]) -> str:
    """The lines left as CSV, to be corrected and imported again."""
    out = io.StringIO()
    columns = list(dict.fromkeys(column for row in left for column in row))
    writer = csv.DictWriter(out, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows({column: kept(value) for column, value in row.items()} for row in left)
    return out.getvalue()


def _line(place: str) -> int | None:
    found = re.match(r"line (\d+)", place)
    return None if found is None else int(found[1])


def _rows(text: str, place: str) -> list[dict[str, str]]:
    delimiter = delimiter_of(text)
    names, listed = csv_table(text, place, delimiter, restkey="more", restval="")
    rows = [
        {str(k): v if isinstance(v, str) else delimiter.join(v) for k, v in row.items() if k != FAULT_COLUMN}
        for row in listed
    ]
    if len(names) < 2 or not rows:
        raise ConfigError([Fault(place, "is no table with a head line and rows", "Export it as CSV with column names")])
    return rows
