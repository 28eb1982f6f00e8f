"""The messages that were not answered yet, in the order in which they were given. Pure state, no waiting."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from client.answers import Sent

WINDOW = 64


@dataclass(eq=False, slots=True)
class Outgoing:
    """One message on its way. `tried` tells that it went out before, so the next try is a resend."""

    channel: str
    key: str
    data: dict[str, Any]
    done: Callable[[Sent | Exception], None]
    tried: bool
    in_flight: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)  # what a backend says beside these


class Sending:
    """Decides which message goes out next: in order, a bounded number at once, none before the end of a pause."""

    def __init__(self) -> None:
        self._waiting: dict[str, Outgoing] = {}
        self._in_flight = 0
        self.paused_until = 0.0

    def __contains__(self, key: str) -> bool:
        return key in self._waiting

    def add(self, outgoing: Outgoing) -> None:
        """Append a message; its key must be new."""
        self._waiting[outgoing.key] = outgoing

    def remove(self, outgoing: Outgoing) -> None:
        """Know nothing of the message any more."""
        if self._waiting.get(outgoing.key) is outgoing:
            del self._waiting[outgoing.key]
            self.landed(outgoing)

    def next(self, now: float) -> Outgoing | None:
        """Return the message that must go out now, and count it as in flight."""
        if now < self.paused_until or self._in_flight >= WINDOW:
            return None
        for outgoing in self._waiting.values():
            if not outgoing.in_flight:
                outgoing.in_flight = True
                self._in_flight += 1
                return outgoing
        return None

    def landed(self, outgoing: Outgoing, *, is_tried: bool = True) -> None:
        """Count a message as no more in flight; if it stays, it goes out again, as a resend if it was tried."""
        if outgoing.in_flight:
            outgoing.in_flight = False
            outgoing.tried = is_tried
            self._in_flight -= 1

    def all(self) -> list[Outgoing]:
        """Return every message that waits or is in flight."""
        return list(self._waiting.values())

    def pause(self, until: float) -> None:
        """Let nothing out before this time."""
        self.paused_until = max(self.paused_until, until)

    def is_busy(self, channel: str) -> bool:
        """Tell whether a message to this channel is in flight."""
        return any(outgoing.in_flight and outgoing.channel == channel for outgoing in self._waiting.values())
