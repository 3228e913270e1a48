# SPDX-License-Identifier: Apache-2.0
"""What a live hub holds in memory, by construction: docs/decisions/0020."""

import subprocess
import sys
from pathlib import Path

from hub.app.demo_site import write_simulated_site
from kernel.clock import from_iso
from twin.site import Site
from twin.spec import TwinSpec

NOW_MS = from_iso("2026-03-02T12:00:00Z")

LIVE = """
import asyncio, sys
from pathlib import Path
import pyarrow as pa
from hub import wiring
from hub.config import load

async def story(folder):
    wired = await wiring.live(load(folder / "hub.toml", environment={}), folder, folder / "data")
    (planner,) = wired.planners.values()
    threads = set()
    async def thread():
        threads.add(await planner._offload(__import__("threading").get_ident))
    await asyncio.gather(*(thread() for _ in range(4)))
    heavy = {"pandas", "duckdb", "matplotlib", "typst", "scipy", "xlsxwriter", "authlib"} & set(sys.modules)
    print(pa.default_memory_pool().backend_name, len(threads), sorted(heavy))

asyncio.run(story(Path(sys.argv[1])))
"""


def test_a_live_hub_loads_nothing_heavy_before_it_is_used_and_plans_in_one_thread(tmp_path: Path) -> None:
    spec = TwinSpec(hub="h", site="s", miners=6, feeders=2, seed=3, faults={})
    write_simulated_site(tmp_path, Site(spec, NOW_MS), spec, NOW_MS)
    root = Path(__file__).parents[3]
    argv = [sys.executable, "-c", LIVE, str(tmp_path)]
    found = subprocess.run(argv, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 0, found.stderr[-3000:]
    assert found.stdout.split(maxsplit=2) == ["system", "1", "[]\n"]
