"""A browser window, driven as a person would: by what is seen on the page."""

from collections.abc import Callable
from typing import Any, TypeVar

from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

WAIT_SECONDS = 20.0
POLL_SECONDS = 0.02
PASSWORD = "correct horse battery"

_T = TypeVar("_T")


class Window:
    """One window of one browser profile on the page of a node."""

    def __init__(self, driver: Chrome, url: str) -> None:
        self.driver = driver
        self.url = url

    def wait(self, condition: Callable[[], _T]) -> _T:
        """Return what the condition says as soon as it says yes."""
        patient = WebDriverWait(
            self.driver,
            WAIT_SECONDS,
            POLL_SECONDS,
            ignored_exceptions=[NoSuchElementException, StaleElementReferenceException],
        )
        result: _T = patient.until(lambda _: condition())
        return result

    def find(self, selector: str) -> WebElement:
        """Wait for something that can be seen."""
        return self.wait(lambda: next((each for each in self.all(selector) if each.is_displayed()), None))  # type: ignore[return-value]

    def all(self, selector: str) -> list[WebElement]:
        """Return all that is there now."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def click(self, selector: str) -> None:
        """Click on something once it can be seen."""
        self.find(selector).click()

    def sees(self, selector: str, text: str) -> bool:
        """Wait until something shows this text, exactly."""
        return self.wait(lambda: any(each.text == text for each in self.all(selector)))

    def script(self, source: str, *arguments: object) -> Any:
        """Run a script in the page."""
        return self.driver.execute_script(source, *arguments)

    # Coming in.

    def visit(self) -> None:
        """Open the page."""
        self.driver.get(self.url)

    def register(self, name: str) -> None:
        """Make an account and wait until it is connected."""
        self.visit()
        self.click("input[value=register] + span")
        self._fill_in(name)

    def log_in(self, name: str) -> None:
        """Log in to an account made by `register`."""
        self.visit()
        self._fill_in(name)

    def come_as_guest(self) -> None:
        """Come in without an account."""
        self.visit()
        self.click("#guest-button")
        self.is_connected()

    def _fill_in(self, name: str) -> None:
        self.find("#account-name").send_keys(name)
        self.find("#account-password").send_keys(PASSWORD)
        self.click("#account-submit")
        self.is_connected()

    def is_connected(self) -> None:
        """Wait until the page is connected."""
        self.wait(lambda: self.script("return document.documentElement.dataset.connection") == "online")

    # Talking.

    def open(self, channel: str) -> None:
        """Open a conversation that is in the list."""
        self.click(f'.conversation[data-channel="{channel}"]')
        self.wait(lambda: self.script("return decodeURIComponent(location.hash)") == f"#{channel}")

    def start(self, kind: str, name: str, people: str = "") -> None:
        """Begin a conversation by the dialog: a room, a direct one (dm), a group; wait until it is open or refused."""
        self.click("#start-button")
        self.click(f"input[value={kind}] + span")
        self.find("#start-name").send_keys(name)
        if people:
            self.find("#start-members").send_keys(people)
        self.click("#start-submit")
        self.wait(lambda: self._is_started(name))

    def _is_started(self, name: str) -> bool:
        is_open = not self.all("#start-dialog[open]") and self.all("#talk-title")[0].text == name
        return is_open or self.all("#start-error")[0].is_displayed()

    def say(self, text: str) -> None:
        """Write a message and press Enter."""
        self.find("#text").send_keys(text.replace("\n", Keys.SHIFT + Keys.ENTER + Keys.SHIFT), Keys.ENTER)

    def hears(self, text: str) -> None:
        """Wait for a message of exactly this text in the open conversation."""
        self.wait(lambda: text in self.texts())

    def texts(self) -> list[str]:
        """Return the messages of the open conversation."""
        found: list[str] = self.script("return [...document.querySelectorAll('#log .text')].map(e => e.textContent)")
        return found

    def states(self) -> list[str]:
        """Return how far each of the messages got."""
        found: list[str] = self.script(
            "return [...document.querySelectorAll('#log .message')].map(e => e.dataset.state)"
        )
        return found

    def all_sent(self) -> None:
        """Wait until nothing waits to be sent."""
        self.wait(lambda: self.states() and set(self.states()) == {"sent"})

    # Afterwards.

    def complaints(self) -> list[str]:
        """Return the errors in the browser's console since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[no-untyped-call]
