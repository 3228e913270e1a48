# SPDX-License-Identifier: Apache-2.0
"""A flipped bit in a stored batch never becomes another reading: the batch is left out, and named with its place."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest
import zstandard

from hub.wiring.integrity import stored_batches
from kernel.reading import ReadingBatch
from telemetry.io.arrow import CorruptBatch, has_checksum, pack, unpack
from telemetry.io.journal_schema import FILE_NAME
from telemetry.io.journal_sqlite import open_journal, read_journal
from telemetry.io.rotten import corrupt_batches
from tests.servers import count
from tests.telemetry.store.journal_cases import T0_MS, batch, event, meter, miner


def flipped(blob: bytes, bit: int) -> bytes:
    out = bytearray(blob)
    out[bit // 8] ^= 1 << bit % 8
    return bytes(out)


def test_each_flipped_bit_of_a_batch_is_found() -> None:
    made = batch("meter", [meter(at, T0_MS + at, 1000.0 * at) for at in range(40)])
    blob, changed = pack(made), 0
    for bit in range(0, 8 * len(blob), count(7, 1)):
        try:
            found = unpack("meter", flipped(blob, bit))
        except CorruptBatch:
            changed += 1
        else:  # a bit of the frame that says nothing of its contents
            assert list(found.readings()) == list(made.readings())
    assert changed > 0.99 * len(range(0, 8 * len(blob), count(7, 1)))
    for cut in range(0, len(blob), 5):
        with pytest.raises(CorruptBatch):
            unpack("meter", blob[:cut])


def test_a_corrupt_batch_is_left_out_of_every_answer_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = open_journal(tmp_path)
    for at in range(5):
        journal.append(
            [batch("meter", [meter(1, T0_MS + 1000 * at, 100.0 * at)]), batch("miner", [miner(1, T0_MS)])],
            [event(at + 1)],
        )
    journal.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as file:
        ((position, blob),) = file.execute(
            "SELECT position, blob FROM batch WHERE kind='meter' ORDER BY position LIMIT 1 OFFSET 4"
        )
        file.execute("UPDATE batch SET blob=? WHERE position=?", (flipped(blob, 8 * (len(blob) // 2)), position))
        file.execute("UPDATE batch SET rows=rows+1 WHERE position=(SELECT min(position) FROM batch)")

    found = read_journal(tmp_path)
    held = [record for record in found.records() if isinstance(record.content, ReadingBatch)]
    assert len(held) == 9 and position not in {record.position for record in held}
    assert len(list(found.records())) == 14, "events and the other batches are there"
    values = [float(one.reading(0).values["energy_import_wh"]) for one in found.batches("meter", T0_MS, T0_MS + 10_000)]
    assert values == [0.0, 100.0, 200.0, 300.0]
    assert [one.values["energy_import_wh"] for one in found.last("meter")] in ([], [300.0])
    assert list(found.rotten.found) == [position]
    assert len([one for one in caplog.records if "is corrupt" in one.message]) == 1, "once"
    named = dict(corrupt_batches(found))
    assert set(named) == {1, position} and "1 meter readings of " in named[position] and "it holds 1" in named[1]

    again = open_journal(tmp_path)
    again.append([batch("meter", [meter(1, T0_MS + 9000, 900.0)])], [])
    assert [one.values["energy_import_wh"] for one in again.last("meter")] == [900.0]
    again.close()


def test_batches_written_without_a_checksum_are_read() -> None:
    made = batch("meter", [meter(1, T0_MS, 5.0)])
    plain = zstandard.ZstdDecompressor().decompress(pack(made))
    older = zstandard.ZstdCompressor(level=1).compress(plain)
    assert np.array_equal(unpack("meter", older).at_ms, made.at_ms)
    assert has_checksum(pack(made)) and not has_checksum(older)


def test_batches_of_before_are_counted_and_not_called_proven(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append([batch("meter", [meter(1, T0_MS, 5.0)])], [])
    (well,) = stored_batches(tmp_path)
    assert well == ("batches", True, "1 read, each as it was written")
    plain = zstandard.ZstdDecompressor().decompress(journal.blob(1))
    journal.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as file:
        file.execute("UPDATE batch SET blob=?", (zstandard.ZstdCompressor(level=1).compress(plain),))
    ((_, ok, text),) = stored_batches(tmp_path)
    assert ok and text.endswith("; 1 of before carry no checksum")
    with sqlite3.connect(tmp_path / FILE_NAME) as file:
        file.execute("UPDATE batch SET blob=x'00'")
    ((what, ok, _),) = stored_batches(tmp_path)
    assert (what, ok) == ("batch 1", False)
