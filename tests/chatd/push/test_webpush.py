"""Web Push, against a push service that checks RFC 8030 and RFC 8292, and a browser that decrypts by RFC 8291."""

import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chatd.config import ConfigError
from chatd.push import Delivered, Gone, Outcome, Rejected, Throttled, Unavailable
from chatd.push.http import Http
from chatd.push.vapid import Vapid, load_key, load_or_make_key
from chatd.push.webpush import WebPush, is_endpoint, subscription_keys
from tests.chatd.push.conftest import Serve
from tests.chatd.push.tokens import notification, push_token
from tests.fakes.hand_clock import HandClock
from tests.rig.push_servers.http2 import Reply
from tests.rig.push_servers.webpush import Subscription, WebPushService, point, to_text

KEY = ec.generate_private_key(ec.SECP256R1())
HOSTS = ("fcm.googleapis.com", "*.push.services.mozilla.com", "localhost:444")


class Browser:
    """A push service with one subscription, and what pushes to it."""

    def __init__(self, service: WebPushService, subscription: Subscription, push: WebPush, clock: HandClock) -> None:
        self.service = service
        self.subscription = subscription
        self.webpush = push
        self.clock = clock

    async def push(self, **given: Any) -> Outcome:
        """Hand one over."""
        token = push_token("webpush", self.subscription.endpoint, details=self.subscription.details)
        return await self.webpush.send(notification(self.clock.now, **given), token)


@pytest.fixture
async def browser(serve: Serve, http: Http, clock: HandClock) -> Browser:
    service = WebPushService(clock)
    server = await serve(service.answer)
    service.origin = server.url
    vapid = Vapid(KEY, "mailto:ops@example.org", clock)
    subscription = service.subscribe(vapid.public_key)
    return Browser(service, subscription, WebPush(vapid, http, clock, [f"localhost:{server.port}"]), clock)


async def test_a_browser_reads_what_was_pushed(browser: Browser) -> None:
    assert await browser.push(badge=2, collapse="dm", priority="normal") == Delivered()
    [plain] = browser.subscription.received
    assert msgspec.json.decode(plain) == {
        "id": "dm:alice:bob/e/1/t",
        "kind": "alert",
        "title": "alice",
        "body": "hi",
        "tag": "dm",
        "badge": 2,
        "data": {"channel": "dm:alice:bob", "seq": "1"},
    }
    headers = browser.service.requests[0].headers
    assert (headers["ttl"], headers["urgency"], len(headers["topic"])) == ("3600", "normal", 32)


async def test_the_same_signature_serves_for_hours_and_never_longer_than_services_take(browser: Browser) -> None:
    for _ in range(14):
        assert await browser.push() == Delivered()
        browser.clock.advance(3600)
    assert len({request.headers["authorization"] for request in browser.service.requests}) == 3


async def test_a_subscription_that_is_over_is_gone(browser: Browser) -> None:
    browser.service.expired.update(browser.service.subscriptions)
    assert isinstance(await browser.push(), Gone)
    browser.service.subscriptions.clear()
    assert isinstance(await browser.push(), Gone)


@pytest.mark.parametrize(
    ("reply", "outcome"),
    [
        (Reply(429, b"slow", {"retry-after": "3"}), Throttled("429 slow", 3.0, everybody=True)),
        (Reply(500, b"oops"), Unavailable("500 oops")),
        (Reply(503, b"", {"retry-after": "4"}), Unavailable("503", 4.0)),
        (Reply(413, b"large"), Rejected("413 large")),
        (Reply(403, b"key"), Rejected("403 key")),
        (Reply(301, b"", {"location": "https://localhost:1/"}), Rejected("301")),
    ],
)
async def test_what_a_service_says_is_understood(browser: Browser, reply: Reply, outcome: Outcome) -> None:
    browser.service.failures = [reply]
    assert await browser.push() == outcome


async def test_a_service_refuses_what_another_server_signed(browser: Browser, http: Http) -> None:
    stranger = Vapid(ec.generate_private_key(ec.SECP256R1()), "mailto:x@example.org", browser.clock)
    webpush = WebPush(stranger, http, browser.clock, ["localhost:" + browser.service.origin.rpartition(":")[2]])
    token = push_token("webpush", browser.subscription.endpoint, details=browser.subscription.details)
    outcome = await webpush.send(notification(browser.clock.now), token)
    assert isinstance(outcome, Rejected)


async def test_what_is_too_large_is_not_sent(browser: Browser) -> None:
    outcome = await browser.push(body="x" * 4000)
    assert isinstance(outcome, Rejected)
    assert browser.service.requests == []


async def test_a_host_that_is_not_trusted_is_never_asked(http: Http, clock: HandClock) -> None:
    webpush = WebPush(Vapid(KEY, "mailto:x@example.org", clock), http, clock, HOSTS)
    token = push_token(
        "webpush", "https://169.254.169.254/latest", details={"p256dh": to_text(point(KEY)), "auth": to_text(b"a" * 16)}
    )
    assert isinstance(await webpush.send(notification(clock.now), token), Gone)


@pytest.mark.parametrize(
    ("url", "is_good"),
    [
        ("https://fcm.googleapis.com/fcm/send/x", True),
        ("https://fcm.googleapis.com:443/x", True),
        ("https://updates.push.services.mozilla.com/wpush/v2/x", True),
        ("https://localhost:444/x", True),
        ("https://localhost/x", False),
        ("http://fcm.googleapis.com/x", False),
        ("https://fcm.googleapis.com:8443/x", False),
        ("https://fcm.googleapis.com.example.org/x", False),
        ("https://evilpush.services.mozilla.com/x", False),
        ("https://fcm.googleapis.com@example.org/x", False),
        ("https://user@fcm.googleapis.com/x", False),
        ("https://fcm.googleapis.com:x/", False),
        ("https://[/", False),
        ("https://fcm.googleapis.com/ü", False),
        ("", False),
    ],
)
def test_only_urls_of_trusted_hosts_are_endpoints(url: str, is_good: bool) -> None:
    assert is_endpoint(url, HOSTS) is is_good


@pytest.mark.parametrize("details", [{}, {"p256dh": "x"}, {"p256dh": "*", "auth": "*"}, {"p256dh": "AA", "auth": "AA"}])
def test_what_is_no_key_of_a_subscription_is_refused(details: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"."):
        subscription_keys(details)


def test_the_own_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "vapid.pem"
    first, second = load_or_make_key(path), load_or_make_key(path)
    assert point(first) == point(second)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_no_key_is_said_with_the_setting(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_text("nonsense")
    with pytest.raises(ConfigError, match=r"push\.webpush\.key"):
        load_or_make_key(path)
    with pytest.raises(ConfigError, match=r"push\.apns\.key"):
        load_key(tmp_path / "missing", "push.apns.key")
    with pytest.raises(ConfigError, match=r"push\.webpush\.key"):
        load_or_make_key(tmp_path / "no" / "folder.pem")
