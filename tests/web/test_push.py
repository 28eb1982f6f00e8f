"""A real Chromium subscribes to pushes and decrypts what chatd encrypted for it; Google is played by the test."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from chatd.push.encryption import encrypt
from tests.fakes.certificate import make_certificate
from tests.rig import installed
from tests.rig.push_servers.google_cloud_messaging import GoogleCloudMessaging
from tests.rig.push_servers.webpush import from_text
from tests.web.conftest import ARGUMENTS, PROGRAMS

pytestmark = [pytest.mark.system, pytest.mark.browser]

PATIENCE_SECONDS = 20.0
# The key of RFC 8292, section 2.4.
SERVER_KEY = "BA1Hxzyi1RUM1b5wjxsn7nGxAszw2u61m164i3MrAIxHF6YK5h4SDYic-dRuU_RCPCfA5aq9ojSwk5Y2EmClBPs"
SUBSCRIBE = """
const done = arguments[1];
const subscribe = async () => {
    const worker = await navigator.serviceWorker.register("/worker.js");
    await navigator.serviceWorker.ready;
    const wanted = {userVisibleOnly: true, applicationServerKey: arguments[0]};
    return JSON.stringify(await worker.pushManager.subscribe(wanted));
};
subscribe().then(done, error => done(`failed: ${error}`));
"""


@pytest.fixture
def google(tmp_path: Path) -> Iterator[GoogleCloudMessaging]:
    made = GoogleCloudMessaging(*make_certificate(tmp_path))
    yield made
    made.close()


@pytest.fixture
def browser(google: GoogleCloudMessaging, tmp_path: Path) -> Iterator[Chrome]:
    installed.require(PROGRAMS, "Tests of pushes to a browser")
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    # Without background networking a browser asks for no pushes.
    kept = [argument for argument in ARGUMENTS if argument != "--disable-background-networking"]
    for argument in (*kept, *google.arguments, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(argument)
    driver = Chrome(options=options, service=Service(shutil.which("chromedriver")))
    driver.set_script_timeout(PATIENCE_SECONDS)
    yield driver
    driver.quit()


def test_a_browser_reads_what_was_encrypted_for_it(google: GoogleCloudMessaging, browser: Chrome) -> None:
    browser.get(f"{google.url}/")
    browser.execute_cdp_cmd("Browser.grantPermissions", {"origin": google.url, "permissions": ["notifications"]})
    answer = browser.execute_async_script(SUBSCRIBE, SERVER_KEY)
    subscription = json.loads(answer)
    assert subscription["endpoint"].endswith("/made-up-token")
    keys = {name: from_text(text) for name, text in subscription["keys"].items()}
    for number, text in enumerate(('{"title": "alice", "body": "hi"}', "ä" * 1900), 1):
        google.push(encrypt(text.encode(), keys["p256dh"], keys["auth"]))
        assert google.wait(number, PATIENCE_SECONDS)
        assert google.got[-1] == text
