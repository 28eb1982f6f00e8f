"""What reaches users who are away, and how far they have read, in Cassandra: push tokens, preferences, read marks."""

from collections.abc import Collection, Sequence
from functools import partial

from cassandra.query import BatchStatement, BatchType

from protocol.names import ChannelName, UserId
from storage import UserChannel
from storage.cassandra_batches import at_once, read_in, split, write_all
from storage.cassandra_records import RecordTable
from storage.cassandra_session import Session
from storage.records import PreferenceRecord, PushTokenRecord, ReadMark

TOKENS = RecordTable("push_tokens", PushTokenRecord)
PREFERENCES = RecordTable("preferences", PreferenceRecord, {"values": "choices"})
MARKS = RecordTable("read_marks", ReadMark)

_READ_TOKENS = f"{TOKENS.select} WHERE user IN ?"
_DROP_TOKEN = 'DELETE FROM push_tokens WHERE user = ? AND provider = ? AND "token" = ?'
_OWNER = 'SELECT user FROM push_token_owners WHERE provider = ? AND "token" = ?'
_OWN = 'INSERT INTO push_token_owners (provider, "token", user) VALUES (?, ?, ?)'
_DISOWN = 'DELETE FROM push_token_owners WHERE provider = ? AND "token" = ?'
_READ_PREFERENCES = f"{PREFERENCES.select} WHERE user IN ? AND channel IN ('', ?)"
_DROP_PREFERENCE = "DELETE FROM preferences WHERE user = ? AND channel = ?"
_DROP_PREFERENCES = "DELETE FROM preferences WHERE user = ?"
# The seq is the timestamp: of two marks the larger one stays, whichever comes first.
_SAVE_MARK = f"{MARKS.insert} USING TIMESTAMP ?"
_READ_MARKS = f"{MARKS.select} WHERE user = ? AND channel IN ?"
_ALL_MARKS = f"{MARKS.select} WHERE user = ?"
_DROP_MARK = "DELETE FROM read_marks USING TIMESTAMP ? WHERE user = ? AND channel = ?"

_CHANNELS_AT_ONCE = 100


class Away:
    """Reads and changes push tokens, preferences and read marks."""

    def __init__(self, session: Session) -> None:
        self._session = session

    # Push tokens.

    async def put_push_token(self, record: PushTokenRecord) -> None:
        """Write a push token, and take it from whoever had it."""
        session = self._session
        owners = await session.read(_OWNER, (record.provider, record.token))
        # Logged: who reads a user's tokens and who looks for a token's owner must come to see the same.
        batch = BatchStatement(BatchType.LOGGED)
        batch.is_idempotent = True
        for (owner,) in owners:
            if owner != record.user:
                batch.add(await session.prepare(_DROP_TOKEN), (owner, record.provider, record.token))
        batch.add(await session.prepare(_OWN), (record.provider, record.token, record.user))
        batch.add(await session.prepare(TOKENS.insert), TOKENS.row(record))
        await session.run(batch)

    async def push_tokens(self, users: Sequence[UserId]) -> list[PushTokenRecord]:
        """Read the push tokens of these users."""
        return TOKENS.records(await read_in(self._session, _READ_TOKENS, users))

    async def remove_push_token(self, provider: str, token: str) -> None:
        """Delete a push token."""
        session = self._session
        for (owner,) in await session.read(_OWNER, (provider, token)):
            batch = BatchStatement(BatchType.LOGGED)
            batch.is_idempotent = True
            batch.add(await session.prepare(_DROP_TOKEN), (owner, provider, token))
            batch.add(await session.prepare(_DISOWN), (provider, token))
            await session.run(batch)

    # Preferences.

    async def put_preference(self, preference: PreferenceRecord) -> None:
        """Write what a user prefers, or delete it."""
        if preference.values:
            await self._session.write(PREFERENCES.insert, PREFERENCES.row(preference))
        else:
            await self._session.write(_DROP_PREFERENCE, (preference.user, preference.channel))

    async def preferences(self, places: Collection[UserChannel]) -> list[PreferenceRecord]:
        """Read what users prefer for these channels, and for all channels."""
        users_of: dict[ChannelName, list[UserId]] = {}
        for user, channel in places:
            users_of.setdefault(channel, []).append(user)
        asked = [partial(read_in, self._session, _READ_PREFERENCES, users, each) for each, users in users_of.items()]
        found = [record for rows in await at_once(asked) for record in PREFERENCES.records(rows)]
        return list({(record.user, record.channel): record for record in found}.values())

    # Read marks.

    async def save_read_marks(self, marks: Sequence[ReadMark]) -> None:
        """Keep the larger one of the given and the kept seq of each user and channel."""
        await write_all(self._session, _SAVE_MARK, [(*MARKS.row(mark), mark.seq) for mark in marks])

    async def read_marks(self, places: Collection[UserChannel]) -> list[ReadMark]:
        """Read users' marks in these channels."""
        channels_of: dict[UserId, list[ChannelName]] = {}
        for user, channel in places:
            channels_of.setdefault(user, []).append(channel)
        asked = [
            partial(self._session.read, _READ_MARKS, (user, list(some)))
            for user, channels in channels_of.items()
            for some in split(channels, _CHANNELS_AT_ONCE)
        ]
        return [record for rows in await at_once(asked) for record in MARKS.records(rows)]

    # Erasing.

    async def erase(self, user: UserId) -> None:
        """Remove all of a user's push tokens, preferences and read marks."""
        for token in await self.push_tokens([user]):
            await self.remove_push_token(token.provider, token.token)
        await self._session.write(_DROP_PREFERENCES, (user,))
        # With the marks' own timestamps: with a later one, no mark of a new user of this name would ever count.
        marks = MARKS.records(await self._session.read(_ALL_MARKS, (user,)))
        await write_all(self._session, _DROP_MARK, [(mark.seq, user, mark.channel) for mark in marks])
