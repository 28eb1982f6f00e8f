"""Looks up what decides about pushes: who looks, who has read, what they wish, and how much is unread."""

from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from chatd.config import Push
from chatd.push.content import Content
from chatd.push.preferences import NO_WISHES, wishes_of
from chatd.push.states import Facts
from chatd.push.whereabouts import Whereabouts
from protocol.names import ChannelName, DeviceId, Seq, UserId
from storage import Store, UserChannel
from storage.records import PreferenceRecord, PushTokenRecord

# Where a mark is this far behind, the channel has been reborn since: brokers begin a new epoch 2^20 further. How many
# messages there were before is not known then.
_REBORN = 2**19


class Candidate(msgspec.Struct, frozen=True):
    """A device that may have to be told of a message."""

    content: Content
    token: PushTokenRecord


class Finding(msgspec.Struct, frozen=True):
    """What there is to decide by, the language to use, and the number on the app's icon (None: leave it)."""

    facts: Facts
    locale: str
    badge: int | None


class Examiner:
    """Asks the store and the sessions, for many devices together. Raises StoreError where the store fails."""

    def __init__(
        self, config: Push, store: Store, whereabouts: Whereabouts, pushes: Callable[[ChannelName], bool]
    ) -> None:
        self._config = config
        self._store = store
        self._whereabouts = whereabouts
        self._pushes = pushes

    async def tokens(self, users: Sequence[UserId]) -> dict[UserId, list[PushTokenRecord]]:
        """Return the tokens of those users who have some."""
        found: dict[UserId, list[PushTokenRecord]] = {}
        for record in await self._store.push_tokens(users):
            found.setdefault(record.user, []).append(record)
        return found

    async def examine(self, candidates: Sequence[Candidate]) -> list[Finding]:
        """Return what is found for each of them, with one question of each kind for all."""
        places = {(one.token.user, one.content.channel) for one in candidates}
        users = sorted({user for user, _ in places})
        looking = await self._whereabouts.looking(users)
        devices = await self._whereabouts.devices(users)
        wishes: dict[UserId, list[PreferenceRecord]] = {}
        for record in await self._store.preferences(places):
            wishes.setdefault(record.user, []).append(record)
        marks, unread = await self._unread(users, places)
        return [self._finding(one, looking, devices, wishes, marks, unread) for one in candidates]

    def _finding(
        self,
        one: Candidate,
        looking: Collection[UserId],
        devices: Collection[tuple[UserId, DeviceId]],
        wishes: dict[UserId, list[PreferenceRecord]],
        marks: Mapping[UserChannel, Seq],
        unread: Mapping[UserId, int] | None,
    ) -> Finding:
        user, channel = one.token.user, one.content.channel
        wanted = wishes_of(user, channel, wishes[user]) if user in wishes else NO_WISHES
        facts = Facts(
            is_looking=user in looking,
            is_connected=(user, one.token.device) in devices,
            read=marks.get((user, channel), 0),
            wishes=wanted,
            is_mentioned=one.content.mentioned(user),
        )
        badge = None if unread is None else min(self._config.badge_most, unread.get(user, 0))
        return Finding(facts, wanted.locale or one.token.locale, badge)

    async def _unread(
        self, users: Sequence[UserId], places: Collection[UserChannel]
    ) -> tuple[dict[UserChannel, Seq], dict[UserId, int] | None]:
        """Return how far users have read these places, and how many messages of their newest channels are unread."""
        if not self._config.badges:
            return await self._marks(places), None
        unread: dict[UserId, int] = {}
        known: dict[UserChannel, Seq] = {}
        for one in await self._store.standings(users, limit=self._config.badge_channels):
            known[one.user, one.channel] = one.read
            if one.last > one.read and self._pushes(one.channel):
                behind = one.last - one.read
                unread[one.user] = unread.get(one.user, 0) + (1 if behind >= _REBORN else behind)
        # Members of a larger group may have left it since, and some have more channels than are counted.
        others = [place for place in places if place not in known]
        return known | await self._marks(others), unread

    async def _marks(self, places: Collection[UserChannel]) -> dict[UserChannel, Seq]:
        found = await self._store.read_marks(places) if places else ()
        return {(mark.user, mark.channel): mark.seq for mark in found}
