# SPDX-License-Identifier: Apache-2.0
"""The page in headless Chromium: live by its stream, no console error, no sideways scroll, orders from click to end.

With MINING_HUB_PICTURES=folder each page is stored as a picture, to be looked at.
"""

import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from hub.api.access import Access, Role
from kernel.clock import system_clock
from tests.builders.fake_hub import FakeHub
from tests.hub.console.browser import browser, whole_page
from tests.hub.console.page_server import serving

COLOURS = """const map = document.getElementById("heat");
return new Set(map.getContext("2d").getImageData(0, 0, map.width, map.height).data).size"""
LINES = """const chart = document.querySelector("#chart canvas");
const dots = chart.getContext("2d").getImageData(0, 0, chart.width, chart.height).data, found = {};
for (let i = 0; i < dots.length; i += 4)
  if (dots[i + 3] > 200 && Math.max(dots[i], dots[i + 1], dots[i + 2]) - Math.min(dots[i], dots[i + 1], dots[i + 2]) > 60)
    found[[dots[i] >> 5, dots[i + 1] >> 5, dots[i + 2] >> 5]] = 1;
return Object.keys(found).length"""
"""Colours of the chart's canvas that are no grey: lines of plan, limit and price; an empty chart has none."""
STATIC = Path(__file__).parents[3] / "hub" / "console" / "static"
FAULTS = frozenset({"price", "meter", "broker", "miners", "pool", "ledger"})


@pytest.fixture
def view() -> FakeHub:
    return FakeHub(system_clock(), miners=400)


@pytest.fixture
def server(view: FakeHub, tmp_path: Path) -> Iterator[tuple[str, Access]]:
    with serving(view, tmp_path / "hub") as found:
        yield found


def until(what: Callable[[], Any], timeout_s: float = 15.0) -> Any:
    end = time.monotonic() + timeout_s
    while not (found := what()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return found


def enter(driver: webdriver.Chrome, server: tuple[str, Access], role: Role = Role.ADMIN, site: str = "alma") -> None:
    url, access = server
    driver.get(f"{url}/enter?token={access.link('tester', role)}")
    driver.get(f"{url}/sites/{site}")
    until(lambda: driver.find_element(By.ID, "live").get_attribute("data-state") == "live")


def quiet(driver: webdriver.Chrome) -> None:
    """No error and no refused load in the browser's own log."""
    bad = [entry for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert not bad, bad


def picture(driver: webdriver.Chrome, name: str) -> None:
    folder = os.environ.get("MINING_HUB_PICTURES")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        whole_page(driver, Path(folder) / f"{name}.png")


@pytest.mark.server("chromium")
@pytest.mark.parametrize(("width", "dark"), [(1600, False), (1600, True), (390, False), (390, True)])
def test_every_width_and_theme(server: tuple[str, Access], tmp_path: Path, width: int, dark: bool) -> None:
    with browser(tmp_path / "profile", width, dark=dark) as driver:
        enter(driver, server)
        until(lambda: driver.find_elements(By.CSS_SELECTOR, "#chart canvas"))
        until(lambda: "hashing" in driver.find_element(By.ID, "heat-legend").text)
        assert driver.execute_script("return document.documentElement.scrollWidth") == width
        assert driver.execute_script(COLOURS) > 5, "the map is painted"
        until(lambda: driver.execute_script(LINES) >= 3)
        assert driver.find_element(By.TAG_NAME, "h1").text == "Almaty North"
        ground = driver.execute_script("return getComputedStyle(document.body.parentElement).backgroundColor")
        assert (sum(map(int, ground[4:-1].split(","))) < 300) == dark
        assert "Main meter" in driver.find_element(By.ID, "piece-feeds").text
        picture(driver, f"page-{width}{'-dark' if dark else ''}")
        quiet(driver)


@pytest.mark.server("chromium")
def test_live_stale_and_back(view: FakeHub, server: tuple[str, Access], tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as driver:
        enter(driver, server)
        first = driver.find_element(By.ID, "asof").text
        until(lambda: driver.find_element(By.ID, "asof").text != first)
        view.faults = FAULTS
        until(lambda: "Main meter: dead" in driver.find_element(By.ID, "piece-why").text)
        why = driver.find_element(By.ID, "piece-why").text
        for word in ("Price file: refused", "MQTT broker: dead", "Pool: stale", "Miners: stale"):
            assert word in why
        assert "last heard 341 s ago" in driver.find_element(By.ID, "piece-tiles").text
        assert "sum of 4 feeder meters" in driver.find_element(By.ID, "piece-tiles").text
        picture(driver, "faults-1600")

        def blind(*_: str) -> Any:
            raise RuntimeError("broken on purpose")

        view.ledger = blind  # type: ignore[method-assign]
        until(lambda: "cannot be drawn" in driver.find_element(By.ID, "piece-ledger").text)
        assert driver.find_element(By.ID, "live").get_attribute("data-state") == "live", "the other pieces go on"
        del view.ledger  # type: ignore[attr-defined]
        until(lambda: "balanced" in driver.find_element(By.ID, "piece-ledger").text)

        view.status = blind  # type: ignore[method-assign]
        banner = driver.find_element(By.ID, "stale")
        until(lambda: banner.is_displayed() and "could not be read" in banner.text)
        assert "old" in str(driver.find_element(By.TAG_NAME, "body").get_attribute("class"))
        del view.status  # type: ignore[attr-defined]
        until(lambda: not banner.is_displayed())
        quiet(driver)


@pytest.mark.server("chromium")
def test_a_server_that_goes_is_reported_within_its_time(view: FakeHub, tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as driver:
        with serving(view, tmp_path / "hub") as server:
            enter(driver, server)
            driver.execute_script("document.documentElement.dataset.oldAfterS = 3")
        until(lambda: driver.find_element(By.ID, "live").get_attribute("data-state") == "lost")
        banner = driver.find_element(By.ID, "stale")
        until(lambda: banner.is_displayed(), 20)
        assert "Nothing heard from the hub" in banner.text and "as of" in banner.text


@pytest.mark.server("chromium")
def test_an_order_from_click_to_end_by_the_keyboard(view: FakeHub, server: tuple[str, Access], tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as driver:
        enter(driver, server)
        driver.find_element(By.ID, "order-new").send_keys(Keys.ENTER)
        form = driver.find_element(By.ID, "order-form")
        form.find_element(By.NAME, "mw").send_keys("1.205")
        form.find_element(By.NAME, "reference").send_keys("D-7")
        form.find_element(By.NAME, "reason").send_keys("<b>line 5</b>")
        preview = driver.find_element(By.ID, "order-preview")
        until(lambda: "have to go down" in preview.text and "Asia/Almaty" in preview.text)
        picture(driver, "order-preview")
        form.find_element(By.NAME, "reason").send_keys(Keys.ENTER)
        orders = driver.find_element(By.ID, "piece-orders")
        until(lambda: "D-7" in orders.text and "acting" in orders.text)
        assert "<b>line 5</b>" in orders.text, "shown as text, not as markup"
        until(lambda: "Held at 1.21 MW" in driver.find_element(By.ID, "piece-why").text)
        assert [entry.order.power_w for entry in view.book.live()] == [1.205e6]

        driver.find_element(By.CSS_SELECTOR, "[data-end]").send_keys(Keys.ENTER)
        why = driver.find_element(By.CSS_SELECTOR, "#end-form [name=why]")
        why.send_keys("all clear", Keys.ENTER)
        until(lambda: "released" in orders.text and "all clear" in orders.text)
        assert view.book.live() == [] and not driver.find_elements(By.CSS_SELECTOR, "[data-end]")
        acted = [event.body["what"] for event in view.events if event.kind == "api.acted"]
        assert acted == ["order:send", "order:end"]

        driver.find_element(By.ID, "order-new").click()
        form.find_element(By.NAME, "mw").send_keys("900000")
        driver.find_element(By.ID, "order-send").click()
        fault = driver.find_element(By.ID, "order-fault")
        until(lambda: "check the unit" in fault.text)
        logged = [entry for entry in driver.get_log("browser") if "409" not in entry["message"]]
        assert not logged, logged


@pytest.mark.server("chromium")
def test_an_alarm_is_seen_and_another_shelved(server: tuple[str, Access], tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as driver:
        enter(driver, server)
        alarms = driver.find_element(By.ID, "piece-alarms")
        assert "A meter has not answered" in alarms.text and "Check the gateway" in alarms.text
        alarms.find_element(By.CSS_SELECTOR, "[data-acknowledge][data-rule=meter-silent]").send_keys(Keys.ENTER)
        until(lambda: "seen by tester" in alarms.text)
        alarms.find_element(By.CSS_SELECTOR, "[data-shelve][data-rule=container-supply-hot]").send_keys(Keys.ENTER)
        why = driver.find_element(By.CSS_SELECTOR, "#shelf-form [name=why]")
        why.send_keys("pump is being mended", Keys.ENTER)
        until(lambda: "1 shelved" in alarms.text and "Coolant" not in alarms.text)
        quiet(driver)


@pytest.mark.server("chromium")
def test_the_map_by_keyboard_and_a_miner(server: tuple[str, Access], tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as driver:
        enter(driver, server)
        heat = driver.find_element(By.ID, "heat")
        until(lambda: "hashing" in driver.find_element(By.ID, "heat-legend").text)
        reported = driver.find_element(By.ID, "heat-text")
        driver.execute_script("arguments[0].focus()", heat)
        heat.send_keys(Keys.ARROW_DOWN)
        until(lambda: "m0001" in reported.text)
        heat.send_keys(Keys.ARROW_DOWN, Keys.ARROW_UP)
        until(lambda: "m0001" in reported.text)
        heat.send_keys(Keys.ENTER)
        body = driver.find_element(By.ID, "miner-body")
        until(lambda: "3,421" in body.text and "not reported" in body.text)
        driver.find_element(By.CSS_SELECTOR, "#miner-dialog button").send_keys(Keys.ENTER)
        driver.find_element(By.CSS_SELECTOR, "[data-heat=temp]").send_keys(Keys.ENTER)
        until(lambda: "90 °C or more" in driver.find_element(By.ID, "heat-legend").text)
        driver.find_element(By.CSS_SELECTOR, "details summary").click()
        assert "rack-01" in driver.find_element(By.ID, "piece-racks").text
        quiet(driver)


@pytest.mark.server("chromium")
def test_a_role_sees_its_own_page(view: FakeHub, server: tuple[str, Access], tmp_path: Path) -> None:
    with browser(tmp_path / "profile", 390) as driver:
        enter(driver, server, Role.REGULATOR)
        assert not driver.find_elements(By.ID, "heat") and not driver.find_elements(By.ID, "order-new")
        assert driver.find_elements(By.ID, "piece-reports") and not driver.find_elements(By.ID, "piece-ledger")
        assert driver.execute_script("return document.documentElement.scrollWidth") == 390
        enter(driver, server, Role.DISPATCHER, site="beta")
        assert "Beta <yard>" in driver.title
        quiet(driver)


@pytest.mark.parametrize("script", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_no_function_of_a_script_is_declared_twice(script: Path) -> None:
    """The second one takes the place of the first without a word of the browser: a chart was empty by it."""
    names = re.findall(r"\bfunction (\w+)\(", script.read_text(encoding="utf-8"))
    assert len(names) == len(set(names)), sorted(name for name in set(names) if names.count(name) > 1)
