"""Getting tokens over HTTP: register, log in, come as a guest, refresh."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import trio

from client.errors import BadAnswer, RequestError

SECONDS = 30.0
RENEW_PART = 0.2
"""A token with less than this part of its life left is renewed when it is asked for."""

Save = Callable[["Tokens"], Awaitable[None]]
"""Keeps the tokens somewhere that survives the program, before they are used."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What one device of a user needs."""

    user: str
    device: str
    access_token: str
    refresh_token: str
    expires_in: float


async def register(base_url: str, name: str, password: str, *, http: httpx.AsyncClient | None = None) -> Tokens:
    """Make an account, and log in to it with a new device."""
    return await _post(base_url, "register", {"name": name, "password": password}, http)


async def login(base_url: str, name: str, password: str, *, http: httpx.AsyncClient | None = None) -> Tokens:
    """Log in with a new device."""
    return await _post(base_url, "login", {"name": name, "password": password}, http)


async def guest(base_url: str, *, http: httpx.AsyncClient | None = None) -> Tokens:
    """Come as a guest."""
    return await _post(base_url, "guest", {}, http)


async def refresh(base_url: str, refresh_token: str, *, http: httpx.AsyncClient | None = None) -> Tokens:
    """Get the next tokens of a device. The refresh token is used up by this: save the new one."""
    return await _post(base_url, "refresh", {"refresh_token": refresh_token}, http)


class TokenKeeper:
    """A token provider for `open_client`: gives out the access token, and renews it before it runs out."""

    def __init__(
        self,
        base_url: str,
        tokens: Tokens,
        *,
        save: Save | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self.tokens = tokens
        self._base_url = base_url
        self._save = save
        self._http = http
        self._lock = trio.Lock()
        self._renew_at = self._end_of_life(tokens)

    async def __call__(self) -> str:
        """Return an access token that is good for a while.

        Raises:
            RequestError: The device may not come back; the person has to log in again.
            httpx.HTTPError: The server cannot be reached.
        """
        async with self._lock:
            if trio.current_time() >= self._renew_at:
                self.tokens = await refresh(self._base_url, self.tokens.refresh_token, http=self._http)
                self._renew_at = self._end_of_life(self.tokens)
                if self._save is not None:
                    await self._save(self.tokens)
            return self.tokens.access_token

    @staticmethod
    def _end_of_life(tokens: Tokens) -> float:
        return trio.current_time() + tokens.expires_in * (1 - RENEW_PART)


async def _post(base_url: str, what: str, body: dict[str, Any], http: httpx.AsyncClient | None) -> Tokens:
    url = f"{base_url.rstrip('/')}/v1/auth/{what}"
    if http is not None:
        return _read(await http.post(url, json=body))
    async with httpx.AsyncClient(timeout=SECONDS) as own:
        return _read(await own.post(url, json=body))


def _read(response: httpx.Response) -> Tokens:
    try:
        answer = response.json()
        if response.is_success:
            return Tokens(
                answer["user"],
                answer["device"],
                answer["access_token"],
                answer["refresh_token"],
                answer["expires_in"],
            )
        raise RequestError(answer["code"], answer.get("detail") or answer["title"], answer.get("retry_after"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadAnswer(f"status {response.status_code} without an answer of chatd's") from error
