# SPDX-License-Identifier: Apache-2.0
"""Policy benchmark on simulated markets of different character: `python -m benchmarks.policies --json [--seeds N]
[--first S] [--days D]`.

For each market the worst and mean regret of the planner over seeds, in percent of perfect foresight, and its advantage over
threshold-with-modes in points, with demand charge, coincident peak, reserve and orders under realistic information.
The policies were chosen on seeds 0..4; seeds from 100 on were kept apart.
"""

import argparse
import json
import sys
import time
from typing import Any

from benchmarks.histories import MARKETS, Market
from scheduling.study.backtest import Settings, run


def row(market: Market) -> dict[str, float]:
    """Regrets and starts of one market."""
    per_usd = market.hashprice / 45.0
    settings = Settings(
        zone=market.zone,
        hashprice=market.hashprice,
        demand_per_kw_month=6.0 * per_usd,
        coincident_per_kw=15.0 * per_usd,
        reserve_per_mwh=4.0 * per_usd,
        auction=market.auction,
    )
    begun = time.process_time()
    report = run(market.real, market.ahead, settings=settings)
    coupled, energy = report["coupled"]["policies"], report["energy"]["policies"]
    planner, rule = coupled["planner"], coupled["threshold_with_modes"]
    starts = [energy[name]["starts_per_unit_day"] for name in ("planner", "threshold_with_modes")]
    return {
        "regret": planner["regret_pct"],
        "better_by": rule["regret_pct"] - planner["regret_pct"],
        "energy_regret": energy["planner"]["regret_pct"],
        "energy_better_by": energy["threshold_with_modes"]["regret_pct"] - energy["planner"]["regret_pct"],
        "energy_starts": starts[0],
        "threshold_starts": starts[1],
        "seconds": time.process_time() - begun,
    }


def summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    names = list(rows[0])
    mean = {name: sum(one[name] for one in rows) / len(rows) for name in names}
    worst = {"regret_max": max(r["regret"] for r in rows), "better_by_min": min(r["better_by"] for r in rows)}
    return {"cases": len(rows), **worst, "energy_regret_max": max(r["energy_regret"] for r in rows), **mean}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first", type=int, default=100, help="the first seed")
    parser.add_argument("--days", type=int, default=214, help="of each history, from the first of March")
    parser.add_argument("--market", choices=list(MARKETS))
    options = parser.parse_args()
    seeds = range(options.first, options.first + options.seeds)
    chosen = [options.market] if options.market else list(MARKETS)
    report = {name: summary([row(MARKETS[name](seed, options.days)) for seed in seeds]) for name in chosen}
    json.dump(report, sys.stdout, indent=None if options.json else 2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
