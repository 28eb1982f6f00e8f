"""Sessions: greeting, commands, answers, closing; through real sockets."""

import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from chatd.limits import TokenBucket
from protocol.codec import JSON, MSGPACK, Codec
from protocol.codes import CloseCode, ErrorCode
from protocol.frames import Opcode, client_frame, close_payload
from tests.rig.node import MASK, Rig, changed, running_node


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=["json", "msgpack"])
async def test_connect_is_answered_with_who_it_is(rig: Rig, codec: Codec) -> None:
    device = rig.connect(codec=codec)
    answer = await device.ask(type="connect", token=rig.token("alice", device="phone"))
    assert answer["type"] == "connected"
    assert (answer["user"], answer["device"], answer["session"]) == ("alice", "phone", device.session.id)
    assert answer["ping_seconds"] == 25.0
    assert answer["expires"] > answer["time"]


async def test_a_command_before_connect_is_refused(rig: Rig) -> None:
    device = rig.connect()
    for command in ({"type": "ping"}, {"type": "send", "channel": "room:a", "key": "k", "data": {}}):
        answer = await device.ask(**command)
        assert (answer["type"], answer["code"]) == ("error", ErrorCode.NOT_CONNECTED)
    assert (await device.ask(type="connect", token=rig.token("alice")))["type"] == "connected"


async def test_commands_that_came_in_one_write_with_connect_all_get_their_answers(rig: Rig) -> None:
    await rig.register("alice", "bob")
    device = rig.connect()
    connect = {
        "type": "connect",
        "token": rig.token("alice"),
        "cursors": {"room:a": ["e", 0], "dm:alice:bob": ["e", 0]},
    }
    await device.say({"type": "ping"}, {"type": "history"}, connect, {"type": "ping"})
    answers = [await device.hear() for _ in range(4)]
    assert [(answer["id"], answer["type"]) for answer in answers] == [
        (1, "error"),
        (2, "error"),
        (3, "connected"),
        (4, "ok"),
    ]


async def test_a_second_connect_is_refused(rig: Rig) -> None:
    device = await rig.enter("alice")
    assert (await device.ask(type="connect", token=rig.token("alice")))["code"] == ErrorCode.ALREADY_CONNECTED


@pytest.mark.parametrize(
    ("token", "code", "close"),
    [
        ("", ErrorCode.BAD_TOKEN, CloseCode.UNAUTHORIZED),
        ("a.b.c", ErrorCode.BAD_TOKEN, CloseCode.UNAUTHORIZED),
        ("\x00\x00", ErrorCode.BAD_TOKEN, CloseCode.UNAUTHORIZED),
        (
            "eyJhbGciOiJub25lIn0.eyJpc3MiOiJjaGF0ZCIsInN1YiI6ImEiLCJkZXYiOiJkIiwiZXhwIjo5OTk5OTk5OTk5fQ.",
            ErrorCode.BAD_TOKEN,
            CloseCode.UNAUTHORIZED,
        ),
    ],
)
async def test_a_bad_token_is_answered_and_ends_the_session(rig: Rig, token: str, code: int, close: int) -> None:
    device = rig.connect()
    answer = await device.ask(type="connect", token=token)
    assert (answer["type"], answer["code"]) == ("error", code)
    assert await device.close_code() == close


async def test_an_expired_token_tells_the_client_to_get_a_new_one(rig: Rig) -> None:
    device = rig.connect()
    answer = await device.ask(type="connect", token=rig.token("alice", seconds=-3600))
    assert answer["code"] == ErrorCode.TOKEN_EXPIRED
    assert await device.close_code() == CloseCode.TOKEN_EXPIRED


async def test_refresh_takes_only_a_token_of_the_same_user_and_device(rig: Rig) -> None:
    device = await rig.enter("alice")
    assert (await device.ask(type="refresh", token=rig.token("bob")))["code"] == ErrorCode.BAD_TOKEN
    began = time.time()
    answer = await device.ask(type="refresh", token=rig.token("alice", seconds=5000))
    assert answer["type"] == "refreshed"
    assert abs(answer["expires"] / 1000 - began - 5000) < 60


async def test_an_unknown_command_is_refused_by_its_id(rig: Rig) -> None:
    device = await rig.enter("alice")
    assert (await device.ask(type="fly"))["code"] == ErrorCode.UNKNOWN_COMMAND
    assert (await device.ask(type="subscribe"))["code"] == ErrorCode.BAD_REQUEST
    assert (await device.ask(type="history", channel="room:a", limit=0))["code"] == ErrorCode.BAD_REQUEST
    assert (await device.ask(type="presence"))["code"] == ErrorCode.BAD_REQUEST


async def test_a_refused_command_has_a_line_in_the_log(rig: Rig) -> None:
    device = await rig.enter("alice")
    with capture_logs() as logged:
        await device.ask(type="fly")
    [line] = logged
    assert (line["event"], line["log_level"], line["code"]) == ("command refused", "debug", 201)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"nonsense",
        b'{"type":"ping"}',
        b'{"id":-1,"type":"ping"}',
        b"[" * 60_000,
        b'{"id":1.5,"type":"ping"}',
    ],
)
async def test_what_has_no_id_to_answer_to_ends_the_session(rig: Rig, payload: bytes) -> None:
    device = await rig.enter("alice")
    await device.write(client_frame(Opcode.TEXT, payload, MASK))
    assert await device.close_code() == CloseCode.BAD_MESSAGE


async def test_the_other_kind_of_message_ends_the_session(rig: Rig) -> None:
    device = await rig.enter("alice")
    await device.write(client_frame(Opcode.BINARY, b"{}", MASK))
    assert await device.close_code() == CloseCode.UNSUPPORTED_DATA


async def test_what_came_before_a_broken_frame_is_answered_first(rig: Rig) -> None:
    device = await rig.enter("alice")
    await device.write(device.frame({"id": 77, "type": "ping"}) + b"\xff\xff\xff\xff")
    assert await device.hear() == {"type": "ok", "id": 77}
    assert await device.close_code() == CloseCode.PROTOCOL_ERROR


async def test_a_close_frame_is_answered_and_the_connection_ends(rig: Rig) -> None:
    device = await rig.enter("alice")
    await device.write(client_frame(Opcode.CLOSE, close_payload(1000, "bye"), MASK))
    assert await device.close_code() == CloseCode.NORMAL
    assert await device.next_frame() == (Opcode.CLOSE, b"eof")
    assert device.session.id not in rig.node.hub.sessions


async def test_a_ping_is_answered_with_its_payload(rig: Rig) -> None:
    device = await rig.enter("alice")
    await device.write(client_frame(Opcode.PING, b"there?", MASK))
    assert await device.next_frame() == (Opcode.PONG, b"there?")


async def test_answers_keep_the_order_of_the_commands_of_one_read(rig: Rig) -> None:
    device = await rig.enter("alice")
    ids = await device.say(
        {"type": "send", "channel": "room:a", "key": "1", "data": {}},
        {"type": "send", "channel": "nowhere:a", "key": "2", "data": {}},
        {"type": "ping"},
        {"type": "send", "channel": "room:a", "key": "3", "data": {}},
    )
    answers = [await device.hear() for _ in ids]
    assert [answer["id"] for answer in answers] == ids
    assert [answer["type"] for answer in answers] == ["sent", "error", "ok", "sent"]
    assert [answers[0]["seq"], answers[3]["seq"]] == [1, 2]


async def test_commands_over_the_rate_are_refused_and_then_the_session_is_closed(tmp_path: Path) -> None:
    config = changed("limits", commands_per_second=0.01, commands_burst=3, rate_grace=2)
    async with running_node(tmp_path, config) as rig:
        device = await rig.enter("alice")
        for _ in range(2):
            assert (await device.ask(type="ping"))["type"] == "ok"
        for _ in range(2):
            answer = await device.ask(type="ping")
            assert answer["code"] == ErrorCode.RATE_LIMITED
            assert answer["retry_after"] > 0
        await device.say({"type": "ping"})
        assert await device.close_code() == CloseCode.TOO_FAST


async def test_messages_of_one_user_share_a_rate_over_all_sessions(tmp_path: Path) -> None:
    config = changed("limits", messages_per_second=0.01, messages_burst=2)
    async with running_node(tmp_path, config) as rig:
        phone, desk = await rig.enter("alice", device="phone"), await rig.enter("alice", device="desk")
        send = {"type": "send", "channel": "room:a", "data": {}}
        assert (await phone.ask(**send, key="1"))["type"] == "sent"
        assert (await desk.ask(**send, key="2"))["type"] == "sent"
        answer = await phone.ask(**send, key="3")
        assert answer["code"] == ErrorCode.RATE_LIMITED
        assert answer["retry_after"] > 1


async def test_who_does_not_say_connect_in_time_is_closed(tmp_path: Path) -> None:
    config = changed("limits", hello_seconds=0.05)
    async with running_node(tmp_path, config) as rig:
        assert await rig.connect().close_code() == CloseCode.HELLO_TIMEOUT


async def test_who_answers_no_ping_is_closed(tmp_path: Path) -> None:
    async with running_node(tmp_path, changed("websocket", ping_seconds=0.1)) as rig:
        device = await rig.enter("alice")
        assert await device.close_code() == CloseCode.NO_PONG


async def test_who_answers_pings_stays(tmp_path: Path) -> None:
    async with running_node(tmp_path, changed("websocket", ping_seconds=0.1)) as rig:
        device = await rig.enter("alice")
        for _ in range(3):
            assert await device.next_frame() == (Opcode.PING, b"")
            await device.write(client_frame(Opcode.PONG, b"", MASK))
        await device.silence()


async def test_a_session_whose_close_frame_is_not_answered_is_cut_off(tmp_path: Path) -> None:
    async with running_node(tmp_path, changed("websocket", close_seconds=0.05)) as rig:
        device = await rig.enter("alice")
        device.session.close(CloseCode.REVOKED, "out")
        assert await device.close_code() == CloseCode.REVOKED
        assert await device.next_frame() == (Opcode.CLOSE, b"eof")


async def test_an_expired_token_ends_a_running_session(tmp_path: Path) -> None:
    async with running_node(tmp_path, changed("websocket", ping_seconds=0.1)) as rig:
        device = await rig.enter("alice")
        device.session.expires_at = 0
        assert await device.close_code() == CloseCode.TOKEN_EXPIRED


async def test_a_revoked_device_is_closed_at_once_and_the_others_stay(rig: Rig) -> None:
    phone, desk = await rig.enter("alice", device="phone"), await rig.enter("alice", device="desk")
    rig.node.hub.revoke(phone.session.principal.device)  # type: ignore[union-attr]
    assert await phone.close_code() == CloseCode.REVOKED
    await desk.silence()


async def test_the_oldest_session_of_a_user_makes_room(tmp_path: Path) -> None:
    async with running_node(tmp_path, changed("limits", sessions_per_user=2)) as rig:
        first, second, third = [await rig.enter("alice", device=f"d{number}") for number in range(3)]
        assert await first.close_code() == CloseCode.REPLACED
        await second.silence()
        await third.silence()


async def test_nothing_is_left_behind_by_a_session_that_ended(rig: Rig) -> None:
    device = await rig.enter("alice")
    await device.ask(type="subscribe", channel="room:a")
    device.leave()
    await rig.node.hub.wait_empty()
    hub = rig.node.hub
    assert (hub.sessions, hub.users, hub.channels) == ({}, {}, {})
    assert hub.statistics().subscriptions == 0


async def test_of_commands_that_come_together_as_many_pass_as_may_and_the_session_goes_on(tmp_path: Path) -> None:
    config = changed("limits", commands_per_second=0.01, commands_burst=5, rate_grace=3, messages_burst=100)
    async with running_node(tmp_path, config) as rig:
        device = await rig.enter("alice")  # `connect` was the first of the five
        send = {"type": "send", "channel": "room:a", "data": {}}
        ids = await device.say(*({**send, "key": str(number)} for number in range(50)))
        answers = [await device.hear() for _ in ids]
        assert [answer["id"] for answer in answers] == ids
        assert [answer["type"] for answer in answers] == ["sent"] * 4 + ["error"] * 46
        assert all(answer["retry_after"] > 0 for answer in answers[4:])
        assert (await device.ask(type="ping"))["code"] == ErrorCode.RATE_LIMITED


async def test_who_keeps_to_the_rate_again_is_forgiven(tmp_path: Path) -> None:
    config = changed("limits", commands_per_second=0.01, commands_burst=2, rate_grace=2)
    async with running_node(tmp_path, config) as rig:
        device = await rig.enter("alice")
        assert (await device.ask(type="ping"))["type"] == "ok"
        for _ in range(5):
            assert (await device.ask(type="ping"))["code"] == ErrorCode.RATE_LIMITED
            device.session.bucket = TokenBucket(0.01, 2)  # as if it had waited
            assert (await device.ask(type="ping"))["type"] == "ok"
            device.session.bucket.take(time.monotonic(), 1)
        assert device.session.is_open
