"""The HTTP app over parts that live in memory."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from quart.testing import QuartClient

from chatd.accounts.accounts import Accounts
from chatd.accounts.refresh_tokens import RefreshTokens
from chatd.accounts.tokens import Tokens
from chatd.api.app import build_app
from chatd.api.services import Services
from chatd.backend.build import Backend
from chatd.backend.deliveries import Deliveries
from chatd.config import Auth, Config, Limits
from chatd.counters import Counters
from chatd.push.devices import PushDevices
from chatd.rates import MemoryRates
from chatd.rights import Directory
from chatd.settings import Settings
from protocol.names import DeviceId, UserId
from tests.fakes.account_records import AccountRecords
from tests.fakes.calm_realtime import CalmRealtime
from tests.fakes.hand_clock import HandClock

SECRET = bytes(range(32))
CONFIG = Config(auth=Auth(hash_memory_kib=8, hash_passes=1), limits=Limits(http_body_bytes=2000, http_body_seconds=0.3))

_OPERATIONS = ("people", "sessions", "schedule", "keyring", "seeing", "membership")

NO_BACKEND = cast(Backend, SimpleNamespace(**dict.fromkeys(_OPERATIONS)))
"""For tests of what is not the server API."""

PROVIDERS = ("fcm", "apns", "webpush")

Ask = Callable[..., Awaitable[tuple[int, Any]]]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def records() -> AccountRecords:
    return AccountRecords()


@pytest.fixture
def realtime() -> CalmRealtime:
    return CalmRealtime()


@pytest.fixture
def tokens(clock: HandClock) -> Tokens:
    return Tokens(SECRET, CONFIG.auth, clock)


@pytest.fixture
def services(records: AccountRecords, realtime: CalmRealtime, tokens: Tokens, clock: HandClock) -> Services:
    accounts = Accounts(records.as_store(), tokens, RefreshTokens(SECRET), CONFIG.auth, clock)
    metrics = (b"up 1\n", "text/plain")

    async def render() -> tuple[bytes, str]:
        return metrics

    rates = MemoryRates(100, clock, clock)
    return Services(
        CONFIG,
        accounts,
        tokens,
        realtime,
        records.as_store(),
        render,
        Counters(),
        NO_BACKEND,
        rates,
        lambda: CONFIG.limits,
        PushDevices(records.as_store(), Directory(Settings(CONFIG)), PROVIDERS, ("fcm.googleapis.com",), 2, clock),
        "the-public-key",
        cast(Deliveries, None),
    )


@pytest.fixture
def client(services: Services, tmp_path: Path) -> QuartClient:
    (tmp_path / "index.html").write_text("<!doctype html><title>chat</title>")
    (tmp_path / "main.js").write_text("export const one = 1;")
    (tmp_path / "secret.txt").write_text("not for the web")
    return cast(QuartClient, build_app(services, tmp_path).test_client())


@pytest.fixture
def token(tokens: Tokens) -> str:
    return tokens.issue(UserId("alice"), DeviceId("phone"), is_guest=False, seconds=900)


@pytest.fixture
def ask(client: QuartClient, token: str) -> Ask:
    """Send a request as alice and return its status and its JSON."""

    async def send(method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        response = await client.open(
            path,
            method=method,
            data=None if body is None else msgspec.json.encode(body),
            headers={"Authorization": f"Bearer {token}", **{k.replace("_", "-"): v for k, v in headers.items()}},
        )
        content = await response.get_data(as_text=False)
        return response.status_code, msgspec.json.decode(content) if content else None

    return send
