"""What one simulated client is to be: who it is, what it reads and writes."""

from typing import NamedTuple

from bench.dialects import Cursor


class Seat(NamedTuple):
    """One client of a scenario: it has one stream of messages to check and one channel to write to, or neither."""

    user: str
    token: str
    reads: str = ""  # the channel whose messages it expects, each once and in order
    subscribes: bool = False  # whether it must ask for them (members of a channel need not)
    writes: str = ""
    starts_at: int = 0  # the counter of the first message that it expects
    cursor: Cursor | None = None  # where it stood, if it comes back to `reads`


class Checks(NamedTuple):
    """What was wrong with the deliveries of many readers. All zero is the only good result."""

    missing: int = 0  # never came
    holes: int = 0  # skipped, when a later one came
    repeats: int = 0  # came again, or after a later one
    errors: int = 0  # commands that were refused
    closed: int = 0  # connections that the server ended

    def __add__(self, other: object) -> "Checks":
        if not isinstance(other, Checks):
            return NotImplemented
        return Checks(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def is_good(self) -> bool:
        """Tell whether nothing was wrong."""
        return not any(self)
