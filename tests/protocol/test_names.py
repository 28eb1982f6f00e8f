"""Which names are well formed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.names import MAX_CHANNEL_LENGTH, UserId, direct_channel, is_key, is_user_id, split_channel

USER_CHARACTERS = "ABCXYZabcxyz0189_.@|~+=-"


@pytest.mark.parametrize(
    "name", ["a", "Alice", "x" * 64, USER_CHARACTERS, "guest-1234", "auth0|5f", "a@b.example", "-"]
)
def test_user_ids(name: str) -> None:
    assert is_user_id(name)


@pytest.mark.parametrize(
    "name",
    ["", "x" * 65, "a b", "a:b", "a/b", "a\n", "\na", "a\x00", "é", "ａ", "a\u0301", "\ud800", "a*", "a#", "a$", "a%"],
)
def test_what_is_no_user_id(name: str) -> None:
    assert not is_user_id(name)


@pytest.mark.parametrize("key", ["k", "!", "~", "x" * 128, '{"a":1}', "\\", "'--"])
def test_keys(key: str) -> None:
    assert is_key(key)


@pytest.mark.parametrize("key", ["", "x" * 129, " ", "a b", "a\n", "\x7f", "é", "\x00", "\ud800", "a\t"])
def test_what_is_no_key(key: str) -> None:
    assert not is_key(key)


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("room:a", ("room", "a")),
        ("dm:alice:bob", ("dm", "alice:bob")),
        ("a:b", ("a", "b")),
        ("a0_:-", ("a0_", "-")),
        ("x" * 32 + ":a", ("x" * 32, "a")),
        ("room::", ("room", ":")),
        ("room:" + "x" * (MAX_CHANNEL_LENGTH - 5), ("room", "x" * (MAX_CHANNEL_LENGTH - 5))),
    ],
)
def test_channels(name: str, parts: tuple[str, str]) -> None:
    assert split_channel(name) == parts


@pytest.mark.parametrize(
    "name",
    [
        "",
        ":",
        "room",
        "room:",
        ":a",
        "Room:a",
        "0room:a",
        "_room:a",
        "ro-om:a",
        "x" * 33 + ":a",
        "room:a b",
        "room:a\n",
        "room\n:a",
        "room:é",
        "room:\x00",
        "room:\ud800",
        "room:a/b",
        "room:" + "x" * (MAX_CHANNEL_LENGTH - 4),
    ],
    ids=repr,
)
def test_what_is_no_channel(name: str) -> None:
    assert split_channel(name) is None


user_ids = st.text(USER_CHARACTERS, min_size=1, max_size=64).map(UserId)


@given(user_ids, user_ids)
def test_two_users_find_the_same_direct_chat_from_both_sides(one: UserId, other: UserId) -> None:
    name = direct_channel(one, other)
    assert name == direct_channel(other, one)
    assert split_channel(name) == ("dm", f"{min(one, other)}:{max(one, other)}")


@given(st.text(max_size=300))
def test_any_text_is_a_name_or_is_not(text: str) -> None:
    if (parts := split_channel(text)) is not None:
        assert ":".join(parts) == text
    if is_user_id(text):
        assert split_channel(f"user:{text}") == ("user", text)
