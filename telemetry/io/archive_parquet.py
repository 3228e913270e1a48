# SPDX-License-Identifier: Apache-2.0
"""Archive on Parquet files, queried by an in-memory DuckDB; any number of readers while one process seals.

- Sealing reads the journal's batches of a closed hour, sorts them by device and time and writes one file: to a temporary
  name, flushed to disk, then renamed. It processes the devices in parts, so that memory stays bounded for any size of fleet.
- Late readings for a sealed hour are merged into a new file of that hour. Sealing again changes nothing.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from kernel.clock import MS_PER_HOUR, MS_PER_S, from_iso
from kernel.metric import SCHEMAS
from kernel.span import Slots, Span, floor_ms
from kernel.units import MS_PER_DAY
from telemetry.energy.energy_register import Change, RegisterTerms, Samples
from telemetry.energy.series import SlotEnergy, energy_on_slots
from telemetry.io.archive_days import with_others
from telemetry.io.archive_disk import UNTIL, file_of, files_of, replacing, sha256_of, untils_of, untils_text
from telemetry.io.archive_rows import as_texts, hot_table, merged, names_of, schema_of, sealed_table
from telemetry.io.archive_sql import rolled_sql, rollup_sql
from telemetry.io.arrow import unpack_record_batch
from telemetry.io.journal_sqlite import SqliteJournal
from telemetry.store.archive import Sealed, Step, hour_file, hours_of, rolled_counters, rolled_gauges

_SLICE_ROWS = 200_000
"""Rows in memory at once while sealing: about 100 MB with all metrics of a miner."""

_AHEAD_MS = MS_PER_DAY
_MOST_HOURS_OUTSIDE = 8**4
_SEALED = "sealed.json"


class ParquetArchive:
    """`telemetry.store.archive.Archive` on a folder of Parquet files and a journal."""

    def __init__(self, folder: Path, journal: SqliteJournal) -> None:
        self.folder = folder
        self._journal = journal

    # --- sealing -------------------------------------------------------------------------------------------------

    def seal(self, now_ms: int, grace_s: float = 300.0) -> list[Sealed]:
        """Write every hour that ended at least `grace_s` ago and is not completely in files. One process at a time."""
        closed_ms = _closed_ms(now_ms, grace_s)
        done: list[Sealed] = []
        for kind in SCHEMAS:
            done += self._seal_kind(kind, closed_ms)
        return done

    def due(self, now_ms: int, grace_s: float = 300.0) -> bool:
        """Whether `seal` would write anything; fast, and loads nothing large."""
        closed_ms, marks = _closed_ms(now_ms, grace_s), self._watermarks()
        for kind in SCHEMAS:
            until: dict[int, int] = {}
            for position, start_ms, end_ms in self._journal.spans(kind, marks.get(kind, 0)):
                for hour_ms in self._hours(position, start_ms, end_ms):
                    if not _is_closed(hour_ms, closed_ms):
                        continue
                    if hour_ms not in until:
                        until[hour_ms] = self._sealed_until(kind, hour_ms)
                    if position > until[hour_ms]:
                        return True
        return False

    def _sealed_until(self, kind: str, hour_ms: int) -> int:
        import pyarrow.parquet as pq

        path = file_of(self.folder, "raw", kind, hour_ms)
        return 0 if path is None else untils_of(pq.ParquetFile(path)).get(hour_ms, 0)

    def _seal_kind(self, kind: str, closed_ms: int) -> list[Sealed]:
        after = self._watermarks().get(kind, 0)
        hours: set[int] = set()
        upto, still_open = after, False
        for position, start_ms, end_ms in self._journal.spans(kind, after):
            touched = self._hours(position, start_ms, end_ms)
            closed = {hour_ms for hour_ms in touched if _is_closed(hour_ms, closed_ms)}
            still_open = still_open or len(closed) < len(touched)
            upto = upto if still_open else position
            hours |= closed
        done: list[Sealed] = []
        if hours:
            with _database() as database:
                for hour_ms in sorted(hours):
                    done += self._seal_hour(database, kind, hour_ms, after)
        if upto > after:
            self._mark(kind, upto)
        return done

    def _hours(self, position: int, start_ms: int, end_ms: int) -> set[int]:
        """Hours in which a batch has rows. Only for a batch longer than a day every row is checked."""
        if end_ms - start_ms <= _AHEAD_MS:
            return set(range(floor_ms(start_ms, MS_PER_HOUR), end_ms + 1, MS_PER_HOUR))
        batch = self._journal.rotten.whole(
            position, "readings", lambda: unpack_record_batch(self._journal.blob(position))
        )
        if batch is None:
            return set()
        at_ms = batch["at_ms"].to_numpy()
        return set(np.unique(at_ms // MS_PER_HOUR * MS_PER_HOUR).tolist())

    def _seal_hour(self, database: Any, kind: str, hour_ms: int, after: int) -> list[Sealed]:
        """Seal one hour: the rows of its file, where there is one, and those of the journal after the watermark."""
        import pyarrow.parquet as pq

        held = file_of(self.folder, "raw", kind, hour_ms)
        target = held or self.folder / hour_file("raw", kind, hour_ms)
        span = Span(hour_ms, hour_ms + MS_PER_HOUR)
        kept = None if held is None else pq.ParquetFile(held)
        untils = {} if kept is None else untils_of(kept)
        names: set[str] = set() if kept is None else set(names_of(pq.read_table(target, columns=["device"])))
        rows = 0 if kept is None else int(kept.metadata.num_rows)
        columns: set[str] = set() if kept is None else set(kept.schema_arrow.names)
        after = max(after, untils.get(hour_ms, 0))
        until = self._journal.position()
        late = 0
        for table in self._hot(kind, span, after):
            names.update(names_of(table))
            columns.update(table.column_names)
            late += table.num_rows
        if not late:
            return []
        devices = sorted(names)
        slices = max(1, -(-(rows + late) // _SLICE_ROWS))
        size = -(-len(devices) // slices)
        schema = schema_of(kind, columns)
        written = 0
        with replacing(target) as temporary:
            options = {"compression": "zstd", "use_dictionary": True, "write_statistics": True}
            with pq.ParquetWriter(temporary, schema, **options) as writer:
                for first in range(0, len(devices), size):
                    chosen = devices[first : first + size]
                    tables = [] if kept is None else [pq.read_table(target, filters=pc.field("device").isin(chosen))]
                    tables += self._hot(kind, span, after, chosen)
                    table = merged(tables, schema)
                    if table.num_rows:
                        writer.write_table(table)
                        written += table.num_rows
                writer.add_key_value_metadata({UNTIL: untils_text({**untils, hour_ms: until})})
        for step in Step:
            self._roll_up(database, kind, hour_ms, step)
        return [
            Sealed(
                kind, hour_ms, str(target.relative_to(self.folder)), written, target.stat().st_size, sha256_of(target)
            )
        ]

    def _hot(self, kind: str, span: Span, after: int, devices: Sequence[str] | None = None) -> Iterator[pa.Table]:
        for position, blob in self._journal.blobs(kind, span.start_ms, span.end_ms, after):
            read = partial(hot_table, kind, position, blob, span, devices)
            table = self._journal.rotten.whole(position, f"{kind} readings", read)
            if table is not None and table.num_rows:
                yield table

    def _roll_up(self, database: Any, kind: str, hour_ms: int, step: Step) -> None:
        import pyarrow.parquet as pq

        source = file_of(self.folder, "raw", kind, hour_ms)
        held = file_of(self.folder, step, kind, hour_ms)
        target = held or self.folder / hour_file(step, kind, hour_ms)
        assert source is not None
        found = set(pq.read_schema(source).names)
        gauges = [name for name in rolled_gauges(kind) if name in found]
        counters = [name for name in rolled_counters(kind) if name in found]
        with replacing(target) as temporary:
            chosen = f"(SELECT * FROM read_parquet($source) WHERE at_ms - at_ms % {MS_PER_HOUR} = {hour_ms})"  # noqa: S608
            sql = rollup_sql(chosen, gauges, counters, step.ms)
            table = database.sql(sql, params={"source": str(source)}).to_arrow_table()
            if held is not None:
                table = with_others(pq.read_table(held), table, hour_ms)
            pq.write_table(table, temporary, compression="zstd")

    def sealed_position(self) -> int:
        marks = self._watermarks()
        kinds = {kind for kind in SCHEMAS if next(self._journal.spans(kind, 0), None) is not None}
        open_positions = [
            first[0] - 1
            for kind in kinds
            if (first := next(self._journal.spans(kind, marks.get(kind, 0)), None)) is not None
        ]
        return min(open_positions, default=max(marks.values(), default=0))

    def _watermarks(self) -> dict[str, int]:
        path = self.folder / _SEALED
        if not path.exists():
            return {}
        found: dict[str, int] = orjson.loads(path.read_bytes())
        return found

    def _mark(self, kind: str, position: int) -> None:
        marks = self._watermarks() | {kind: position}
        with replacing(self.folder / _SEALED) as temporary:
            temporary.write_bytes(orjson.dumps(marks, option=orjson.OPT_SORT_KEYS))

    # --- querying --------------------------------------------------------------------------------------------------

    def readings(
        self, kind: str, span: Span, devices: Sequence[str] | None = None, metrics: Sequence[str] | None = None
    ) -> pa.Table:
        """Device, at_ms, position and the metrics (null where missing), sorted by device and time."""
        wanted = list(SCHEMAS[kind]) if metrics is None else list(metrics)
        after = self._watermarks().get(kind, 0)
        paths = files_of(self.folder, "raw", kind, span)
        schema = schema_of(kind, {"device", *wanted})
        # Without DuckDB: billing and settlement ask every few seconds, and 33 MB would stay in the hub (docs/decisions/0020).
        tables = [sealed_table(path, span, devices, schema) for path in dict.fromkeys(paths.values())]
        tables += [self._beyond(table, paths) for table in self._hot(kind, span, after, devices)]
        return as_texts(merged(tables, schema)).select(["device", "at_ms", "position", *wanted])

    def query(self, sql: str, span: Span, **values: Any) -> pa.Table:
        """Rows of SQL over the views `miner`, `meter`, `container`, `sensor`, `switch` of a span, as an Arrow table."""
        with _database() as database:
            for kind in SCHEMAS:
                self._open(database, kind, span, None, list(SCHEMAS[kind]))
            return database.sql(sql, params=values or None).to_arrow_table()

    def rollup(self, kind: str, metric: str, step: Step, span: Span, devices: Sequence[str] | None = None) -> pa.Table:
        """A gauge: device, start_ms, min, max, mean, count; a counter: device, start_ms, first, last, count."""
        import pyarrow.parquet as pq

        counter = metric in rolled_counters(kind)
        if not counter and metric not in rolled_gauges(kind):
            raise KeyError(f"{metric} of {kind} is not rolled up")
        after = self._watermarks().get(kind, 0)
        hot_hours = sorted(
            {
                hour_ms
                for _, start_ms, end_ms in self._journal.spans(kind, after)
                for hour_ms in hours_of(Span(start_ms, end_ms + 1))
                if span.start_ms - MS_PER_HOUR < hour_ms < span.end_ms
            }
        )
        sealed = {path for hour_ms, path in files_of(self.folder, step, kind, span).items() if hour_ms not in hot_hours}
        rolled = [str(path) for path in sorted(sealed) if f"{metric}.count" in pq.read_schema(path).names]
        hours = ", ".join(str(hour_ms) for hour_ms in hot_hours) or "-1"
        with _database() as database:
            relations = []
            if rolled:
                cold = f"(SELECT * FROM {_list(rolled)} WHERE start_ms - start_ms % {MS_PER_HOUR} NOT IN ({hours}))"  # noqa: S608
                relations.append(rolled_sql(cold, metric, counter))
            if hot_hours:
                whole = Span(hot_hours[0], hot_hours[-1] + MS_PER_HOUR)
                relation = self._open(database, kind, whole, devices, [metric])
                chosen = f"(SELECT * FROM {relation} WHERE at_ms - at_ms % {MS_PER_HOUR} IN ({hours}))"  # noqa: S608
                parts = rollup_sql(chosen, [] if counter else [metric], [metric] if counter else [], step.ms)
                relations.append(rolled_sql(f"({parts})", metric, counter))
            if not relations:
                names = ("first", "last", "count") if counter else ("min", "max", "mean", "count")
                return pa.table({"device": pa.array([], pa.string()), "start_ms": pa.array([], pa.int64())} | {
                    name: pa.array([], pa.int64() if name == "count" else pa.float64()) for name in names
                })  # fmt: skip
            database.register("chosen", pa.table({"device": pa.array(devices or [], pa.string())}))
            only = "" if devices is None else " AND device IN (SELECT device FROM chosen)"
            sql = (
                f"SELECT * FROM ({' UNION ALL BY NAME '.join(relations)})"  # noqa: S608 - names of ours
                f" WHERE start_ms >= {span.start_ms} AND start_ms < {span.end_ms}{only} ORDER BY device, start_ms"
            )
            return database.sql(sql).to_arrow_table()

    def samples(self, device: str, span: Span, energy: str = "energy_import_wh", power: str = "power_w") -> Samples:
        """Samples of one register in order of arrival, with those next to the span on either side.

        Searches an hour on either side, then further and further until there is a count on each side, or no more data.
        """
        kind = self._kind_of(device)
        oldest_ms, newest_ms = self._reach(kind)
        before, after = 1, 1
        while True:
            wider = Span(max(span.start_ms - before * MS_PER_HOUR, 0), span.end_ms + after * MS_PER_HOUR)
            table = self.readings(kind, wider, [device], [energy, power])
            counted = table.filter(pc.is_valid(table[energy]))["at_ms"].to_numpy()
            left = not len(counted) or counted[0] > span.start_ms
            right = not len(counted) or counted[-1] < span.end_ms
            look_back = left and wider.start_ms > oldest_ms and before < _MOST_HOURS_OUTSIDE
            look_on = right and wider.end_ms <= newest_ms and after < _MOST_HOURS_OUTSIDE
            if not (look_back or look_on):
                break
            before, after = before * (8 if look_back else 1), after * (8 if look_on else 1)
        table = table.sort_by([("position", "ascending")])
        found, drawn = table[energy].combine_chunks(), table[power].combine_chunks()
        return Samples(
            table["at_ms"].to_numpy(),
            pc.fill_null(found, 0.0).to_numpy(zero_copy_only=False),
            pc.is_valid(found).to_numpy(zero_copy_only=False),
            pc.fill_null(drawn, 0.0).to_numpy(zero_copy_only=False),
            pc.is_valid(drawn).to_numpy(zero_copy_only=False),
        )

    def energy(
        self, device: str, slots: Slots, terms: RegisterTerms | None = None, changes: Sequence[Change] = ()
    ) -> SlotEnergy:
        """Energy per slot of one meter, from counts first."""
        return energy_on_slots(self.samples(device, slots.span), slots, terms, changes)

    def frames(self, device: str, span: Span) -> list[tuple[int, str]]:
        """(instant, SHA-256) of the raw frames stored for a meter, in order of time."""
        table = self.readings(self._kind_of(device), span, [device], ["evidence"])
        found = zip(table["at_ms"].to_pylist(), table["evidence"].to_pylist(), strict=True)
        return [(at_ms, name) for at_ms, name in found if name]

    def first_ms(self, device: str) -> int | None:
        """Instant of the first reading of a meter, searched by day from the oldest; None where there is none."""
        kind = self._kind_of(device)
        oldest_ms, newest_ms = self._reach(kind)
        for day_ms in range(floor_ms(oldest_ms, _AHEAD_MS), newest_ms + 1, _AHEAD_MS) if newest_ms else ():
            table = self.readings(kind, Span(day_ms, day_ms + _AHEAD_MS), [device], [])
            if table.num_rows:
                return int(table["at_ms"][0].as_py())
        return None

    def _reach(self, kind: str) -> tuple[int, int]:
        """(oldest, newest) possible instant of a kind; the oldest is rounded down to its day."""
        days = sorted((self.folder / "raw" / kind).glob("????-??-??"))
        first, last = self._journal.reach(kind)
        if not days:
            return first, last
        return min(first, from_iso(f"{days[0].name}T00:00:00Z")), max(
            last, from_iso(f"{days[-1].name}T00:00:00Z") + MS_PER_DAY
        )

    @staticmethod
    def _beyond(table: pa.Table, paths: Mapping[int, Path]) -> pa.Table:
        """Rows that are not already in the sealed file of their hour."""
        import pyarrow.parquet as pq

        hours, position = table["at_ms"].to_numpy() // MS_PER_HOUR * MS_PER_HOUR, int(table["position"][0].as_py())
        doubled = [
            hour_ms
            for hour_ms in np.unique(hours).tolist()
            if hour_ms in paths and untils_of(pq.ParquetFile(paths[hour_ms])).get(hour_ms, 0) >= position
        ]
        return table.filter(pa.array(~np.isin(hours, doubled))) if doubled else table

    def _kind_of(self, device: str) -> str:
        return self._journal.kind_of(device) or "meter"

    def _open(self, database: Any, kind: str, span: Span, devices: Sequence[str] | None, metrics: Sequence[str]) -> str:
        """Create a view of one kind in a span: rows of sealed files and of the journal after them, each once."""
        after = self._watermarks().get(kind, 0)
        paths = files_of(self.folder, "raw", kind, span)
        files = [str(path) for path in dict.fromkeys(paths.values())]
        fresh = [self._beyond(table, paths) for table in self._hot(kind, span, after, devices)]
        hot = merged(fresh, schema_of(kind, {"device", *metrics}))
        database.register(f"{kind}_hot", hot)
        wanted = ", ".join(["device", "at_ms", "position", *metrics])
        inside = f"at_ms >= {span.start_ms} AND at_ms < {span.end_ms}"
        if devices is not None:
            database.register(f"{kind}_chosen", pa.table({"device": pa.array(devices, pa.string())}))
            inside += f" AND device IN (SELECT device FROM {kind}_chosen)"  # noqa: S608 - a name of ours
        empty = schema_of(kind, {"device", *metrics}).empty_table()
        database.register(f"{kind}_empty", empty)
        sql = f"SELECT {wanted} FROM {kind}_hot"  # noqa: S608
        if files:
            sealed = (
                f"SELECT {wanted} FROM (SELECT * FROM {kind}_empty UNION ALL BY NAME"  # noqa: S608
                f" SELECT * FROM {_list(files)}) WHERE {inside}"
            )
            sql = f"{sealed} UNION ALL BY NAME {sql}"
        database.execute(f"CREATE OR REPLACE VIEW {kind} AS {sql}")
        return kind


def _closed_ms(now_ms: int, grace_s: float) -> int:
    return floor_ms(now_ms - round(grace_s * MS_PER_S), MS_PER_HOUR)


def _is_closed(hour_ms: int, closed_ms: int) -> bool:
    """Whether an hour can be sealed.

    Readings dated more than a day ahead came from a wrong clock; waiting for that day would block everything else.
    """
    return hour_ms < closed_ms or hour_ms > closed_ms + _AHEAD_MS


def _list(files: Iterable[str]) -> str:
    """Expression that reads files by name, quoted for SQL: a quote within a path is doubled."""
    names = ", ".join("'" + name.replace("'", "''") + "'" for name in files)
    return f"read_parquet([{names}], union_by_name=true)"


@contextlib.contextmanager
def _database() -> Iterator[Any]:
    """An in-memory DuckDB for one query; nothing of it is written to disk."""
    import duckdb

    connection = duckdb.connect(":memory:", config={"threads": 2})
    try:
        yield connection
    finally:
        connection.close()
