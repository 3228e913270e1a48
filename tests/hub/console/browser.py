# SPDX-License-Identifier: Apache-2.0
"""Headless Chromium for tests and for the pictures of the docs."""

import base64
import contextlib
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

from tests.servers import need

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)


@contextlib.contextmanager
def browser(folder: Path, width: int = 1600, height: int = 1000, *, dark: bool = False) -> Iterator[webdriver.Chrome]:
    """A fresh browser with an empty profile in `folder`; `width` is the width of the page itself, also below 500."""
    options = Options()
    options.binary_location = need("chromium")
    for flag in (*FLAGS, f"--user-data-dir={folder}", f"--window-size={max(width, 500)},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(need("chromedriver")))
    try:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        driver.set_page_load_timeout(30)
        yield driver
    finally:
        driver.quit()


def whole_page(driver: webdriver.Chrome, path: Path) -> None:
    """A picture of the page from top to end, as PNG or, by its name, WebP."""
    size = driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
    form = {"format": "webp", "quality": 85} if path.suffix == ".webp" else {"format": "png"}
    found = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip, **form})
    path.write_bytes(base64.b64decode(found["data"]))
