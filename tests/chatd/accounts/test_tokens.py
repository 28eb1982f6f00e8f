"""chatd's own access tokens: what is accepted, and with which code everything else is refused."""

import base64
import hmac
import json
from contextlib import suppress
from typing import Any

import jwt
import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from chatd.accounts.principal import Principal
from chatd.accounts.tokens import MAX_TOKEN_LENGTH, TokenError, Tokens
from protocol.codes import ErrorCode
from protocol.names import DeviceId, UserId
from tests.chatd.accounts.conftest import CHEAP, SECRET
from tests.fakes.hand_clock import HandClock

NOW = 1_800_000_000
CLAIMS = {"iss": "chatd", "sub": "alice", "dev": "phone", "gst": False, "iat": NOW, "exp": NOW + 900}


async def test_an_issued_token_speaks_for_its_user_on_its_device(tokens: Tokens) -> None:
    token = tokens.issue(UserId("guest-x"), DeviceId("phone"), is_guest=True, seconds=60)
    assert await tokens.verify(token, "another") == Principal(UserId("guest-x"), DeviceId("phone"), True, NOW + 60)


async def test_a_token_of_any_library_with_the_secret_is_the_same(tokens: Tokens) -> None:
    assert (await tokens.verify(jwt.encode(CLAIMS, SECRET, "HS256", headers={"x": "y"}))).user == "alice"
    issued = tokens.issue(UserId("alice"), DeviceId("phone"), is_guest=False, seconds=900)
    read = jwt.decode(issued, SECRET, ["HS256"], options={"verify_exp": False, "verify_iat": False})
    assert read == {key: value for key, value in CLAIMS.items() if key != "gst"}


async def test_verifying_lets_no_other_task_run(tokens: Tokens) -> None:
    token = tokens.issue(UserId("alice"), DeviceId("phone"), is_guest=False, seconds=60)
    with trio.testing.assert_no_checkpoints():
        await tokens.verify(token)


async def test_a_token_expires_when_its_time_and_the_leeway_are_over(tokens: Tokens, clock: HandClock) -> None:
    token = tokens.issue(UserId("alice"), DeviceId("phone"), is_guest=False, seconds=60)
    clock.advance(89)
    await tokens.verify(token)
    clock.advance(1)
    assert await _code(tokens, token) is ErrorCode.TOKEN_EXPIRED


async def test_a_token_of_another_secret_is_forged(tokens: Tokens, clock: HandClock) -> None:
    forged = Tokens(b"x" * 32, CHEAP, clock).issue(UserId("alice"), DeviceId("phone"), is_guest=False, seconds=60)
    assert await _code(tokens, forged) is ErrorCode.BAD_TOKEN


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": None},
        {"exp": "soon"},
        {"exp": True},
        {"exp": 1e300},
        {"exp": -5},
        {"nbf": NOW + 31},
        {"nbf": "later"},
        {"iss": "another"},
        {"iss": None},
        {"iss": ["chatd"]},
        {"aud": "another"},
        {"sub": None},
        {"sub": ""},
        {"sub": "a b"},
        {"sub": "a" * 65},
        {"sub": "a\0"},
        {"sub": 1},
        {"dev": None},
        {"dev": "a:b"},
        {"gst": "yes"},
    ],
)
async def test_wrong_claims_are_refused(tokens: Tokens, changes: dict[str, Any]) -> None:
    claims = {key: value for key, value in (CLAIMS | changes).items() if value is not None}
    assert await _code(tokens, _sign(claims)) is ErrorCode.BAD_TOKEN


async def test_a_clock_that_is_a_little_behind_is_no_reason_to_refuse(tokens: Tokens) -> None:
    await tokens.verify(_sign(CLAIMS | {"nbf": NOW + 30, "iat": NOW + 30}))


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS384", "HS512", "RS256", "ES256", "", None, 1, []])
async def test_no_other_algorithm_is_ever_used(tokens: Tokens, algorithm: object) -> None:
    header = {"typ": "JWT", "alg": algorithm}
    said = f"{_part(header)}.{_part(CLAIMS)}"
    mac = base64.urlsafe_b64encode(hmac.digest(SECRET, said.encode(), "sha256")).rstrip(b"=").decode()
    for signature in ("", mac):
        assert await _code(tokens, f"{said}.{signature}") is ErrorCode.BAD_TOKEN


async def test_a_key_inside_the_token_is_not_used(tokens: Tokens) -> None:
    mine = b"m" * 32
    jwk = {"kty": "oct", "k": base64.urlsafe_b64encode(mine).decode()}
    token = jwt.encode(CLAIMS, mine, "HS256", headers={"jwk": jwk, "kid": "../../dev/null"})
    assert await _code(tokens, token) is ErrorCode.BAD_TOKEN


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "a.b", "....", "é.é.é", "\ud800", "\0", "e30.e30."])
async def test_garbage_is_refused(tokens: Tokens, token: str) -> None:
    assert await _code(tokens, token) is ErrorCode.BAD_TOKEN


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    tokens = Tokens(SECRET, CHEAP, HandClock())
    with pytest.raises(TokenError):
        trio.run(tokens.verify, text)


@given(st.recursive(st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(), st.lists, max_leaves=5))
def test_no_signed_claims_break_the_reader(value: object) -> None:
    tokens = Tokens(SECRET, CHEAP, HandClock())
    for name in CLAIMS:
        with suppress(TokenError):
            trio.run(tokens.verify, _sign(CLAIMS | {name: value}))


@pytest.mark.parametrize("payload", [b"", b"[]", b"1", b"{", b'{"a":' * 2000, b"\xff", b'{"iss":"chatd"}'])
async def test_a_signed_payload_that_is_no_set_of_claims_is_refused(tokens: Tokens, payload: bytes) -> None:
    assert await _code(tokens, jwt.PyJWS().encode(payload, SECRET, "HS256")) is ErrorCode.BAD_TOKEN


async def test_an_oversize_token_is_refused_unread(tokens: Tokens) -> None:
    token = _sign(CLAIMS | {"x": "y" * MAX_TOKEN_LENGTH})
    assert await _code(tokens, token) is ErrorCode.BAD_TOKEN


async def test_a_revoked_device_is_refused_until_its_last_token_has_expired(tokens: Tokens, clock: HandClock) -> None:
    tokens.revoke(DeviceId("phone"))
    assert await _code(tokens, _sign(CLAIMS)) is ErrorCode.REVOKED
    await tokens.verify(_sign(CLAIMS | {"dev": "laptop"}))
    clock.advance(tokens.longest_seconds - 1)
    fresh = tokens.issue(UserId("alice"), DeviceId("phone"), is_guest=False, seconds=60)
    assert await _code(tokens, fresh) is ErrorCode.REVOKED
    clock.advance(1)
    tokens.revoke(DeviceId("tablet"))
    await tokens.verify(fresh)


async def test_no_reason_contains_the_token(tokens: Tokens) -> None:
    for token in ("part-of-a-secret", _sign(CLAIMS | {"sub": "a part"}), _sign(CLAIMS)[:-4]):
        with pytest.raises(TokenError) as caught:
            await tokens.verify(token)
        assert token not in str(caught.value)
        assert "part" not in caught.value.reason


def _sign(claims: dict[str, Any]) -> str:
    return jwt.PyJWS().encode(json.dumps(claims).encode(), SECRET, "HS256")


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(value)).rstrip(b"=").decode()


async def _code(tokens: Tokens, token: str) -> ErrorCode:
    with pytest.raises(TokenError) as caught:
        await tokens.verify(token)
    return caught.value.code
