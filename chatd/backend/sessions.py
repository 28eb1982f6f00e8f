"""Sessions of users, seen and changed by backends: listed, ended, subscribed and unsubscribed."""

from chatd.accounts.accounts import Accounts
from chatd.backend.actions import BackendAction
from chatd.backend.audit import Audit
from chatd.backend.caller import Caller
from chatd.cluster.orders import Answer, End, Find, Join, Kick, Order, Others, end, find, kick, of_user
from chatd.hub import Hub
from chatd.outlet import State
from chatd.reading import Reading
from chatd.rights import Action, Address, Denied, Directory, require_backend
from chatd.session import Session
from protocol.codes import CloseCode, ErrorCode
from protocol.messages import SessionState, Subscribed
from protocol.names import ChannelName, DeviceId, UserId, is_user_id

REASON = "a backend ended this session"


class Sessions:
    """Sees and changes sessions, on all nodes. Raises `Denied`, `AccountError` and `StoreError`."""

    def __init__(self, hub: Hub, reading: Reading, directory: Directory, accounts: Accounts, audit: Audit) -> None:
        self._hub = hub
        self._reading = reading
        self._directory = directory
        self._accounts = accounts
        self._audit = audit
        self.remote: Others | None = None  # set by the node, if there are others

    async def page(self, caller: Caller, user: str | None, after: str, limit: int) -> tuple[list[SessionState], bool]:
        """Return sessions, of one user or of all, by their ids after `after`, and whether there are more."""
        caller.require(BackendAction.SESSIONS)
        order = Find(user=user or "", after=after, limit=limit + 1)
        found = find(self._hub, order)
        for answer in await self._elsewhere(order):
            found += answer.sessions
        found.sort(key=lambda one: one.session)
        return found[:limit], len(found) > limit

    async def disconnect(
        self, caller: Caller, *, user: str = "", session: str = "", reconnect: bool = False, reason: str = ""
    ) -> int:
        """End one session, or all of a user; return how many there were.

        Raises:
            Denied: NOT_FOUND if the session is not there; a user may have none.
        """
        caller.require(BackendAction.SESSIONS_CHANGE)
        if bool(user) == bool(session):
            raise Denied(ErrorCode.BAD_REQUEST, "give `user` or `session`")
        code = CloseCode.ENDED if reconnect else CloseCode.DISMISSED
        order = End(user=user, session=session, code=code, reason=reason or REASON)
        count = end(self._hub, order)
        if not session or not count:
            count += sum(answer.count for answer in await self._elsewhere(order))
        if session and not count:
            raise Denied(ErrorCode.NOT_FOUND, "there is no such session")
        await self._audit.note(caller, "session.end", user or session, sessions=count, reconnect=reconnect)
        return count

    async def close_all(self, user: UserId) -> None:
        """Close every session of a user whose account is suspended.

        Also those of devices that the store does not know: an outside issuer signs tokens of its own.
        """
        order = End(user=user, code=CloseCode.REVOKED, reason="this account was suspended")
        end(self._hub, order)
        await self._elsewhere(order)

    async def revoke(self, caller: Caller, user: str, device: str | None) -> int:
        """Revoke one device of a user or (None) all of them, which closes their sessions; return how many."""
        caller.require(BackendAction.SESSIONS_CHANGE)
        if not is_user_id(user):
            raise Denied(ErrorCode.UNKNOWN_USER, "that is no user id")
        count = 1
        if device is None:
            count = await self._accounts.revoke_all(user)
        else:
            await self._accounts.revoke_device(user, DeviceId(device))
        await self._audit.note(caller, "device.revoke", user, device=device or "*", devices=count)
        return count

    async def subscribe(self, caller: Caller, user: str, channel: str) -> int:
        """Subscribe every session of a user to a channel; return how many were not yet.

        Those that have no room for one more are passed over.
        """
        address = self._subscribable(caller, channel)
        count = await self.subscribe_here(UserId(user), address.name)
        order = Join(user=UserId(user), channel=address.name)
        count += sum(answer.count for answer in await self._elsewhere(order))
        await self._audit.note(caller, "session.subscribe", user, channel=address.name, sessions=count)
        return count

    async def unsubscribe(self, caller: Caller, user: str, channel: str) -> int:
        """End the subscriptions of a user to a channel; return how many sessions had one."""
        address = self._subscribable(caller, channel)
        order = Kick(user=UserId(user), channel=address.name, reason="a backend ended it")
        count = kick(self._hub, order) + sum(answer.count for answer in await self._elsewhere(order))
        await self._audit.note(caller, "session.unsubscribe", user, channel=address.name, sessions=count)
        return count

    def _subscribable(self, caller: Caller, channel: str) -> Address:
        address = self._directory.find(channel)
        caller.require_in(BackendAction.SESSIONS_CHANGE, address)
        require_backend(Action.READ, address)
        if address.is_member_channel:
            raise Denied(ErrorCode.FORBIDDEN, "members get this channel without subscribing")
        return address

    async def subscribe_here(self, user: UserId, channel: ChannelName) -> int:
        """Subscribe every session that a user has on this node; return how many were not yet."""
        address = self._directory.find(channel)
        count = 0
        for session in of_user(self._hub, user):
            held = session.subscriptions or {}
            if session.state is not State.READY or address.name in held:
                continue
            if len(held) < self._hub.settings.limits.subscriptions:
                await join(self._reading, session, address)
                count += 1
        return count

    async def _elsewhere(self, order: Order) -> list[Answer]:
        """Let the other nodes do the same; nothing if there are none."""
        return await self.remote.everywhere_else(order) if self.remote is not None else []


async def join(reading: Reading, session: Session, address: Address) -> None:
    """Subscribe a session that did not ask for it, and tell it."""
    recovery = await reading.join(session, address, None)
    session.reply(Subscribed(channel=address.name, epoch=recovery.epoch, seq=recovery.seq, recovered=True, messages=[]))
