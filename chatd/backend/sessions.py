"""Sessions of users, seen and changed by backends: listed, ended, subscribed and unsubscribed."""

from collections.abc import Iterable
from itertools import islice

from chatd.accounts.accounts import Accounts
from chatd.backend.actions import BackendAction
from chatd.backend.audit import Audit
from chatd.backend.caller import Caller
from chatd.hub import Hub
from chatd.reading import Reading
from chatd.rights import Action, Address, Denied, Directory, require_backend
from chatd.session import Session, State
from protocol.codes import CloseCode, ErrorCode
from protocol.messages import SessionState, Subscribed, Unsubscribed
from protocol.names import DeviceId, UserId, is_user_id

REASON = "a backend ended this session"


class Sessions:
    """Sees and changes the sessions of this node. Raises `Denied`, `AccountError` and `StoreError`."""

    def __init__(self, hub: Hub, reading: Reading, directory: Directory, accounts: Accounts, audit: Audit) -> None:
        self._hub = hub
        self._reading = reading
        self._directory = directory
        self._accounts = accounts
        self._audit = audit

    def page(self, caller: Caller, user: str | None, after: str, limit: int) -> tuple[list[SessionState], bool]:
        """Return sessions, of one user or of all, by their ids after `after`, and whether there are more."""
        caller.require(BackendAction.SESSIONS)
        mine: Iterable[Session] = self._hub.sessions.values() if user is None else self._of(user)
        found = sorted((one for one in mine if one.user is not None and one.id > after), key=lambda one: one.id)
        return [_state(session) for session in islice(found, limit)], len(found) > limit

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
        ending = self._of(user) if user else [self._one(session)]
        code = CloseCode.ENDED if reconnect else CloseCode.DISMISSED
        for one in ending:
            one.close(code, reason or REASON)
        await self._audit.note(caller, "session.end", user or session, sessions=len(ending), reconnect=reconnect)
        return len(ending)

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
        count = 0
        for session in self._of(user):
            held = session.subscriptions or {}
            if session.state is not State.READY or address.name in held:
                continue
            if len(held) < self._hub.settings.limits.subscriptions:
                await join(self._reading, session, address)
                count += 1
        await self._audit.note(caller, "session.subscribe", user, channel=address.name, sessions=count)
        return count

    async def unsubscribe(self, caller: Caller, user: str, channel: str) -> int:
        """End the subscriptions of a user to a channel; return how many sessions had one."""
        address = self._subscribable(caller, channel)
        count = 0
        for session in self._of(user):
            if self._hub.unsubscribe(session, address.name):
                count += 1
                session.reply(
                    Unsubscribed(channel=address.name, code=ErrorCode.FORBIDDEN, reason="a backend ended it")
                )
        await self._audit.note(caller, "session.unsubscribe", user, channel=address.name, sessions=count)
        return count

    def _subscribable(self, caller: Caller, channel: str) -> Address:
        address = self._directory.find(channel)
        caller.require_in(BackendAction.SESSIONS_CHANGE, address)
        require_backend(Action.READ, address)
        if address.is_member_channel:
            raise Denied(ErrorCode.FORBIDDEN, "members get this channel without subscribing")
        return address

    def _of(self, user: str) -> list[Session]:
        known = self._hub.users.get(UserId(user))
        return list(known.sessions) if known is not None else []

    def _one(self, session_id: str) -> Session:
        session = self._hub.sessions.get(session_id)
        if session is None or session.user is None:
            raise Denied(ErrorCode.NOT_FOUND, "there is no such session on this node")
        return session


async def join(reading: Reading, session: Session, address: Address) -> None:
    """Subscribe a session that did not ask for it, and tell it."""
    recovery = await reading.join(session, address, None)
    session.reply(Subscribed(channel=address.name, epoch=recovery.epoch, seq=recovery.seq, recovered=True, messages=[]))


def _state(session: Session) -> SessionState:
    principal = session.principal
    return SessionState(
        session=session.id,
        user=session.user.name if session.user is not None else UserId(""),
        device=principal.device if principal is not None else DeviceId(""),
        address=session.link.address,
    )
