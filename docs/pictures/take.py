# SPDX-License-Identifier: Apache-2.0
"""Takes the pictures of the book from a live demo in headless Chromium: `python docs/pictures/take.py`.

It starts `mining-hub demo` in a scratch folder, lets it settle, limits the site from the page, and takes `page.webp` (1600 px),
`page-dark.webp` and `phone.webp` (390 px). With the link that a running hub prints as its argument it takes them from that hub.
"""

import contextlib
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.hub.console.browser import browser, whole_page

HERE = Path(__file__).parent
SETTLE_S = 45.0


@contextlib.contextmanager
def demo(folder: Path) -> Iterator[str]:
    """The link of a demo that runs meanwhile."""
    argv = [str(Path(sys.executable).with_name("mining-hub")), "demo", "--miners", "300", "--folder", str(folder)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if found := re.search(r"http\S+token=\S+", line):
                    yield found[0]
                    return
            raise SystemExit("the demo printed no link")
        finally:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=20)
            process.kill()


def order(driver: webdriver.Chrome) -> None:
    """A limit at six tenths of what the site draws, from the page."""
    driver.find_element(By.ID, "order-new").click()
    form = driver.find_element(By.ID, "order-form")
    text = re.sub(r"\s", " ", driver.find_element(By.CSS_SELECTOR, "#piece-tiles .value").text)
    number, unit = re.match(r"([\d.]+)\s*(\wW)", text).groups()  # type: ignore[union-attr]
    power_mw = float(number) * {"MW": 1.0, "kW": 1e-3}[unit] * 0.6
    form.find_element(By.NAME, "mw").send_keys(f"{power_mw:.3f}")
    form.find_element(By.NAME, "reference").send_keys("D-117")
    form.find_element(By.NAME, "reason").send_keys("line 5 out")
    driver.find_element(By.ID, "order-send").click()


def take(link: str, settle_s: float) -> None:
    """All pictures of the page behind a one-time link."""
    with tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as driver:
        driver.get(link)
        time.sleep(settle_s)
        if settle_s == SETTLE_S:
            order(driver)
            time.sleep(settle_s)
        whole_page(driver, HERE / "page.webp")
        driver.find_element(By.ID, "theme").click()
        time.sleep(1)
        whole_page(driver, HERE / "page-dark.webp")
        driver.find_element(By.ID, "theme").click()
        phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        driver.refresh()
        time.sleep(5)
        whole_page(driver, HERE / "phone.webp")


def main() -> None:
    if len(sys.argv) > 1:
        take(sys.argv[1], 5.0)
        return
    with tempfile.TemporaryDirectory() as folder, demo(Path(folder)) as link:
        take(link, SETTLE_S)


if __name__ == "__main__":
    main()
