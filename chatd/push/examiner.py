"""Looks up what decides about pushes: who looks, who has read, what they wish, and how much is unread."""

from collections.abc import Callable, Collection, Sequence

import msgspec

from chatd.config import Push
from chatd.push.content import Content
from chatd.push.preferences import wishes_of
from chatd.push.states import Facts
from chatd.push.whereabouts import Whereabouts
from protocol.names import ChannelName, DeviceId, Seq, UserId
from storage import Store
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
        """Return what is found for each of them."""
        by_user: dict[UserId, set[ChannelName]] = {}
        by_channel: dict[ChannelName, set[UserId]] = {}
        for one in candidates:
            by_user.setdefault(one.token.user, set()).add(one.content.channel)
            by_channel.setdefault(one.content.channel, set()).add(one.token.user)
        looking = await self._whereabouts.looking(list(by_user))
        devices = await self._whereabouts.devices(list(by_user))
        wishes: dict[ChannelName, dict[UserId, list[PreferenceRecord]]] = {}
        for channel, users in by_channel.items():
            records: dict[UserId, list[PreferenceRecord]] = {}
            for record in await self._store.preferences(list(users), channel):
                records.setdefault(record.user, []).append(record)
            wishes[channel] = records
        unread = {user: await self._unread(user, channels) for user, channels in by_user.items()}
        return [self._finding(one, looking, devices, wishes[one.content.channel], unread) for one in candidates]

    def _finding(
        self,
        one: Candidate,
        looking: Collection[UserId],
        devices: Collection[tuple[UserId, DeviceId]],
        wishes: dict[UserId, list[PreferenceRecord]],
        unread: dict[UserId, tuple[dict[ChannelName, Seq], int | None]],
    ) -> Finding:
        user, channel = one.token.user, one.content.channel
        wanted = wishes_of(user, channel, wishes.get(user, ()))
        marks, badge = unread[user]
        facts = Facts(
            is_looking=user in looking,
            is_connected=(user, one.token.device) in devices,
            read=marks.get(channel, 0),
            wishes=wanted,
            is_mentioned=one.content.mentioned(user),
        )
        return Finding(facts, wanted.locale or one.token.locale, badge)

    async def _unread(self, user: UserId, channels: set[ChannelName]) -> tuple[dict[ChannelName, Seq], int | None]:
        """Return how far the user has read, and how many messages of the newest channels are unread."""
        if not self._config.badges:
            return {mark.channel: mark.seq for mark in await self._store.read_marks(user, list(channels))}, None
        found = await self._store.memberships(user, since=0, limit=self._config.badge_channels)
        heads = {one.channel: one.last.seq for one in found if one.last is not None and self._pushes(one.channel)}
        marks = {mark.channel: mark.seq for mark in await self._store.read_marks(user, list(channels | heads.keys()))}
        most = self._config.badge_most
        behind = [max(0, seq - marks.get(channel, 0)) for channel, seq in heads.items()]
        return marks, min(most, sum(1 if count >= _REBORN else count for count in behind))
