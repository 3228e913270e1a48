# SPDX-License-Identifier: Apache-2.0
"""Batches of readings as Arrow columns, and as zstd-compressed Arrow IPC blobs.

Layout: `device` (dictionary of texts), `at_ms` (int64), one column per metric under its own name (float64, or a dictionary of
texts), and `<metric>.code` (uint8, a `kernel.reading.Absence`) only where some row is not present. `evidence` has SHA-256
names, only where some row has one. Number columns have no validity mask: the code column decides.
"""

import numpy as np
import pyarrow as pa
import zstandard
from numpy.typing import NDArray

from kernel.reading import Absence, Column, ReadingBatch

_CODE = ".code"
_EVIDENCE = "evidence"
_LEVEL = 1
"""Compression level. Higher levels take three times as long and save a tenth; space is saved in the sealed Parquet files."""


class CorruptBatch(Exception):
    """A stored batch is not what was written: nothing of it is used."""


def use_system_memory() -> None:
    """Take Arrow's memory from the C library in this process; its own pool keeps some 20 MB for batches of 0.4 MB."""
    pa.set_memory_pool(pa.system_memory_pool())


def _texts(values: list[str]) -> pa.Array:
    return pa.array(values, type=pa.string()).dictionary_encode()


def to_record_batch(batch: ReadingBatch) -> pa.RecordBatch:
    """The batch as Arrow columns in the layout above; number columns are not copied."""
    names, arrays = ["device", "at_ms"], [_texts(batch.devices), pa.array(batch.at_ms)]
    for name, column in batch.columns.items():
        names.append(name)
        arrays.append(_texts(column.stored) if isinstance(column.stored, list) else pa.array(column.stored))
        if column.codes.any():
            names.append(name + _CODE)
            arrays.append(pa.array(column.codes))
    if batch.evidence:
        names.append(_EVIDENCE)
        arrays.append(pa.array([batch.evidence.get(row) for row in range(len(batch))], type=pa.string()))
    return pa.RecordBatch.from_arrays(arrays, names=names)


def from_record_batch(kind: str, found: pa.RecordBatch) -> ReadingBatch:
    """The inverse of `to_record_batch`. Number columns are read-only views of the Arrow buffers."""
    columns: dict[str, Column] = {}
    arrays = dict(zip(found.schema.names, found.columns, strict=True))
    present = np.full(found.num_rows, int(Absence.PRESENT), dtype=np.uint8)
    for name, array in arrays.items():
        if name in ("device", "at_ms", _EVIDENCE) or name.endswith(_CODE):
            continue
        code = arrays.get(name + _CODE)
        codes: NDArray[np.uint8] = present if code is None else code.to_numpy()
        stored = _to_texts(array) if pa.types.is_dictionary(array.type) else array.to_numpy(zero_copy_only=False)
        columns[name] = Column(stored, codes)
    evidence: dict[int, str] = {}
    if _EVIDENCE in arrays:
        evidence = {row: name for row, name in enumerate(arrays[_EVIDENCE].to_pylist()) if name is not None}
    return ReadingBatch(kind, _to_texts(arrays["device"]), arrays["at_ms"].to_numpy(), columns, evidence)


def _to_texts(array: pa.DictionaryArray) -> list[str]:
    texts = array.dictionary.to_pylist()
    return [texts[index] for index in array.indices.to_numpy()]


def pack(batch: ReadingBatch) -> bytes:
    """The batch as one blob: an Arrow IPC stream, compressed as a whole (better than per buffer for small batches)."""
    record_batch = to_record_batch(batch)
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, record_batch.schema) as writer:
        writer.write_batch(record_batch)
    packed: bytes = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(out.getvalue())
    return packed


def has_checksum(blob: bytes) -> bool:
    """Whether a blob carries a checksum of its contents; True for bytes that are no frame at all, which never unpack."""
    try:
        return bool(zstandard.get_frame_parameters(blob).has_checksum)
    except zstandard.ZstdError:
        return True


def unpack_record_batch(blob: bytes) -> pa.RecordBatch:
    """Arrow columns of a blob, without a Python object per row.

    Raises CorruptBatch where the bytes are not those that were written: by the checksum of the blob (those written before it
    was added have none), and by the buffers' own consistency, so that nothing reads beyond them.
    """
    try:
        plain = zstandard.ZstdDecompressor().decompress(blob)
        with pa.ipc.open_stream(pa.py_buffer(plain)) as reader:
            found = reader.read_next_batch()
        found.validate(full=True)
    except (zstandard.ZstdError, pa.ArrowException, StopIteration, OSError, MemoryError) as error:
        raise CorruptBatch(f"{type(error).__name__}: {error}"[:200]) from None
    return found


def unpack(kind: str, blob: bytes, rows: list[int] | None = None) -> ReadingBatch:
    """The inverse of `pack`; only some rows where `rows` is given."""
    found = unpack_record_batch(blob)
    return from_record_batch(kind, found if rows is None or len(rows) == found.num_rows else found.take(pa.array(rows)))
