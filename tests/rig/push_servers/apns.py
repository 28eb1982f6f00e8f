"""What Apple's push service does, by its documentation: every header, the token, topics by push type, payloads, errors.

https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
https://developer.apple.com/documentation/usernotifications/establishing-a-token-based-connection-to-apns
https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns
"""

import re
import uuid
from collections.abc import Callable
from typing import Any

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from tests.rig.push_servers.http2 import Reply, Request, json_reply

_HOUR = 3600
_TWENTY_MINUTES = 20 * 60
_SUFFIX = {"voip": ".voip", "liveactivity": ".push-type.liveactivity", "alert": "", "background": ""}
_BYTES = {"voip": 5120}


class Refused(Exception):
    """Apple says no, with a status and a reason."""

    def __init__(self, status: int, reason: str, **more: Any) -> None:
        super().__init__(reason)
        self.reply = json_reply(status, {"reason": reason, **more})


class ApnsService:
    """Answers requests as Apple does."""

    def __init__(
        self, key: EllipticCurvePublicKey, key_id: str, team_id: str, topic: str, clock: Callable[[], float]
    ) -> None:
        self._key = key
        self._key_id = key_id
        self._team_id = team_id
        self._topic = topic
        self._clock = clock
        self._last_token = ""
        self._last_token_at = float("-inf")
        self.unregistered: dict[str, int] = {}  # device tokens, and since when (Unix milliseconds)
        self.failures: list[Reply] = []  # to be said next, before anything is checked
        self.delivered: list[dict[str, Any]] = []

    async def answer(self, request: Request) -> Reply:
        """Answer one request."""
        if self.failures:
            return self.failures.pop(0)
        try:
            device = self._check_path(request)
            self._check_token(request.headers.get("authorization", ""))
            kind = self._check_headers(request.headers)
            payload = self._check_payload(kind, request.body)
            if device in self.unregistered:
                raise Refused(410, "Unregistered", timestamp=self.unregistered[device])
        except Refused as refused:
            return refused.reply
        self.delivered.append({"device": device, "headers": request.headers, "payload": payload})
        return Reply(200, headers={"apns-id": request.headers.get("apns-id", str(uuid.uuid4()).upper())})

    def _check_path(self, request: Request) -> str:
        if request.method != "POST":
            raise Refused(405, "MethodNotAllowed")
        if not request.path.startswith("/3/device/"):
            raise Refused(404, "BadPath")
        device = request.path.removeprefix("/3/device/")
        if not device:
            raise Refused(400, "MissingDeviceToken")
        if not re.fullmatch(r"(?:[0-9a-fA-F]{2}){32,100}", device):
            raise Refused(400, "BadDeviceToken")
        return device

    def _check_token(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        if scheme != "bearer" or not token:
            raise Refused(403, "MissingProviderToken")
        try:
            header = jwt.get_unverified_header(token)
            options = {"verify_exp": False, "verify_iat": False}
            claims = jwt.decode(token, self._key, ["ES256"], options=options)  # type: ignore[arg-type]
        except jwt.PyJWTError:
            raise Refused(403, "InvalidProviderToken") from None
        if header.get("kid") != self._key_id or set(claims) != {"iss", "iat"} or claims["iss"] != self._team_id:
            raise Refused(403, "InvalidProviderToken")
        now = self._clock()
        if not isinstance(claims["iat"], int) or claims["iat"] > now + 60:
            raise Refused(403, "InvalidProviderToken")
        if now - claims["iat"] > _HOUR:
            raise Refused(403, "ExpiredProviderToken")
        if token != self._last_token:
            if now - self._last_token_at < _TWENTY_MINUTES:
                raise Refused(429, "TooManyProviderTokenUpdates")
            self._last_token, self._last_token_at = token, now

    def _check_headers(self, headers: dict[str, str]) -> str:
        kind = headers.get("apns-push-type", "")
        if kind not in _SUFFIX:
            raise Refused(400, "InvalidPushType")
        topic = headers.get("apns-topic")
        if topic is None:
            raise Refused(400, "MissingTopic")
        if topic != self._topic + _SUFFIX[kind]:
            raise Refused(400, "TopicDisallowed" if topic.startswith(self._topic) else "BadTopic")
        priority = headers.get("apns-priority", "10")
        if priority not in ("1", "5", "10") or (kind == "background" and priority != "5"):
            raise Refused(400, "BadPriority")
        if kind == "liveactivity" and priority == "1":
            raise Refused(400, "BadPriority")
        if not re.fullmatch(r"\d{1,10}", headers.get("apns-expiration", "0")):
            raise Refused(400, "BadExpirationDate")
        if len(headers.get("apns-collapse-id", "").encode()) > 64:
            raise Refused(400, "BadCollapseId")
        try:
            uuid.UUID(headers.get("apns-id", str(uuid.uuid4())))
        except ValueError:
            raise Refused(400, "BadMessageId") from None
        return kind

    def _check_payload(self, kind: str, body: bytes) -> dict[str, Any]:
        if not body:
            raise Refused(400, "PayloadEmpty")
        if len(body) > _BYTES.get(kind, 4096):
            raise Refused(413, "PayloadTooLarge")
        try:
            payload: dict[str, Any] = msgspec.json.decode(body)
            aps = payload["aps"]
        except (msgspec.DecodeError, KeyError, TypeError):
            raise Refused(400, "BadPayload") from None
        is_silent = kind == "background"
        if is_silent != (aps.get("content-available") == 1) or (is_silent and {"alert", "sound", "badge"} & set(aps)):
            raise Refused(400, "BadPayload")
        if kind == "alert" and not isinstance(aps.get("alert"), dict):
            raise Refused(400, "BadPayload")
        if kind == "liveactivity" and not {"timestamp", "event", "content-state"} <= set(aps):
            raise Refused(400, "BadPayload")
        return payload
