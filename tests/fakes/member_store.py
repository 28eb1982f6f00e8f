"""The part of a store that member channels use, in memory; what it is asked for can be made to wait for the test."""

from collections.abc import Iterable, Mapping
from typing import cast

import trio

from protocol.names import ChannelName, UserId
from storage import AlreadyExists, Store, StoreError
from storage.records import Place, Role, UserRecord


class MemberStore:
    """Members of channels, and users; every name is a user. What waits is decided when it begins, as in a database."""

    def __init__(self) -> None:
        self.channels: dict[ChannelName, dict[UserId, Role]] = {}
        self.reads = 0
        self.waits = False
        self.error: StoreError | None = None
        self.change_error: StoreError | None = None  # raised after the change was made
        self._waiting = trio.lowlevel.ParkingLot()

    def as_store(self) -> Store:
        """Give it to who wants a whole store, but asks for members only."""
        return cast(Store, self)

    def let_go(self, count: int = 1) -> None:
        """Let what waits go on."""
        self._waiting.unpark(count=count)

    async def head(self, channel: ChannelName) -> Place | None:
        """Return where the channel stands: here nobody has ever written anything."""
        return None

    async def members(self, channel: ChannelName) -> dict[UserId, Role]:
        """Read the members."""
        self.reads += 1
        found = dict(self.channels.get(channel, {}))
        await self._wait()
        return found

    async def create_channel(self, channel: ChannelName, members: Mapping[UserId, Role], at: int) -> None:
        """Make a channel."""
        exists = channel in self.channels
        if not exists:
            self.channels[channel] = dict(members)
        await self._wait()
        if exists:
            raise AlreadyExists(channel)
        self._fail()

    async def change_members(
        self, channel: ChannelName, *, put: Mapping[UserId, Role], remove: Iterable[UserId], at: int
    ) -> None:
        """Change the members."""
        roles = self.channels[channel]
        roles.update(put)
        for user in remove:
            roles.pop(user, None)
        await self._wait()
        self._fail()

    async def user(self, user: UserId) -> UserRecord:
        """Return the account that everybody has."""
        await self._wait()
        return UserRecord(user=user, password_hash=None, created_at=0)

    async def _wait(self) -> None:
        if self.waits:
            await self._waiting.park()
        else:
            await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error

    def _fail(self) -> None:
        if self.change_error is not None:
            raise self.change_error
