"""Push tokens and notifications as tests need them."""

from typing import Any

from chatd.push import Notification
from protocol.names import DeviceId, UserId
from storage.records import Provider, PushTokenRecord

APPLE_TOKEN = "0a" * 32


def push_token(
    provider: Provider = "fcm",
    token: str = "token-1",
    *,
    user: str = "bob",
    device: str = "phone",
    locale: str = "en",
    created_at: int = 0,
    details: dict[str, str] | None = None,
) -> PushTokenRecord:
    """Make a token of bob's phone."""
    return PushTokenRecord(
        user=UserId(user),
        device=DeviceId(device),
        provider=provider,
        token=token,
        details=details or {},
        locale=locale,
        created_at=created_at,
    )


def notification(now: float, **given: Any) -> Notification:
    """Make a notification that is good for an hour."""
    fields: dict[str, Any] = {
        "id": "dm:alice:bob/e/1/t",
        "title": "alice",
        "body": "hi",
        "expires_at": int(now) + 3600,
        "thread": "dm:alice:bob",
        "data": {"channel": "dm:alice:bob", "seq": "1"},
    }
    return Notification(**{**fields, **given})
