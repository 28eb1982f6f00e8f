"""What the hub says of sessions and channels, passed on to presence and told as events."""

from chatd.hub import Hub, Observer
from chatd.session import Session
from chatd.webhooks.events import ChannelEmptied, ChannelOpened, SessionConnected, SessionDisconnected, reason_of
from chatd.webhooks.telling import Telling
from protocol.names import ChannelName, UserId


class WebhookObserver:
    """Implements `chatd.hub.Observer` in front of another one: presence sees all that it would see without it."""

    def __init__(self, inner: Observer, hub: Hub, telling: Telling) -> None:
        self._inner = inner
        self._hub = hub
        self._telling = telling

    def session_opened(self, user: UserId, session_id: str) -> None:
        """Tell that a session was let in."""
        self._inner.session_opened(user, session_id)
        session = self._hub.sessions.get(session_id)
        if session is not None and session.principal is not None:
            connected = SessionConnected(
                user=user,
                device=session.principal.device,
                session=session_id,
                address=session.link.address,
                guest=session.principal.is_guest,
                attributes=session.attributes or {},
            )
            self._telling.tell("session.connected", user, connected)
        if self._telling.departures is not None:
            self._telling.departures.session_opened(user)

    def session_closed(self, user: UserId, session_id: str) -> None:
        """Tell that a session ended, and why."""
        session = self._hub.sessions.get(session_id)
        code = session.close_code if session is not None else None
        if self._telling.departures is not None:
            self._telling.departures.session_closed(user, session_id, code)
        if session is not None:
            self._telling.tell("session.disconnected", user, _disconnected(user, session, code))
        self._inner.session_closed(user, session_id)

    def channel_entered(self, channel: ChannelName, user: UserId) -> None:
        """Pass it on."""
        self._inner.channel_entered(channel, user)

    def channel_left(self, channel: ChannelName, user: UserId) -> None:
        """Pass it on."""
        self._inner.channel_left(channel, user)

    # Called by the hub for every subscribed channel, whoever reads it.

    def channel_used(self, channel: ChannelName, is_used: bool) -> None:
        """Tell that a channel got its first reader on this node, or lost its last one."""
        if is_used:
            self._telling.tell("channel.opened", channel, ChannelOpened(channel=channel))
        else:
            self._telling.tell("channel.emptied", channel, ChannelEmptied(channel=channel))


def _disconnected(user: UserId, session: Session, code: int | None) -> SessionDisconnected:
    return SessionDisconnected(
        user=user,
        device=session.principal.device if session.principal is not None else "",
        session=session.id,
        code=code,
        reason=reason_of(code),
        attributes=session.attributes or {},
    )
