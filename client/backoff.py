"""How long to wait before the next try to connect."""

import random

FIRST_SECONDS = 0.5
MAX_SECONDS = 30.0
HELD_SECONDS = 30.0


class Backoff:
    """Doubles the wait with each try, and takes a random part of it ("full jitter"): clients come back spread."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._tries = 0

    def after(self, held_seconds: float, *, retry_after: float | None, at_once: bool) -> float:
        """Return the seconds to wait after a connection that held for so long (0: none was made)."""
        if held_seconds >= HELD_SECONDS:
            self._tries = 0
        span = min(MAX_SECONDS, FIRST_SECONDS * 2.0 ** min(self._tries, 16))
        if at_once and self._tries == 0:
            self._tries = 1
            return 0.0
        self._tries += 1
        if retry_after is not None:
            return retry_after * (1 + self._chance.random())
        return span * self._chance.random()
