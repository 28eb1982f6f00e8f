"""An HTTP server without API keys: nobody has one, and no route is hot."""

from typing import Any

from chatd.backend.caller import Caller
from chatd.limits import Standing


class NoKeys:
    """Knows no key."""

    def known_caller(self, text: str) -> Caller | None:
        return None

    async def request(self, caller: Caller) -> Standing:
        raise AssertionError("nobody has a key")


class NoHotRoute:
    """Leaves every request to the app."""

    def matches(self, method: str, path: str) -> bool:
        return False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("no route is hot")


KEYLESS = (NoKeys(), NoHotRoute())
"""What an HTTP server is given that has none of both."""
