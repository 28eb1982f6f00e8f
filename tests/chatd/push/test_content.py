"""What a message says about its push: read where it makes sense, ignored where it does not."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatd.push.content import content_of
from protocol.body import Body, Encoding
from tests.chatd.push.contents import AT, HOUR, content, message

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def test_a_plain_message_is_an_alert_for_as_long_as_configured() -> None:
    found = content({"text": "hi"})
    assert (found.text, found.kind, found.priority, found.expires_at) == ("hi", "alert", "high", AT + HOUR)
    assert found.place == "dm:alice:bob/e/1"


def test_a_call_is_over_soon_unless_it_says_otherwise() -> None:
    assert content({"push": {"kind": "voip"}}).expires_at == AT + 30_000
    assert content({"push": {"kind": "voip", "ttl_seconds": 90}}).expires_at == AT + 90_000


def test_what_the_sender_wants_is_taken() -> None:
    wanted = {"kind": "liveactivity", "priority": "low", "collapse": "c", "sound": "s", "activity": "a", "event": "end"}
    found = content({"push": {**wanted, "state": {"left": 3}, "ttl_seconds": 60}})
    assert (found.kind, found.priority, found.collapse, found.sound) == ("liveactivity", "low", "c", "s")
    assert (found.activity, found.event, found.state, found.expires_at) == ("a", "end", b'{"left":3}', AT + 60_000)


def test_only_where_users_cannot_write_a_message_chooses_its_title() -> None:
    data = {"push": {"title": "Your bank", "body": "Click here"}}
    assert (content(data).title, content(data).body) == ("", "")
    assert content(data, by_backends=True).title == "Your bank"


@pytest.mark.parametrize(
    ("mentions", "bob", "carol"),
    [
        (["bob"], True, False),
        ("*", True, True),
        ("bob", False, False),
        (None, False, False),
        ([1, "carol"], False, True),
    ],
)
def test_mentions_name_users_or_everybody(mentions: object, bob: bool, carol: bool) -> None:
    found = content({"mentions": mentions})
    assert (found.mentioned("bob"), found.mentioned("carol")) == (bob, carol)  # type: ignore[arg-type]


def test_a_long_text_is_cut_between_characters() -> None:
    assert content({"text": "ä" * 15}).text == "ä" * 10
    assert content({"text": "x" + "ä" * 15}).text == "x" + "ä" * 9


def test_bodies_in_messagepack_are_read_too() -> None:
    packed = Body(Encoding.MSGPACK, msgspec.msgpack.encode({"text": "hi", "push": {"state": {"raw": b"x"}}}))
    packed_message = msgspec.structs.replace(message({}), body=packed)
    found = content_of(packed_message, text_field="text", text_bytes=20, ttl_seconds=1, by_backends=False)
    assert found.text == "hi"


def test_a_state_that_is_too_large_is_left_out() -> None:
    assert content({"push": {"state": {"x": "y" * 3000}}}).state == b""


@given(st.dictionaries(st.sampled_from(["text", "mentions", "push", "x"]), ANYTHING))
def test_whatever_a_message_says_it_can_be_read(data: dict[str, object]) -> None:
    found = content(data, by_backends=True)
    assert found.kind in ("alert", "background", "voip", "liveactivity")
    assert len(found.text.encode()) <= 20


KEYS = ["kind", "priority", "ttl_seconds", "collapse", "sound", "activity", "state", "event", "title", "body"]


@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING))
def test_whatever_a_message_wants_it_can_be_kept(push: dict[str, object]) -> None:
    found = content({"push": push}, by_backends=True)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=type(found)) == found
    assert found.expires_at > AT
