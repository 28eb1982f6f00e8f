"""How a session begins: the token is verified, the cursors are resumed, and only then anything else is sent.

While cursors are resumed, events already come in: those of joined channels follow `connected` as they are; those of
member channels follow it too, unless they are among what the cursor brought.
"""

from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from chatd.accounts.principal import Principal
from chatd.accounts.tokens import TokenError, Tokens
from chatd.broker import RETRY_SECONDS, Recovery
from chatd.broker.logs import TooManyChannels
from chatd.event import message_event
from chatd.hooks.hooks import Hooks
from chatd.hub import Hub
from chatd.outlet import State
from chatd.reading import Reading
from chatd.rights import Denied, Directory
from chatd.session import Session
from chatd.subscribing import resume, resumed
from protocol.codes import CloseCode, ErrorCode
from protocol.messages import Connect, Connected, Cursor, Refresh, Refreshed
from protocol.names import ChannelName, UserId
from storage import StoreError

_log = structlog.get_logger("session")

_CLOSE_CODES = {
    ErrorCode.TOKEN_EXPIRED: CloseCode.TOKEN_EXPIRED,
    ErrorCode.REVOKED: CloseCode.REVOKED,
    ErrorCode.UNAVAILABLE: CloseCode.UNAVAILABLE,
    ErrorCode.RATE_LIMITED: CloseCode.TOO_FAST,
}


class Greeting:
    """Handles `connect` and `refresh`."""

    def __init__(
        self, hub: Hub, tokens: Tokens, reading: Reading, directory: Directory, clock: Callable[[], float]
    ) -> None:
        self._hub = hub
        self._tokens = tokens
        self._reading = reading
        self._directory = directory
        self._clock = clock  # Unix seconds
        self.hooks: Hooks | None = None  # set by the node, if a backend is asked who may connect
        self.settle: Callable[[UserId], Awaitable[None]] | None = None
        """Waits until other nodes send here what they have for a user; set by the node, if there are others. Only then
        cursors are resumed, so that nothing falls in between."""

    async def on_connect(self, session: Session, command: Connect) -> None:
        """Let the session in and resume its cursors, or close it."""
        if session.state is not State.GREETING:
            raise Denied(ErrorCode.ALREADY_CONNECTED, "this session is connected")
        limits = self._hub.settings.limits
        if len(command.cursors) > limits.cursors:
            raise Denied(ErrorCode.BAD_REQUEST, f"`connect` may have {limits.cursors} cursors")
        try:
            principal = await self._verify(command.token, command.device)
        except TokenError as error:
            self._turn_away(session, command, error.code, error.reason)
            return
        if self.hooks is not None:
            try:
                session.attributes = await self.hooks.connect(session, principal)
            except Denied as error:
                self._turn_away(session, command, error.code, str(error))
                return
        session.flush()  # answers to what came before this command
        if not session.is_open:
            return  # closed while an outside issuer's keys were fetched or a backend was asked, or just now
        early = session.begin_resume()
        self._hub.welcome(session, principal)
        try:
            if self.settle is not None:
                await self.settle(principal.user)
            recover = partial(self._recover, session, principal)
            found, lost = await resume(command.cursors, self._hub.settings.limits.recover_bytes, recover)
        except (StoreError, TooManyChannels) as error:
            session.end_resume([])
            self._turn_away(session, command, ErrorCode.UNAVAILABLE, str(error))
            return
        encoding = session.format.codec.encoding
        late = [
            message_event(message, encoding)
            for message in early
            if message.channel not in found or message.seq > found[message.channel].seq
        ]
        session.end_resume([self._connected(session, principal, command, found), *lost, *late])
        _log.info(
            "session opened",
            session=session.id,
            user=principal.user,
            device=principal.device,
            address=session.link.address,
            resumed=len(found),
        )

    async def on_refresh(self, session: Session, principal: Principal, command: Refresh) -> None:
        """Take a newer token of the same user."""
        try:
            newer = await self._verify(command.token, principal.device)
        except TokenError as error:
            raise Denied(error.code, error.reason) from error
        if (newer.user, newer.device) != (principal.user, principal.device):
            raise Denied(ErrorCode.BAD_TOKEN, "the token is another user's or device's")
        session.principal = newer
        session.expires_at = newer.expires_at
        session.reply(Refreshed(id=command.id, expires=_milliseconds(newer.expires_at)))

    async def _verify(self, token: str, device: str) -> Principal:
        counters = self._hub.counters
        try:
            principal = await self._tokens.verify(token, device)
        except TokenError as error:
            counters.auth_failures[error.code.name.lower()] += 1
            raise
        if principal.is_guest and not self._hub.settings.config.auth.guests:
            counters.auth_failures["guest"] += 1
            raise TokenError(ErrorCode.BAD_TOKEN, "guests are not let in")
        counters.auth_successes["token"] += 1
        return principal

    async def _recover(self, session: Session, principal: Principal, name: str, cursor: Cursor) -> Recovery:
        address = self._directory.find(name)
        if address.is_member_channel:
            return await self._reading.missed(principal, address, cursor)
        if len(session.subscriptions or ()) >= self._hub.settings.limits.subscriptions:
            raise Denied(ErrorCode.TOO_MANY_SUBSCRIPTIONS, "a session may not have more subscriptions")
        return await self._reading.subscribe(session, principal, address, cursor)

    def _turn_away(self, session: Session, command: Connect, code: ErrorCode, reason: str) -> None:
        retry_after = RETRY_SECONDS if code is ErrorCode.UNAVAILABLE else None
        session.reply_error(command.id, code, reason, retry_after)
        session.close(_CLOSE_CODES.get(code, CloseCode.UNAUTHORIZED), reason)

    def _connected(
        self, session: Session, principal: Principal, command: Connect, found: dict[ChannelName, Recovery]
    ) -> Connected:
        return Connected(
            id=command.id,
            user=principal.user,
            device=principal.device,
            session=session.id,
            time=int(self._clock() * 1000),
            ping_seconds=self._hub.settings.config.websocket.ping_seconds,
            expires=_milliseconds(principal.expires_at),
            resumed=resumed(found, session.format.codec.encoding),
        )


def _milliseconds(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * 1000
