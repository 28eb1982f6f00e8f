"""Who is told what, and in which order."""

from chatd.config import EventType, WebhookEndpoint
from chatd.webhooks.events import ChannelOpened, Happened
from chatd.webhooks.routes import Route, Routes


def endpoint(*events: EventType, namespaces: tuple[str, ...] = (), concurrency: int = 4) -> WebhookEndpoint:
    return WebhookEndpoint(url="https://a.example/", events=events, namespaces=namespaces, concurrency=concurrency)


def opened(channel: str) -> Happened:
    namespace = channel.partition(":")[0]
    return Happened("i", "channel.opened", 1, channel, ChannelOpened(channel=channel), namespace)


def test_an_endpoint_is_told_what_it_asks_for() -> None:
    route = Route("a", endpoint("channel.opened", namespaces=("room",)))
    assert route.wants(opened("room:one"))
    assert not route.wants(opened("event:one"))
    assert not Route("a", endpoint("channel.emptied")).wants(opened("room:one"))


def test_without_namespaces_all_are_meant() -> None:
    assert Route("a", endpoint("channel.opened")).wants(opened("room:one"))


def test_a_subject_has_one_lane_on_every_node_and_subjects_are_spread() -> None:
    one, other = Route("a", endpoint(concurrency=4)), Route("a", endpoint(concurrency=4))
    users = [f"user{number}" for number in range(200)]
    assert [one.lane(user) for user in users] == [other.lane(user) for user in users]
    assert {one.lane(user) for user in users} == {"0", "1", "2", "3"}


def test_with_one_request_at_a_time_everything_is_in_one_order() -> None:
    assert {Route("a", endpoint(concurrency=1)).lane(f"user{number}") for number in range(50)} == {"0"}


def test_routes_know_what_anybody_wants() -> None:
    routes = Routes(
        {"a": endpoint("message.published", namespaces=("dm",)), "b": endpoint("message.published", "user.offline")}
    )
    assert routes.wants("user.offline", "delivery.failed")
    assert not routes.wants("delivery.failed")
    assert routes.namespaces("message.published", ["dm", "room"]) == {"dm", "room"}
    assert routes.namespaces("channel.opened", ["dm", "room"]) == frozenset()
