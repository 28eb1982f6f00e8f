"""The member channels of a user, page by page: where each stands, and how far the user has read."""

from collections.abc import Callable

from chatd.config import Limits
from chatd.event import conversation
from chatd.reads import ReadMarks
from protocol.messages import Conversation
from protocol.names import ChannelName, UserId
from storage import Store


class Conversations:
    """Lists them. A store that fails raises StoreError."""

    def __init__(self, store: Store, reads: ReadMarks, limits: Callable[[], Limits]) -> None:
        self._store = store
        self._reads = reads
        self._limits = limits

    async def page(
        self, user: UserId, *, since: int, after: tuple[int, str] | None, limit: int
    ) -> tuple[list[Conversation], bool]:
        """Return those that changed at or after `since` (Unix ms), the newest first, and whether there are more.

        `after` is the time and the name of the last one of the page before.
        """
        limit = min(limit, self._limits().listed_channels)
        place = (after[0], ChannelName(after[1])) if after is not None else None
        found = await self._store.memberships(user, since=since, after=place, limit=limit + 1)
        listed = found[:limit]
        marks = await self._reads.of(user, [item.channel for item in listed])
        return [conversation(item, marks.get(item.channel, 0)) for item in listed], len(found) > limit
