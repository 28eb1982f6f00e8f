"""Push by a program of the operator's: a signed POST of JSON to one URL, for services that chatd does not know."""

import hashlib
from collections.abc import Callable

import msgspec

from chatd.push import Delivered, Gone, Notification, Outcome, Rejected, Throttled, Unavailable
from chatd.push.h2_client import HttpFailure
from chatd.push.http import Http
from chatd.webhooks.signing import Signer
from storage.records import PushTokenRecord

_encode = msgspec.json.Encoder().encode


class PushHook:
    """Implements `Provider` over the operator's own HTTP service.

    It answers 2xx when it has taken the notification, 410 when the token is no good any more, 429 or 503 (with
    Retry-After) when it wants less. Requests are signed as those of webhooks are.
    """

    def __init__(self, http: Http, clock: Callable[[], float], url: str, signer: Signer | None) -> None:
        self._http = http
        self._clock = clock  # Unix seconds
        self._url = url
        self._signer = signer

    def circuit(self, token: PushTokenRecord) -> str:
        """There is one URL."""
        return "webhook"

    async def send(self, notification: Notification, token: PushTokenRecord) -> Outcome:
        """Hand over one notification for one device."""
        body = _encode(
            {
                "token": token.token,
                "user": token.user,
                "device": token.device,
                "details": token.details,
                "notification": notification,
            }
        )
        try:
            answer = await self._http.post(self._url, self._headers(notification.id, body), body)
        except HttpFailure as error:
            return Unavailable(str(error))
        reason = str(answer.status)
        if 200 <= answer.status < 300:
            return Delivered()
        if answer.status == 410:
            return Gone(reason)
        if answer.status == 429:
            return Throttled(reason, answer.retry_after, everybody=True)
        if answer.status >= 500 or answer.status in (401, 403, 404):
            return Unavailable(reason, answer.retry_after)  # the program is not there, or does not know chatd
        return Rejected(reason)

    def _headers(self, notification_id: str, body: bytes) -> list[tuple[bytes, bytes]]:
        headers = [(b"content-type", b"application/json")]
        if self._signer is not None:
            name = f"push_{hashlib.sha256(notification_id.encode()).hexdigest()[:32]}"
            signed = self._signer.headers(name, int(self._clock()), body)
            headers += [(key.encode(), value.encode()) for key, value in signed.items()]
        return headers
