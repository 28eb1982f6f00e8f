"""Who belongs to which member channel: read from the store once, then kept up to date by the changes themselves.

With many nodes each change is a message of the channel, and the place of the newest change is the version of the
members. A node that has members' sessions gets the message and reads the store again. One that has none may know an old
version: whoever asks for rights has it compared, and whoever writes says it with the message, which is refused if it is
not the newest.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping

import trio

from chatd.rights import Address
from protocol.names import ChannelName, UserId
from storage import Store
from storage.records import Role

Roles = Mapping[UserId, Role]

# A node that dies between changing the members and saying so leaves others with the old ones for this long.
_BELIEVED_SECONDS = 60.0


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
        self.ask_version: Callable[[ChannelName], Awaitable[str]] | None = None
        """Returns the newest version of a channel's members; None with one node, whose memory is always the newest."""
        self._versions: dict[ChannelName, tuple[str, float]] = {}  # of those known, and until when they are believed

    def __len__(self) -> int:
        return len(self._known)

    def known(self, address: Address) -> Roles | None:
        """Return the members if they are in memory. Never waits."""
        if address.namespace.members == 1:
            return {UserId(address.rest): Role.OWNER}
        roles = self._known.get(address.name)
        if roles is None:
            return None
        if self.ask_version is not None and address.pair is None:
            version = self._versions.get(address.name)
            if version is None or version[1] < trio.current_time():
                return None
        self._known.move_to_end(address.name)
        return roles

    def version(self, address: Address) -> str | None:
        """Return the version of the members that are in memory; None where members never change, or are not known."""
        if address.pair is not None or address.namespace.members == 1:
            return None
        version = self._versions.get(address.name)
        return version[0] if version is not None else None

    async def get(self, address: Address) -> Roles:
        """Return the members as they are now; empty when nobody made the channel."""
        if self.ask_version is not None and address.pair is None and address.namespace.members > 1:
            known = self._versions.get(address.name)
            if known is not None and await self.ask_version(address.name) != known[0]:
                self.forget(address.name)
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
        self._versions.pop(channel, None)
        if channel in self._loading:
            self._outdated.add(channel)

    async def _load(self, channel: ChannelName) -> None:
        done = self._loading[channel] = trio.Event()
        try:
            version = await self.ask_version(channel) if self.ask_version is not None else ""
            # That a channel does not exist is remembered as well, so that asking for nothing costs nothing.
            roles = await self._store.members(channel)
            if channel not in self._outdated:
                self._known[channel] = roles
                if self.ask_version is not None:
                    self._versions[channel] = (version, trio.current_time() + _BELIEVED_SECONDS)
                while len(self._known) > self._size:
                    gone, _ = self._known.popitem(last=False)
                    self._versions.pop(gone, None)
        finally:
            self._outdated.discard(channel)
            del self._loading[channel]
            done.set()
