# SPDX-License-Identifier: Apache-2.0
"""Takes the pictures of the book from a make-believe page in headless Chromium: `python docs/pictures/take.py`.

With the link that a hub prints as its argument it takes them from that running hub.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from kernel.clock import iso, system_clock
from tests.hub.browser import browser, whole_page
from tests.hub.fake_view import KEY, FakeView
from tests.hub.page_server import serving

HERE = Path(__file__).parent


def take(link: str, settle_s: float = 5.0) -> None:
    """page.png (1600), page-dark.png and phone.png (390) of the page behind a one-time link."""
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as driver:
        driver.get(link)
        time.sleep(settle_s)
        whole_page(driver, HERE / "page.png")
        driver.execute_script("document.getElementById('theme').click()")
        time.sleep(1)
        whole_page(driver, HERE / "page-dark.png")
        driver.execute_script("document.getElementById('theme').click()")
        phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        driver.refresh()
        time.sleep(settle_s)
        whole_page(driver, HERE / "phone.png")


def main() -> None:
    if len(sys.argv) > 1:
        take(sys.argv[1])
        return
    with tempfile.TemporaryDirectory() as folder:
        view = FakeView(system_clock())
        with serving(view, Path(folder)) as (url, access):
            import asyncio

            from grid.dispatch import Authority

            now_ms = view.clock.now_ms()
            body = {"scope": KEY, "power_w": 2.4e6, "from": iso(now_ms - 600_000), "until": iso(now_ms + 3_600_000)}
            said = body | {"reference": "D-117", "reason": "line 5 out"}
            asyncio.run(view.submit_order(said, Authority("dispatcher", (KEY,)), "rest"))
            take(f"{url}/enter?token={access.link()}")


if __name__ == "__main__":
    main()
