"""Who belongs to which member channel: read from the store once, then kept up to date by the changes themselves."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

import trio

from chatd.rights import Address
from protocol.names import ChannelName, UserId
from storage import Store
from storage.records import Role

Roles = Mapping[UserId, Role]


class Members:
    """The members of the channels that were lately in use; a bounded number of channels.

    A user with 500 conversations costs nothing here until one of them is written to or read.
    """

    def __init__(self, store: Store, size: int) -> None:
        self._store = store
        self._size = size
        self._known: OrderedDict[ChannelName, dict[UserId, Role]] = OrderedDict()
        self._loading: dict[ChannelName, trio.Event] = {}
        self._outdated: set[ChannelName] = set()  # changed while they were being read

    def __len__(self) -> int:
        return len(self._known)

    def known(self, address: Address) -> Roles | None:
        """Return the members if they are in memory. Never waits."""
        if address.namespace.members == 1:
            return {UserId(address.rest): Role.OWNER}
        roles = self._known.get(address.name)
        if roles is not None:
            self._known.move_to_end(address.name)
        return roles

    async def get(self, address: Address) -> Roles:
        """Return the members; empty when nobody made the channel."""
        while True:
            roles = self.known(address)
            if roles is not None:
                return roles
            loading = self._loading.get(address.name)
            if loading is None:
                await self._load(address.name)
            else:
                await loading.wait()

    def changed(self, channel: ChannelName, put: Roles, remove: Iterable[UserId]) -> None:
        """Take over a change that the store has made."""
        roles = self._known.get(channel)
        if roles is None:
            if channel in self._loading:
                self._outdated.add(channel)
            return  # the next one who asks reads it from the store
        # A new dictionary: who walks over the old one (a delivery) is not disturbed.
        gone = set(remove)
        self._known[channel] = {user: role for user, role in {**roles, **put}.items() if user not in gone}

    def forget(self, channel: ChannelName) -> None:
        """Let the next one who asks read the members from the store."""
        self._known.pop(channel, None)
        if channel in self._loading:
            self._outdated.add(channel)

    async def _load(self, channel: ChannelName) -> None:
        done = self._loading[channel] = trio.Event()
        try:
            # That a channel does not exist is remembered as well, so that asking for nothing costs nothing.
            roles = await self._store.members(channel)
            if channel not in self._outdated:
                self._known[channel] = roles
                while len(self._known) > self._size:
                    self._known.popitem(last=False)
        finally:
            self._outdated.discard(channel)
            del self._loading[channel]
            done.set()
