"""Firebase Cloud Messaging, HTTP v1: one POST a notification, with an access token of a service account.

https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages says what is in a message and in an error.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from chatd.push import Delivered, Gone, Notification, Outcome, Rejected, Throttled, Unavailable
from chatd.push.google_token import GoogleToken, NoToken, ServiceAccount
from chatd.push.h2_client import Answer, HttpFailure
from chatd.push.http import Http
from storage.records import PushTokenRecord

# "FCM only supports up to four weeks" of time to live.
_LONGEST_SECONDS = 2_419_200

# What the documentation asks to wait when an answer 429 does not say how long.
_QUOTA_SECONDS = 60.0

_encode = msgspec.json.Encoder().encode


class Fcm:
    """Implements `Provider` for tokens of Firebase (Android, and whatever else an app's project has in it)."""

    def __init__(
        self, account: ServiceAccount, http: Http, clock: Callable[[], float], url: str, *, dry_run: bool
    ) -> None:
        self._http = http
        self._clock = clock  # Unix seconds
        self._token = GoogleToken(account, http, clock)
        self._url = f"{url.rstrip('/')}/v1/projects/{account.project_id}/messages:send"
        self._dry_run = dry_run

    def circuit(self, token: PushTokenRecord) -> str:
        """All of FCM fails together."""
        return "fcm"

    async def send(self, notification: Notification, token: PushTokenRecord) -> Outcome:
        """Hand over one notification for one device."""
        body = _encode(self._request(notification, token.token))
        for _ in range(2):
            try:
                access = await self._token.get()
                headers = [(b"authorization", b"Bearer " + access.encode()), (b"content-type", b"application/json")]
                answer = await self._http.post(self._url, headers, body)
            except (NoToken, HttpFailure) as error:
                return Unavailable(str(error))
            if answer.status != 401:
                return _outcome(answer)
            self._token.forget(access)
        return Unavailable("FCM does not accept the access token")

    def _request(self, notification: Notification, token: str) -> dict[str, Any]:
        seconds = min(max(0, notification.expires_at - int(self._clock())), _LONGEST_SECONDS)
        android: dict[str, Any] = {
            "priority": "HIGH" if notification.priority == "high" else "NORMAL",
            "ttl": f"{seconds}s",
        }
        if notification.collapse:
            android["collapse_key"] = notification.collapse
        message: dict[str, Any] = {"token": token, "data": notification.data, "android": android}
        if notification.kind == "alert":
            message["notification"] = {"title": notification.title, "body": notification.body}
            shown: dict[str, Any] = {"tag": notification.tag}
            if notification.badge is not None:
                shown["notification_count"] = notification.badge
            if notification.sound:
                shown["sound"] = notification.sound
            android["notification"] = shown
        else:
            message["data"] = {**notification.data, "kind": notification.kind}
        return {"message": message, **({"validate_only": True} if self._dry_run else {})}


def _outcome(answer: Answer) -> Outcome:
    """Say what an answer means; https://firebase.google.com/docs/cloud-messaging/error-codes lists the errors."""
    if answer.status == 200:
        return Delivered()
    code, details, message = _error(answer)
    reason = f"{answer.status} {code} {message}".strip()
    if code == "UNREGISTERED" or (answer.status == 404 and not code):
        return Gone(reason)
    if answer.status == 429 or code == "QUOTA_EXCEEDED":
        return Throttled(reason, answer.retry_after or _QUOTA_SECONDS, everybody=True)
    if answer.status >= 500:
        return Unavailable(reason, answer.retry_after)
    if code == "INVALID_ARGUMENT" and any(field == "message.token" for field in details):
        return Gone(reason)
    if answer.status == 403 and code not in ("SENDER_ID_MISMATCH", "THIRD_PARTY_AUTH_ERROR"):
        return Unavailable(reason)  # the service account may not, so no other notification can either
    return Rejected(reason)


def _error(answer: Answer) -> tuple[str, list[str], str]:
    """Return FCM's own code (else Google's), the fields that it complains about, and the words."""
    error = answer.json().get("error")
    if not isinstance(error, dict):
        return "", [], ""
    code = str(error.get("status", ""))
    fields: list[str] = []
    found = error.get("details")
    for detail in found if isinstance(found, list) else []:
        if not isinstance(detail, dict):
            continue
        code = str(detail.get("errorCode", code))
        violations = detail.get("fieldViolations")
        listed = violations if isinstance(violations, list) else []
        fields += [str(one.get("field", "")) for one in listed if isinstance(one, dict)]
    return code, fields, str(error.get("message", ""))
