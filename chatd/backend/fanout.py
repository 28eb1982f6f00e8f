"""Whom one event is for: a channel, many, the inboxes of users, all channels of a user; and for how long it lives."""

from collections.abc import Callable, Sequence

from chatd.backend.caller import Caller
from chatd.backend.publishing import KEY_ROOM, NewEvent, Publishing, key_in
from chatd.config import Backend
from chatd.rights import Denied
from protocol.body import Body
from protocol.codes import ErrorCode
from protocol.names import UserId

_DAY_SECONDS = 86_400


class Fanout:
    """Turns what a backend asks for into one event for each channel, at most `backend.batch_messages`."""

    def __init__(self, publishing: Publishing, config: Backend, clock: Callable[[], float]) -> None:
        self._publishing = publishing
        self._clock = clock  # Unix seconds
        self.most = config.batch_messages
        self.most_days = config.ahead_days

    async def channels(
        self, caller: Caller, channels: Sequence[str], users: Sequence[str], member_of: str
    ) -> list[str]:
        """Return the channels that are meant, each once.

        Raises:
            Denied: None is meant, or too many, or a user's id is none.
        """
        found = [*channels, *map(self._publishing.inbox, users)]
        if member_of:
            found += await self._publishing.channels_of(caller, member_of, self.most)
        elif not found:
            raise Denied(ErrorCode.BAD_REQUEST, "say for whom: a channel, channels, users or member_of")
        if len(found) > self.most:
            raise Denied(ErrorCode.BAD_REQUEST, f"one request may publish {self.most} messages")
        return list(dict.fromkeys(found))

    def events(
        self,
        channels: Sequence[str],
        key: str,
        body: Body,
        sender: UserId | None,
        retry: bool,
        ttl_seconds: float | None,
        *,
        is_many: bool,
    ) -> list[NewEvent]:
        """Return one event for each channel. Where they are many, each gets a key made of `key` and its channel."""
        if is_many and len(key) > 128 - KEY_ROOM:
            raise Denied(ErrorCode.BAD_REQUEST, f"`key` has at most {128 - KEY_ROOM} characters here")
        ends = None if ttl_seconds is None else expires_at(self._clock(), ttl_seconds, self.most_days)
        return [
            NewEvent(channel, key_in(key, channel) if is_many else key, body, sender, retry, ends)
            for channel in channels
        ]


def expires_at(now: float, ttl_seconds: float, most_days: int) -> int:
    """Return when something that lives so long is over, in Unix milliseconds.

    Raises:
        Denied: That is further ahead than may be.
    """
    if ttl_seconds > most_days * _DAY_SECONDS:
        raise Denied(ErrorCode.BAD_REQUEST, f"`ttl_seconds` is at most {most_days} days")
    return int((now + ttl_seconds) * 1000)
