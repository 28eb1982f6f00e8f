"""Push services of the tests' own, and what talks to them."""

import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio

from chatd.push.h2_client import H2Bounds, tls_context
from chatd.push.http import Http
from tests.fakes.certificate import make_certificate
from tests.fakes.hand_clock import HandClock
from tests.rig.push_servers.http2 import Answer, Http2Server

Serve = Callable[..., Awaitable[Http2Server]]
BOUNDS = H2Bounds(connections=2, streams=100, connect_seconds=5.0, request_seconds=5.0)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of localhost, and its key."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def tls(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    """What trusts that certificate besides what the system trusts."""
    context = tls_context()
    context.load_verify_locations(certificate[0])
    return context


@pytest.fixture
def serve(certificate: tuple[Path, Path], nursery: trio.Nursery) -> Serve:
    """Start a server that answers as it is told to; it ends with the test."""

    async def start(answer: Answer, *, streams: int | None = None) -> Http2Server:
        server = Http2Server(*certificate, answer, streams=streams)
        await nursery.start(server.run)
        return server

    return start


@pytest.fixture
async def http(tls: ssl.SSLContext, nursery: trio.Nursery) -> Http:
    """Connections to the servers."""
    made = Http(tls, BOUNDS, 4)
    await nursery.start(made.run)
    return made


@pytest.fixture
def clock() -> HandClock:
    return HandClock()
