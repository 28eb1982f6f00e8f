"""Keys that an issuer publishes, fetched from a real server on the loopback."""

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import jwt
import msgspec
import pytest
import trio

from chatd.accounts.issuer import open_issuer
from chatd.accounts.jwks import MAX_BYTES
from chatd.accounts.tokens import TokenError, Tokens
from chatd.config import Auth
from protocol.codes import ErrorCode
from tests.chatd.accounts.conftest import CHEAP, SECRET
from tests.fakes.hand_clock import HandClock
from tests.fakes.signing_keys import ED25519, P256, RSA, SMALL_RSA, PrivateKey, jwk

pytestmark = pytest.mark.system

NOW = 1_800_000_000


class Publisher:
    """A web server that gives one answer, which the test chooses, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = "200 OK"
        self.content = b""
        self.headers = ""
        self.may_answer = trio.Event()
        self.may_answer.set()
        self.url = ""

    def publish(self, *keys: dict[str, Any]) -> None:
        self.content = json.dumps({"keys": keys}).encode()

    async def handle(self, stream: trio.SocketStream) -> None:
        await stream.receive_some(65536)
        self.asked += 1
        await self.may_answer.wait()
        head = (
            f"HTTP/1.1 {self.status}\r\nConnection: close\r\nContent-Length: {len(self.content)}\r\n{self.headers}\r\n"
        )
        try:
            await stream.send_all(head.encode() + self.content)
        except trio.BrokenResourceError:
            return  # the client had enough


@pytest.fixture
async def publisher() -> AsyncIterator[Publisher]:
    publisher = Publisher()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, publisher.handle, 0, host="127.0.0.1"))
        publisher.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/jwks.json"
        with trio.fail_after(10):
            yield publisher
        nursery.cancel_scope.cancel()


@pytest.fixture
def tokens(publisher: Publisher, clock: HandClock) -> Tokens:
    auth: Auth = msgspec.structs.replace(CHEAP, jwks_url=publisher.url, algorithms=("RS256", "ES256", "EdDSA"))
    return Tokens(SECRET, auth, clock, open_issuer(auth, clock))


async def test_keys_are_fetched_once_and_then_known(tokens: Tokens, publisher: Publisher) -> None:
    publisher.publish(jwk(RSA, kid="r"), jwk(P256, kid="e"), jwk(ED25519, kid="o"))
    for key, algorithm, kid in ((RSA, "RS256", "r"), (P256, "ES256", "e"), (ED25519, "EdDSA", "o")):
        assert (await tokens.verify(_sign(key, algorithm, kid))).user == "alice"
    with trio.testing.assert_no_checkpoints():
        await tokens.verify(_sign(RSA, "RS256", "r"))
    assert publisher.asked == 1


async def test_a_new_key_is_found_and_an_old_one_forgotten(
    tokens: Tokens, publisher: Publisher, clock: HandClock
) -> None:
    publisher.publish(jwk(RSA, kid="old"))
    await tokens.verify(_sign(RSA, "RS256", "old"))
    publisher.publish(jwk(P256, kid="new"))
    assert await _code(tokens, _sign(P256, "ES256", "new")) is ErrorCode.BAD_TOKEN
    clock.advance(10)
    await tokens.verify(_sign(P256, "ES256", "new"))
    assert publisher.asked == 2
    assert await _code(tokens, _sign(RSA, "RS256", "old")) is ErrorCode.BAD_TOKEN


async def test_unknown_keys_cannot_make_chatd_fetch_all_the_time(
    tokens: Tokens, publisher: Publisher, clock: HandClock
) -> None:
    publisher.publish(jwk(RSA, kid="r"))
    for number in range(20):
        assert await _code(tokens, _sign(P256, "ES256", f"x{number}")) is ErrorCode.BAD_TOKEN
    assert publisher.asked == 1
    clock.advance(10)
    await _code(tokens, _sign(P256, "ES256", "x"))
    assert publisher.asked == 2


async def test_a_refused_algorithm_fetches_nothing(tokens: Tokens, publisher: Publisher) -> None:
    assert await _code(tokens, _sign(RSA, "PS256", "r")) is ErrorCode.BAD_TOKEN
    assert await _code(tokens, "a.b.c") is ErrorCode.BAD_TOKEN
    assert publisher.asked == 0


async def test_old_keys_stay_good_while_the_issuer_is_down(
    tokens: Tokens, publisher: Publisher, clock: HandClock
) -> None:
    publisher.publish(jwk(RSA, kid="r"))
    await tokens.verify(_sign(RSA, "RS256", "r"))
    publisher.status = "500 Oh"
    clock.advance(300)
    token = _sign(RSA, "RS256", "r", expires=NOW + 10_000)
    for _ in range(5):
        await tokens.verify(token)
    assert publisher.asked == 2
    assert await _code(tokens, _sign(P256, "ES256", "e", NOW + 10_000)) is ErrorCode.UNAVAILABLE


async def test_without_any_keys_yet_the_answer_is_to_come_later(
    tokens: Tokens, publisher: Publisher, clock: HandClock
) -> None:
    publisher.status = "503 Down"
    assert await _code(tokens, _sign(RSA, "RS256", "r")) is ErrorCode.UNAVAILABLE
    publisher.status = "200 OK"
    publisher.publish(jwk(RSA, kid="r"))
    clock.advance(10)
    await tokens.verify(_sign(RSA, "RS256", "r"))


async def test_all_who_need_keys_share_one_fetch(tokens: Tokens, publisher: Publisher) -> None:
    publisher.publish(jwk(RSA, kid="r"))
    publisher.may_answer = trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(tokens.verify, _sign(RSA, "RS256", "r"))
        await trio.testing.wait_all_tasks_blocked()
        publisher.may_answer.set()
    assert publisher.asked == 1


async def test_who_goes_away_while_keys_are_fetched_leaves_them_to_the_next(
    tokens: Tokens, publisher: Publisher
) -> None:
    publisher.publish(jwk(RSA, kid="r"))
    publisher.may_answer = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tokens.verify, _sign(RSA, "RS256", "r"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        publisher.may_answer.set()
    await tokens.verify(_sign(RSA, "RS256", "r"))
    assert publisher.asked == 1


async def test_known_keys_do_not_wait_for_a_slow_fetch(tokens: Tokens, publisher: Publisher, clock: HandClock) -> None:
    publisher.publish(jwk(RSA, kid="r"))
    await tokens.verify(_sign(RSA, "RS256", "r"))
    publisher.may_answer = trio.Event()
    clock.advance(10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_code, tokens, _sign(P256, "ES256", "e"))
        await trio.testing.wait_all_tasks_blocked()
        with trio.testing.assert_no_checkpoints():
            await tokens.verify(_sign(RSA, "RS256", "r"))
        publisher.may_answer.set()


async def test_a_single_key_serves_tokens_that_name_none(tokens: Tokens, publisher: Publisher) -> None:
    publisher.publish(jwk(RSA))
    await tokens.verify(_sign(RSA, "RS256", None))


async def test_several_keys_serve_only_tokens_that_name_one(tokens: Tokens, publisher: Publisher) -> None:
    publisher.publish(jwk(RSA, kid="r"), jwk(P256, kid="e"))
    assert await _code(tokens, _sign(RSA, "RS256", None)) is ErrorCode.BAD_TOKEN


async def test_keys_for_other_uses_are_left_alone(tokens: Tokens, publisher: Publisher) -> None:
    publisher.publish(
        jwk(RSA, kid="encrypting", use="enc"),
        jwk(SMALL_RSA, kid="small"),
        jwk(RSA, kid="other", alg="RS512"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
        {"kty": "EC", "crv": "P-256", "kid": "broken"},
        {"kid": "odd"},
        jwk(P256, kid="e", use="sig", alg="ES256"),
    )
    await tokens.verify(_sign(P256, "ES256", "e"))
    for kid in ("encrypting", "other"):
        assert await _code(tokens, _sign(RSA, "RS256", kid)) is ErrorCode.BAD_TOKEN
    assert publisher.asked == 1


@pytest.mark.parametrize("content", [b"", b"no json", b"[]", b'{"keys": 1}', b'{"keys": []}', b"[" * 5000])
async def test_an_answer_that_is_no_set_of_keys_is_a_failed_fetch(
    tokens: Tokens, publisher: Publisher, content: bytes
) -> None:
    publisher.content = content
    assert await _code(tokens, _sign(RSA, "RS256", "r")) is ErrorCode.UNAVAILABLE


async def test_an_endless_answer_is_cut_off(tokens: Tokens, publisher: Publisher) -> None:
    publisher.content = b'{"keys": []' + b" " * MAX_BYTES + b"}"
    assert await _code(tokens, _sign(RSA, "RS256", "r")) is ErrorCode.UNAVAILABLE


async def test_redirects_are_not_followed(tokens: Tokens, publisher: Publisher) -> None:
    publisher.publish(jwk(RSA, kid="r"))
    publisher.status, publisher.headers = "302 Found", f"Location: {publisher.url}\r\n"
    assert await _code(tokens, _sign(RSA, "RS256", "r")) is ErrorCode.UNAVAILABLE
    assert publisher.asked == 1


def _sign(key: PrivateKey, algorithm: str, kid: str | None, expires: int = NOW + 60) -> str:
    claims = {"iss": "https://id.example", "sub": "alice", "exp": expires}
    return jwt.encode(claims, key, algorithm, headers={"kid": kid} if kid else {})


async def _code(tokens: Tokens, token: str) -> ErrorCode:
    with pytest.raises(TokenError) as caught:
        await tokens.verify(token)
    return caught.value.code
