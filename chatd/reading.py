"""Reading channels: subscribing from a cursor, pages of history, and who is there; for sessions and for HTTP."""

from functools import partial

import msgspec

from chatd.accounts.principal import Principal
from chatd.broker import Broker, Recovery
from chatd.groups import Groups
from chatd.hooks.hooks import Hooks
from chatd.hub import Hub
from chatd.presence import Tracker
from chatd.rights import Action, Address, Denied, require
from chatd.session import Session
from protocol.codes import ErrorCode
from protocol.messages import Cursor, UserState
from protocol.names import Epoch, Seq, UserId, is_user_id
from storage.records import StoredMessage

NO_EPOCH = Epoch("none")
"""Of channels whose events have no place."""


class ChannelPresence(msgspec.Struct, frozen=True):
    """How many users read a channel, and who, where it is small enough to say."""

    count: int
    users: list[UserState] | None


def _stay() -> None:
    """Join nothing: a member channel reaches its members without a subscription."""


class Reading:
    """Answers what principals may read. Raises `Denied` where they may not, `StoreError` where the store fails."""

    def __init__(self, hub: Hub, groups: Groups, tracker: Tracker) -> None:
        self._hub = hub
        self._groups = groups
        self._tracker = tracker
        self.broker: Broker  # set by the server
        self.hooks: Hooks | None = None  # set by the node, if a backend is asked who may subscribe

    async def check(self, principal: Principal, address: Address) -> None:
        """Return if the principal may read the channel."""
        if address.is_member_channel:
            await self._groups.roles(principal, address)
        else:
            require(principal, Action.READ, address, ())

    async def subscribe(
        self, session: Session, principal: Principal, address: Address, since: Cursor | None
    ) -> Recovery:
        """Let a session read a subscribed channel from now on; return what it missed since its cursor."""
        if not address.is_member_channel:
            await self.check(principal, address)
            if self.hooks is not None:
                await self.hooks.subscribe(session, principal, address)
        return await self.join(session, address, since)

    async def join(self, session: Session, address: Address, since: Cursor | None) -> Recovery:
        """Let a session read a subscribed channel whose reader was checked before; return what it missed."""
        if address.is_member_channel:
            raise Denied(ErrorCode.FORBIDDEN, "members get this channel without subscribing")
        join = partial(self._hub.subscribe, session, address.name, address.namespace)
        if address.namespace_name == "presence":
            # Nothing is numbered or kept there, and the node hears of every user anyway: watching asks nobody.
            join()
            return Recovery(NO_EPOCH, Seq(0), since is None, [])
        return await self.broker.recover(address.name, since, join)

    async def missed(self, principal: Principal, address: Address, since: Cursor) -> Recovery:
        """Return what came in a member channel after a cursor."""
        await self.check(principal, address)
        return await self.broker.recover(address.name, since, _stay)

    async def history(
        self, principal: Principal, address: Address, *, before: int | None, after: int | None, limit: int
    ) -> tuple[list[StoredMessage], bool]:
        """Return a page in rising seq, and whether there is more in its direction."""
        await self.check(principal, address)
        return await self.page(address, before=before, after=after, limit=limit)

    async def page(
        self, address: Address, *, before: int | None, after: int | None, limit: int
    ) -> tuple[list[StoredMessage], bool]:
        """Return a page of a channel whose reader was checked before, and whether there is more in its direction."""
        if before is not None and after is not None:
            raise Denied(ErrorCode.BAD_REQUEST, "give `before` or `after`, not both")
        if address.namespace.history == "none":
            raise Denied(ErrorCode.NO_HISTORY, "this channel keeps no history")
        limit = min(limit, self._hub.settings.limits.history_messages)
        messages = await self.broker.history(
            address.name,
            before=Seq(before) if before is not None else None,
            after=Seq(after) if after is not None else None,
            limit=limit + 1,
        )
        if len(messages) <= limit:
            return messages, False
        return (messages[:limit] if after is not None else messages[-limit:]), True

    async def channel_presence(self, principal: Principal, address: Address) -> ChannelPresence:
        """Return who reads a subscribed channel, or is a member of a member channel, and in what state."""
        await self.check(principal, address)
        return await self.there(address)

    async def there(self, address: Address) -> ChannelPresence:
        """Return who is in a channel, to somebody who was checked before."""
        if address.is_member_channel:
            members = list(await self._groups.roles_of(address))
            listed = len(members) <= self._hub.settings.config.presence.list_users
            states = await self._tracker.states(members) if listed else None
            return ChannelPresence(len(members), states)
        if address.namespace.presence == "none":
            raise Denied(ErrorCode.FORBIDDEN, "this channel does not tell who is there")
        readers = await self._tracker.readers(address.name)
        states = await self._tracker.states(readers.users) if readers.users is not None else None
        return ChannelPresence(readers.count, states)

    async def user_presence(self, principal: Principal, users: list[str]) -> list[UserState]:
        """Return the states of users, in the order asked for."""
        if principal.is_guest:
            raise Denied(ErrorCode.FORBIDDEN, "guests may not ask for users")
        return await self.states(users)

    async def states(self, users: list[str]) -> list[UserState]:
        """Return the states of users, to somebody who was checked before, in the order asked for."""
        if not all(map(is_user_id, users)):
            raise Denied(ErrorCode.UNKNOWN_USER, "that is no user id")
        return await self._tracker.states([UserId(user) for user in users])
