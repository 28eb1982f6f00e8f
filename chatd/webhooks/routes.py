"""Who wants to know what: from an event to the endpoints and lanes that it goes to."""

from collections.abc import Iterable, Mapping
from zlib import crc32

from chatd.config import EventType, WebhookEndpoint
from chatd.webhooks.events import Happened

QUEUE_PREFIX = "webhook:"


class Route:
    """One endpoint as a goal of events."""

    __slots__ = ("batch_events", "events", "is_gone", "lanes", "name", "namespaces", "queue")

    def __init__(self, name: str, endpoint: WebhookEndpoint) -> None:
        self.name = name
        self.queue = QUEUE_PREFIX + name
        self.events = frozenset(endpoint.events)
        self.namespaces = frozenset(endpoint.namespaces)  # empty: all
        self.lanes = endpoint.concurrency
        self.batch_events = endpoint.batch_events
        self.is_gone = False  # it answered 410: nothing is sent to it

    def wants(self, event: Happened) -> bool:
        """Tell whether the endpoint is to be told of the event."""
        return event.type in self.events and self.covers(event.namespace)

    def covers(self, namespace: str) -> bool:
        """Tell whether the endpoint is interested in a namespace; what belongs to none is for all."""
        return not namespace or not self.namespaces or namespace in self.namespaces

    def lane(self, subject: str) -> str:
        """Return the lane of a user or channel, the same on every node.

        As many lanes as there may be requests at the same time: more would cut batches into smaller ones.
        """
        return str(crc32(subject.encode()) % self.lanes)


class Routes:
    """All endpoints."""

    def __init__(self, endpoints: Mapping[str, WebhookEndpoint]) -> None:
        self.all = tuple(Route(name, endpoint) for name, endpoint in endpoints.items())

    def wants(self, *types: EventType) -> bool:
        """Tell whether any endpoint wants one of these types."""
        return any(not route.events.isdisjoint(types) for route in self.all)

    def namespaces(self, type_: EventType, known: Iterable[str]) -> frozenset[str]:
        """Return those of the known namespaces for which some endpoint wants this type."""
        return frozenset(
            name for name in known if any(type_ in route.events and route.covers(name) for route in self.all)
        )
