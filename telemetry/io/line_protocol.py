# SPDX-License-Identifier: Apache-2.0
"""InfluxDB line protocol from columns: one vectorised call per column instead of a Python object per point.

Measurement is the kind, tags are only `device` and `site`, so that the number of series is bounded by the number of devices.
All numbers are floats and all texts strings, by schema: a field never changes its type. Missing values are left out; a row
without any value gives no line. Instants are in milliseconds.
"""

import pyarrow as pa
import pyarrow.compute as pc

from kernel.reading import ReadingBatch
from telemetry.io.arrow import to_record_batch

_BACKSLASH_AND_QUOTE = r'([\\"])'
_ESCAPED = r"\\\1"


def lines(batch: ReadingBatch, *, texts: bool = True) -> bytes:
    """The batch as line protocol, each line ended by a newline; empty where no row has a value.

    `texts=False` leaves texts out, for a store of numbers only.
    """
    found = to_record_batch(batch)
    arrays = dict(zip(found.schema.names, found.columns, strict=True))
    whole: list[pa.Array | str] = []  # pieces of fields that every row has: name, value, name, value ...
    partly: list[pa.Array] = []  # fields that some rows lack: "name=value," or nothing
    for name in batch.columns:
        array, code = arrays[name], arrays.get(f"{name}.code")
        is_text = pa.types.is_dictionary(array.type)
        if is_text and not texts:
            continue
        value = _quoted(array) if is_text else array.cast(pa.string())
        present = None if code is None else pc.equal(code, 0)
        if not is_text and not pc.all(pc.is_finite(array)).as_py():
            finite = pc.is_finite(array)
            present = finite if present is None else pc.and_(present, finite)
        if present is None:
            whole += [f",{name}=" if whole else f"{name}=", value]
        else:
            partly.append(pc.if_else(present, pc.binary_join_element_wise(f"{name}=", value, ",", ""), ""))
    if not (whole or partly) or not found.num_rows:
        return b""
    device = arrays["device"]
    names = device.dictionary
    site = pc.replace_substring_regex(names, "/[^/]*$", "")
    series = pc.binary_join_element_wise(f"{batch.kind},device=", names, ",site=", site, " ", "").take(device.indices)
    at_ms = arrays["at_ms"].cast(pa.string())
    if whole:
        return _bytes_of(pc.binary_join_element_wise(series, *partly, *whole, " ", at_ms, "\n", ""))
    fields = pc.binary_join_element_wise(*partly, "")
    some = pc.greater(pc.binary_length(fields), 0)
    fields = pc.utf8_slice_codeunits(fields, 0, -1)
    return _bytes_of(pc.binary_join_element_wise(series, fields, " ", at_ms, "\n", "").filter(some))


def _quoted(array: pa.DictionaryArray) -> pa.Array:
    """Texts quoted for the protocol; each distinct one is processed once."""
    escaped = pc.replace_substring_regex(array.dictionary, _BACKSLASH_AND_QUOTE, _ESCAPED)
    escaped = pc.replace_substring_regex(escaped, r"[\r\n]+", " ")
    return pc.binary_join_element_wise('"', escaped, '"', "").take(array.indices)


def _bytes_of(array: pa.Array) -> bytes:
    """Texts of an array concatenated: its data buffer between the first and the last offset."""
    if not len(array):
        return b""
    offsets = array.buffers()[1]
    wide = pa.types.is_large_string(array.type)
    view = memoryview(offsets).cast("q" if wide else "i")
    first, last = view[array.offset], view[array.offset + len(array)]
    return memoryview(array.buffers()[2])[first:last].tobytes()
