"""Posting to URLs: few connections that are kept, a deadline for the whole request, and a bound on the answer.

httpcore is the engine of httpx. It is used by itself because it takes the backend that chooses addresses
(chatd/outbound/backend.py) as an argument, and costs less.
"""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from functools import cache
from typing import Protocol, cast
from urllib.parse import urlsplit

import httpcore
import msgspec
import trio

from chatd.outbound.backend import GuardedBackend, Resolve, resolve

_KEPT_SECONDS = 30.0


class PostFailed(Exception):
    """There was no whole answer. The text says why, in one line, and names nothing secret."""


class Answer(msgspec.Struct, frozen=True):
    """What came back; of the body no more than was asked for."""

    status: int
    headers: dict[str, str]
    body: bytes


@cache
def default_tls() -> ssl.SSLContext:
    """Return the context that verifies with the system's authorities; made once, since reading them takes long."""
    return ssl.create_default_context()


class Poster(Protocol):
    """Posts to URLs."""

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, seconds: float, answer_bytes: int
    ) -> Answer:
        """Send one request and return its answer; raise PostFailed where there is none."""

    async def aclose(self) -> None:
        """Close all connections."""


class Client:
    """Posts by HTTP/2 where the other side speaks it. Redirects and proxies of the environment are ignored."""

    def __init__(
        self,
        *,
        connections: int,
        allow_private: bool,
        resolver: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._connections = connections
        self._backend = GuardedBackend(allow_private=allow_private, resolver=resolver)
        self._tls = tls or default_tls()
        # A pool of one connection each: what a pool does for a request grows with the square of its connections.
        self._free: list[httpcore.AsyncConnectionPool] = []  # the one used last is used next

    async def aclose(self) -> None:
        """Close all connections."""
        while self._free:
            await self._free.pop().aclose()

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, seconds: float, answer_bytes: int
    ) -> Answer:
        """Send one request and return its answer, whatever its status.

        Raises:
            PostFailed: No connection, a broken one, no HTTP, or not within `seconds`.
        """
        try:
            with trio.fail_after(seconds):
                return await self._post(url, body, headers, answer_bytes)
        except trio.TooSlowError as error:
            raise PostFailed(f"no answer within {seconds:g} seconds") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            raise PostFailed(_in_words(error)) from error
        except (httpcore.UnsupportedProtocol, ssl.SSLError, OSError, trio.BrokenResourceError) as error:
            raise PostFailed(_in_words(error)) from error

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str], answer_bytes: int) -> Answer:
        fields = [("Host", urlsplit(url).netloc), *headers.items()]
        received = bytearray()
        async with (
            self._connection() as connection,
            connection.stream("POST", url, headers=fields, content=body) as response,
            aclosing(cast(AsyncGenerator[bytes, None], response.aiter_stream())) as parts,
        ):
            async for part in parts:  # to its end, or the deadline's: an answer left in the middle costs the connection
                received += part[: answer_bytes - len(received)]
        answered = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        return Answer(response.status, answered, bytes(received))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[httpcore.AsyncConnectionPool]:
        """Lend a connection that nobody uses; of more than `connections` that come back the others are closed."""
        connection = self._free.pop() if self._free else self._new_connection()
        try:
            yield connection
        finally:
            if len(self._free) < self._connections:
                self._free.append(connection)
            else:
                with trio.CancelScope(shield=True):
                    await connection.aclose()

    def _new_connection(self) -> httpcore.AsyncConnectionPool:
        return httpcore.AsyncConnectionPool(
            ssl_context=self._tls,
            max_connections=1,
            max_keepalive_connections=1,
            keepalive_expiry=_KEPT_SECONDS,
            http2=True,
            network_backend=self._backend,
        )


def _in_words(error: Exception) -> str:
    """Return an error as one line: its type, and its text or that of what caused it."""
    told: BaseException | None = error
    while told is not None and not str(told):
        told = told.__cause__ or told.__context__
    name = type(error).__name__
    return f"{name}: {' '.join(str(told).split())}"[:300] if told is not None else name
