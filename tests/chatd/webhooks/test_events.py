"""How events are written: the parts of Standard Webhooks, and the application's own data untouched."""

import json

import msgspec
import pytest

from chatd.webhooks.events import (
    Happened,
    Moderation,
    SessionConnected,
    iso_time,
    message_id,
    reason_of,
    write,
    write_batch,
)
from protocol.body import Body, Encoding, json_body
from protocol.codes import CloseCode
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage.records import StoredMessage

AT = 1_800_000_000_123


def message(body: Body) -> StoredMessage:
    return StoredMessage(
        channel=ChannelName("group:one"),
        epoch=Epoch("e1"),
        seq=Seq(7),
        sender=UserId("alice"),
        key="k",
        at=AT,
        body=body,
    )


def test_an_event_has_type_timestamp_and_data() -> None:
    data = SessionConnected(
        user="alice", device="phone", session="s", address="192.0.2.1", guest=False, attributes={"plan": "pro"}
    )
    assert json.loads(write(Happened("id1", "session.connected", AT, "alice", data))) == {
        "id": "id1",
        "type": "session.connected",
        "timestamp": "2027-01-15T08:00:00.123Z",
        "data": {
            "user": "alice",
            "device": "phone",
            "session": "s",
            "address": "192.0.2.1",
            "guest": False,
            "attributes": {"plan": "pro"},
        },
    }


def test_a_message_is_told_as_its_readers_get_it() -> None:
    stored = message(json_body({"text": "☎", "n": [1, None]}))
    event = json.loads(write(Happened(message_id(stored), "message.published", AT, "group:one", stored, "group")))
    assert event["id"] == "msg/group:one/e1/7"
    assert event["data"] == {
        "channel": "group:one",
        "epoch": "e1",
        "seq": 7,
        "from": "alice",
        "key": "k",
        "at": AT,
        "kind": "",
        "data": {"text": "☎", "n": [1, None]},
    }


def test_a_message_in_messagepack_is_told_in_json() -> None:
    stored = message(Body(Encoding.MSGPACK, msgspec.msgpack.encode({"text": b"\x00"})))
    event = json.loads(write(Happened("i", "message.published", AT, "group:one", stored, "group")))
    assert event["data"]["data"] == {"text": "AA=="}


def test_a_batch_is_json_with_its_events_in_order() -> None:
    events = [write(Happened(str(n), "moderation.removed", AT, "a", Moderation(user="a"))) for n in range(3)]
    batch = json.loads(write_batch(events, AT))
    assert (batch["type"], batch["timestamp"]) == ("batch", iso_time(AT))
    assert [event["id"] for event in batch["data"]["events"]] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("code", "reason"),
    [(None, "lost"), (CloseCode.NORMAL, "normal"), (CloseCode.NO_PONG, "no_pong"), (4777, "closed"), (3000, "closed")],
)
def test_every_end_of_a_session_has_a_word(code: int | None, reason: str) -> None:
    assert reason_of(code) == reason


def test_times_have_milliseconds_even_when_they_are_whole() -> None:
    assert iso_time(1_800_000_000_000) == "2027-01-15T08:00:00.000Z"
