"""What Google does, by its documentation: the OAuth2 token endpoint of service accounts, and FCM's HTTP v1 API.

https://developers.google.com/identity/protocols/oauth2/service-account
https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
"""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from msgspec import Meta

from tests.rig.push_servers.http2 import Reply, Request, json_reply

_SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_RESERVED = re.compile(r"from|message_type|(google|gcm)")
_PAYLOAD_BYTES = 4096


class _Notification(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str = ""
    body: str = ""


class _Shown(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tag: str = ""
    sound: str = ""
    notification_count: Annotated[int, Meta(ge=0)] = 0


class _Android(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    priority: Literal["NORMAL", "HIGH"] = "NORMAL"
    ttl: Annotated[str, Meta(pattern=r"^\d+(\.\d{1,9})?s$")] = "2419200s"
    collapse_key: str = ""
    notification: _Shown = _Shown()


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """FCM's message, as far as chatd may use it."""

    token: str
    data: dict[str, str] = {}
    notification: _Notification | None = None
    android: _Android = _Android()


class _Send(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    message: Message
    validate_only: bool = False


def error(status: int, name: str, code: str = "", fields: tuple[str, ...] = (), retry_after: str = "") -> Reply:
    """Make an error as FCM does."""
    details: list[dict[str, Any]] = []
    if code:
        kind = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
        details.append({"@type": kind, "errorCode": code})
    if fields:
        violations = [{"field": field, "description": "Invalid"} for field in fields]
        details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": violations})
    body = {"error": {"code": status, "message": "no", "status": name, "details": details}}
    headers = {"retry-after": retry_after} if retry_after else {}
    return json_reply(status, body, **headers)


class FcmService:
    """Answers requests as Google does. `token_uri` is where its token endpoint is."""

    def __init__(self, key: RSAPublicKey, key_id: str, email: str, project: str, clock: Callable[[], float]) -> None:
        self._key = key
        self._key_id = key_id
        self._email = email
        self._send_path = f"/v1/projects/{project}/messages:send"
        self._clock = clock
        self._tokens: dict[str, float] = {}  # and when their time is over
        self.token_uri = ""
        self.token_seconds = 3599
        self.exchanges = 0
        self.unregistered: set[str] = set()
        self.malformed: set[str] = set()
        self.failures: list[Reply] = []  # to be said next to sends
        self.token_failures: list[Reply] = []  # to be said next by the token endpoint
        self.delivered: list[Message] = []
        self.validated: list[Message] = []

    def revoke(self) -> None:
        """Accept no token that was given."""
        self._tokens.clear()

    async def answer(self, request: Request) -> Reply:
        """Answer one request."""
        if request.method != "POST":
            return error(404, "NOT_FOUND")
        if request.path == "/token":
            return self._exchange(request)
        if request.path != self._send_path:
            return error(404, "NOT_FOUND")
        return self._send(request)

    def _exchange(self, request: Request) -> Reply:
        if self.token_failures:
            return self.token_failures.pop(0)
        self.exchanges += 1
        if request.headers.get("content-type") != "application/x-www-form-urlencoded":
            return json_reply(400, {"error": "invalid_request"})
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if form.get("grant_type") != _GRANT:
            return json_reply(400, {"error": "unsupported_grant_type"})
        try:
            token = form["assertion"]
            header = jwt.get_unverified_header(token)
            options = {"verify_exp": False, "verify_iat": False, "require": ["iss", "scope", "aud", "iat", "exp"]}
            claims = jwt.decode(token, self._key, ["RS256"], audience=self.token_uri, options=options)  # type: ignore[arg-type]
        except (KeyError, jwt.PyJWTError) as problem:
            return json_reply(400, {"error": "invalid_grant", "error_description": str(problem)})
        now = self._clock()
        is_good = claims["iss"] == self._email and claims["scope"] == _SCOPE and header.get("kid") == self._key_id
        if not is_good or not now - 60 <= claims["iat"] <= now + 60 or claims["exp"] - claims["iat"] > 3600:
            return json_reply(400, {"error": "invalid_grant"})
        access = f"ya29.{self.exchanges}"
        self._tokens[access] = now + self.token_seconds
        return json_reply(200, {"access_token": access, "expires_in": self.token_seconds, "token_type": "Bearer"})

    def _send(self, request: Request) -> Reply:
        access = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._tokens.get(access, 0) <= self._clock():
            return error(401, "UNAUTHENTICATED")
        if self.failures:
            return self.failures.pop(0)
        try:
            sent = msgspec.json.decode(request.body, type=_Send)
        except msgspec.ValidationError as problem:
            return error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", (str(problem),))
        message = sent.message
        if any(_RESERVED.match(name) for name in message.data):
            return error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", ("message.data",))
        if len(request.body) > _PAYLOAD_BYTES:
            return error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", ("message",))
        if message.token in self.malformed:
            return error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", ("message.token",))
        if message.token in self.unregistered:
            return error(404, "NOT_FOUND", "UNREGISTERED")
        (self.validated if sent.validate_only else self.delivered).append(message)
        return json_reply(200, {"name": f"projects/p/messages/{len(self.delivered)}"})
