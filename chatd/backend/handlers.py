"""Server sessions: a backend on a WebSocket, with the same operations as over HTTP and at the hub's speed.

`send` goes the way of users' sends (chatd/router.py), with `admit` in the place of a user's rights; all other commands
come here.
"""

from collections.abc import Callable, Sequence
from functools import partial

import structlog

from chatd.accounts.errors import AccountError
from chatd.accounts.tokens import TokenError
from chatd.backend.actions import BackendAction
from chatd.backend.caller import Caller
from chatd.backend.fanout import Fanout, expires_at
from chatd.backend.keys import ApiKeys
from chatd.backend.membership import Membership
from chatd.backend.publishing import NewEvent, Publishing
from chatd.backend.seeing import Seeing
from chatd.backend.sessions import Sessions
from chatd.backend.usage import Usage
from chatd.broker import Draft, Published, Recovery, Refused
from chatd.broker.logs import TooManyChannels
from chatd.event import message_event
from chatd.hub import Hub
from chatd.outlet import State
from chatd.reading import Reading
from chatd.rights import Denied
from chatd.session import Session
from chatd.subscribing import check_another, resume, resumed, subscribed, within
from protocol import messages
from protocol.body import BodyError, accept
from protocol.codes import CloseCode, ErrorCode
from protocol.messages import AnyCommand
from protocol.names import ChannelName, DeviceId
from storage import StoreError
from storage.records import Role

_log = structlog.get_logger("session")

_SESSIONS_LISTED = 1000


class ServerSessions:
    """Lets backends in and runs their commands. Raises `Denied` and `StoreError`, which the caller answers."""

    def __init__(
        self,
        hub: Hub,
        keys: ApiKeys,
        usage: Usage,
        publishing: Publishing,
        fanout: Fanout,
        seeing: Seeing,
        membership: Membership,
        sessions: Sessions,
        reading: Reading,
        clock: Callable[[], float],
    ) -> None:
        self._hub = hub
        self._keys = keys
        self._usage = usage
        self._publishing = publishing
        self._fanout = fanout
        self._seeing = seeing
        self._membership = membership
        self._sessions = sessions
        self._reading = reading
        self._clock = clock  # Unix seconds
        keys.on_ended.append(self._end)

    async def on_connect(self, session: Session, command: messages.Connect) -> None:
        """Let a backend in by its key, or close the session."""
        if session.state is not State.GREETING:
            raise Denied(ErrorCode.ALREADY_CONNECTED, "this session is connected")
        limits = self._hub.settings.limits
        if len(command.cursors) > limits.cursors:
            raise Denied(ErrorCode.BAD_REQUEST, f"`connect` may have {limits.cursors} cursors")
        counters = self._hub.counters
        try:
            caller = await self._keys.verify(command.token)
        except TokenError as error:
            counters.auth_failures[error.code.name.lower()] += 1
            session.reply_error(command.id, error.code, error.reason)
            session.close(_CLOSE_CODES.get(error.code, CloseCode.UNAUTHORIZED), error.reason)
            return
        if not session.is_open:
            return  # closed while the store was asked
        counters.auth_successes["key"] += 1
        session.flush()  # answers to what came before this command
        session.expires_at = self._keys.expires_at(caller.key_id)
        session.bucket = self._usage.session_bucket(caller)
        session.begin_resume()
        self._hub.welcome_backend(session, caller)
        recover = partial(self._recover, session, caller)
        found, lost = await resume(command.cursors, limits.recover_bytes, recover)
        session.end_resume([self._connected(session, caller, command, found), *lost])
        _log.info("server session opened", session=session.id, key=caller.key_id, address=session.link.address)

    async def _recover(self, session: Session, caller: Caller, name: str, cursor: messages.Cursor) -> Recovery:
        """Subscribe again to the channel of a cursor. A store that fails costs the backend this channel only."""
        if len(session.subscriptions or ()) >= self._hub.settings.limits.subscriptions:
            raise Denied(ErrorCode.TOO_MANY_SUBSCRIPTIONS, "a session may not have more subscriptions")
        try:
            return await self._reading.join(session, self._seeing.readable(caller, name), cursor)
        except (StoreError, TooManyChannels) as error:
            raise Denied(ErrorCode.UNAVAILABLE, str(error)) from error

    def _connected(
        self, session: Session, caller: Caller, command: messages.Connect, found: dict[ChannelName, Recovery]
    ) -> messages.Connected:
        return messages.Connected(
            id=command.id,
            user=caller.sender,
            device=DeviceId(caller.key_id),
            session=session.id,
            time=int(self._clock() * 1000),
            ping_seconds=self._hub.settings.config.websocket.ping_seconds,
            expires=None if session.expires_at is None else session.expires_at * 1000,
            resumed=resumed(found, session.format.codec.encoding),
        )

    def _end(self, key_id: str) -> None:
        """Close the sessions of a key that is not valid any more."""
        for session in list(self._hub.backends):
            if session.caller is not None and session.caller.key_id == key_id:
                session.close(CloseCode.REVOKED, "the API key is not valid any more")

    # Sending.

    async def admit(self, session: Session, caller: Caller, commands: Sequence[messages.Send]) -> list[Draft | Refused]:
        """Check what a backend sends; the rate of its key was taken from by the session."""
        if BackendAction.PUBLISH not in caller.actions:
            return [Refused(ErrorCode.FORBIDDEN, "this needs the action `publish`")] * len(commands)
        wait = await self._usage.of_day(caller, len(commands))
        if wait:
            return [Refused(ErrorCode.RATE_LIMITED, "the quota of this key is used up", wait)] * len(commands)
        encoding = session.format.codec.encoding
        now = self._clock()
        events: list[NewEvent] = []
        refused: dict[int, Refused] = {}
        for place, command in enumerate(commands):
            try:
                body = accept(encoding, bytes(command.data))
                ends = (
                    None
                    if command.ttl_seconds is None
                    else expires_at(now, command.ttl_seconds, self._fanout.most_days)
                )
            except (BodyError, Denied) as error:
                refused[place] = Refused(ErrorCode.BAD_REQUEST, str(error))
                continue
            events.append(NewEvent(command.channel, command.key, body, command.sender, command.retry, ends))
        drafts = await self._publishing.note_endings(await self._publishing.drafts(caller, events), events)
        if not refused:
            return drafts
        rest = iter(drafts)
        return [refused.get(place) or next(rest) for place in range(len(commands))]

    # All other commands.

    async def handle(self, session: Session, caller: Caller, command: AnyCommand) -> None:
        """Run one command and answer it."""
        try:
            session.reply(await self._run(session, caller, command))
        except AccountError as error:
            session.reply_error(command.id, error.code, error.reason, error.retry_after)

    async def _run(self, session: Session, caller: Caller, command: AnyCommand) -> messages.Event:
        match command:
            case messages.Ping():
                return messages.Ok(id=command.id)
            case messages.Broadcast():
                return await self._on_broadcast(session, caller, command)
            case messages.Subscribe():
                return await self._on_subscribe(session, caller, command)
            case messages.Unsubscribe():
                if not self._hub.unsubscribe(session, ChannelName(command.channel)):
                    raise Denied(ErrorCode.NOT_SUBSCRIBED, "this session is not subscribed to it")
                return messages.Ok(id=command.id)
            case messages.History():
                return await self._on_history(session, caller, command)
            case messages.Presence():
                return await self._on_presence(caller, command)
            case messages.Members() | messages.Create() | messages.Invite() | messages.Remove():
                return await self._on_members(caller, command)
            case messages.Sessions():
                listed, _ = await self._sessions.page(caller, command.user, "", _SESSIONS_LISTED)
                return messages.SessionsAnswer(id=command.id, sessions=listed)
            case messages.Disconnect():
                count = await self._sessions.disconnect(
                    caller,
                    user=command.user,
                    session=command.session,
                    reconnect=command.reconnect,
                    reason=command.reason,
                )
                return messages.Affected(id=command.id, sessions=count)
            case messages.SubscribeUser():
                count = await self._sessions.subscribe(caller, command.user, command.channel)
                return messages.Affected(id=command.id, sessions=count)
            case messages.UnsubscribeUser():
                count = await self._sessions.unsubscribe(caller, command.user, command.channel)
                return messages.Affected(id=command.id, sessions=count)
            case messages.Connect():
                raise Denied(ErrorCode.ALREADY_CONNECTED, "this session is connected")
            case _:
                raise Denied(ErrorCode.FORBIDDEN, "this command is not for server sessions")

    async def _on_broadcast(
        self, session: Session, caller: Caller, command: messages.Broadcast
    ) -> messages.Broadcasted:
        try:
            body = accept(session.format.codec.encoding, bytes(command.data))
        except BodyError as error:
            raise Denied(ErrorCode.BAD_REQUEST, str(error)) from error
        channels = await self._fanout.channels(caller, command.channels, command.users, command.member_of)
        events = self._fanout.events(
            channels, command.key, body, command.sender, command.retry, command.ttl_seconds, is_many=True
        )
        placed = await self._publishing.publish(caller, events)
        results = [_placed(event.channel, answer) for event, answer in zip(events, placed, strict=True)]
        return messages.Broadcasted(id=command.id, results=results)

    async def _on_subscribe(self, session: Session, caller: Caller, command: messages.Subscribe) -> messages.Subscribed:
        address = self._seeing.readable(caller, command.channel)
        limits = self._hub.settings.limits
        check_another(session, address.name, limits.subscriptions)
        recovery = within(await self._reading.join(session, address, command.since), limits.recover_bytes)
        return subscribed(command, address.name, recovery, session.format.codec.encoding)

    async def _on_history(self, session: Session, caller: Caller, command: messages.History) -> messages.HistoryPage:
        found, more = await self._seeing.history(
            caller, command.channel, before=command.before, after=command.after, limit=command.limit
        )
        encoding = session.format.codec.encoding
        return messages.HistoryPage(
            id=command.id,
            channel=ChannelName(command.channel),
            messages=[message_event(message, encoding) for message in found],
            more=more,
        )

    async def _on_presence(self, caller: Caller, command: messages.Presence) -> messages.PresenceAnswer:
        if (command.channel is None) == (command.users is None):
            raise Denied(ErrorCode.BAD_REQUEST, "ask for a `channel` or for `users`")
        if command.channel is not None:
            there = await self._seeing.channel_presence(caller, command.channel)
            channel = ChannelName(command.channel)
            return messages.PresenceAnswer(id=command.id, channel=channel, count=there.count, users=there.users)
        return messages.PresenceAnswer(id=command.id, users=await self._seeing.presence(caller, command.users or []))

    async def _on_members(
        self, caller: Caller, command: messages.Members | messages.Create | messages.Invite | messages.Remove
    ) -> messages.Event:
        match command:
            case messages.Members():
                roles = await self._membership.members(caller, command.channel)
                members = {user: str(role) for user, role in roles.items()}
                return messages.MembersAnswer(id=command.id, channel=ChannelName(command.channel), members=members)
            case messages.Create():
                owner_first = dict.fromkeys(command.members, Role.MEMBER)
                if command.members:
                    owner_first[command.members[0]] = Role.OWNER
                await self._membership.create(caller, command.channel, owner_first)
            case messages.Invite():
                put = dict.fromkeys(command.users, Role(command.role))
                await self._membership.change(caller, command.channel, put, ())
            case messages.Remove():
                await self._membership.change(caller, command.channel, {}, command.users)
        return messages.Ok(id=command.id)


_CLOSE_CODES = {ErrorCode.TOKEN_EXPIRED: CloseCode.TOKEN_EXPIRED, ErrorCode.REVOKED: CloseCode.REVOKED}


def _placed(channel: str, answer: Published | Refused) -> messages.Placed:
    if isinstance(answer, Refused):
        return messages.Placed(channel=channel, code=answer.code, reason=answer.reason, retry_after=answer.retry_after)
    place = answer.place
    return messages.Placed(channel=channel, epoch=place.epoch, seq=place.seq, at=place.at, duplicate=answer.duplicate)
