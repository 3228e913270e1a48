# SPDX-License-Identifier: Apache-2.0
"""Resident memory of the hub's process by phase of a demonstration: `python -m benchmarks.memory --json`.

It runs `mining-hub demo` and reads /proc of the hub's process five times a second (Linux). Phases: `imports` until the twin
is started, `before_order`, `after_order`, `closing` from the last figure to the end of the process (last checkpoint). MB are
MiB; `anon` is the heap, `file` the code of libraries, `libraries` the largest of them by what they hold just after the
order. `rss_mb` is the demonstration's own figure: the peak before the reports are made.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PHASES = ("imports", "before_order", "after_order", "closing")
_FIELDS = {"VmRSS": "rss", "RssAnon": "anon", "RssFile": "file"}
_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+\s*(.*)$")


def libraries_mb(smaps: Iterable[str], most: int = 12) -> dict[str, float]:
    """Resident MB by mapped file, the largest first; memory without a file is left out."""
    held: Counter[str] = Counter()
    name = ""
    for line in smaps:
        if found := _MAPPING.match(line):
            name = Path(found[1]).name if found[1].startswith("/") else ""
        elif name and line.startswith("Rss:"):
            held[name] += int(line.split()[1])
    return {name: round(kb / 1024, 1) for name, kb in held.most_common(most)}


class Sampler:
    """The peaks of a process by phase, until it ends."""

    def __init__(self, process_id: int) -> None:
        self._folder = Path("/proc") / str(process_id)
        self.phase = PHASES[0]
        self.peaks: dict[str, dict[str, float]] = {}
        self.libraries: dict[str, float] = {}

    def run(self) -> None:
        try:
            while self._sample():
                time.sleep(0.2)
        except (FileNotFoundError, ProcessLookupError):
            return

    def _sample(self) -> bool:
        lines = (self._folder / "status").read_text().splitlines()
        found = {key: rest for key, _, rest in (line.partition(":") for line in lines)}
        if "VmRSS" not in found:
            return False
        if not self.libraries and self.phase == "after_order":
            self.libraries = libraries_mb((self._folder / "smaps").read_text().splitlines())
        peak = self.peaks.setdefault(self.phase, {})
        for field, name in _FIELDS.items():
            peak[name] = max(peak.get(name, 0.0), round(int(found[field].split()[0]) / 1024, 1))
        return True


def measured(miners: int, seconds: float, folder: Path) -> dict[str, Any]:
    """The demonstration's figures of the process, with the peaks by phase."""
    argv = ["demo", "--miners", str(miners), "--seconds", str(seconds), "--headless", "--json", "--folder", str(folder)]
    process = subprocess.Popen(
        [sys.executable, "-c", "from hub.cli import main; main()", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    assert process.stderr is not None and process.stdout is not None
    sampler = Sampler(process.pid)
    sampling = threading.Thread(target=sampler.run, daemon=True)
    sampling.start()
    begun_s = 0.0
    for line in process.stderr:
        if line.startswith("twin:"):
            sampler.phase, begun_s = "before_order", time.monotonic()
        elif line.startswith("order:"):
            sampler.phase = "after_order"
            closing = threading.Timer(
                max(0.0, begun_s + seconds - time.monotonic()), setattr, (sampler, "phase", "closing")
            )
            closing.daemon = True
            closing.start()
    last = process.stdout.read().splitlines()[-1:]
    if process.wait() or not last:
        raise SystemExit(f"the demonstration failed with {process.returncode}")
    sampling.join()
    return {
        "miners": miners, "seconds": seconds, **json.loads(last[0])["process"], "peak_mb": sampler.peaks,
        "libraries_mb": sampler.libraries,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--miners", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--json", action="store_true", help="one line")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measured(asked.miners, asked.seconds, Path(folder))
    print(json.dumps(found, indent=None if asked.json else 2))


if __name__ == "__main__":
    main()
