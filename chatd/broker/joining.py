"""Joins the broker on Redis with the rest of its node: hub, members, and the other nodes."""

from collections.abc import Callable, Collection

from chatd.broker import Deliver, Draft
from chatd.broker.redis import Local, RedisBroker
from chatd.cluster.cluster import ClusterNode
from chatd.config import Namespace
from chatd.counters import Counters
from chatd.groups import MEMBERS_KIND
from chatd.hub import Hub
from chatd.members import Members
from chatd.redis import RedisError
from chatd.rights import Denied, Directory
from chatd.settings import Settings
from protocol.codes import ErrorCode
from protocol.messages import Unsubscribed
from protocol.names import ChannelName, UserId
from storage import Store, StoreUnavailable
from storage.records import StoredMessage

# The rules of a channel whose namespace is configured no more: what is on its way into the store gets there.
_GONE = Namespace(history="durable")


def join_broker(
    cluster: ClusterNode,
    store: Store,
    settings: Settings,
    directory: Directory,
    members: Members,
    hub: Hub,
    counters: Counters,
    deliver: Deliver,
    told: Deliver,
    clock: Callable[[], float],
) -> RedisBroker:
    """Make the broker of a node among others. `told` takes what this node placed, when it is kept."""

    def rules(channel: ChannelName) -> Namespace:
        try:
            return directory.find(channel).namespace
        except Denied:
            return _GONE

    async def audience(channel: ChannelName) -> Collection[UserId]:
        address = directory.find(channel)
        return address.pair or list(await members.get(address))

    async def ask_version(channel: ChannelName) -> str:
        try:
            return await broker.members_version(channel)
        except RedisError as error:
            raise StoreUnavailable(str(error)) from error

    def arriving(message: StoredMessage) -> None:
        if message.kind == MEMBERS_KIND:
            members.forget(message.channel)

    def version_of(draft: Draft) -> str | None:
        return members.version(directory.find(draft.channel))

    local = Local(
        deliver, hub.channels.__contains__, lambda channel: _tell_lost(hub, channel), audience, hub.users.keys, arriving
    )
    broker = RedisBroker(
        cluster.servers,
        store,
        settings,
        rules,
        local,
        cluster,
        clock,
        counters.commit,
    )
    broker.appender.on_placed = told
    broker.appender.members_version = version_of
    broker.appender.on_members_changed = lambda draft: members.forget(draft.channel)
    members.ask_version = ask_version
    cluster.take_messages(broker.arrivals.take, broker.arrivals.lost)
    return broker


def _tell_lost(hub: Hub, name: ChannelName) -> None:
    """End the subscriptions of a channel of which messages were missed: whoever subscribes anew is told what it has."""
    channel = hub.channels.get(name)
    if channel is None:
        return
    event = Unsubscribed(channel=name, code=ErrorCode.UNAVAILABLE, reason="messages were missed: subscribe again")
    for session in [session for readers in channel.readers.values() for session in readers]:
        hub.unsubscribe(session, name)
        session.reply(event)
