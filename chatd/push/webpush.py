"""Web Push (RFC 8030): one encrypted POST a notification, to the URL that the browser gave."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import msgspec

from chatd.push import Delivered, Gone, Notification, Outcome, Rejected, Throttled, Unavailable
from chatd.push.encryption import encrypt, read_keys
from chatd.push.h2_client import Answer, HttpFailure
from chatd.push.http import Http
from chatd.push.vapid import Vapid
from storage.records import PushTokenRecord

_URGENCY = {"high": b"high", "normal": b"normal", "low": b"low"}

# RFC 8030 section 5.4: a topic is at most 32 characters of base64url.
_TOPIC_BYTES = 24

_encode = msgspec.json.Encoder().encode


class WebPush:
    """Implements `Provider` for browsers. A subscription's URL is the token; `p256dh` and `auth` are its details."""

    def __init__(self, vapid: Vapid, http: Http, clock: Callable[[], float], hosts: Sequence[str]) -> None:
        self._vapid = vapid
        self._http = http
        self._clock = clock  # Unix seconds
        self._hosts = hosts

    def circuit(self, token: PushTokenRecord) -> str:
        """Each browser's service fails by itself."""
        return f"webpush {urlsplit(token.token).netloc}"

    async def send(self, notification: Notification, token: PushTokenRecord) -> Outcome:
        """Hand over one notification for one device."""
        if not is_endpoint(token.token, self._hosts):
            return Gone("its host is not in push.webpush.hosts")
        try:
            body = encrypt(_payload(notification), *subscription_keys(token.details))
        except ValueError as error:
            return Rejected(str(error))
        headers = [
            (b"authorization", self._vapid.header(token.token)),
            (b"content-encoding", b"aes128gcm"),
            (b"content-type", b"application/octet-stream"),
            (b"ttl", b"%d" % max(0, notification.expires_at - int(self._clock()))),
            (b"urgency", _URGENCY[notification.priority]),
        ]
        if notification.collapse:
            headers.append((b"topic", _topic(notification.collapse)))
        try:
            answer = await self._http.post(token.token, headers, body)
        except HttpFailure as error:
            return Unavailable(str(error))
        return _outcome(answer)


def is_endpoint(url: str, hosts: Sequence[str]) -> bool:
    """Tell whether a URL is one of a push service that the operator trusts.

    Browsers bring these URLs, and chatd posts to them: any other URL would let users reach what only chatd can reach.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    if parts.scheme != "https" or host is None or parts.username is not None or not url.isascii():
        return False
    name = host if port is None or port == 443 else f"{host}:{port}"
    return any(name == allowed or (allowed[:2] == "*." and name.endswith(allowed[1:])) for allowed in hosts)


def subscription_keys(details: dict[str, str]) -> tuple[bytes, bytes]:
    """Return a browser's public key and its secret.

    Raises:
        ValueError: They are missing or no keys.
    """
    try:
        p256dh, auth = (_decode(details[name]) for name in ("p256dh", "auth"))
    except KeyError as error:
        raise ValueError(f"a subscription has `{error.args[0]}`") from error
    read_keys(p256dh, auth)
    return p256dh, auth


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("the keys of a subscription are base64url") from error


def _topic(collapse: str) -> bytes:
    return base64.urlsafe_b64encode(hashlib.sha256(collapse.encode()).digest()[:_TOPIC_BYTES])


def _payload(notification: Notification) -> bytes:
    """Return what the service worker gets as JSON."""
    said: dict[str, object] = {"kind": notification.kind, "data": notification.data, "id": notification.id}
    if notification.kind == "alert":
        said |= {"title": notification.title, "body": notification.body, "tag": notification.tag}
        if notification.badge is not None:
            said["badge"] = notification.badge
    return _encode(said)


def _outcome(answer: Answer) -> Outcome:
    """Say what an answer means (RFC 8030 sections 5 and 7.3)."""
    reason = f"{answer.status} {answer.body[:200].decode('utf-8', 'replace')}".strip()
    if 200 <= answer.status < 300:
        return Delivered()
    if answer.status in (404, 410):
        return Gone(reason)
    if answer.status == 429:
        return Throttled(reason, answer.retry_after, everybody=True)
    if answer.status >= 500:
        return Unavailable(reason, answer.retry_after)
    return Rejected(reason)
