"""A backend on a WebSocket: let in by its key, with its operations, acks and limits."""

from typing import Any

import msgspec
import pytest

from chatd.backend.key_text import key_id_of
from protocol.codec import JSON, MSGPACK, Codec
from protocol.codes import CloseCode, ErrorCode
from tests.chatd.backend.conftest import caller
from tests.rig.node import Device, Rig


async def enter(rig: Rig, *actions: str, codec: Codec = JSON, **options: Any) -> tuple[Device, str]:
    record, text = await rig.node.backend.keyring.create("web", actions or ("*",), ("*",))
    rig.node.backend.keys.take(record)
    device = rig.connect(codec)
    answer = await device.ask(type="connect", token=text, **options)
    assert (answer["type"], answer["user"], answer["device"]) == ("connected", "backend", key_id_of(text))
    return device, text


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=["json", "msgpack"])
async def test_a_backend_sends_anywhere_and_is_answered_in_order(rig: Rig, codec: Codec) -> None:
    await rig.register("alice")
    alice = await rig.enter("alice")
    backend, _ = await enter(rig, codec=codec)
    ids = await backend.say(
        {"type": "send", "channel": "user:alice", "key": "a", "data": {"n": 1}},
        {"type": "send", "channel": "user:alice", "key": "b", "data": {"n": 2}, "from": "bob"},
        {"type": "send", "channel": "nosuch:x", "key": "c", "data": {}},
        {"type": "send", "channel": "user:alice", "key": "a", "data": {"n": 1}},
    )
    answers = [await backend.hear() for _ in ids]
    assert [answer["id"] for answer in answers] == ids
    assert [answer.get("seq") or answer["code"] for answer in answers] == [1, 2, ErrorCode.UNKNOWN_CHANNEL, 1]
    assert answers[3]["duplicate"]
    assert [(one["from"], one["data"]) for one in [await alice.hear(), await alice.hear()]] == [
        ("backend", {"n": 1}),
        ("bob", {"n": 2}),
    ]


async def test_a_backend_broadcasts_and_each_channel_has_its_own_result(rig: Rig) -> None:
    backend, _ = await enter(rig)
    command = {"channels": ["event:a", "nosuch:x"], "users": ["alice"], "key": "k", "data": {}}
    answer = await backend.ask(type="broadcast", **command)
    assert [(one["channel"], one.get("seq"), one.get("code")) for one in answer["results"]] == [
        ("event:a", 1, None),
        ("nosuch:x", None, ErrorCode.UNKNOWN_CHANNEL),
        ("user:alice", 1, None),
    ]
    again = await backend.ask(type="broadcast", **command, retry=True)
    assert [one.get("duplicate", False) for one in again["results"]] == [True, False, True]


async def test_a_backend_sees_and_ends_the_sessions_of_a_user(rig: Rig) -> None:
    alice, bob = await rig.enter("alice"), await rig.enter("bob")
    backend, _ = await enter(rig)
    [session] = (await backend.ask(type="sessions", user="alice"))["sessions"]
    assert (session["user"], session["session"]) == ("alice", alice.session.id)
    assert (await backend.ask(type="disconnect", user="alice", reason="bye"))["sessions"] == 1
    assert await alice.close_code() == CloseCode.DISMISSED
    assert (await backend.ask(type="disconnect", session=bob.session.id, reconnect=True))["sessions"] == 1
    assert await bob.close_code() == CloseCode.ENDED
    assert (await backend.ask(type="disconnect", session="nosuch"))["code"] == ErrorCode.NOT_FOUND
    assert (await backend.ask(type="disconnect"))["code"] == ErrorCode.BAD_REQUEST


async def test_a_backend_subscribes_a_user_who_is_told(rig: Rig) -> None:
    alice = await rig.enter("alice")
    backend, _ = await enter(rig)
    assert (await backend.ask(type="subscribe_user", user="alice", channel="event:a"))["sessions"] == 1
    told = await alice.hear()
    assert (told["type"], told["channel"], "id" in told) == ("subscribed", "event:a", False)
    assert (await backend.ask(type="subscribe_user", user="alice", channel="event:a"))["sessions"] == 0
    await backend.ask(type="send", channel="event:a", key="k", data={})
    assert (await alice.hear())["key"] == "k"
    assert (await backend.ask(type="unsubscribe_user", user="alice", channel="event:a"))["sessions"] == 1
    assert (await alice.hear())["type"] == "unsubscribed"
    refused = await backend.ask(type="subscribe_user", user="alice", channel="dm:alice:bob")
    assert refused["code"] == ErrorCode.FORBIDDEN


async def test_a_backend_reads_channels_and_resumes_them(rig: Rig) -> None:
    backend, text = await enter(rig)
    place = await backend.ask(type="subscribe", channel="event:a")
    writer, _ = await enter(rig)
    await writer.ask(type="send", channel="event:a", key="k", data={})
    assert (await backend.hear())["key"] == "k"
    assert (await backend.ask(type="history", channel="event:a"))["messages"][0]["key"] == "k"
    both = await backend.ask(type="history", channel="event:a", after=1, before=5)
    assert both["code"] == ErrorCode.BAD_REQUEST
    cursors = {"event:a": [place["epoch"], place["seq"]], "presence:x": ["e", 0], "nosuch:a": ["e", 0]}
    later = rig.connect()
    connected = await later.ask(type="connect", token=text, cursors=cursors)
    assert connected["resumed"]["event:a"]["recovered"]
    assert [one["key"] for one in connected["resumed"]["event:a"]["messages"]] == ["k"]
    assert (await later.hear())["channel"] == "nosuch:a"
    assert (await backend.ask(type="unsubscribe", channel="event:a"))["type"] == "ok"


async def test_a_backend_keeps_members_whatever_the_roles_are(rig: Rig) -> None:
    await rig.register("alice", "bob", "carol")
    backend, _ = await enter(rig)
    assert (await backend.ask(type="create", channel="group:a", members=["bob", "alice"]))["type"] == "ok"
    assert (await backend.ask(type="invite", channel="group:a", users=["carol"], role="admin"))["type"] == "ok"
    assert (await backend.ask(type="remove", channel="group:a", users=["bob"]))["type"] == "ok"
    answer = await backend.ask(type="members", channel="group:a")
    assert answer["members"] == {"alice": "member", "carol": "owner"}


async def test_what_the_key_does_not_allow_is_refused_command_by_command(rig: Rig) -> None:
    backend, _ = await enter(rig, "tokens")
    commands: list[dict[str, Any]] = [
        {"type": "send", "channel": "event:a", "key": "k", "data": {}},
        {"type": "broadcast", "channels": ["event:a"], "key": "k", "data": {}},
        {"type": "history", "channel": "event:a"},
        {"type": "subscribe", "channel": "event:a"},
        {"type": "presence", "users": ["alice"]},
        {"type": "members", "channel": "dm:alice:bob"},
        {"type": "create", "channel": "group:a", "members": ["alice"]},
        {"type": "sessions", "user": "alice"},
        {"type": "disconnect", "user": "alice"},
        {"type": "subscribe_user", "user": "alice", "channel": "event:a"},
        {"type": "status", "state": "away"},
        {"type": "channels"},
    ]
    for command in commands:
        assert (await backend.ask(**command))["code"] == ErrorCode.FORBIDDEN, command
    assert (await backend.ask(type="ping"))["type"] == "ok"
    assert (await backend.ask(type="connect", token="x"))["code"] == ErrorCode.ALREADY_CONNECTED


async def test_users_have_none_of_these_commands_and_no_other_name(rig: Rig) -> None:
    alice = await rig.enter("alice")
    assert (await alice.ask(type="sessions", user="bob"))["code"] == ErrorCode.FORBIDDEN
    broadcast = {"channels": ["room:a"], "key": "k", "data": {}}
    assert (await alice.ask(type="broadcast", **broadcast))["code"] == ErrorCode.FORBIDDEN
    await alice.ask(type="subscribe", channel="room:a")
    await alice.say({"type": "send", "channel": "room:a", "key": "k", "data": {}, "from": "bob"})
    heard = [await alice.hear(), await alice.hear()]
    assert [one["from"] for one in heard if one["type"] == "message"] == ["alice"]


async def test_a_bad_key_is_turned_away_and_a_revoked_one_is_closed(rig: Rig) -> None:
    device = rig.connect()
    answer = await device.ask(type="connect", token="chatd_key_nonsense")
    assert answer["code"] == ErrorCode.BAD_TOKEN
    assert await device.close_code() == CloseCode.UNAUTHORIZED
    backend, text = await enter(rig)
    await rig.node.backend.keyring.revoke(key_id_of(text) or "")
    await rig.node.backend.keys.refresh()
    assert await backend.close_code() == CloseCode.REVOKED
    assert rig.node.hub.backends == {}


async def test_a_server_session_is_nobodys_presence(rig: Rig) -> None:
    backend, _ = await enter(rig)
    answer = await backend.ask(type="presence", users=["backend"])
    assert answer["users"][0]["state"] == "offline"
    assert rig.node.hub.users == {}
    assert rig.node.hub.statistics().sessions == 1
    backend.leave()


async def test_a_token_for_one_subscription_lets_one_user_read_one_channel(rig: Rig) -> None:
    spaces = rig.node.settings.namespaces
    rig.node.settings.namespaces = {**spaces, "event": msgspec.structs.replace(spaces["event"], read="backend")}
    alice, bob = await rig.enter("alice"), await rig.enter("bob")
    token, _ = rig.node.backend.leaves.issue(caller(), "alice", "event:secret", None)
    assert (await alice.ask(type="subscribe", channel="event:secret"))["code"] == ErrorCode.FORBIDDEN
    assert (await bob.ask(type="subscribe", channel="event:secret", token=token))["code"] == ErrorCode.BAD_TOKEN
    assert (await alice.ask(type="subscribe", channel="event:other", token=token))["code"] == ErrorCode.BAD_TOKEN
    assert (await alice.ask(type="subscribe", channel="event:secret", token=token))["type"] == "subscribed"
    stranger = rig.connect()
    assert (await stranger.ask(type="connect", token=token))["code"] == ErrorCode.BAD_TOKEN
