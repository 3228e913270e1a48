# SPDX-License-Identifier: Apache-2.0
"""A plan as a picture: power against its limit and against the price, from the body of a `plan.made` event.

PNG for people, SVG for pages and reports; the same body gives the same bytes.
"""

from collections.abc import Mapping
from io import BytesIO
from typing import Any, Literal
from zoneinfo import ZoneInfo

INK, POWER, LIMIT, PRICE, SHADOW = "#22303c", "#1b6ca8", "#c0392b", "#7a7f85", "#d9a441"


def plan_picture(body: Mapping[str, Any], kind: Literal["png", "svg"] = "png", *, zone: str = "UTC") -> bytes:
    """Draw a plan. `body` is `Plan.to_json()`; `zone` names the hours on the axis. KeyError names what the body lacks."""
    import matplotlib as mpl
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
    from matplotlib.figure import Figure

    from kernel.clock import to_datetime

    edges = [to_datetime(int(edge)) for edge in body["edges_ms"]]
    power = [watts / 1e3 for watts in body["power_w"]]
    top = max([*power, 1e-9])
    unit, factor = ("MW", 1e-3) if top >= 10_000 else ("kW", 1.0)
    caps = [None if cap is None else cap / 1e3 * factor for cap in body["cap_w"]]
    shown = [cap for cap in caps if cap is not None and cap <= 3 * top * factor]
    with mpl.rc_context({"svg.hashsalt": "mining-hub", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(11, 6), dpi=110, layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        upper.stairs([watts * factor for watts in power], edges, fill=True, color=POWER, alpha=0.35)
        upper.stairs([watts * factor for watts in power], edges, color=POWER, linewidth=1.4, label="plan")
        if shown:
            line = [cap if cap is not None and cap <= 3 * top * factor else float("nan") for cap in caps]
            upper.stairs(line, edges, color=LIMIT, linewidth=1.4, linestyle="--", label="limit", baseline=None)
        upper.set_ylim(0, 1.12 * max([*(watts * factor for watts in power), *shown, 1e-9]))
        upper.set_ylabel(f"power at the meter, {unit}")
        upper.legend(loc="lower right", frameon=False)
        gap = body["gap"]
        proven = "no bound" if gap is None else f"proven within {100 * gap:.3f} %"
        upper.set_title(
            f"{body['status']} plan by {body['method']}: {body['value']:.2f} {body['currency']}, {proven}", color=INK
        )
        price = [1e6 * value for value in body["energy_price_per_wh"]]
        shadow = [1e6 * value for value in body["site_price_per_wh"]]
        lower.stairs(price, edges, color=PRICE, linewidth=1.4, label="energy price", baseline=None)
        lower.stairs(shadow, edges, color=SHADOW, linewidth=1.2, label="shadow price", baseline=None)
        low, high = min(price), max(price)
        lower.set_ylim(min(low, 0) - 0.05 * (high - low + 1), 1.3 * high if high > 0 else 1.0)
        lower.set_ylabel(f"{body['currency']}/MWh")
        lower.legend(loc="upper right", frameon=False, ncols=2)
        locator = AutoDateLocator(tz=ZoneInfo(zone))  # type: ignore[no-untyped-call]
        lower.xaxis.set_major_locator(locator)
        lower.xaxis.set_major_formatter(
            ConciseDateFormatter(locator, tz=ZoneInfo(zone))  # type: ignore[no-untyped-call]
        )
        lower.set_xlabel(zone)
        for axis in (upper, lower):
            axis.grid(alpha=0.25)
            axis.spines[["top", "right"]].set_visible(False)
        out = BytesIO()
        figure.savefig(out, format=kind, metadata={"Date": None} if kind == "svg" else {"Software": None})
    return out.getvalue()
