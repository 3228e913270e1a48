# SPDX-License-Identifier: Apache-2.0
"""A plan's picture: both kinds, the same bytes twice."""

import json

from benchmarks.instances import standard
from hub.reports.plan_picture import plan_picture
from scheduling.planner import make


def test_a_plan_is_drawn_the_same_twice() -> None:
    body = json.loads(json.dumps(make(standard(1, groups=6, slots=48, units=900), why_now="test").to_json()))
    png, svg = plan_picture(body, zone="Asia/Almaty"), plan_picture(body, "svg", zone="Asia/Almaty")
    assert png.startswith(b"\x89PNG") and len(png) > 10_000
    assert b"<svg" in svg and b"energy price" in svg
    assert plan_picture(body, "svg", zone="Asia/Almaty") == svg
