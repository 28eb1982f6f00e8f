"""Browsers and a node for the tests of the page. Each test has a node, so each has an origin and storage of its own."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from tests.rig import installed
from tests.system.process import NodeProcess
from tests.web.window import Window

PROGRAMS = {"chromium": "chromium", "chromedriver": "chromium-driver"}  # by the Debian package that has them
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1200,900",
)
BROWSERS = 2
SETTINGS: dict[str, object] = {
    "presence.grace_seconds": 0.2,
    "server.drain_seconds": 0.2,
    "limits.listed_channels": 3,  # the page's list has pages too
    "limits.http_requests_burst": 100_000,  # the page is visited faster than any person does
}

OpenWindow = Callable[[], Window]


@pytest.fixture(scope="session")
def drivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Chrome]]:
    """Two browsers that share nothing, for all tests of the page."""
    installed.require(PROGRAMS, "Tests of the page")
    started: list[Chrome] = []
    try:
        for number in range(BROWSERS):
            started += [_start_browser(tmp_path_factory.mktemp(f"browser{number}"))]
        yield started
    finally:
        for driver in started:
            driver.quit()


@pytest.fixture(scope="session")
def calm_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A running node for tests that only read its files."""
    running = NodeProcess(tmp_path_factory.mktemp("calm"), SETTINGS)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    """A running node with an empty store."""
    running = NodeProcess(tmp_path, SETTINGS)
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def windows(drivers: list[Chrome], node: NodeProcess) -> Iterator[list[Window]]:
    """A window in each browser. At the end no console may have an error in it."""
    opened = [Window(driver, f"{node.http_url}/") for driver in drivers]
    yield opened
    complaints = [complaint for window in opened for complaint in window.complaints()]
    for driver in drivers:
        for extra in driver.window_handles[1:]:
            driver.switch_to.window(extra)
            driver.close()
        driver.switch_to.window(driver.window_handles[0])
        driver.get("about:blank")
    assert complaints == []


@pytest.fixture
def alice(windows: list[Window]) -> Window:
    """The window of somebody with an account."""
    windows[0].register("alice")
    return windows[0]


@pytest.fixture
def bob(windows: list[Window]) -> Window:
    """The window of somebody else with an account, in another browser."""
    windows[1].register("bob")
    return windows[1]


def _start_browser(profile: Path) -> Chrome:
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return Chrome(options=options, service=Service(shutil.which("chromedriver")))
