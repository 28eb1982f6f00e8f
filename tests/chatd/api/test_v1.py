"""The routes under /v1, each from the client's side."""

import msgspec
import pytest
from quart.testing import QuartClient

from chatd.api.services import Services
from chatd.broker import Refused
from protocol.body import Encoding
from protocol.codes import ErrorCode
from tests.chatd.api.conftest import Ask
from tests.fakes.calm_realtime import CalmRealtime

PASSWORD = "correct horse"
BAD_MESSAGES = [
    *({}, {"data": 1}, {"data": None}, {"data": []}, {"data": {}, "key": ""}, {"data": {}, "key": "a b"}),
    *({"data": {}, "key": "x" * 129}, {"data": {}, "key": "a\0"}, {"data": {}, "key": 1}, []),
]
REFUSALS = [
    (ErrorCode.FORBIDDEN, 403),
    (ErrorCode.UNKNOWN_CHANNEL, 404),
    (ErrorCode.RATE_LIMITED, 429),
    (ErrorCode.TOO_LARGE, 413),
    (ErrorCode.KEY_REUSED, 409),
    (ErrorCode.TIMEOUT, 504),
]
READS = [
    "/v1/channels/room:a/messages",
    "/v1/channels/room:a/presence",
    "/v1/presence?user=bob",
    "/v1/channels",
]


async def test_an_account_from_its_making_to_its_logging_out(ask: Ask) -> None:
    status, first = await ask("POST", "/v1/auth/register", {"name": "Bob", "password": PASSWORD, "title": "phone"})
    assert status == 200
    assert first.keys() == {"user", "device", "access_token", "refresh_token", "expires_in"}
    assert (first["user"], first["expires_in"]) == ("bob", 900)
    status, second = await ask("POST", "/v1/auth/login", {"name": "bob", "password": PASSWORD, "title": "laptop"})
    assert status == 200
    status, renewed = await ask("POST", "/v1/auth/refresh", {"refresh_token": first["refresh_token"]})
    assert (status, renewed["device"]) == (200, first["device"])
    mine = {"Authorization": f"Bearer {renewed['access_token']}"}
    status, listed = await ask("GET", "/v1/devices", **mine)
    assert status == 200
    assert {(one["title"], one["current"]) for one in listed["devices"]} == {("phone", True), ("laptop", False)}
    assert (await ask("DELETE", f"/v1/devices/{second['device']}", **mine)) == (204, None)
    status, problem = await ask("GET", "/v1/devices", Authorization=f"Bearer {second['access_token']}")
    assert (status, problem["code"]) == (401, ErrorCode.REVOKED)
    assert (await ask("DELETE", f"/v1/devices/{second['device']}", **mine))[0] == 404
    new = {"password": PASSWORD, "new_password": "staple battery"}
    assert (await ask("POST", "/v1/auth/password", new, **mine)) == (204, None)
    assert (await ask("POST", "/v1/auth/logout", {}, **mine)) == (204, None)
    assert (await ask("GET", "/v1/devices", **mine))[0] == 401


async def test_a_guest_needs_nothing(ask: Ask, client: QuartClient) -> None:
    response = await client.post("/v1/auth/guest")
    guest = msgspec.json.decode(await response.get_data(as_text=False))
    assert guest["user"].startswith("guest-")
    status, found = await ask("GET", f"/v1/users/{guest['user']}")
    assert (status, found["is_guest"]) == (200, True)
    assert (await ask("GET", "/v1/users/nobody"))[1]["code"] == ErrorCode.UNKNOWN_USER


async def test_wrong_passwords_are_slowed_down_with_a_time_to_wait(client: QuartClient) -> None:
    body = msgspec.json.encode({"name": "bob", "password": "wrong password"})
    statuses = [(await client.post("/v1/auth/login", data=body)).status_code for _ in range(6)]
    assert statuses == [401] * 5 + [429]
    response = await client.post("/v1/auth/login", data=body)
    assert response.headers["Retry-After"] == "1"


async def test_logins_and_refusals_are_counted(ask: Ask, services: Services) -> None:
    await ask("POST", "/v1/auth/guest", {})
    await ask("GET", "/v1/devices")
    await ask("GET", "/v1/devices", Authorization="Bearer x")
    await ask("POST", "/v1/auth/login", {"name": "bob", "password": "wrong password"})
    assert services.counters.auth_successes == {"guest": 1, "token": 1}
    assert services.counters.auth_failures == {"bad_token": 1, "wrong_credentials": 1}


async def test_every_way_in_is_counted_with_its_causes(ask: Ask, services: Services) -> None:
    alice = {"name": "alice", "password": "correct horse"}
    _, grant = await ask("POST", "/v1/auth/register", alice)
    await ask("POST", "/v1/auth/register", alice)
    await ask("POST", "/v1/auth/register", {**alice, "name": "guest-me"})
    await ask("POST", "/v1/auth/login", alice)
    await ask("POST", "/v1/auth/refresh", {"refresh_token": grant["refresh_token"]})
    await ask("POST", "/v1/auth/refresh", {"refresh_token": "x"})
    for _ in range(7):
        await ask("POST", "/v1/auth/login", {**alice, "password": "wrong"})
    await ask("GET", "/v1/users/nobody")
    assert services.counters.auth_successes == {"register": 1, "password": 1, "refresh": 1, "token": 1}
    failures = services.counters.auth_failures
    assert failures.pop("wrong_credentials") + failures.pop("rate_limited") == 7
    assert failures == {"name_taken": 1, "bad_request": 1, "bad_token": 1}


async def test_a_message_is_sent_and_read(ask: Ask, realtime: CalmRealtime) -> None:
    data = {"text": "häll\u00f6 \u0000", "n": [1, 2.5, None]}
    status, sent = await ask("POST", "/v1/channels/room:a/messages", {"key": "k1", "data": data})
    assert status == 200
    assert sent == {"channel": "room:a", "key": "k1", "epoch": "e", "seq": 1, "at": 1000, "duplicate": False}
    assert realtime.messages["room:a"][0].body.encoding is Encoding.JSON
    status, again = await ask("POST", "/v1/channels/room:a/messages", {"key": "k1", "data": data, "retry": True})
    assert (status, again["seq"], again["duplicate"]) == (200, 1, True)
    status, page = await ask("GET", "/v1/channels/room:a/messages")
    assert status == 200
    assert page["more"] is False
    [message] = page["messages"]
    assert message["type"] == "message"
    assert (message["from"], message["data"]) == ("alice", data)


async def test_a_message_without_a_key_gets_one(ask: Ask, realtime: CalmRealtime) -> None:
    _, one = await ask("POST", "/v1/channels/room:a/messages", {"data": {}})
    _, other = await ask("POST", "/v1/channels/room:a/messages", {"data": {}})
    assert one["key"] != other["key"]
    assert realtime.retries == [False, False]


async def test_an_idempotency_key_is_a_key_that_may_come_again(ask: Ask, realtime: CalmRealtime) -> None:
    for _ in range(2):
        status, sent = await ask("POST", "/v1/channels/room:a/messages", {"data": {}}, Idempotency_Key="k2")
        assert (status, sent["key"], sent["seq"]) == (200, "k2", 1)
    assert realtime.retries == [True, True]
    body = {"data": {}, "key": "other"}
    assert (await ask("POST", "/v1/channels/room:a/messages", body, Idempotency_Key="k2"))[0] == 400


@pytest.mark.parametrize("body", BAD_MESSAGES)
async def test_a_malformed_message_is_refused(ask: Ask, realtime: CalmRealtime, body: object) -> None:
    status, problem = await ask("POST", "/v1/channels/room:a/messages", body)
    assert (status, problem["code"]) == (400, ErrorCode.BAD_REQUEST)
    assert realtime.messages == {}


async def test_data_that_is_no_utf8_is_refused(client: QuartClient, token: str) -> None:
    response = await client.post(
        "/v1/channels/room:a/messages", data=b'{"data":{"a":"\xff"}}', headers={"Authorization": f"Bearer {token}"}
    )
    assert response.status_code == 400


async def test_history_is_paged_both_ways(ask: Ask) -> None:
    for number in range(5):
        await ask("POST", "/v1/channels/room:a/messages", {"data": {"n": number}})

    async def seqs(query: str) -> tuple[list[int], bool]:
        _, page = await ask("GET", f"/v1/channels/room:a/messages?{query}")
        return [message["seq"] for message in page["messages"]], page["more"]

    assert await seqs("limit=2") == ([4, 5], True)
    assert await seqs("before=4&limit=3") == ([1, 2, 3], False)
    assert await seqs("after=1&limit=2") == ([2, 3], True)
    for query in ("limit=0", "limit=1001", "limit=x", "before=-1", "after=1.5"):
        assert (await ask("GET", f"/v1/channels/room:a/messages?{query}"))[0] == 400


async def test_presence_is_told_of_users_and_channels(ask: Ask) -> None:
    state = {"user": "bob", "state": "online", "last_seen": 5}
    carol = {"user": "carol", "state": "online", "last_seen": 5}
    assert await ask("GET", "/v1/presence?user=bob") == (200, {"users": [state]})
    assert await ask("GET", "/v1/presence?user=bob&user=carol") == (200, {"users": [state, carol]})
    assert (await ask("GET", "/v1/presence"))[0] == 400
    _, there = await ask("GET", "/v1/channels/room:a/presence")
    assert there == {"count": 1, "users": [{"user": "alice", "state": "online"}]}


async def test_conversations_are_listed(ask: Ask) -> None:
    _, listed = await ask("GET", "/v1/channels?since=7&limit=3")
    conversation = {"channel": "dm:alice:bob", "role": "member", "epoch": "e", "seq": 3, "at": 7, "read": 0}
    assert listed == {"channels": [conversation], "more": False}
    _, listed = await ask("GET", "/v1/channels?after=9,group:a&limit=3")
    assert [(one["at"], one["channel"]) for one in listed["channels"]] == [(9, "group:a")]
    for after in (
        "9",
        "group:a",
        "9,",
        ",group:a",
        "x,group:a",
        "-9,group:a",
        "9,group:a,b",
        "9" * 16 + ",group:a",
        "%C2%B2,a",
    ):
        assert (await ask("GET", f"/v1/channels?after={after}"))[0] == 400


@pytest.mark.parametrize(("code", "status"), REFUSALS)
async def test_what_the_realtime_side_refuses_is_refused(
    ask: Ask, realtime: CalmRealtime, code: ErrorCode, status: int
) -> None:
    realtime.refusal = Refused(code, "no", 1.5)
    answers = [await ask("GET", path) for path in READS]
    answers.append(await ask("POST", "/v1/channels/room:a/messages", {"data": {}}))
    for got, problem in answers:
        assert (got, problem["code"], problem["detail"], problem["retry_after"]) == (status, code, "no", 1.5)
