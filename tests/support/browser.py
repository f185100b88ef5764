"""A headless Chromium for the tests of the HTML report."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from matplotlib import get_data_path
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

PHONE = (375, 812)
DESKTOP = (1200, 900)
_OPTIONS = (
    "--headless=new",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """One browser for a whole file of tests, with its console and its network requests recorded."""
    with _started(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def chromium_without_korean(tmp_path: Path) -> Iterator[Chrome]:
    """A browser on a machine that has no other fonts than DejaVu, which has no Korean."""
    fonts = tmp_path / "fonts.conf"
    fonts.write_text(
        f"<fontconfig><dir>{get_data_path()}/fonts/ttf</dir><cachedir>{tmp_path}/cache</cachedir></fontconfig>"
    )
    with _started(tmp_path / "profile", FONTCONFIG_FILE=str(fonts)) as browser:
        yield browser


@contextmanager
def _started(profile: Path, **environment: str) -> Iterator[Chrome]:
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium chromium-driver)")
    options = ChromeOptions()
    options.binary_location = program
    for option in (*_OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With its path given, Selenium looks for no driver in the network.
    browser = Chrome(options=options, service=Service(driver, env={**os.environ, **environment}))
    try:
        browser.set_page_load_timeout(30)
        yield browser
    finally:
        browser.quit()


def shown_as(browser: Chrome, *, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> None:
    """Sets the size of the page and what the reader prefers."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def open_file(browser: Chrome, path: Path) -> None:
    """Opens a file with empty logs."""
    browser.get("about:blank")
    browser.get_log("browser")
    browser.get_log("performance")
    browser.get(path.as_uri())
