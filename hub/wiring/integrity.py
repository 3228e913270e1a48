# SPDX-License-Identifier: Apache-2.0
"""Integrity of the stored readings of a data folder."""

from collections.abc import Iterator
from pathlib import Path

from telemetry.io.journal_sqlite import read_journal
from telemetry.io.rotten import corrupt_batches, without_checksum


def stored_batches(data: Path) -> Iterator[tuple[str, bool, str]]:
    """(what, whether it is as it was written, text) of each corrupt batch of the journal; one line where there is none.

    Every batch is read. Raises ConfigError where there is no journal.
    """
    journal = read_journal(data)
    corrupt = list(corrupt_batches(journal))
    for position, text in corrupt:
        yield f"batch {position}", False, text
    if not corrupt:
        older = without_checksum(journal)
        text = f"{len(journal.places())} read, each as it was written"
        yield "batches", True, f"{text}; {older} of before carry no checksum" if older else text
