# SPDX-License-Identifier: Apache-2.0
"""Five queries of `benchmarks.storage`, from a process of their own: milliseconds each, median of five."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kernel.clock import MS_PER_HOUR
from kernel.span import Span, even_slots
from telemetry.io.archive_parquet import ParquetArchive
from telemetry.io.journal_sqlite import read_journal
from telemetry.store.archive import Step


def main() -> None:
    folder, start_ms = Path(sys.argv[1]), int(sys.argv[2])
    journal = read_journal(folder / "journal")
    archive = ParquetArchive(folder / "archive", journal)
    hour = Span(start_ms, start_ms + MS_PER_HOUR)
    miner, meter = "hub/site0/miner-000004", "hub/site0/meter-004"
    quarter = even_slots(Span(start_ms, start_ms + 900_000), 900)

    def miners_per_minute() -> object:
        return archive.query(
            "SELECT regexp_replace(CAST(device AS VARCHAR), '/[^/]*$', '') AS site, at_ms // 60000 AS minute,"
            " sum(power_w) AS power_w FROM miner GROUP BY ALL",
            hour,
        )

    questions: dict[str, Callable[[], object]] = {
        "a_latest_of_all_miners": lambda: list(journal.last_batches("miner")),
        "b_one_miner_one_hour": lambda: archive.readings("miner", hour, [miner]),
        "c_site_power_per_minute": miners_per_minute,
        "c_power_of_each_miner_per_minute_from_rollup": lambda: archive.rollup("miner", "power_w", Step.MINUTE, hour),
        "d_energy_of_one_meter_by_counter": lambda: archive.energy(meter, quarter),
        "e_energy_of_all_meters_by_integral": lambda: archive.query(
            "SELECT device, sum(power_w * dt) FROM (SELECT device, power_w, lead(at_ms) OVER"
            " (PARTITION BY device ORDER BY at_ms) - at_ms AS dt FROM meter) GROUP BY device",
            hour,
        ),
    }
    result = {}
    for name, ask in questions.items():
        took = []
        for _ in range(5):
            begun = time.perf_counter()
            ask()
            took.append((time.perf_counter() - begun) * 1000)
        result[name] = round(float(np.median(took)), 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
