# SPDX-License-Identifier: Apache-2.0
"""InfluxDB line protocol built by column: one kernel call a column instead of a Python object a point.

Measurement is the kind, tags are `device` and `site` alone, so that the number of series is bounded by the number of
devices. All numbers are floats and all texts strings, by schema: a field never changes its type. Missing values are left
out; a row without any value gives no line. Instants are in milliseconds.
"""

import pyarrow as pa
import pyarrow.compute as pc

from kernel.reading import ReadingBatch
from telemetry.io.arrow import to_record_batch

_BACKSLASH_AND_QUOTE = r'([\\"])'
_ESCAPED = r"\\\1"


def lines(batch: ReadingBatch, *, texts: bool = True) -> bytes:
    """The batch as line protocol, each line ended by a newline; empty where no row has a value.

    `texts=False` leaves texts out, for a store that knows numbers only.
    """
    found = to_record_batch(batch)
    arrays = dict(zip(found.schema.names, found.columns, strict=True))
    fields = []
    for name in batch.columns:
        array, code = arrays[name], arrays.get(f"{name}.code")
        if pa.types.is_dictionary(array.type):
            if not texts:
                continue
            words = pc.replace_substring_regex(array.dictionary, _BACKSLASH_AND_QUOTE, _ESCAPED)
            words = pc.replace_substring_regex(words, r"[\r\n]+", " ")
            field = pc.binary_join_element_wise(f'{name}="', words, '",', "").take(array.indices)
        else:
            field = pc.binary_join_element_wise(f"{name}=", array.cast(pa.string()), ",", "")
            if not pc.all(pc.is_finite(array)).as_py():
                field = pc.if_else(pc.is_finite(array), field, "")
        if code is not None:
            field = pc.if_else(pc.equal(code, 0), field, "")
        fields.append(field)
    if not fields or not found.num_rows:
        return b""
    device = arrays["device"]
    names = device.dictionary
    site = pc.replace_substring_regex(names, "/[^/]*$", "")
    series = pc.binary_join_element_wise(f"{batch.kind},device=", names, ",site=", site, "").take(device.indices)
    joined = pc.binary_join_element_wise(*fields, "")
    body = pc.utf8_slice_codeunits(joined, 0, -1)
    line = pc.binary_join_element_wise(series, " ", body, " ", arrays["at_ms"].cast(pa.string()), "\n", "")
    empty = pc.equal(pc.binary_length(joined), 0)
    if pc.any(empty).as_py():
        line = line.filter(pc.invert(empty))
    return _bytes_of(line)


def _bytes_of(array: pa.Array) -> bytes:
    """The texts of an array one after another: its data buffer between the first and the last offset."""
    if not len(array):
        return b""
    offsets = array.buffers()[1]
    wide = pa.types.is_large_string(array.type)
    view = memoryview(offsets).cast("q" if wide else "i")
    first, last = view[array.offset], view[array.offset + len(array)]
    return memoryview(array.buffers()[2])[first:last].tobytes()
