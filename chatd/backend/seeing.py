"""What backends may see: history, who is there, what channels are, and the namespaces in force."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from chatd.backend.actions import BackendAction
from chatd.backend.caller import Caller
from chatd.broker import Broker
from chatd.cluster.orders import FindChannels, OpenChannel, Others, find_channels
from chatd.groups import Groups
from chatd.hub import Hub
from chatd.reading import ChannelPresence, Reading
from chatd.rights import Action, Address, Denied, Directory, require_backend
from chatd.settings import Settings
from protocol.codes import ErrorCode
from protocol.messages import UserState
from protocol.names import ChannelName, Epoch, Seq
from storage.records import StoredMessage


class ChannelInfo(msgspec.Struct, frozen=True):
    """What a channel is, and where it stands. `members` is null in subscribed channels.

    `sessions` are subscribed, on all nodes; `epoch` and `seq` are the place of its newest message.
    """

    channel: ChannelName
    namespace: str
    delivery: str
    history: str
    members: int | None
    sessions: int
    epoch: Epoch
    seq: Seq


class Seeing:
    """Answers what callers may see; raises `Denied` where they may not, `StoreError` where the store fails."""

    def __init__(self, hub: Hub, reading: Reading, groups: Groups, directory: Directory, settings: Settings) -> None:
        self._hub = hub
        self._reading = reading
        self._groups = groups
        self._directory = directory
        self._settings = settings
        self.broker: Broker  # set by the node
        self.remote: Others | None = None  # set by the node, if there are others

    def readable(self, caller: Caller, channel: str) -> Address:
        """Return the address of a channel whose messages the caller may read."""
        address = self._directory.find(channel)
        caller.require_in(BackendAction.HISTORY, address)
        require_backend(Action.READ, address)
        return address

    async def history(
        self, caller: Caller, channel: str, *, before: int | None, after: int | None, limit: int
    ) -> tuple[list[StoredMessage], bool]:
        """Return a page of a channel in rising seq, and whether there is more in its direction."""
        address = self.readable(caller, channel)
        return await self._reading.page(address, before=before, after=after, limit=limit)

    async def presence(self, caller: Caller, users: Sequence[str]) -> list[UserState]:
        """Return the states of users, in the order asked for."""
        caller.require(BackendAction.PRESENCE)
        return await self._reading.states(list(users))

    async def channel_presence(self, caller: Caller, channel: str) -> ChannelPresence:
        """Return who is in a channel."""
        address = self._directory.find(channel)
        caller.require_in(BackendAction.PRESENCE, address)
        return await self._reading.there(address)

    async def channel(self, caller: Caller, channel: str) -> ChannelInfo:
        """Return what a channel is, and where it stands."""
        address = self._directory.find(channel)
        caller.require_in(BackendAction.CHANNELS, address)
        members = len(await self._groups.roles_of(address)) if address.is_member_channel else None
        if members == 0:
            raise Denied(ErrorCode.UNKNOWN_CHANNEL, "nobody made this channel")
        recovery = await self.broker.recover(address.name, None, _stay)
        is_joined = not address.is_member_channel
        found = await self._open(FindChannels(channel=address.name)) if is_joined else Counter[ChannelName]()
        return ChannelInfo(
            channel=address.name,
            namespace=address.namespace_name,
            delivery=address.namespace.delivery,
            history=address.namespace.history,
            members=members,
            sessions=found[address.name],
            epoch=recovery.epoch,
            seq=recovery.seq,
        )

    async def channels(
        self, caller: Caller, namespace: str | None, after: str, limit: int
    ) -> tuple[list[OpenChannel], bool]:
        """Return channels that have subscribers on any node, by name after `after`, and whether there are more."""
        caller.require(BackendAction.CHANNELS)
        spaces = None if caller.namespaces is None else sorted(caller.namespaces)
        if namespace is not None:
            spaces = [namespace] if spaces is None or namespace in spaces else []
        found = await self._open(FindChannels(namespaces=spaces, after=after, limit=limit + 1))
        names = sorted(found)
        return [OpenChannel(name, found[name]) for name in names[:limit]], len(names) > limit

    async def _open(self, order: FindChannels) -> Counter[ChannelName]:
        """Return how many sessions are subscribed to channels, on all nodes together."""
        found: Counter[ChannelName] = Counter()
        answers = await self.remote.everywhere_else(order) if self.remote is not None else []
        for channels in (find_channels(self._hub, order), *(answer.channels for answer in answers)):
            found.update({one.channel: one.sessions for one in channels})
        return found

    def namespaces(self, caller: Caller) -> dict[str, object]:
        """Return the namespaces in force, with every key."""
        caller.require(BackendAction.CONFIG)
        allowed = caller.namespaces
        return {
            name: msgspec.to_builtins(space)
            for name, space in sorted(self._settings.namespaces.items())
            if allowed is None or name in allowed
        }


def _stay() -> None:
    """Join nothing: only the place is wanted."""
