"""What each command but `send` does: one method a command. `send` has the router (chatd/router.py) to itself."""

from typing import assert_never

from chatd.accounts.principal import Principal
from chatd.accounts.subscription_tokens import SubscriptionTokens
from chatd.accounts.tokens import TokenError
from chatd.backend.handlers import ServerSessions
from chatd.backend.key_text import is_key_text
from chatd.broker import RETRY_SECONDS
from chatd.broker.logs import TooManyChannels
from chatd.conversations import Conversations
from chatd.event import message_event
from chatd.greeting import Greeting
from chatd.groups import Groups
from chatd.hub import Hub
from chatd.presence import Tracker
from chatd.reading import Reading
from chatd.reads import ReadMarks
from chatd.rights import Action, Address, Denied, Directory, require_backend
from chatd.router import Router
from chatd.session import Session
from chatd.subscribing import check_another, subscribed, within
from protocol.codes import ErrorCode
from protocol.messages import (
    AnyCommand,
    Broadcast,
    Channels,
    ChannelsAnswer,
    Connect,
    Create,
    Disconnect,
    History,
    HistoryPage,
    Invite,
    Members,
    MembersAnswer,
    Ok,
    Ping,
    Presence,
    PresenceAnswer,
    Read,
    Refresh,
    Remove,
    Send,
    Sessions,
    Status,
    Subscribe,
    SubscribeUser,
    Unsubscribe,
    UnsubscribeUser,
)
from protocol.names import ChannelName
from storage import StoreError
from storage.records import Role


class Handlers:
    """Runs commands and answers them. What the client may not do or the store cannot do is answered here."""

    def __init__(
        self,
        hub: Hub,
        router: Router,
        greeting: Greeting,
        reading: Reading,
        reads: ReadMarks,
        conversations: Conversations,
        groups: Groups,
        directory: Directory,
        tracker: Tracker,
        backends: ServerSessions,
        leaves: SubscriptionTokens,
    ) -> None:
        self.send = router.send
        self.send_at_once = router.send_at_once
        self._hub = hub
        self._greeting = greeting
        self._reading = reading
        self._reads = reads
        self._conversations = conversations
        self._groups = groups
        self._directory = directory
        self._tracker = tracker
        self._backends = backends
        self._leaves = leaves

    async def handle(self, session: Session, command: AnyCommand) -> None:
        """Run one command and answer it."""
        self._hub.counters.commands[type(command).__name__.lower()] += 1
        try:
            await self._dispatch(session, command)
        except Denied as error:
            session.reply_error(command.id, error.code, str(error))
        except (TooManyChannels, StoreError) as error:
            session.reply_error(command.id, ErrorCode.UNAVAILABLE, str(error), RETRY_SECONDS)

    async def _dispatch(self, session: Session, command: AnyCommand) -> None:
        if session.caller is not None:
            await self._backends.handle(session, session.caller, command)
            return
        if isinstance(command, Connect):
            begin = self._backends if is_key_text(command.token) else self._greeting
            await begin.on_connect(session, command)
            return
        principal = session.principal
        if principal is None:
            raise Denied(ErrorCode.NOT_CONNECTED, "say `connect` first")
        match command:
            case Ping():
                session.reply(Ok(id=command.id))
            case Refresh():
                await self._greeting.on_refresh(session, principal, command)
            case Subscribe():
                await self.on_subscribe(session, principal, command)
            case Unsubscribe():
                self.on_unsubscribe(session, command)
            case History():
                await self.on_history(session, principal, command)
            case Presence():
                await self.on_presence(session, principal, command)
            case Status():
                self._tracker.status(principal.user, session.id, "away" if command.state == "away" else "online")
                session.reply(Ok(id=command.id))
            case Channels():
                await self.on_channels(session, principal, command)
            case Read():
                await self._reads.read(principal, self._directory.find(command.channel), command.seq, session.id)
                session.reply(Ok(id=command.id))
            case Create():
                await self._groups.create(principal, self._directory.find(command.channel), command.members)
                session.reply(Ok(id=command.id))
            case Members():
                await self.on_members(session, principal, command)
            case Invite():
                address = self._directory.find(command.channel)
                await self._groups.invite(principal, address, command.users, Role(command.role))
                session.reply(Ok(id=command.id))
            case Remove():
                await self._groups.remove(principal, self._directory.find(command.channel), command.users)
                session.reply(Ok(id=command.id))
            case Broadcast() | Sessions() | Disconnect() | SubscribeUser() | UnsubscribeUser():
                raise Denied(ErrorCode.FORBIDDEN, "this command is for server sessions")
            case Send():  # the session gives these to the router
                await self.send(session, [command], self._hub.monotonic())
            case _:
                assert_never(command)

    async def on_subscribe(self, session: Session, principal: Principal, command: Subscribe) -> None:
        """Let the session read a channel, from its cursor on."""
        address = self._directory.find(command.channel)
        limits = self._hub.settings.limits
        check_another(session, address.name, limits.subscriptions)
        if command.token:
            await self._check_leave(principal, address, command.token)
            found = await self._reading.join(session, address, command.since)
        else:
            found = await self._reading.subscribe(session, principal, address, command.since)
        recovery = within(found, limits.recover_bytes)
        session.reply(subscribed(command, address.name, recovery, session.format.codec.encoding))

    async def _check_leave(self, principal: Principal, address: Address, token: str) -> None:
        """Return if a backend's token lets the user read the channel."""
        require_backend(Action.READ, address)
        try:
            await self._leaves.check(token, principal.user, address.name)
        except TokenError as error:
            raise Denied(error.code, error.reason) from error

    def on_unsubscribe(self, session: Session, command: Unsubscribe) -> None:
        """Let the session read a channel no more."""
        if not self._hub.unsubscribe(session, ChannelName(command.channel)):
            raise Denied(ErrorCode.NOT_SUBSCRIBED, "this session is not subscribed to it")
        session.reply(Ok(id=command.id))

    async def on_history(self, session: Session, principal: Principal, command: History) -> None:
        """Give a page of a channel's history."""
        address = self._directory.find(command.channel)
        messages, more = await self._reading.history(
            principal, address, before=command.before, after=command.after, limit=command.limit
        )
        encoding = session.format.codec.encoding
        page = [message_event(message, encoding) for message in messages]
        session.reply(HistoryPage(id=command.id, channel=address.name, messages=page, more=more))

    async def on_presence(self, session: Session, principal: Principal, command: Presence) -> None:
        """Tell who reads a channel, or in what state users are."""
        if (command.channel is None) == (command.users is None):
            raise Denied(ErrorCode.BAD_REQUEST, "ask for a `channel` or for `users`")
        if command.channel is not None:
            address = self._directory.find(command.channel)
            there = await self._reading.channel_presence(principal, address)
            answer = PresenceAnswer(id=command.id, channel=address.name, count=there.count, users=there.users)
        else:
            states = await self._reading.user_presence(principal, command.users or [])
            answer = PresenceAnswer(id=command.id, users=states)
        session.reply(answer)

    async def on_channels(self, session: Session, principal: Principal, command: Channels) -> None:
        """List a page of the user's member channels."""
        conversations, more = await self._conversations.page(
            principal.user, since=command.since, after=command.after, limit=command.limit
        )
        session.reply(ChannelsAnswer(id=command.id, channels=conversations, more=more))

    async def on_members(self, session: Session, principal: Principal, command: Members) -> None:
        """List the members of a channel."""
        address = self._directory.find(command.channel)
        if not address.is_member_channel:
            raise Denied(ErrorCode.FORBIDDEN, "this channel has no members")
        roles = await self._groups.roles(principal, address)
        members = {user: str(role) for user, role in roles.items()}
        session.reply(MembersAnswer(id=command.id, channel=address.name, members=members))
