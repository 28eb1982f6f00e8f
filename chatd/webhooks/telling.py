"""What the parts of the node tell webhooks: plain calls that return at once, and cost nothing for what nobody wants."""

from collections.abc import Callable, Sequence

import msgspec

from chatd.broker import Deliver, Routed
from chatd.config import Config, EventType
from chatd.groups import MEMBERS_KIND
from chatd.push.jobs import DevicePush
from chatd.webhooks.departures import Departing
from chatd.webhooks.events import Data, DeliveryFailed, Happened, Moderation, message_id
from chatd.webhooks.gatherer import Gatherer
from chatd.webhooks.routes import Routes
from protocol.body import Encoding
from protocol.messages import UserState
from protocol.names import DeviceId, UserId
from storage.records import StoredMessage

_SIZE_OF_EVENT = 300  # bytes of an event besides what an application put into it


class _Members(msgspec.Struct):
    """The body of a message of kind "members", as far as it matters here."""

    remove: list[str] = []


class Telling:
    """Turns what happened into events for the gatherer, if any endpoint wants them."""

    def __init__(
        self,
        config: Config,
        routes: Routes,
        gatherer: Gatherer,
        departures: Departing | None,
        clock: Callable[[], float],
        new_id: Callable[[], str],
    ) -> None:
        self.departures = departures
        self._routes = routes
        self._gatherer = gatherer
        self._clock = clock  # Unix seconds
        self._new_id = new_id
        self._wanted = frozenset(event for route in routes.all for event in route.events)
        self.reload(config)

    def reload(self, config: Config) -> None:
        """Go on with other namespaces."""
        self._published = self._routes.namespaces("message.published", config.namespaces)
        self._removed = self._routes.namespaces("moderation.removed", config.namespaces)

    def tell(self, type_: EventType, subject: str, data: Data) -> None:
        """Tell what happened to a user or channel, now."""
        if type_ in self._wanted:
            namespace, colon, _ = subject.partition(":")
            happened = Happened(self._new_id(), type_, self._now(), subject, data, namespace if colon else "")
            self._gatherer.tell(happened, _SIZE_OF_EVENT)

    def tapped(self, deliver: Deliver) -> Deliver:
        """Return what delivers messages and tells them; `deliver` itself if nobody wants to know.

        What it is given must be what this node placed, or finished for a dead one: what others placed, they tell.
        """
        if not self._wanted & {"message.published", "moderation.removed"}:
            return deliver

        def deliver_and_tell(placed: Sequence[tuple[StoredMessage, Routed]]) -> None:
            deliver(placed)
            self.placed([message for message, _ in placed])

        return deliver_and_tell

    def placed(self, messages: Sequence[StoredMessage]) -> None:
        """Tell messages that this node gave their places, in the order of their seqs."""
        for message in messages:
            namespace = message.channel.partition(":")[0]
            if namespace in self._published:
                happened = Happened(
                    message_id(message), "message.published", message.at, message.channel, message, namespace
                )
                self._gatherer.tell(happened, _SIZE_OF_EVENT + len(message.body))
            if message.kind == MEMBERS_KIND and namespace in self._removed:
                self._tell_removed(message)

    def departed(self, change: UserState) -> None:
        """Tell that a user is offline. Called by presence once for each departure."""
        if self.departures is not None:
            self.departures.departed(change.user, change.last_seen or self._now())

    def suspended(self, user: UserId, by: str = "", reason: str = "") -> None:
        """Tell that an account is let in no more."""
        self.tell("moderation.suspended", user, Moderation(user=user, by=by, reason=reason))

    def revoked(self, user: UserId, device: DeviceId, by: str = "") -> None:
        """Tell that a device is let in no more."""
        self.tell("moderation.revoked", user, Moderation(user=user, by=by, device=device))

    def push_given_up(self, push: DevicePush, reason: str) -> None:
        """Tell that a push was given up."""
        token, content = push.token, push.content
        failed = DeliveryFailed(
            user=token.user,
            device=token.device,
            provider=token.provider,
            channel=content.channel,
            seq=content.seq,
            reason=reason,
        )
        self.tell("delivery.failed", token.user, failed)

    def _tell_removed(self, message: StoredMessage) -> None:
        """Tell who was taken out of a member channel by somebody else, as its own message says."""
        members = msgspec.json.decode(message.body.as_encoding(Encoding.JSON), type=_Members)
        for user in members.remove:
            if user != message.sender:
                removed = Moderation(user=user, by=message.sender, channel=message.channel)
                self.tell("moderation.removed", message.channel, removed)

    def _now(self) -> int:
        return int(self._clock() * 1000)
