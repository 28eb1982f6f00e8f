"""Apple's push service, against a server that is as strict as Apple's documentation."""

from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chatd.push import Delivered, Gone, Outcome, Rejected, Throttled, Unavailable
from chatd.push.apns import Apns
from chatd.push.apns_token import ApnsToken
from chatd.push.http import Http
from tests.chatd.push.conftest import Serve
from tests.chatd.push.tokens import APPLE_TOKEN, notification, push_token
from tests.fakes.hand_clock import HandClock
from tests.rig.push_servers.apns import ApnsService
from tests.rig.push_servers.http2 import json_reply

TOPIC = "org.example.chat"
KEY = ec.generate_private_key(ec.SECP256R1())


class Apple:
    """Apple's service, and what speaks to it."""

    def __init__(self, service: ApnsService, apns: Apns, clock: HandClock) -> None:
        self.service = service
        self.apns = apns
        self.clock = clock

    async def push(self, device: str = APPLE_TOKEN, **given: Any) -> Outcome:
        """Hand one over."""
        return await self.apns.send(notification(self.clock.now, **given), push_token("apns", device))


@pytest.fixture
async def apple(serve: Serve, http: Http, clock: HandClock) -> Apple:
    service = ApnsService(KEY.public_key(), "ABC1234567", "TEAM123456", TOPIC, clock)
    server = await serve(service.answer)
    token = ApnsToken(KEY, "ABC1234567", "TEAM123456", clock)
    return Apple(service, Apns(token, http, clock, TOPIC, server.url, "https://localhost:1"), clock)


async def test_an_alert_has_everything_that_is_shown(apple: Apple) -> None:
    assert await apple.push(badge=3, sound="default") == Delivered()
    [sent] = apple.service.delivered
    aps = sent["payload"]["aps"]
    assert aps == {
        "alert": {"title": "alice", "body": "hi"},
        "mutable-content": 1,
        "badge": 3,
        "sound": "default",
        "thread-id": "dm:alice:bob",
    }
    assert sent["payload"]["channel"] == "dm:alice:bob"
    assert (sent["headers"]["apns-priority"], sent["headers"]["apns-push-type"]) == ("10", "alert")
    assert sent["headers"]["apns-expiration"] == str(int(apple.clock.now) + 3600)


@pytest.mark.parametrize(
    ("kind", "topic", "priority"),
    [
        ("alert", TOPIC, "10"),
        ("background", TOPIC, "5"),
        ("voip", f"{TOPIC}.voip", "10"),
        ("liveactivity", f"{TOPIC}.push-type.liveactivity", "10"),
    ],
)
async def test_every_kind_has_its_topic_and_its_priority(apple: Apple, kind: str, topic: str, priority: str) -> None:
    state = msgspec.Raw(b'{"left":3}') if kind == "liveactivity" else None
    assert await apple.push(kind=kind, state=state) == Delivered()
    [sent] = apple.service.delivered
    assert (sent["headers"]["apns-topic"], sent["headers"]["apns-priority"]) == (topic, priority)
    if kind == "liveactivity":
        assert sent["payload"]["aps"]["content-state"] == {"left": 3}


@pytest.mark.parametrize(("priority", "number"), [("high", "10"), ("normal", "5"), ("low", "1")])
async def test_priorities_are_apples_numbers(apple: Apple, priority: str, number: str) -> None:
    await apple.push(priority=priority)
    assert apple.service.delivered[0]["headers"]["apns-priority"] == number


async def test_a_call_is_tried_only_now(apple: Apple) -> None:
    await apple.push(kind="voip")
    assert apple.service.delivered[0]["headers"]["apns-expiration"] == "0"


async def test_the_same_notification_has_the_same_ids_at_every_try_and_others_have_others(apple: Apple) -> None:
    long = "dm:" + "x" * 200
    for name in (long, long, "dm:other"):
        await apple.push(id=name)
    ids = [sent["headers"]["apns-id"] for sent in apple.service.delivered]
    collapses = [sent["headers"]["apns-collapse-id"] for sent in apple.service.delivered]
    assert ids[0] == ids[1] != ids[2]
    assert collapses[0] == collapses[1] != collapses[2] == "dm:other"


async def test_one_token_serves_for_all_and_is_made_anew_before_apple_refuses_it(apple: Apple) -> None:
    for _ in range(13):  # two hours
        assert await apple.push() == Delivered()
        assert await apple.push() == Delivered()
        apple.clock.advance(600)
    tokens = [sent["headers"]["authorization"] for sent in apple.service.delivered]
    assert len(set(tokens)) == 4


async def test_a_token_that_apple_finds_too_old_is_made_anew_once(apple: Apple) -> None:
    await apple.push()
    apple.clock.advance(30 * 60)
    apple.service.failures = [json_reply(403, {"reason": "ExpiredProviderToken"})]
    assert await apple.push() == Delivered()
    first, second = (sent["headers"]["authorization"] for sent in apple.service.delivered)
    assert first != second


async def test_a_new_token_is_not_made_earlier_than_apple_takes_it(apple: Apple) -> None:
    await apple.push()
    apple.service.failures = [json_reply(403, {"reason": "ExpiredProviderToken"})]
    assert await apple.push() == Unavailable("ExpiredProviderToken")
    assert await apple.push() == Delivered()


async def test_a_clock_that_was_put_back_makes_a_new_token(clock: HandClock) -> None:
    token = ApnsToken(KEY, "k", "t", clock)
    first = token.header()
    clock.advance(-60)
    assert token.header() != first


async def test_a_device_that_is_gone_says_since_when(apple: Apple) -> None:
    apple.service.unregistered[APPLE_TOKEN] = 1_700_000_000_000
    assert await apple.push() == Gone("Unregistered", 1_700_000_000_000)


async def test_what_is_no_token_is_gone(apple: Apple) -> None:
    assert await apple.push("nonsense") == Gone("BadDeviceToken")


@pytest.mark.parametrize(
    ("status", "reason", "outcome"),
    [
        (429, "TooManyRequests", Throttled("TooManyRequests", 7.0)),
        (500, "InternalServerError", Unavailable("InternalServerError", 7.0)),
        (503, "ServiceUnavailable", Unavailable("ServiceUnavailable", 7.0)),
        (503, "Shutdown", Unavailable("Shutdown", 7.0)),
        (403, "InvalidProviderToken", Unavailable("InvalidProviderToken")),
        (429, "TooManyProviderTokenUpdates", Unavailable("TooManyProviderTokenUpdates")),
        (400, "BadTopic", Rejected("BadTopic")),
        (400, "DeviceTokenNotForTopic", Rejected("DeviceTokenNotForTopic")),
        (410, "ExpiredToken", Gone("ExpiredToken")),
    ],
)
async def test_what_apple_says_is_understood(apple: Apple, status: int, reason: str, outcome: Outcome) -> None:
    apple.service.failures = [json_reply(status, {"reason": reason}, **{"retry-after": "7"})]
    assert await apple.push() == outcome


async def test_what_is_too_large_for_apple_is_not_sent(apple: Apple) -> None:
    assert await apple.push(body="x" * 5000) == Rejected("PayloadTooLarge")
    assert apple.service.delivered == []


async def test_a_development_build_goes_to_the_sandbox(apple: Apple) -> None:
    token = push_token("apns", APPLE_TOKEN, details={"environment": "sandbox"})
    outcome = await apple.apns.send(notification(apple.clock.now), token)
    assert isinstance(outcome, Unavailable)  # nobody listens there
    assert (apple.apns.circuit(token), apple.apns.circuit(push_token("apns"))) == ("apns-sandbox", "apns")
