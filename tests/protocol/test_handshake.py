"""The opening handshake: what is accepted, what is refused and how, and compression offer by offer."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.protocol import OPEN
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from protocol.codes import ErrorCode
from protocol.handshake import (
    Accepted,
    HandshakeError,
    HandshakePolicy,
    Rejected,
    accept,
    is_upgrade,
    parse_head,
    reject,
)

POLICY = HandshakePolicy(allowed_origins=("same",), deflate=True, subprotocols=("v1.json", "v1.msgpack"))
REQUEST = {
    "Host": "chat.example:8000",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def head(line: str = "GET /v1/ws HTTP/1.1", *, more: str = "", **changed: str | None) -> bytes:
    """Make a request's head; `changed` replaces headers by name (`_` for `-`) or, with None, leaves them out."""
    headers: dict[str, str | None] = {**REQUEST, **{name.replace("_", "-"): value for name, value in changed.items()}}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([line, *lines, more] if more else [line, *lines]).encode("latin-1") + b"\r\n\r\n"


def answer(data: bytes, policy: HandshakePolicy = POLICY) -> Accepted | Rejected:
    return accept(parse_head(data), policy)


def response_headers(response: bytes) -> dict[str, str]:
    lines = response.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}


def problem(rejected: Accepted | Rejected) -> dict[str, Any]:
    """Check that this is a complete answer and return its body."""
    assert isinstance(rejected, Rejected)
    top, _, body = rejected.response.partition(b"\r\n\r\n")
    headers = response_headers(rejected.response)
    assert top.startswith(b"HTTP/1.1 %d " % rejected.status)
    assert headers["connection"] == "close"
    assert headers["content-type"] == "application/problem+json"
    assert headers["content-length"] == str(len(body))
    document: dict[str, Any] = json.loads(body)
    assert document["type"] == "about:blank"
    assert document["status"] == rejected.status
    assert document["detail"] == rejected.reason
    return document


# The head.


def test_a_head_is_read_with_its_query_apart() -> None:
    read = parse_head(b"GET /v1/ws?token=a%20b&c HTTP/1.1\r\nHost:x\r\nX-Two:  a b\t\r\nx-two: \xe9\r\n\r\n")
    assert (read.method, read.path, read.query, read.version) == ("GET", "/v1/ws", "token=a%20b&c", "1.1")
    assert read.headers["host"] == "x"
    assert read.headers.get_all("X-TWO") == ["a b", "é"]


def test_a_head_is_read_without_its_last_line_as_well() -> None:
    assert parse_head(b"GET / HTTP/1.0\r\nHost: x").headers["Host"] == "x"
    assert parse_head(b"GET / HTTP/1.0\r\n\r\n").version == "1.0"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"GET / HTTP/1.10\r\n\r\n",
        b"GET  / HTTP/1.1\r\n\r\n",
        b"GET / x HTTP/1.1\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"G(T / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET / HTTP/1.1\r\n: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\ny: z\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\r\n\r\n",
    ],
)
def test_what_is_no_head_is_refused(data: bytes) -> None:
    with pytest.raises(HandshakeError) as caught:
        parse_head(data)
    assert caught.value.status == 400


def test_too_many_headers_are_refused() -> None:
    assert len(parse_head(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 128 + b"\r\n").headers.get_all("a")) == 128
    with pytest.raises(HandshakeError) as caught:
        parse_head(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 129 + b"\r\n")
    assert caught.value.status == 431


@settings(deadline=None)
@given(st.binary(max_size=100), st.integers(0, 200), st.binary(max_size=10))
def test_garbage_is_read_or_refused(garbage: bytes, at: int, noise: bytes) -> None:
    whole = head(Sec_WebSocket_Extensions="permessage-deflate; server_max_window_bits=10", Origin="https://x")
    for data in (garbage, whole[:at] + noise + whole[at:]):
        with suppress(HandshakeError):
            assert answer(data).response.endswith((b"\r\n\r\n", b"}"))


# Accepting.


def test_the_example_of_the_rfc_is_accepted() -> None:
    accepted = answer(head())
    assert isinstance(accepted, Accepted)
    assert accepted.response.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert accepted.response.endswith(b"\r\n\r\n")
    assert response_headers(accepted.response) == {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    }
    assert (accepted.subprotocol, accepted.window_bits) == (None, 0)


def test_names_and_options_are_compared_without_case() -> None:
    assert isinstance(answer(head(Upgrade="WebSocket", Connection="UPGRADE")), Accepted)


@pytest.mark.parametrize(
    ("value", "asked"), [("websocket", True), ("h2c, WebSocket", True), ("h2c", False), (None, False)]
)
def test_a_request_for_a_websocket_is_told_apart(value: str | None, asked: bool) -> None:
    assert is_upgrade(parse_head(head(Upgrade=value))) is asked


BAD_REQUESTS: dict[str, tuple[int, bytes]] = {
    "a POST": (405, head("POST /v1/ws HTTP/1.1")),
    "HTTP/1.0": (505, head("GET /v1/ws HTTP/1.0")),
    "no host": (400, head(Host=None)),
    "two hosts": (400, head(more="Host: other")),
    "a body": (400, head(Content_Length="5")),
    "a chunked body": (400, head(Transfer_Encoding="chunked")),
    "no upgrade": (400, head(Upgrade=None)),
    "another upgrade": (426, head(Upgrade="h2c, websocket")),
    "no connection option": (426, head(Connection="keep-alive")),
    "no connection header": (426, head(Connection=None)),
    "a malformed connection header": (400, head(Connection="upgrade;;")),
    "no key": (400, head(Sec_WebSocket_Key=None)),
    "two keys": (400, head(more="Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")),
    "a key of 15 bytes": (400, head(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25j")),
    "a key that is no base64": (400, head(Sec_WebSocket_Key="dGhlIHNhbXBsZSBub25jZQ=!")),
    "a key beyond ASCII": (400, head(Sec_WebSocket_Key="é")),
    "no version": (400, head(Sec_WebSocket_Version=None)),
    "an old version": (426, head(Sec_WebSocket_Version="8")),
    "two origins": (400, head(Origin="http://chat.example:8000", more="Origin: http://evil.example")),
    "another origin": (403, head(Origin="http://evil.example")),
    "unknown subprotocols": (400, head(Sec_WebSocket_Protocol="v9.json, xml")),
    "malformed subprotocols": (400, head(Sec_WebSocket_Protocol="v1.json v1.msgpack")),
    "malformed extensions": (400, head(Sec_WebSocket_Extensions="permessage-deflate; =1")),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_bad_request_is_refused_with_a_problem_document(name: str) -> None:
    status, data = BAD_REQUESTS[name]
    document = problem(answer(data))
    assert document["status"] == status
    assert 200 <= document["code"] < 300


def test_refusals_say_what_would_do() -> None:
    old = answer(head(Sec_WebSocket_Version="8"))
    assert response_headers(old.response)["sec-websocket-version"] == "13"
    assert response_headers(answer(head("PUT / HTTP/1.1")).response)["allow"] == "GET"
    assert problem(answer(head(Origin="null")))["code"] == ErrorCode.FORBIDDEN


def test_others_refuse_in_the_same_form() -> None:
    document = problem(reject(503, "the node is leaving", ErrorCode.DRAINING, [("Retry-After", "3")]))
    assert (document["title"], document["code"]) == ("Service Unavailable", 103)


# Origins.


@pytest.mark.parametrize(
    ("allowed", "origin", "host", "may"),
    [
        (("same",), None, "chat.example", True),
        (("same",), "https://chat.example", "chat.example", True),
        (("same",), "http://chat.example", "chat.example:80", True),
        (("same",), "https://chat.example", "chat.example:443", True),
        (("same",), "https://Chat.Example:8443", "chat.example:8443", True),
        (("same",), "http://[::1]:8000", "[::1]:8000", True),
        (("same",), "http://[::1]", "[::1]:80", True),
        (("same",), "https://chat.example", "chat.example:80", False),
        (("same",), "http://chat.example:8001", "chat.example:8000", False),
        (("same",), "http://chat.example.evil", "chat.example", False),
        (("same",), "http://evil.example", "chat.example", False),
        (("same",), "null", "null", False),
        (("same",), "", "chat.example", False),
        (("same",), "file://", "", False),
        (("*",), "http://evil.example", "chat.example", True),
        (("*",), "null", "chat.example", True),
        ((), "http://chat.example", "chat.example", False),
        ((), None, "chat.example", True),
        (("https://App.example",), "https://app.example", "chat.example", True),
        (("https://app.example",), "http://app.example", "chat.example", False),
        (("https://app.example",), "https://app.example:444", "chat.example", False),
        (("https://a.example", "same"), "https://chat.example", "chat.example", True),
    ],
)
def test_pages_of_allowed_origins_may_connect(
    allowed: tuple[str, ...], origin: str | None, host: str, may: bool
) -> None:
    policy = HandshakePolicy(allowed, deflate=False, subprotocols=())
    result = answer(head(Host=host, Origin=origin), policy)
    assert isinstance(result, Accepted) is may


# Subprotocols.


@pytest.mark.parametrize(
    ("offer", "chosen"),
    [
        (None, None),
        ("v1.json", "v1.json"),
        ("v1.msgpack, v1.json", "v1.msgpack"),
        ("v9, v1.json , v1.msgpack", "v1.json"),
    ],
)
def test_the_clients_first_known_subprotocol_is_chosen(offer: str | None, chosen: str | None) -> None:
    accepted = answer(head(Sec_WebSocket_Protocol=offer))
    assert isinstance(accepted, Accepted)
    assert accepted.subprotocol == chosen
    assert response_headers(accepted.response).get("sec-websocket-protocol") == chosen


def test_subprotocols_in_several_headers_are_one_list() -> None:
    accepted = answer(head(Sec_WebSocket_Protocol="v9", more="Sec-WebSocket-Protocol: v1.msgpack"))
    assert isinstance(accepted, Accepted)
    assert accepted.subprotocol == "v1.msgpack"


def test_a_route_without_subprotocols_chooses_none() -> None:
    accepted = answer(head(Sec_WebSocket_Protocol="anything"), HandshakePolicy(("same",), True, ()))
    assert isinstance(accepted, Accepted)
    assert accepted.subprotocol is None
    assert "sec-websocket-protocol" not in response_headers(accepted.response)


# Compression.

BOTH = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize(
    ("offer", "agreed", "window_bits"),
    [
        ("permessage-deflate", BOTH, 15),
        ("permessage-deflate; client_max_window_bits", BOTH, 15),
        ("permessage-deflate; client_max_window_bits=10", f"{BOTH}; client_max_window_bits=10", 15),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", BOTH, 15),
        *(
            (f"permessage-deflate; server_max_window_bits={bits}", f"{BOTH}; server_max_window_bits={bits}", bits)
            for bits in range(8, 16)
        ),
        ('permessage-deflate; server_max_window_bits="9"', f"{BOTH}; server_max_window_bits=9", 9),
        ("permessage-deflate; server_max_window_bits=7, permessage-deflate", BOTH, 15),
        ("x-webkit-deflate-frame, permessage-deflate; unknown, permessage-deflate", BOTH, 15),
        ("permessage-deflate; server_max_window_bits=9, permessage-deflate", f"{BOTH}; server_max_window_bits=9", 9),
        ("permessage-deflate; server_max_window_bits", None, 0),
        ("permessage-deflate; server_max_window_bits=16", None, 0),
        ("permessage-deflate; server_max_window_bits=09", None, 0),
        ("permessage-deflate; client_max_window_bits=7", None, 0),
        ("permessage-deflate; server_no_context_takeover=1", None, 0),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits=9", None, 0),
        ("permessage-bzip2", None, 0),
    ],
)
def test_the_first_offer_that_can_be_kept_is_agreed_on(offer: str, agreed: str | None, window_bits: int) -> None:
    accepted = answer(head(Sec_WebSocket_Extensions=offer))
    assert isinstance(accepted, Accepted)
    assert response_headers(accepted.response).get("sec-websocket-extensions") == agreed
    assert accepted.window_bits == window_bits


def test_nothing_is_agreed_on_where_compression_is_off() -> None:
    policy = HandshakePolicy(("same",), deflate=False, subprotocols=())
    accepted = answer(head(Sec_WebSocket_Extensions="permessage-deflate"), policy)
    assert isinstance(accepted, Accepted)
    assert accepted.window_bits == 0
    assert "sec-websocket-extensions" not in response_headers(accepted.response)


@pytest.mark.parametrize("server_bits", [None, 8, 9, 15])
@pytest.mark.parametrize("client_bits", [None, True, 9, 15])
def test_another_implementation_takes_the_answer(server_bits: int | None, client_bits: int | bool | None) -> None:
    offer = ClientPerMessageDeflateFactory(server_max_window_bits=server_bits, client_max_window_bits=client_bits)
    client = ClientProtocol(
        parse_uri("ws://chat.example/v1/ws"), extensions=[offer], subprotocols=[Subprotocol("v1.msgpack")]
    )
    client.send_request(client.connect())
    accepted = answer(b"".join(client.data_to_send()))
    assert isinstance(accepted, Accepted)
    client.receive_data(accepted.response)
    assert client.handshake_exc is None
    assert client.state is OPEN
    assert client.subprotocol == "v1.msgpack"
    assert accepted.window_bits == (server_bits or 15)
