# SPDX-License-Identifier: Apache-2.0
import csv
import hashlib
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from kernel.span import Span
from telemetry.io.archive_files import deleted, export, keep_within
from telemetry.io.archive_parquet import ParquetArchive
from telemetry.io.journal_sqlite import open_journal
from telemetry.store.retention import Hold, expired, file_span, merkle_path, merkle_root, proves
from tests.telemetry.store.journal_cases import T0_MS, batch, meter, miner

HOUR, DAY = 3_600_000, 86_400_000


def sealed(tmp_path: Path) -> ParquetArchive:
    """Five hours of the first day, and one of the next, of two kinds."""
    journal = open_journal(tmp_path / "journal")
    for hour in (0, 1, 2, 3, 4, 24):
        at_ms = T0_MS + hour * HOUR
        rows = [miner(1, at_ms, 3000.0 + hour), miner(2, at_ms, None)]
        journal.append([batch("miner", rows), batch("meter", [meter(1, at_ms, 1000.0 * hour)])], [])
    archive = ParquetArchive(tmp_path / "archive", journal)
    archive.seal(T0_MS + 30 * HOUR)
    return archive


def names(folder: Path, layer: str = "raw", kind: str = "miner") -> list[str]:
    return sorted(str(path.relative_to(folder / layer / kind)) for path in (folder / layer / kind).rglob("*.parquet"))


def test_what_is_old_goes_and_leaves_its_hash_its_rule_and_its_path(tmp_path: Path) -> None:
    folder = sealed(tmp_path).folder
    hashes = {
        f"raw/miner/{name}": hashlib.sha256((folder / "raw/miner" / name).read_bytes()).hexdigest()
        for name in names(folder)
    }
    assert keep_within(folder, T0_MS + 62 * DAY, []) == []
    stones = keep_within(folder, T0_MS + 63 * DAY, [])
    assert len(stones) == 5 and names(folder) == ["2026-01-02/00.parquet"]
    assert {stone.path: stone.sha256 for stone in stones} == {p: h for p, h in hashes.items() if "2026-01-01" in p}
    assert all(proves(stone) and stone.rule == "raw of miner: 62 days" for stone in stones)
    assert len({stone.merkle_root for stone in stones}) == 1
    assert not proves(replace(stones[0], sha256=stones[1].sha256))
    assert list(deleted(folder)) == stones
    assert len(names(folder, "1m")) == 6 and len(names(folder, "raw", "meter")) == 6, "rollups and meters stay"


def test_what_is_cited_stays_for_as_long_as_it_is_held(tmp_path: Path) -> None:
    folder = sealed(tmp_path).folder
    hold = Hold(Span(T0_MS + HOUR + 1, T0_MS + 2 * HOUR), "report 2026-01", "cited")
    keep_within(folder, T0_MS + 100 * DAY, [hold])
    assert names(folder) == ["2026-01-01/01.parquet"]
    other = Hold(hold.span, "report", "cited", frozenset({"meter"}))
    (stone,) = keep_within(folder, T0_MS + 100 * DAY, [other])
    assert stone.path == "raw/miner/2026-01-01/01.parquet" and names(folder) == []
    first = next(stone for stone in deleted(folder) if stone.path.endswith("01-01/00.parquet"))
    assert first.merkle_root == stone.merkle_root, "the tree of a day is the same, whenever its files went"
    assert proves(stone)


def test_a_kill_between_tombstone_and_deletion_is_finished_later_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sealed(tmp_path).folder

    class Killed(Exception):
        pass

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(Killed):
            keep_within(folder, T0_MS + 63 * DAY, [])
    assert len(names(folder)) == 6
    with (folder / "deleted.jsonl").open("ab") as file:
        file.write(b'{"path": "torn')
    keep_within(folder, T0_MS + 63 * DAY, [])
    assert len(names(folder)) == 1 and len(list(deleted(folder))) == 5
    keep_within(folder, T0_MS + 64 * DAY, [])
    assert names(folder) == [] and len(list(deleted(folder))) == 6, "what follows a torn line is read"


def test_spans_of_files_and_default_rules() -> None:
    assert file_span("raw/miner/2026-01-01/05.parquet") == ("raw", "miner", Span(T0_MS + 5 * HOUR, T0_MS + 6 * HOUR))
    paths = [
        f"{layer}/{kind}/2020-01-01/00.parquet" for layer in ("raw", "1m", "15m", "1h") for kind in ("miner", "meter")
    ]
    assert [path for path, _ in expired(paths, T0_MS, [])] == [
        "1m/miner/2020-01-01/00.parquet", "raw/miner/2020-01-01/00.parquet",
    ]  # fmt: skip


def test_the_tree_is_the_one_of_the_standard() -> None:
    """Test vectors of the reference implementation of certificate transparency (leaves of its merkle tree test)."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    leaves = [hashlib.sha256(b"\x00" + bytes.fromhex(text)).digest() for text in inputs]
    assert merkle_root(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
    assert len(merkle_path(leaves, 5)) == 3


def test_export_as_parquet_and_csv(tmp_path: Path) -> None:
    archive = sealed(tmp_path)
    span = Span(T0_MS, T0_MS + DAY)
    assert export(archive, "miner", span, tmp_path / "out.parquet") == 10
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.num_rows == 10 and "fan_max_rpm" not in table.column_names
    assert export(archive, "miner", span, tmp_path / "out.csv", metrics=["power_w", "state"]) == 10
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "device": "hub/site/m00001", "at": "2026-01-01T00:00:00.000Z", "power_w": "3000", "state": "hashing"
    }  # fmt: skip
    assert {row["power_w"] for row in rows if row["device"].endswith("2")} == {""}
    with pytest.raises(ValueError, match=r"\.parquet or \.csv"):
        export(archive, "miner", span, tmp_path / "out.xlsx")
