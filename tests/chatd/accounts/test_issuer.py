"""Tokens of an outside issuer with a key in a file, beside chatd's own."""

from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
import trio

from chatd.accounts.issuer import open_issuer
from chatd.accounts.principal import Principal
from chatd.accounts.tokens import TokenError, Tokens
from chatd.config import Auth, ConfigError
from protocol.codes import ErrorCode
from protocol.names import DeviceId, UserId
from tests.chatd.accounts.conftest import CHEAP, SECRET
from tests.fakes.hand_clock import HandClock
from tests.fakes.signing_keys import ED25519, KEYS, P256, P384, RSA, SMALL_RSA, pem

NOW = 1_800_000_000
CLAIMS = {"iss": "https://id.example", "aud": "chat", "sub": "alice@example", "exp": NOW + 60}
SHARED = b"s" * 64


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "key"


def _auth(path: Path, content: bytes, *algorithms: str, **more: Any) -> Auth:
    path.write_bytes(content)
    return msgspec.structs.replace(CHEAP, key_file=str(path), algorithms=algorithms, **more)


def _tokens(auth: Auth, clock: HandClock) -> Tokens:
    return Tokens(SECRET, auth, clock, open_issuer(auth, clock))


@pytest.mark.parametrize("algorithm", KEYS)
async def test_each_kind_of_public_key_verifies_its_tokens(key_file: Path, clock: HandClock, algorithm: str) -> None:
    tokens = _tokens(_auth(key_file, pem(KEYS[algorithm]), algorithm), clock)
    token = jwt.encode(CLAIMS, KEYS[algorithm], algorithm)
    with trio.testing.assert_no_checkpoints():
        principal = await tokens.verify(token, "phone")
    assert principal == Principal(UserId("alice@example"), DeviceId("phone"), False, NOW + 60)
    assert (await tokens.verify(token)).device == "outside"
    header, payload, signature = token.split(".")
    forged = f"{header}.{payload}.{'A' * len(signature)}"
    assert await _code(tokens, forged) is ErrorCode.BAD_TOKEN


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
async def test_a_shared_secret_verifies_too(key_file: Path, clock: HandClock, algorithm: str) -> None:
    tokens = _tokens(_auth(key_file, SHARED + b"\n", algorithm), clock)
    assert (await tokens.verify(jwt.encode(CLAIMS, SHARED, algorithm))).user == "alice@example"
    assert await _code(tokens, jwt.encode(CLAIMS, b"x" * 64, algorithm)) is ErrorCode.BAD_TOKEN


async def test_own_and_outside_tokens_are_valid_side_by_side(key_file: Path, clock: HandClock) -> None:
    tokens = _tokens(_auth(key_file, pem(RSA), "RS256"), clock)
    own = tokens.issue(UserId("guest-x"), DeviceId("phone"), is_guest=True, seconds=60)
    assert (await tokens.verify(own)).is_guest
    assert (await tokens.verify(jwt.encode(CLAIMS, RSA, "RS256"))).user == "alice@example"


async def test_neither_side_can_sign_for_the_other(key_file: Path, clock: HandClock) -> None:
    tokens = _tokens(_auth(key_file, pem(RSA), "RS256"), clock)
    own = {"iss": "chatd", "sub": "alice", "dev": "phone", "exp": NOW + 60}
    assert await _code(tokens, jwt.encode(own, RSA, "RS256")) is ErrorCode.BAD_TOKEN
    assert await _code(tokens, jwt.encode(CLAIMS, SECRET, "HS256")) is ErrorCode.BAD_TOKEN
    assert await _code(tokens, _hs256(CLAIMS | {"iss": ["chatd"]}, SECRET)) is ErrorCode.BAD_TOKEN


async def test_the_public_key_is_no_shared_secret(key_file: Path, clock: HandClock) -> None:
    tokens = _tokens(_auth(key_file, pem(RSA), "RS256"), clock)
    confused = _hs256(CLAIMS, pem(RSA))
    assert await _code(tokens, confused) is ErrorCode.BAD_TOKEN
    with pytest.raises(ConfigError, match="no shared secret"):
        open_issuer(_auth(key_file, pem(RSA), "HS256"), clock)
    with pytest.raises(ConfigError, match="both public and a shared secret"):
        open_issuer(_auth(key_file, pem(RSA), "RS256", "HS256"), clock)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "PS256", "RS384"])
async def test_algorithms_that_are_not_configured_are_refused(key_file: Path, clock: HandClock, algorithm: str) -> None:
    tokens = _tokens(_auth(key_file, pem(RSA), "RS256"), clock)
    key: Any = {"none": None, "HS256": SHARED}.get(algorithm, RSA)
    assert await _code(tokens, jwt.encode(CLAIMS, key, algorithm)) is ErrorCode.BAD_TOKEN


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"exp": NOW - 30}, ErrorCode.TOKEN_EXPIRED),
        ({"exp": None}, ErrorCode.BAD_TOKEN),
        ({"exp": "1900000000"}, ErrorCode.BAD_TOKEN),
        ({"exp": True}, ErrorCode.BAD_TOKEN),
        ({"exp": 1e300}, ErrorCode.BAD_TOKEN),
        ({"nbf": NOW + 31}, ErrorCode.BAD_TOKEN),
        ({"nbf": []}, ErrorCode.BAD_TOKEN),
        ({"iss": "https://evil.example"}, ErrorCode.BAD_TOKEN),
        ({"iss": None}, ErrorCode.BAD_TOKEN),
        ({"aud": "other"}, ErrorCode.BAD_TOKEN),
        ({"aud": None}, ErrorCode.BAD_TOKEN),
        ({"aud": ["other", 1]}, ErrorCode.BAD_TOKEN),
        ({"sub": None}, ErrorCode.BAD_TOKEN),
        ({"sub": 7}, ErrorCode.BAD_TOKEN),
        ({"sub": "a b"}, ErrorCode.BAD_TOKEN),
        ({"sub": ""}, ErrorCode.BAD_TOKEN),
    ],
)
async def test_wrong_claims_are_refused(
    key_file: Path, clock: HandClock, changes: dict[str, Any], code: ErrorCode
) -> None:
    auth = _auth(key_file, SHARED, "HS256", issuer="https://id.example", audience="chat")
    tokens = _tokens(auth, clock)
    await tokens.verify(_hs256(CLAIMS | {"aud": ["other", "chat"]}, SHARED))
    claims = {key: value for key, value in (CLAIMS | changes).items() if value is not None}
    assert await _code(tokens, _hs256(claims, SHARED)) is code


async def test_the_users_claim_can_be_another(key_file: Path, clock: HandClock) -> None:
    tokens = _tokens(_auth(key_file, SHARED, "HS256", user_claim="preferred_username"), clock)
    token = _hs256(CLAIMS | {"preferred_username": "alice"}, SHARED)
    assert (await tokens.verify(token)).user == "alice"
    assert await _code(tokens, _hs256(CLAIMS, SHARED)) is ErrorCode.BAD_TOKEN


async def test_a_malformed_device_is_refused(key_file: Path, clock: HandClock) -> None:
    tokens = _tokens(_auth(key_file, SHARED, "HS256"), clock)
    with pytest.raises(TokenError) as caught:
        await tokens.verify(_hs256(CLAIMS, SHARED), "a b\0")
    assert caught.value.code is ErrorCode.BAD_REQUEST


async def test_revoking_a_device_here_says_nothing_about_an_outside_users(key_file: Path, clock: HandClock) -> None:
    tokens = _tokens(_auth(key_file, SHARED, "HS256"), clock)
    tokens.revoke(DeviceId("phone"))
    await tokens.verify(_hs256(CLAIMS, SHARED), "phone")


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "e30.e30.", "e30.e30.e30", "\ud800", "é"])
async def test_garbage_is_refused(key_file: Path, clock: HandClock, token: str) -> None:
    assert await _code(_tokens(_auth(key_file, SHARED, "HS256"), clock), token) is ErrorCode.BAD_TOKEN


@pytest.mark.parametrize(
    ("content", "algorithms", "why"),
    [
        (pem(SMALL_RSA), ["RS256"], "too small"),
        (pem(P256), ["RS256"], "wrong kind"),
        (pem(P256), ["ES384"], "wrong kind"),
        (pem(P384), ["ES384", "ES256"], "wrong kind .* for ES256"),
        (pem(ED25519), ["ES256"], "wrong kind"),
        (b"no key", ["RS256"], "no public key"),
        (b"short", ["HS256"], "at least 32 bytes"),
        (b"x" * 63, ["HS512"], "at least 64 bytes"),
    ],
)
def test_a_key_that_cannot_be_meant_stops_the_start(
    key_file: Path, clock: HandClock, content: bytes, algorithms: list[str], why: str
) -> None:
    with pytest.raises(ConfigError, match=f"auth.key_file: .*{why}"):
        open_issuer(_auth(key_file, content, *algorithms), clock)


def test_a_missing_key_file_stops_the_start(tmp_path: Path, clock: HandClock) -> None:
    auth = msgspec.structs.replace(CHEAP, key_file=str(tmp_path / "none"), algorithms=("RS256",))
    with pytest.raises(ConfigError, match="No such file"):
        open_issuer(auth, clock)


def test_an_issuer_cannot_call_itself_chatd(key_file: Path, clock: HandClock) -> None:
    with pytest.raises(ConfigError, match=r"auth\.issuer"):
        open_issuer(_auth(key_file, SHARED, "HS256", issuer="chatd"), clock)


def test_without_an_issuer_there_is_none(clock: HandClock) -> None:
    assert open_issuer(CHEAP, clock) is None


def _hs256(claims: dict[str, Any], secret: bytes) -> str:
    """Sign with whatever secret, also with one that a library would refuse."""
    jws = jwt.PyJWS()
    said = jws.encode(msgspec.json.encode(claims), b"k" * 32, "HS256").rpartition(".")[0]
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(said.encode(), secret)
    return f"{said}.{jwt.utils.base64url_encode(signature).decode()}"


async def _code(tokens: Tokens, token: str) -> ErrorCode:
    with pytest.raises(TokenError) as caught:
        await tokens.verify(token)
    return caught.value.code
