"""Spares everybody the deadline of a backend that does not answer: a pure state machine, time is an argument.

Theory of operation. While it is closed everybody asks. After so many failures in a row it is open: nobody asks, for
`rest_seconds`. Then one question is let through to try it: if it is answered the breaker closes, else it rests again.

    CLOSED ──failed often──► OPEN ──rested──► TRYING ──worked──► CLOSED
                               ▲                 │
                               └─────failed──────┘
"""

from enum import Enum, auto


class State(Enum):
    """Whether questions are let through."""

    CLOSED = auto()  # all
    OPEN = auto()  # none
    TRYING = auto()  # one is under way


class Sign(Enum):
    """What happened."""

    FAILED = auto()  # so often in a row that it counts
    RESTED = auto()
    WORKED = auto()


TRANSITIONS: dict[State, dict[Sign, State]] = {
    State.CLOSED: {Sign.FAILED: State.OPEN},
    State.OPEN: {Sign.RESTED: State.TRYING, Sign.WORKED: State.CLOSED},
    State.TRYING: {Sign.FAILED: State.OPEN, Sign.WORKED: State.CLOSED},
}


class Breaker:
    """Decides whether to ask. Times are seconds of one monotonic clock."""

    def __init__(self, failures: int, rest_seconds: float) -> None:
        self.state = State.CLOSED
        self._failures = failures
        self._rest_seconds = rest_seconds
        self._failed = 0  # in a row
        self._rests_until = 0.0

    def may_ask(self, now: float) -> bool:
        """Tell whether to ask; who is told so says afterwards whether it `worked`, `failed` or was `withdrawn`."""
        if self.state is State.OPEN and now >= self._rests_until:
            self._apply(Sign.RESTED)
            return True
        return self.state is State.CLOSED

    def worked(self) -> None:
        """Note an answer, also a late one to what was asked before the breaker opened."""
        self._failed = 0
        self._apply(Sign.WORKED)

    def failed(self, now: float) -> None:
        """Note that there was no good answer."""
        self._failed += 1
        if self.state is State.TRYING or self._failed >= self._failures:
            self._rests_until = now + self._rest_seconds
            self._apply(Sign.FAILED)

    def withdrawn(self, now: float) -> None:
        """Note that nobody waits for the answer any more; if it was the one that tries, the next one does."""
        if self.state is State.TRYING:
            self._rests_until = now
            self._apply(Sign.FAILED)

    def _apply(self, sign: Sign) -> None:
        self.state = TRANSITIONS[self.state].get(sign, self.state)
