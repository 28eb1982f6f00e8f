"""FCM, against a server that is as strict as Google's documentation, with its OAuth2 token endpoint."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from chatd.config import ConfigError
from chatd.push import Delivered, Gone, Outcome, Rejected, Throttled, Unavailable
from chatd.push.fcm import Fcm
from chatd.push.google_token import ServiceAccount, read_account
from chatd.push.http import Http
from tests.chatd.push.conftest import Serve
from tests.chatd.push.tokens import notification, push_token
from tests.fakes.hand_clock import HandClock
from tests.fakes.signing_keys import RSA
from tests.rig.push_servers.fcm import FcmService, error
from tests.rig.push_servers.http2 import Reply, json_reply

EMAIL = "push@example.iam.gserviceaccount.com"
PEM = RSA.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


class Google:
    """Google's services, and what speaks to them."""

    def __init__(self, service: FcmService, fcm: Fcm, clock: HandClock) -> None:
        self.service = service
        self.fcm = fcm
        self.clock = clock

    async def push(self, token: str = "token-1", **given: Any) -> Outcome:
        """Hand one over."""
        return await self.fcm.send(notification(self.clock.now, **given), push_token("fcm", token))


async def open_google(serve: Serve, http: Http, clock: HandClock, *, dry_run: bool = False) -> Google:
    service = FcmService(RSA.public_key(), "key-1", EMAIL, "my-project", clock)
    server = await serve(service.answer)
    service.token_uri = f"{server.url}/token"
    account = ServiceAccount("my-project", "key-1", PEM, EMAIL, service.token_uri)
    return Google(service, Fcm(account, http, clock, server.url, dry_run=dry_run), clock)


@pytest.fixture
async def google(serve: Serve, http: Http, clock: HandClock) -> Google:
    return await open_google(serve, http, clock)


async def test_an_alert_has_everything_that_is_shown(google: Google) -> None:
    assert await google.push(badge=3, sound="default", collapse="dm") == Delivered()
    [message] = google.service.delivered
    assert message.notification is not None
    assert (message.notification.title, message.notification.body) == ("alice", "hi")
    android = message.android
    assert (android.priority, android.ttl, android.collapse_key) == ("HIGH", "3600s", "dm")
    assert (android.notification.tag, android.notification.sound) == ("dm", "default")
    assert android.notification.notification_count == 3
    assert message.data == {"channel": "dm:alice:bob", "seq": "1"}


async def test_what_nobody_sees_has_data_only(google: Google) -> None:
    assert await google.push(kind="background", priority="normal") == Delivered()
    [message] = google.service.delivered
    assert (message.notification, message.data["kind"], message.android.priority) == (None, "background", "NORMAL")


async def test_one_access_token_serves_until_shortly_before_its_end(google: Google) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(google.push)
    assert google.service.exchanges == 1
    google.clock.advance(3400)
    await google.push()
    assert google.service.exchanges == 1
    google.clock.advance(100)
    assert await google.push() == Delivered()
    assert google.service.exchanges == 2


async def test_a_token_that_google_revoked_is_replaced_at_once(google: Google) -> None:
    await google.push()
    google.service.revoke()
    assert await google.push() == Delivered()
    assert google.service.exchanges == 2


async def test_without_a_token_nothing_can_be_sent(google: Google) -> None:
    google.service.token_failures = [json_reply(400, {"error": "invalid_grant"}), Reply(500, b"oops")]
    for reason in ("400 invalid_grant", "500"):
        outcome = await google.push()
        assert isinstance(outcome, Unavailable)
        assert reason in outcome.reason
    assert await google.push() == Delivered()


async def test_tokens_that_google_does_not_know_are_gone(google: Google) -> None:
    google.service.unregistered.add("old")
    google.service.malformed.add("nonsense")
    assert isinstance(await google.push("old"), Gone)
    assert isinstance(await google.push("nonsense"), Gone)


@pytest.mark.parametrize(
    ("reply", "kind", "retry_after"),
    [
        (error(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED"), Throttled, 60.0),
        (error(429, "RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED", retry_after="5"), Throttled, 5.0),
        (error(503, "UNAVAILABLE", "UNAVAILABLE", retry_after="9"), Unavailable, 9.0),
        (error(500, "INTERNAL", "INTERNAL"), Unavailable, None),
        (Reply(502, b"<html>"), Unavailable, None),
        (error(403, "PERMISSION_DENIED"), Unavailable, None),
        (error(403, "PERMISSION_DENIED", "SENDER_ID_MISMATCH"), Rejected, None),
        (error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", ("message.data",)), Rejected, None),
        (json_reply(400, {"error": "odd"}), Rejected, None),
    ],
)
async def test_what_google_says_is_understood(
    google: Google, reply: Reply, kind: type, retry_after: float | None
) -> None:
    google.service.failures = [reply]
    outcome = await google.push()
    assert isinstance(outcome, kind)
    assert getattr(outcome, "retry_after", None) == retry_after


async def test_a_dry_run_is_checked_and_not_sent(serve: Serve, http: Http, clock: HandClock) -> None:
    google = await open_google(serve, http, clock, dry_run=True)
    assert await google.push() == Delivered()
    assert (len(google.service.validated), len(google.service.delivered)) == (1, 0)


async def test_nobody_there_is_a_failure_that_may_pass(http: Http, clock: HandClock) -> None:
    account = ServiceAccount("p", "k", PEM, EMAIL, "https://localhost:1/token")
    fcm = Fcm(account, http, clock, "https://localhost:1", dry_run=False)
    assert isinstance(await fcm.send(notification(clock.now), push_token()), Unavailable)


def test_the_file_of_a_service_account_is_read(tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    content = {"type": "service_account", "project_id": "p", "private_key_id": "k", "private_key": PEM}
    path.write_text(json.dumps({**content, "client_email": EMAIL}))
    assert read_account(path) == ServiceAccount("p", "k", PEM, EMAIL)
    for text in ("{", "{}", json.dumps({**content, "client_email": EMAIL, "private_key": "no key"})):
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"push\.fcm\.account"):
            read_account(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_account(tmp_path / "missing")
