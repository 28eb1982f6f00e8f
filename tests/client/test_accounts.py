"""Tokens over HTTP, and the keeper that renews them."""

import json

import httpx
import pytest
import trio
from trio.testing import MockClock

from client import BadAnswer, RequestError, TokenKeeper, Tokens, guest, login, refresh, register

BASE = "http://chatd.test"


class Accounts:
    """Answers like `/v1/auth`, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, object]] = []
        self.refusal: httpx.Response | None = None
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.url.path, json.loads(request.content)))
        number = len(self.asked)
        tokens = {"access_token": f"a{number}", "refresh_token": f"r{number}", "expires_in": 100}
        return self.refusal or httpx.Response(200, json={"user": "alice", "device": "d", **tokens})


async def test_each_way_in_asks_its_own_path() -> None:
    accounts = Accounts()
    assert await register(f"{BASE}/", "alice", "secret", http=accounts.http) == Tokens("alice", "d", "a1", "r1", 100)
    await login(BASE, "alice", "secret", http=accounts.http)
    await guest(BASE, http=accounts.http)
    await refresh(BASE, "r1", http=accounts.http)
    person = {"name": "alice", "password": "secret"}
    assert accounts.asked == [
        ("/v1/auth/register", person),
        ("/v1/auth/login", person),
        ("/v1/auth/guest", {}),
        ("/v1/auth/refresh", {"refresh_token": "r1"}),
    ]


async def test_a_refusal_carries_code_and_wait() -> None:
    accounts = Accounts()
    problem = {"title": "t", "detail": "too many wrong passwords", "code": 100, "retry_after": 2.5}
    accounts.refusal = httpx.Response(429, json=problem)
    with pytest.raises(RequestError, match="wrong passwords") as caught:
        await login(BASE, "alice", "secret", http=accounts.http)
    assert (caught.value.code, caught.value.retry_after) == (100, 2.5)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
@pytest.mark.parametrize("status", [200, 502])
async def test_an_answer_of_somebody_else_is_told_apart(status: int, body: bytes) -> None:
    accounts = Accounts()
    accounts.refusal = httpx.Response(status, content=body)
    with pytest.raises(BadAnswer, match=str(status)):
        await guest(BASE, http=accounts.http)


async def test_the_keeper_renews_once_however_many_ask_and_saves_first(autojump_clock: MockClock) -> None:
    accounts = Accounts()
    saved: list[Tokens] = []

    async def save(tokens: Tokens) -> None:
        saved.append(tokens)

    keeper = TokenKeeper(BASE, Tokens("alice", "d", "a0", "r0", 100), save=save, http=accounts.http)
    assert await keeper() == "a0"
    await trio.sleep(79)
    assert await keeper() == "a0"
    await trio.sleep(1)
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(keeper)
    assert accounts.asked == [("/v1/auth/refresh", {"refresh_token": "r0"})]
    assert saved == [Tokens("alice", "d", "a1", "r1", 100)]
    assert await keeper() == "a1"
    await trio.sleep(90)
    assert await keeper() == "a2"
    assert accounts.asked[1] == ("/v1/auth/refresh", {"refresh_token": "r1"})
