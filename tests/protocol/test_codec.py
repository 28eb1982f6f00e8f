"""Both codecs: every command and event comes through, and nothing but the documented errors comes out of garbage."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocol import messages as m
from protocol.codec import CODECS, COMMAND_NAMES, JSON, MSGPACK, BadCommand, BadMessage, Codec
from protocol.codes import ErrorCode
from protocol.names import ChannelName, DeviceId, Epoch, Seq, UserId

ROOM, ALICE, EPOCH = ChannelName("room:a"), UserId("alice"), Epoch("e1")

LIBRARIES: dict[str, Any] = {JSON.subprotocol: msgspec.json, MSGPACK.subprotocol: msgspec.msgpack}


@pytest.fixture(params=list(CODECS.values()), ids=list(CODECS))
def codec(request: pytest.FixtureRequest) -> Codec:
    """Each of the codecs."""
    chosen: Codec = request.param
    return chosen


def encoded(codec: Codec, value: object) -> bytes:
    """Encode anything as a client of this codec does."""
    raw: bytes = LIBRARIES[codec.subprotocol].encode(value)
    return raw


def raw_data(codec: Codec) -> msgspec.Raw:
    return msgspec.Raw(encoded(codec, {"text": "\N{GRINNING FACE}\x00", "n": [1, -2.5, None, True]}))


def all_commands(codec: Codec) -> list[m.AnyCommand]:
    """Make one of each command, with every field set."""
    return [
        m.Connect(id=0, token="t.t.t", device="phone", cursors={"room:a": (EPOCH, Seq(7)), "dm:a:b": (EPOCH, Seq(0))}),
        m.Refresh(id=1, token="t"),
        m.Ping(id=2**53 - 1),
        m.Subscribe(id=3, channel="room:a", since=(EPOCH, Seq(2**53)), token="t"),
        m.Unsubscribe(id=4, channel="room:a"),
        m.Send(id=5, channel="room:a", key="k", data=raw_data(codec), retry=True, sender=ALICE, ttl_seconds=1.5),
        m.History(id=6, channel="room:a", before=9, after=2**53 - 1, limit=1000),
        m.Presence(id=7, channel="room:a", users=["alice", "bob"]),
        m.Status(id=8, state="away"),
        m.Channels(id=9, since=5, limit=7, after=(9, "group:a")),
        m.Create(id=10, channel="group:a", members=["bob"]),
        m.Members(id=11, channel="group:a"),
        m.Invite(id=12, channel="group:a", users=["bob"], role="admin"),
        m.Remove(id=13, channel="group:a", users=["bob"]),
        m.Read(id=14, channel="group:a", seq=7),
        m.Broadcast(
            id=15,
            channels=["room:a"],
            users=["bob"],
            member_of="alice",
            key="k",
            data=raw_data(codec),
            retry=True,
            sender=ALICE,
            ttl_seconds=1.5,
        ),
        m.Sessions(id=16, user="bob"),
        m.Disconnect(id=17, user="bob", session="s", reconnect=True, reason="bye"),
        m.SubscribeUser(id=18, user="bob", channel="room:a"),
        m.UnsubscribeUser(id=19, user="bob", channel="room:a"),
    ]


def all_events(codec: Codec) -> list[m.AnyEvent]:
    """Make one of each event, with every field set."""
    message = m.Message(
        channel=ROOM, epoch=EPOCH, seq=Seq(4), sender=ALICE, key="k", at=5, data=raw_data(codec), kind="members"
    )
    resumed = m.Resumed(epoch=EPOCH, seq=Seq(9), recovered=True, messages=[message])
    state = m.UserState(user=ALICE, state="offline", last_seen=3)
    conversation = m.Conversation(channel=ROOM, role="owner", epoch=EPOCH, seq=Seq(1), at=2, read=1)
    return [
        message,
        m.Connected(
            id=1,
            user=ALICE,
            device=DeviceId("d"),
            session="s",
            time=1,
            ping_seconds=2.5,
            expires=None,
            resumed={ROOM: resumed},
        ),
        m.Subscribed(id=2, channel=ROOM, epoch=EPOCH, seq=Seq(1), recovered=False, messages=[message]),
        m.Sent(id=3, channel=ROOM, epoch=EPOCH, seq=Seq(1), at=2, duplicate=True),
        m.Subscribed(channel=ROOM, epoch=EPOCH, seq=Seq(1), recovered=True, messages=[]),
        m.Broadcasted(
            id=3,
            results=[
                m.Placed(channel=ROOM, epoch=EPOCH, seq=Seq(1), at=2, duplicate=True),
                m.Placed(channel="nosuch:a", code=208, reason="no", retry_after=1.5),
            ],
        ),
        m.SessionsAnswer(
            id=3, sessions=[m.SessionState(session="s", user=ALICE, device=DeviceId("d"), address="192.0.2.1")]
        ),
        m.Affected(id=3, sessions=2),
        m.HistoryPage(id=4, channel=ROOM, messages=[message], more=True),
        m.PresenceAnswer(id=5, channel=ROOM, count=1, users=[state]),
        m.ChannelsAnswer(id=6, channels=[conversation], more=False),
        m.MembersAnswer(id=7, channel=ROOM, members={ALICE: "owner"}),
        m.Refreshed(id=8, expires=5),
        m.Ok(id=8),
        m.Error(id=9, code=ErrorCode.TIMEOUT, reason="late", retry_after=1.5),
        m.PresenceChanged(channel=ROOM, user=ALICE, state="online", last_seen=1),
        m.HasRead(channel=ROOM, user=ALICE, seq=Seq(1), at=2),
        m.Joined(channel=ROOM, user=ALICE),
        m.Left(channel=ROOM, user=ALICE),
        m.Count(channel=ROOM, count=3),
        m.Unsubscribed(channel=ROOM, code=207, reason="no"),
        m.Reconnect(after_seconds=1.5),
    ]


# What comes through.


def test_every_command_is_decoded_as_it_was_encoded(codec: Codec) -> None:
    commands = all_commands(codec)
    assert {type(command) for command in commands} == set(get_args(m.AnyCommand))
    for command in commands:
        decoded = codec.decode(encoded(codec, command))
        assert type(decoded) is type(command)
        assert encoded(codec, decoded) == encoded(codec, command)


def test_every_event_is_read_as_it_was_written(codec: Codec) -> None:
    events = all_events(codec)
    assert {type(event) for event in events} == set(get_args(m.AnyEvent))
    for event in events:
        raw = codec.encode(event)
        decoded = LIBRARIES[codec.subprotocol].decode(raw, type=m.AnyEvent)
        assert type(decoded) is type(event)
        assert codec.encode(decoded) == raw


def test_an_event_says_its_type_and_leaves_out_what_has_its_default() -> None:
    assert json.loads(JSON.encode(m.Sent(id=1, channel="room:a", epoch=EPOCH, seq=Seq(2), at=3))) == {
        "type": "sent",
        "id": 1,
        "channel": "room:a",
        "epoch": "e1",
        "seq": 2,
        "at": 3,
    }
    error = m.Error(id=1, code=100, reason="slow")
    assert json.loads(JSON.encode(error)) == {"type": "error", "id": 1, "code": 100, "reason": "slow"}


def test_the_body_of_a_command_is_kept_byte_by_byte(codec: Codec) -> None:
    data = b'{ "a" : 1.50 }' if codec is JSON else b"\x81\xd9\x01a\xcd\x00\x01"
    spaced = encoded(codec, {"type": "send", "id": 1, "channel": "c", "key": "k", "data": msgspec.Raw(data)})
    command = codec.decode(spaced)
    assert isinstance(command, m.Send)
    assert bytes(command.data) == data


def test_unknown_fields_are_ignored(codec: Codec) -> None:
    for unknown in (None, [[{"id": "x", "type": 5}]], "x" * 100, 2**63):
        raw = encoded(codec, {"new": unknown, "type": "ping", "id": 1, "newer": unknown})
        assert codec.decode(raw) == m.Ping(id=1)


def test_of_a_field_that_comes_twice_the_last_one_counts() -> None:
    assert JSON.decode(b'{"type":"ping","id":1,"id":2}') == m.Ping(id=2)
    assert MSGPACK.decode(b"\x83\xa4type\xa4ping\xa2id\x01\xa2id\x02") == m.Ping(id=2)


# What can be answered.


@pytest.mark.parametrize("command_id", [0, 1, 2**31, 2**53 - 1])
def test_a_refusal_carries_the_id(codec: Codec, command_id: int) -> None:
    with pytest.raises(BadCommand) as refused:
        codec.decode(encoded(codec, {"type": "subscribe", "id": command_id}))
    assert (refused.value.id, refused.value.code) == (command_id, ErrorCode.BAD_REQUEST)
    assert "channel" in refused.value.reason


@pytest.mark.parametrize("name", ["", "Ping", "pinɡ", "ping\x00", "connected", "x" * 10_000])
def test_an_unknown_command_is_refused_by_its_id(codec: Codec, name: str) -> None:
    with pytest.raises(BadCommand) as refused:
        codec.decode(encoded(codec, {"id": 7, "type": name, "channel": 5}))
    assert (refused.value.id, refused.value.code) == (7, ErrorCode.UNKNOWN_COMMAND)


WRONG_FIELDS: list[dict[str, Any]] = [
    {"type": "connect", "token": None},
    {"type": "connect", "device": "d" * 65},
    {"type": "connect", "cursors": []},
    {"type": "connect", "cursors": {"room:a": ["e"]}},
    {"type": "connect", "cursors": {"room:a": ["e", 1, 2]}},
    {"type": "connect", "cursors": {"room:a": ["e", "1"]}},
    {"type": "connect", "cursors": {"room:a": ["e", 1.5]}},
    {"type": "connect", "cursors": {"c" * 256: ["e", 1]}},
    {"type": "refresh"},
    {"type": "subscribe", "channel": 5},
    {"type": "subscribe", "channel": None},
    {"type": "subscribe", "channel": "c" * 256},
    {"type": "subscribe", "channel": "room:a", "since": 5},
    {"type": "send", "channel": "room:a", "key": "k"},
    {"type": "send", "channel": "room:a", "data": {}},
    {"type": "send", "channel": "room:a", "key": "k" * 129, "data": {}},
    {"type": "send", "channel": "room:a", "key": "k", "data": {}, "retry": 1},
    {"type": "history", "channel": "room:a", "limit": 0},
    {"type": "history", "channel": "room:a", "limit": 1001},
    {"type": "history", "channel": "room:a", "before": -1},
    {"type": "history", "channel": "room:a", "before": 2**53},
    {"type": "history", "channel": "room:a", "after": 2**64 - 1},
    {"type": "history", "channel": "room:a", "after": True},
    {"type": "channels", "since": 2**63},
    {"type": "presence", "users": ["u"] * 1001},
    {"type": "presence", "users": [1]},
    {"type": "status", "state": "offline"},
    {"type": "status", "state": "away\n"},
    {"type": "status"},
    {"type": "create", "channel": "group:a", "members": "bob"},
    {"type": "invite", "channel": "group:a", "users": []},
    {"type": "invite", "channel": "group:a", "users": ["bob"], "role": "owner"},
    {"type": "invite", "channel": "group:a", "users": ["bob"], "role": "admin\n"},
    {"type": "remove", "channel": "group:a", "users": []},
]


@pytest.mark.parametrize("command", WRONG_FIELDS, ids=str)
def test_a_wrong_field_is_a_bad_request(codec: Codec, command: dict[str, Any]) -> None:
    with pytest.raises(BadCommand) as refused:
        codec.decode(encoded(codec, {**command, "id": 3}))
    assert (refused.value.id, refused.value.code) == (3, ErrorCode.BAD_REQUEST)


def test_integers_that_no_database_holds_are_refused() -> None:
    for digits in (20, 400, 5000):
        with pytest.raises(BadCommand):
            JSON.decode(b'{"type":"history","id":1,"channel":"room:a","before":%s}' % (b"9" * digits))


# What cannot be answered.


@pytest.mark.parametrize("command_id", [-1, 2**53, 2**64 - 1, 1.5, "1", None, True, [1], {}])
def test_an_id_that_is_no_integer_in_range_cannot_be_answered(codec: Codec, command_id: object) -> None:
    with pytest.raises(BadMessage):
        codec.decode(encoded(codec, {"type": "ping", "id": command_id}))


@pytest.mark.parametrize("value", [{}, {"type": "ping"}, {"id": 1}, {"type": 1, "id": 1}, [], [1], "ping", 1, None])
def test_what_has_no_id_and_type_cannot_be_answered(codec: Codec, value: object) -> None:
    with pytest.raises(BadMessage):
        codec.decode(encoded(codec, value))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"{",
        b'{"type":"ping","id":1',
        b'{"type":"ping","id":1}{}',
        b'{"type":"ping","id":1}\x00',
        b'\xef\xbb\xbf{"type":"ping","id":1}',
        b'{"type":"ping","id":01}',
        b'{"type":"ping","id":1,}',
        b'{"type":"ping","id":1,"x":NaN}',
        b'{"type":"ping","id":%s}' % (b"9" * 5000),
        b'{"type":"\xff","id":1}',
        b'{"type":"subscribe","id":1,"channel":"\xff"}',
        b'["\\ud800"]',
        b'{"type":"ping","id":-1,"x":"\\ud800"}',
        b'{"type":"ping","id":true,"x":"\\ud800"}',
        b'{"type":"ping","x":"\\ud800"}',
        b'{"type":"ping","id":1,"x":"\\ud800"',
        b'{"type":"ping","id":1,"x":NaN,"y":"\\ud83d\\ude00"}',
    ],
    ids=lambda raw: repr(raw[:40]),
)
def test_bytes_that_are_no_json_cannot_be_answered(raw: bytes) -> None:
    with pytest.raises(BadMessage):
        JSON.decode(raw)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b'{"type":"subscribe","id":1,"channel":"\\ud800"}', ErrorCode.BAD_REQUEST),
        (b'{"type":"send","id":1,"channel":"a:b","key":"k","data":{"a":"\\udc00\\ud800"}}', ErrorCode.BAD_REQUEST),
        (b'{"type":"send","id":1,"channel":"a:b","key":"k","data":{"\\uD83D":1}}', ErrorCode.BAD_REQUEST),
        (b'{"type":"\\ud800","id":1}', ErrorCode.UNKNOWN_COMMAND),
    ],
)
def test_a_command_with_half_a_character_is_refused_by_its_id(raw: bytes, code: ErrorCode) -> None:
    with pytest.raises(BadCommand) as refused:
        JSON.decode(raw)
    assert (refused.value.id, refused.value.code) == (1, code)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xc1",
        b"\x82\xa4type\xa4ping\xa2id",
        b"\x82\xa4type\xa4ping\xa2id\x01\x00",
        b"\x82\xa4type\xa4\xff\xff\xff\xff\xa2id\x01",
        b"\x82\xc4\x04type\xa4ping\xc4\x02id\x01",
        b"\xdf\xff\xff\xff\xff",
        b'{"type":"ping","id":1}',
    ],
    ids=repr,
)
def test_bytes_that_are_no_messagepack_object_cannot_be_answered(raw: bytes) -> None:
    with pytest.raises(BadMessage):
        MSGPACK.decode(raw)


def _deep(codec: Codec, field: str) -> bytes:
    raw = b"[" * 100_000 + b"]" * 100_000 if codec is JSON else b"\x91" * 100_000 + b"\x90"
    return encoded(codec, {"type": "send", "id": 1, "channel": "a:b", "key": "k", field: msgspec.Raw(raw)})


@pytest.mark.parametrize("field", ["data", "unknown", "channel", "id"])
def test_endless_nesting_is_a_bad_message_wherever_it_is(codec: Codec, field: str) -> None:
    with pytest.raises((BadMessage, BadCommand)):
        codec.decode(_deep(codec, field))


# Garbage.


def decode_anything(codec: Codec, raw: bytes) -> None:
    """Decode; whatever comes out must be something that the session can go on with."""
    outcome: m.AnyCommand | BadCommand
    try:
        outcome = codec.decode(raw)
    except BadMessage as error:
        str(error).encode()  # it is the reason of a close frame
        return
    except BadCommand as error:
        outcome = error
    assert 0 <= outcome.id < 2**53
    if isinstance(outcome, BadCommand):
        assert outcome.code in (ErrorCode.BAD_REQUEST, ErrorCode.UNKNOWN_COMMAND)
        codec.encode(m.Error(id=outcome.id, code=outcome.code, reason=outcome.reason))


@given(st.binary(max_size=100), st.sampled_from(list(CODECS.values())))
@example(b"\xff" * 10, JSON)
@example(b"\xdd\xff\xff\xff\xff", MSGPACK)
def test_garbage_is_refused(raw: bytes, codec: Codec) -> None:
    decode_anything(codec, raw)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**63), max_value=2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=8,
)
field_names = st.sampled_from(
    sorted({name for command in get_args(m.AnyCommand) for name in command.__struct_encode_fields__})
)


@given(
    st.fixed_dictionaries(
        {"type": st.sampled_from(sorted(COMMAND_NAMES)) | json_values, "id": st.integers(0, 2**53) | json_values},
    ),
    st.dictionaries(field_names, json_values | st.just("room:a") | st.just({"room:a": ["e", 1]})),
    st.sampled_from(list(CODECS.values())),
)
def test_commands_with_fields_of_any_type_are_decoded_or_refused(
    head: dict[str, object], fields: dict[str, object], codec: Codec
) -> None:
    decode_anything(codec, encoded(codec, {**fields, **head}))


def _spoiled() -> Iterator[tuple[Codec, bytes]]:
    for codec in CODECS.values():
        for command in all_commands(codec):
            yield codec, encoded(codec, command)


@given(st.sampled_from(list(_spoiled())), st.data())
def test_commands_with_spoiled_bytes_are_decoded_or_refused(spoiled: tuple[Codec, bytes], data: st.DataObject) -> None:
    codec, raw = spoiled
    changes = data.draw(st.lists(st.tuples(st.integers(0, len(raw) - 1), st.integers(0, 255)), max_size=4))
    broken = bytearray(raw)
    for place, byte in changes:
        broken[place] = byte
    end = data.draw(st.integers(0, len(raw)))
    decode_anything(codec, bytes(broken))
    decode_anything(codec, bytes(broken[:end]))
