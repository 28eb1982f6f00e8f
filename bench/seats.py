"""What one simulated client is to be: who it is, what it reads and writes."""

from typing import NamedTuple

Cursor = tuple[str, int]

STREAM = 100_000
"""How many counters one stream has. A client that hears several streams tells them apart by their counters."""

STREAMS = 30_000
"""How many streams there may be: their counters stay below those of the commands of a greeting."""


class Seat(NamedTuple):
    """One client of a scenario: it has one stream of messages to check and one channel to write to, or neither.

    A member of several channels has no `reads`; it hears streams, each of one writer in one channel.
    """

    user: str
    token: str
    reads: str = ""  # the channel whose messages it expects, each once and in order
    subscribes: bool = False  # whether it must ask for them (members of a channel need not)
    writes: str = ""
    starts_at: int = 0  # the counter of the first message that it expects
    cursor: Cursor | None = None  # where it stood, if it comes back to `reads`
    stream: int = 0  # the number of the stream that it writes; 0: the only one of its channel
    hears: tuple[int, ...] = ()  # numbers of streams that it expects
    watches: tuple[str, ...] = ()  # users whose presence it follows
    rate: float = 0.0  # messages a second of its own, where the pace says that each has one
    node: int = 0  # which of the server's nodes it connects to; more than there are count on from the first one

    @property
    def told(self) -> str:
        """The name under which its messages are counted."""
        return stream_name(self.stream) if self.stream else self.writes


def stream_name(number: int) -> str:
    """Name a numbered stream; no channel is called so."""
    return f"#{number}"


class Checks(NamedTuple):
    """What was wrong with the deliveries of many readers. All zero is the only good result."""

    missing: int = 0  # never came
    holes: int = 0  # skipped, when a later one came
    repeats: int = 0  # came again, or after a later one
    errors: int = 0  # commands that were refused
    closed: int = 0  # connections that the server ended
    strays: int = 0  # came to somebody whom they were not for

    def __add__(self, other: object) -> "Checks":
        if not isinstance(other, Checks):
            return NotImplemented
        return Checks(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def is_good(self) -> bool:
        """Tell whether nothing was wrong."""
        return not any(self)
