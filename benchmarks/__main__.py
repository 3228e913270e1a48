# SPDX-License-Identifier: Apache-2.0
"""Runner of all benchmarks in turn, `python -m benchmarks`; each prints one JSON object as its last line."""

import subprocess
import sys

NAMES = ("polling", "actuation", "allocation", "storage", "sinks", "planning", "policies", "ledger")


def main() -> int:
    """Run all; exit code 1 where one failed."""
    failed = []
    for name in NAMES:
        print(f"== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", "--json"], check=False)
        if done.returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
