"""Apple's push service: HTTP/2, one POST a notification, with the token of `ApnsToken`.

https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns says which headers go
with which push type, and
https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns what answers mean.
"""

import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from chatd.push import Delivered, Gone, Kind, Notification, Outcome, Rejected, Throttled, Unavailable
from chatd.push.apns_token import ApnsToken
from chatd.push.h2_client import Answer, Headers, HttpFailure
from chatd.push.http import Http
from storage.records import PushTokenRecord

# Apple's bounds: 64 bytes of apns-collapse-id, 4 KiB of payload, 5 KiB for a call.
_COLLAPSE_BYTES = 64
_PAYLOAD_BYTES = 4096
_VOIP_PAYLOAD_BYTES = 5120

# Any fixed namespace does: the same notification gets the same apns-id at every try.
_IDS = uuid.UUID("6f0f4ba2-2d3a-5cb0-9a43-6a2c1d1c1f0e")

_TOPIC_SUFFIX: dict[Kind, str] = {"voip": ".voip", "liveactivity": ".push-type.liveactivity"}
_PRIORITY = {"high": b"10", "normal": b"5", "low": b"1"}

_GONE = {"BadDeviceToken", "Unregistered", "ExpiredToken"}
_ABOUT_US = {
    *("ExpiredProviderToken", "InvalidProviderToken", "MissingProviderToken", "TooManyProviderTokenUpdates"),
    *(
        "BadCertificate",
        "BadCertificateEnvironment",
        "Forbidden",
        "UnrelatedKeyIdInToken",
        "BadEnvironmentKeyIdInToken",
    ),
}

_encode = msgspec.json.Encoder().encode


class Apns:
    """Implements `Provider` for tokens of Apple's devices; those of development builds go to the sandbox."""

    def __init__(
        self, token: ApnsToken, http: Http, clock: Callable[[], float], topic: str, url: str, sandbox_url: str
    ) -> None:
        self._token = token
        self._http = http
        self._clock = clock  # Unix seconds
        self._topic = topic
        self._url = url.rstrip("/")
        self._sandbox_url = sandbox_url.rstrip("/")

    def circuit(self, token: PushTokenRecord) -> str:
        """Production and sandbox fail apart."""
        return "apns-sandbox" if token.details.get("environment") == "sandbox" else "apns"

    async def send(self, notification: Notification, token: PushTokenRecord) -> Outcome:
        """Hand over one notification for one device."""
        body = _payload(notification, int(self._clock()))
        if len(body) > (_VOIP_PAYLOAD_BYTES if notification.kind == "voip" else _PAYLOAD_BYTES):
            return Rejected("PayloadTooLarge")
        base = self._sandbox_url if token.details.get("environment") == "sandbox" else self._url
        headers = self._headers(notification)
        for _ in range(2):
            authorization = self._token.header()
            try:
                answer = await self._http.post(
                    base, [*headers, (b"authorization", authorization)], body, path=f"/3/device/{token.token}"
                )
            except HttpFailure as error:
                return Unavailable(str(error))
            if answer.status == 200:
                return Delivered()
            if answer.json().get("reason") != "ExpiredProviderToken" or not self._token.refused(authorization):
                break
        return _refusal(answer)

    def _headers(self, notification: Notification) -> Headers:
        kind = notification.kind
        # "If you specify a priority of 10 for a background notification, APNs does not deliver it": always 5.
        priority = b"5" if kind == "background" else b"10" if kind == "voip" else _PRIORITY[notification.priority]
        headers = [
            (b"apns-id", str(uuid.uuid5(_IDS, notification.id)).encode()),
            (b"apns-topic", (self._topic + _TOPIC_SUFFIX.get(kind, "")).encode()),
            (b"apns-push-type", kind.encode()),
            (b"apns-priority", priority),
            # A call that nobody took at once is over: 0 lets Apple try only now.
            (b"apns-expiration", b"0" if kind == "voip" else b"%d" % notification.expires_at),
        ]
        if kind == "alert" or (kind == "background" and notification.collapse):
            headers.append((b"apns-collapse-id", _collapse(notification.tag)))
        return headers


def _collapse(name: str) -> bytes:
    """Return an id that fits: long names by a digest of theirs."""
    raw = name.encode()
    return raw if len(raw) <= _COLLAPSE_BYTES else str(uuid.uuid5(_IDS, name)).encode()


def _payload(notification: Notification, now: int) -> bytes:
    aps: dict[str, Any] = {}
    match notification.kind:
        case "alert":
            aps["alert"] = {"title": notification.title, "body": notification.body}
            aps["mutable-content"] = 1  # the app's extension may add to it, for example a picture
            if notification.badge is not None:
                aps["badge"] = notification.badge
            if notification.sound:
                aps["sound"] = notification.sound
            if notification.thread:
                aps["thread-id"] = notification.thread
        case "background":
            aps["content-available"] = 1
        case "liveactivity":
            aps |= {"timestamp": now, "event": notification.event, "content-state": notification.state or {}}
        case "voip":
            pass
    return _encode({"aps": aps, **notification.data})


def _refusal(answer: Answer) -> Outcome:
    said = answer.json()
    reason = str(said.get("reason", "")) or str(answer.status)
    if reason in _GONE or answer.status == 410:
        since = said.get("timestamp")
        return Gone(reason, since if isinstance(since, int) else None)
    if reason in _ABOUT_US:
        return Unavailable(reason)
    if answer.status == 429:  # TooManyRequests: to the same device token
        return Throttled(reason, answer.retry_after)
    if answer.status >= 500:
        return Unavailable(reason, answer.retry_after)
    return Rejected(reason)
