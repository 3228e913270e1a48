# SPDX-License-Identifier: Apache-2.0
"""Rows from journal blobs to sealed files, as Arrow tables.

Columns: `device`, `at_ms`, `position` (of the journal: order of arrival), one for each metric (null where missing),
`<metric>.code` where some value is missing for a reason other than not requested, and `evidence`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kernel.metric import SCHEMAS, TEXT_METRICS
from kernel.reading import Absence
from kernel.span import Span
from telemetry.io.arrow import unpack_record_batch

_TEXT = pa.dictionary(pa.int32(), pa.string())
_WITHOUT_REASON = pa.array([int(Absence.PRESENT), int(Absence.NOT_ASKED)], pa.uint8())


def schema_of(kind: str, columns: Iterable[str]) -> pa.Schema:
    """Columns in their fixed order, limited to the metrics and codes given."""
    named = set(columns)
    fields = [pa.field("device", _TEXT), pa.field("at_ms", pa.int64()), pa.field("position", pa.int64())]
    for name in SCHEMAS[kind]:
        if name in named:
            fields.append(pa.field(name, _TEXT if name in TEXT_METRICS[kind] else pa.float64()))
        if f"{name}.code" in named:
            fields.append(pa.field(f"{name}.code", pa.uint8()))
    if "evidence" in named:
        fields.append(pa.field("evidence", pa.string()))
    return pa.schema(fields)


def names_of(table: pa.Table) -> list[str]:
    """Distinct devices of a table."""
    names: list[str] = pc.unique(table["device"].cast(pa.string())).to_pylist()
    return names


def hot_table(kind: str, position: int, blob: bytes, span: Span, devices: Sequence[str] | None) -> pa.Table:
    """Rows of one journal batch within a span, of some devices, with nulls where values are missing."""
    batch = unpack_record_batch(blob)
    arrays = dict(zip(batch.schema.names, batch.columns, strict=True))
    at_ms = arrays["at_ms"].to_numpy()
    inside = (at_ms >= span.start_ms) & (at_ms < span.end_ms)
    if devices is not None:
        chosen = pc.is_in(arrays["device"].dictionary, value_set=pa.array(devices, pa.string()))
        inside &= chosen.to_numpy(zero_copy_only=False)[arrays["device"].indices.to_numpy()]
    if not inside.all():
        batch = batch.filter(pa.array(inside))
        # A dictionary is not filtered: as it stands it would hold the whole unpacked blob in memory for a few rows.
        arrays = {
            name: array.dictionary_decode().dictionary_encode() if pa.types.is_dictionary(array.type) else array
            for name, array in zip(batch.schema.names, batch.columns, strict=True)
        }
    columns: dict[str, pa.Array] = {
        "device": arrays["device"].cast(_TEXT),
        "at_ms": arrays["at_ms"],
        "position": pa.array(np.full(batch.num_rows, position, dtype=np.int64)),
    }
    for name, array in arrays.items():
        if name in ("device", "at_ms") or name.endswith(".code"):
            continue
        if name == "evidence":
            columns[name] = array
            continue
        code = arrays.get(f"{name}.code")
        array = array.cast(_TEXT) if pa.types.is_dictionary(array.type) else array
        if code is None:
            columns[name] = array
            continue
        columns[name] = pc.if_else(pc.equal(code, int(Absence.PRESENT)), array, pa.scalar(None, array.type))
        why = pc.if_else(pc.is_in(code, value_set=_WITHOUT_REASON), pa.scalar(None, pa.uint8()), code)
        if why.null_count < len(why):
            columns[f"{name}.code"] = why
    return pa.table(columns)


def sealed_table(path: Path, span: Span, devices: Sequence[str] | None, schema: pa.Schema) -> pa.Table:
    """The rows of one sealed file within a span, of some devices, with those columns of a schema that it has."""
    import pyarrow.parquet as pq

    chosen = (pc.field("at_ms") >= span.start_ms) & (pc.field("at_ms") < span.end_ms)
    if devices is not None:
        chosen &= pc.field("device").isin(pa.array(devices, pa.string()))
    held = set(pq.read_schema(path).names)
    table: pa.Table = pq.read_table(path, columns=[name for name in schema.names if name in held], filters=chosen)
    return table


def as_texts(table: pa.Table) -> pa.Table:
    """The table with its dictionaries of texts as plain texts."""
    fields = [pa.field(one.name, pa.string() if one.type == _TEXT else one.type) for one in table.schema]
    return table.cast(pa.schema(fields))


def merged(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """All rows under one schema, sorted by device and time, then by order of arrival."""
    if not tables:
        return schema.empty_table()
    whole = pa.concat_tables([_under(table, schema) for table in tables]).unify_dictionaries().combine_chunks()
    device = whole["device"].combine_chunks()
    names = device.dictionary.to_pylist()
    rank = np.empty(len(names), dtype=np.int64)
    rank[np.argsort(np.array(names, dtype=object), kind="stable")] = np.arange(len(names))
    rows = rank[device.indices.to_numpy()]
    at_ms, position = whole["at_ms"].to_numpy(), whole["position"].to_numpy()
    return whole.take(pa.array(np.lexsort((position, at_ms, rows))))


def _under(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table[field.name].cast(field.type) if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
