"""Access tokens of a Google service account: a JWT that it signed, exchanged for a token (RFC 7523 section 2.1).

https://developers.google.com/identity/protocols/oauth2/service-account says what the JWT has in it.
"""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import jwt
import msgspec
import trio

from chatd.config import ConfigError
from chatd.push.h2_client import Answer, HttpFailure
from chatd.push.http import Http

_SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_SECONDS = 3600  # the most that Google accepts

# A token is renewed this long before its end, so that none expires on its way.
_EARLY_SECONDS = 120


class ServiceAccount(msgspec.Struct, frozen=True):
    """What of the file that Google's console gives is used."""

    project_id: str
    private_key_id: str
    private_key: str
    client_email: str
    token_uri: str = "https://oauth2.googleapis.com/token"


class NoToken(Exception):
    """Google gives no token now. `is_refused` tells that it does not know the account or its key."""

    def __init__(self, reason: str, *, is_refused: bool) -> None:
        super().__init__(reason)
        self.is_refused = is_refused


def read_account(path: Path) -> ServiceAccount:
    """Read a service account's file.

    Raises:
        ConfigError: It cannot be read, or is none.
    """
    try:
        account = msgspec.json.decode(path.read_bytes(), type=ServiceAccount)
        jwt.encode({}, account.private_key, "RS256")
    except OSError as error:
        raise ConfigError(f"push.fcm.account: {error}") from error
    except (msgspec.MsgspecError, jwt.PyJWTError, ValueError, TypeError) as error:
        raise ConfigError(f"push.fcm.account: {path} is no service account's file: {error}") from error
    return account


class GoogleToken:
    """Keeps one access token, and gets the next one in time. Who asks meanwhile waits for the same exchange."""

    def __init__(self, account: ServiceAccount, http: Http, clock: Callable[[], float]) -> None:
        self._account = account
        self._http = http
        self._clock = clock  # Unix seconds
        self._token = ""
        self._good_until = 0.0
        self._exchanging = trio.Lock()

    async def get(self) -> str:
        """Return a token that is good for now.

        Raises:
            NoToken: Google gives none.
        """
        if self._clock() >= self._good_until:
            async with self._exchanging:
                if self._clock() >= self._good_until:
                    await self._exchange()
        return self._token

    def forget(self, token: str) -> None:
        """Get a new one the next time: Google did not accept this one, although its time is not over."""
        if token == self._token:
            self._good_until = 0.0

    async def _exchange(self) -> None:
        now = int(self._clock())
        account = self._account
        claims = {
            "iss": account.client_email,
            "scope": _SCOPE,
            "aud": account.token_uri,
            "iat": now,
            "exp": now + _ASSERTION_SECONDS,
        }
        assertion = jwt.encode(claims, account.private_key, "RS256", headers={"kid": account.private_key_id})
        form = urlencode({"grant_type": _GRANT, "assertion": assertion}).encode()
        headers = [(b"content-type", b"application/x-www-form-urlencoded")]
        try:
            answer = await self._http.post(account.token_uri, headers, form)
        except HttpFailure as error:
            raise NoToken(f"no access token: {error}", is_refused=False) from error
        self._take(answer, now)

    def _take(self, answer: Answer, now: int) -> None:
        said = answer.json()
        token, seconds = said.get("access_token"), said.get("expires_in")
        if answer.status != 200 or not isinstance(token, str) or not isinstance(seconds, int):
            # RFC 6749 section 5.2: 400 and 401 say what is wrong with the request or the account.
            reason = f"no access token: {answer.status} {said.get('error', '')}"
            raise NoToken(reason, is_refused=answer.status in (400, 401))
        self._token = token
        self._good_until = now + max(1, seconds - _EARLY_SECONDS)
