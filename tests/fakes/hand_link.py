"""A connection that takes as many bytes as the test lets it."""

from collections.abc import Callable
from typing import cast

from chatd.link import Link


class HandLink:
    """Writes down what is sent; refuses what there is no room for, as a full socket does."""

    def __init__(self) -> None:
        self.sent = b""
        self.room: int | None = None  # None: all there is
        self.is_broken = False
        self.is_shut = False
        self.sends = 0
        self.ring_head: bytes | None = None
        self.on_writable: Callable[[], None] | None = None

    def as_link(self) -> Link:
        """Give it to a session, which needs no more of a link than this."""
        return cast(Link, self)

    def send(self, data: bytes | memoryview) -> int:
        """Take what there is room for."""
        self.sends += 1
        if self.is_broken:
            raise ConnectionResetError
        taken = bytes(data) if self.room is None else bytes(data[: self.room])
        if not taken:
            raise BlockingIOError
        if self.room is not None:
            self.room -= len(taken)
        self.sent += taken
        return len(taken)

    def open_up(self, room: int | None = None) -> None:
        """Let it take bytes again, and tell who waits for that."""
        self.room = room
        if self.on_writable is not None:
            self.on_writable()

    def quiet(self) -> None:
        """Tell nobody of room any more."""
        self.on_writable = None

    def shut(self) -> None:
        """End the connection."""
        self.is_shut = True
