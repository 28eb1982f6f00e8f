"""What the gate found out about a request, for the routes behind it: whose key it is, and which rates count it."""

from typing import Any

from chatd.backend.caller import Caller
from chatd.limits import Standing

_SCOPE_KEY = "chatd.passage"


class Passage:
    """Goes with one request. What is added to `standings` is told in the headers of its answer."""

    __slots__ = ("caller", "standings")

    def __init__(self) -> None:
        self.caller: Caller | None = None
        self.standings: list[Standing] = []


def begin_passage(scope: Any) -> Passage:
    """Make the passage of a request, and keep it in its ASGI scope."""
    passage = scope[_SCOPE_KEY] = Passage()
    return passage


def passage_of(scope: Any) -> Passage:
    """Return the passage of a request; a new one where it came past the gate, as in tests of the app alone."""
    found: Passage | None = scope.get(_SCOPE_KEY)
    return found if found is not None else begin_passage(scope)
