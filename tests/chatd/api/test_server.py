"""The server API from the side of a backend, over a whole node: rights, pages, ETags, batches, accounts, keys."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from quart.testing import QuartClient

from chatd.config import Auth
from protocol.codes import ErrorCode
from tests.chatd.backend.conftest import quiet
from tests.rig.node import Rig, running_node

Call = Callable[..., Awaitable[tuple[int, Any]]]
PREFIX = "/v1/server"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    config = msgspec.structs.replace(quiet(), auth=Auth(hash_memory_kib=8, hash_passes=1))
    async with running_node(tmp_path, config) as running:
        yield running


@pytest.fixture
def client(rig: Rig) -> QuartClient:
    """Return a client of the node's app, without the gate before it."""
    return cast(QuartClient, rig.node.http.app.test_client())


@pytest.fixture
def call(rig: Rig, client: QuartClient) -> Call:
    """Ask with a key of these actions (`*` if not given); return status and JSON."""
    texts: dict[tuple[str, ...], str] = {}

    async def send(
        method: str,
        path: str,
        body: object = None,
        *,
        actions: tuple[str, ...] = ("*",),
        token: str = "",
        **headers: str,
    ) -> tuple[int, Any]:
        if not token and actions not in texts:
            record, texts[actions] = await rig.node.backend.keyring.create("web", actions, ["*"])
            rig.node.backend.keys.take(record)
        response = await client.open(
            PREFIX + path,
            method=method,
            data=None if body is None else msgspec.json.encode(body),
            headers={
                "Authorization": f"Bearer {token or texts[actions]}",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
        )
        content = await response.get_data(as_text=False)
        return response.status_code, msgspec.json.decode(content) if content else None

    return send


async def test_a_message_is_published_once_for_each_idempotency_key(call: Call) -> None:
    first = await call("POST", "/channels/event:a/messages", {"data": {}}, Idempotency_Key="k")
    again = await call("POST", "/channels/event:a/messages", {"data": {}}, Idempotency_Key="k")
    assert (first[0], first[1]["key"], first[1]["duplicate"]) == (200, "k", False)
    assert (again[1]["seq"], again[1]["duplicate"]) == (first[1]["seq"], True)
    status, problem = await call("POST", "/channels/event:a/messages", {"data": {}, "key": "x"}, Idempotency_Key="k")
    assert (status, problem["code"]) == (400, ErrorCode.BAD_REQUEST)


async def test_a_batch_answers_for_each_message_and_is_repeated_without_harm(call: Call) -> None:
    batch = {
        "messages": [
            {"channel": "event:a", "data": {"n": 1}},
            {"channels": ["event:b", "nosuch:x"], "users": ["alice"], "data": {}, "key": "own"},
        ]
    }
    status, answer = await call("POST", "/messages", batch, Idempotency_Key="k")
    results = answer["results"]
    assert (status, [one["item"] for one in results]) == (200, [0, 1, 1, 1])
    assert [one["key"].partition(".")[0] for one in results] == ["k", "own", "own", "own"]
    assert [one.get("problem", {}).get("code") for one in results] == [None, None, ErrorCode.UNKNOWN_CHANNEL, None]
    _, again = await call("POST", "/messages", batch, Idempotency_Key="k")
    assert [one.get("duplicate", False) for one in again["results"]] == [True, True, False, True]


@pytest.mark.parametrize(
    "batch",
    [
        {"messages": []},
        {"messages": [{"data": {}}]},
        {"messages": [{"channel": "event:a", "data": 1}]},
        {"messages": [{"channel": "event:a", "data": {}}] * 1001},
        {"messages": [{"channels": [f"event:{n}" for n in range(600)], "data": {}}] * 2},
        {"messages": [{"channels": ["event:a"], "data": {}, "key": "k" * 128}]},
    ],
)
async def test_a_batch_that_is_no_batch_publishes_nothing(call: Call, batch: object) -> None:
    status, problem = await call("POST", "/messages", batch)
    assert (status, problem["code"]) == (400, ErrorCode.BAD_REQUEST)
    assert (await call("GET", "/channels/event:a/messages"))[1]["messages"] == []


async def test_history_is_read_in_both_directions_by_cursors(call: Call) -> None:
    await call("POST", "/messages", {"messages": [{"channel": "event:a", "data": {"n": n}} for n in range(5)]})
    for newer, expected in (("false", [[4, 5], [2, 3], [1]]), ("true", [[1, 2], [3, 4], [5]])):
        pages = []
        cursor = ""
        while True:
            path = f"/channels/event:a/messages?limit=2&newer={newer}" + (f"&cursor={cursor}" if cursor else "")
            status, page = await call("GET", path)
            assert status == 200
            pages.append([message["seq"] for message in page["messages"]])
            cursor = page["next"]
            if cursor is None:
                break
        assert pages == expected
    status, page = await call("GET", "/channels/event:a/messages?limit=2")
    assert (await call("GET", f"/channels/event:b/messages?cursor={page['next']}"))[0] == 400
    assert (await call("GET", "/users?cursor=nonsense"))[0] == 400


async def test_reads_have_an_etag_and_are_not_sent_again(call: Call, client: QuartClient, rig: Rig) -> None:
    record, text = await rig.node.backend.keyring.create("web", ["*"], ["*"])
    rig.node.backend.keys.take(record)
    headers = {"Authorization": f"Bearer {text}"}
    first = await client.get(PREFIX + "/namespaces", headers=headers)
    again = await client.get(PREFIX + "/namespaces", headers={**headers, "If-None-Match": first.headers["ETag"]})
    assert (first.status_code, again.status_code, await again.get_data(as_text=False)) == (200, 304, b"")


async def test_an_account_is_made_suspended_given_roles_and_erased(call: Call, rig: Rig) -> None:
    status, account = await call("POST", "/users", {"name": "alice", "password": "correct horse"})
    assert (status, account["user"], account["has_password"]) == (201, "alice", True)
    await call("POST", "/users", {"name": "bob"})
    await call("PUT", "/channels/group:a/members", {"members": {"alice": "owner", "bob": "member"}})
    alice = await rig.enter("alice", device=(await rig.node.accounts.login("alice", "correct horse", "", "")).device)
    assert (await call("POST", "/users/alice/suspend"))[0] == 204
    assert await alice.close_code() == 4503
    assert (await call("GET", "/users/alice"))[1]["is_suspended"]
    assert (await call("POST", "/users/alice/unsuspend"))[0] == 204
    assert (await call("PUT", "/users/alice/roles", {"roles": ["support"]}))[1]["roles"] == ["support"]
    assert (await call("PUT", "/users/alice/roles", {"roles": ["king"]}))[0] == 400
    assert (await call("DELETE", "/users/alice"))[0] == 204
    assert (await call("GET", "/users/alice"))[1]["code"] == ErrorCode.UNKNOWN_USER
    assert (await call("GET", "/channels/group:a/members"))[1]["members"] == {"bob": "owner"}
    actions = [entry["action"] for entry in (await call("GET", "/audit"))[1]["entries"]]
    assert actions[:2] == ["user.erase", "user.roles"]


async def test_who_is_suspended_loses_sessions_of_devices_that_the_store_does_not_know(call: Call, rig: Rig) -> None:
    await rig.register("alice", "bob")
    alice, bob = await rig.enter("alice"), await rig.enter("bob")  # with tokens as an outside issuer signs them
    assert (await call("POST", "/users/alice/suspend"))[0] == 204
    assert await alice.close_code() == 4503
    await bob.silence()


async def test_accounts_are_imported_with_their_hashes(call: Call, rig: Rig) -> None:
    made = await rig.node.accounts.create("source", "correct horse")
    users = [
        {"user": "alice", "password_hash": made.password_hash, "created_at": 5},
        {"user": "source"},
        {"user": "UPPER"},
        {"user": "carol", "password_hash": "plain"},
        {"user": "dave", "password_hash": "$argon2id$v=19$m=99999999,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"},
    ]
    status, answer = await call("POST", "/users/import", {"users": users})
    assert (status, [outcome in ("created", "exists") for outcome in answer["outcomes"]]) == (
        200,
        [True, True, False, False, False],
    )
    assert (await rig.node.accounts.login("alice", "correct horse", "", "")).user == "alice"


async def test_lists_are_read_page_by_page(call: Call, rig: Rig) -> None:
    await rig.register(*(f"user{n}" for n in range(5)))
    found, cursor = [], ""
    while True:
        _, page = await call("GET", f"/users?limit=2{cursor}")
        found += [one["user"] for one in page["users"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert sorted(found) == [f"user{n}" for n in range(5)]
    reader = await rig.enter("user0")
    await reader.ask(type="subscribe", channel="event:b")
    await reader.ask(type="subscribe", channel="event:a")
    _, page = await call("GET", "/channels?limit=1&namespace=event")
    assert page["channels"] == [{"channel": "event:a", "sessions": 1}]
    _, page = await call("GET", f"/channels?limit=1&namespace=event&cursor={page['next']}")
    assert (page["channels"], page["next"]) == ([{"channel": "event:b", "sessions": 1}], None)
    assert (await call("GET", "/sessions?user=user0"))[1]["sessions"][0]["user"] == "user0"


async def test_people_do_what_their_roles_allow(call: Call, rig: Rig) -> None:
    await rig.register("ada", "bob")
    token = rig.token("ada")
    assert (await call("GET", "/users", token=token))[0] == 403
    await call("PUT", "/users/ada/roles", {"roles": ["auditor"]})
    assert (await call("GET", "/audit", token=token))[0] == 200
    status, problem = await call("POST", "/users/bob/suspend", token=token)
    assert (status, "users.suspend" in problem["detail"]) == (403, True)
    await call("PUT", "/users/ada/roles", {"roles": ["admin"]})
    assert (await call("POST", "/users/bob/suspend", token=token))[0] == 204
    await rig.store.erase_user((await rig.node.accounts.user("ada")).user)
    assert (await call("GET", "/users", token=token))[0] == 403


async def test_a_key_makes_no_key_that_may_do_more(call: Call) -> None:
    small = ("keys", "keys.change", "publish")
    status, made = await call(
        "POST", "/keys", {"title": "a", "actions": ["publish"], "namespaces": ["*"]}, actions=small
    )
    assert (status, made["secret"].startswith("chatd_key_")) == (201, True)
    assert (await call("POST", "/messages", {"messages": [{"channel": "event:a", "data": {}}]}, token=made["secret"]))[
        0
    ] == 200
    for actions in (["*"], ["history"], ["publish", "users"]):
        body = {"title": "a", "actions": actions, "namespaces": ["*"]}
        assert (await call("POST", "/keys", body, actions=small))[0] == 403
    admin = next(key for key in (await call("GET", "/keys"))[1]["keys"] if key["actions"] == ["*"])
    assert (await call("POST", f"/keys/{admin['key_id']}/rotate", {}, actions=small))[0] == 403
    status, rotated = await call("POST", f"/keys/{made['key']['key_id']}/rotate", {"overlap_seconds": 0}, actions=small)
    assert status == 201
    assert (await call("GET", "/namespaces", token=made["secret"]))[1]["code"] == ErrorCode.TOKEN_EXPIRED
    assert (await call("DELETE", f"/keys/{rotated['key']['key_id']}", actions=small))[0] == 204
    assert (await call("GET", "/namespaces", token=rotated["secret"]))[1]["code"] == ErrorCode.REVOKED


GUARDED: list[tuple[str, str, object]] = [
    ("POST", "/presence", {"users": ["alice"]}),
    ("GET", "/channels/event:a/messages", None),
    ("GET", "/channels/room:a/presence", None),
    ("GET", "/channels", None),
    ("GET", "/channels/event:a", None),
    ("GET", "/channels/group:a/members", None),
    ("PATCH", "/channels/group:a/members", {"remove": ["alice"]}),
    ("GET", "/namespaces", None),
    ("GET", "/users", None),
    ("POST", "/users", {"name": "zoe"}),
    ("POST", "/users/import", {"users": [{"user": "zoe"}]}),
    ("DELETE", "/users/alice", None),
    ("POST", "/users/alice/unsuspend", None),
    ("PUT", "/users/alice/roles", {"roles": ["admin"]}),
    ("GET", "/sessions", None),
    ("POST", "/users/alice/disconnect", {}),
    ("DELETE", "/users/alice/devices", None),
    ("POST", "/users/alice/subscribe", {"channel": "event:a"}),
    ("POST", "/subscription-tokens", {"user": "alice", "channel": "event:a"}),
    ("POST", "/scheduled", {"channel": "event:a", "data": {}, "delay_seconds": 1}),
    ("GET", "/scheduled", None),
    ("GET", "/keys", None),
    ("POST", "/keys", {"title": "a", "actions": ["keys"], "namespaces": ["*"]}),
    ("GET", "/audit", None),
    ("POST", "/webhooks/main/replay", {"all": True}),
    ("POST", "/webhooks/main/test", None),
    ("POST", "/webhooks/main/enable", None),
    ("GET", "/push", None),
    ("GET", "/push/fcm/dead", None),
    ("POST", "/push/fcm/replay", {"all": True}),
]


async def test_without_the_action_nothing_is_done_or_told(call: Call) -> None:
    for method, path, body in GUARDED:
        status, problem = await call(method, path, body, actions=("webhooks",))
        assert (status, problem["code"]) == (403, ErrorCode.FORBIDDEN), (method, path)


async def test_a_wrong_key_is_told_nothing(call: Call) -> None:
    status, problem = await call("GET", "/users", token="chatd_key_aaaaaaaaaaaaaaaa_" + "x" * 43)
    assert (status, problem["code"]) == (401, ErrorCode.BAD_TOKEN)
