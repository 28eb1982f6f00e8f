"""Who may do what: the table of rights, and the names that have rules at all."""

from typing import get_args

import msgspec
import pytest

from chatd import rights
from chatd.accounts.principal import Principal
from chatd.config import NAMESPACES, Config, Namespace, Who
from chatd.rights import Action, Address, Denied, Directory, is_allowed, require
from chatd.settings import Settings
from protocol.codes import ErrorCode
from protocol.names import DeviceId, UserId

ALICE, BOB = UserId("alice"), UserId("bob")


def principal(user: str, *, is_guest: bool = False) -> Principal:
    return Principal(UserId(user), DeviceId("phone"), is_guest, None)


WHO_ARE_THEY = {
    "the owner": principal("alice"),
    "a member": principal("bob"),
    "another user": principal("carol"),
    "a guest": principal("guest-1", is_guest=True),
}

TABLE: dict[Who, set[str]] = {
    "nobody": set(),
    "backend": set(),
    "owner": {"the owner"},
    "members": {"the owner", "a member"},
    "users": {"the owner", "a member", "another user"},
    "anyone": {"the owner", "a member", "another user", "a guest"},
}


@pytest.fixture
def settings() -> Settings:
    """The shipped configuration."""
    return Settings(Config())


@pytest.fixture
def directory(settings: Settings) -> Directory:
    """Names as the shipped configuration has them."""
    return Directory(settings)


def code(directory: Directory, name: str) -> ErrorCode:
    with pytest.raises(Denied) as denied:
        directory.find(name)
    return denied.value.code


@pytest.mark.parametrize("who", get_args(Who))
@pytest.mark.parametrize("name", WHO_ARE_THEY)
def test_the_table_of_who_may(directory: Directory, who: Who, name: str) -> None:
    address = directory.find("track:alice")
    assert is_allowed(WHO_ARE_THEY[name], who, address, {ALICE, BOB}) is (name in TABLE[who])


@pytest.mark.parametrize("action", Action)
def test_each_action_asks_for_its_own_key(directory: Directory, action: Action) -> None:
    keys: dict[str, Who] = {"read": "nobody", "write": "nobody", "create": "nobody", action: "users"}
    namespace = Namespace(read=keys["read"], write=keys["write"], create=keys["create"])
    address = msgspec.structs.replace(directory.find("track:alice"), namespace=namespace)
    for other in Action:
        if other is action:
            require(principal("carol"), other, address, ())
            continue
        with pytest.raises(Denied) as denied:
            require(principal("carol"), other, address, ())
        assert denied.value.code is ErrorCode.FORBIDDEN
        assert str(denied.value) == f"you may not {other} here"


@pytest.mark.parametrize(
    ("name", "action", "allowed"),
    [
        ("room:a", Action.WRITE, {"the owner", "a member", "another user", "a guest"}),
        ("dm:alice:bob", Action.READ, {"the owner", "a member"}),
        ("dm:alice:bob", Action.CREATE, {"the owner", "a member", "another user"}),
        ("group:a", Action.WRITE, {"the owner", "a member"}),
        ("user:alice", Action.READ, {"the owner"}),
        ("user:alice", Action.WRITE, set()),
        ("presence:alice", Action.READ, {"the owner", "a member", "another user"}),
        ("presence:alice", Action.WRITE, set()),
        ("track:alice", Action.WRITE, {"the owner"}),
        ("track:alicex", Action.WRITE, set()),
        ("track:alice:x", Action.WRITE, set()),
        ("event:a", Action.WRITE, set()),
    ],
)
def test_the_shipped_namespaces(directory: Directory, name: str, action: Action, allowed: set[str]) -> None:
    address = directory.find(name)
    may = {who for who, it in WHO_ARE_THEY.items() if is_allowed(it, _who(address, action), address, {ALICE, BOB})}
    assert may == allowed


def _who(address: Address, action: Action) -> Who:
    keys: dict[Action, Who] = {
        Action.READ: address.namespace.read,
        Action.WRITE: address.namespace.write,
        Action.CREATE: address.namespace.create,
    }
    return keys[action]


def test_guests_are_told_apart_by_their_token_not_by_their_name(directory: Directory) -> None:
    address = directory.find("track:guest-1")
    assert not is_allowed(principal("guest-1", is_guest=True), "users", address, ())
    assert is_allowed(principal("guest-1"), "users", address, ())


# Names.


def test_a_name_is_looked_up_as_what_it_says(directory: Directory) -> None:
    address = directory.find("group:a:b")
    assert (address.name, address.namespace_name, address.rest, address.pair) == ("group:a:b", "group", "a:b", None)
    assert address.namespace is NAMESPACES["group"]
    assert address.is_member_channel
    assert not directory.find("room:a").is_member_channel


def test_a_direct_chat_has_its_two_users(directory: Directory) -> None:
    assert directory.find("dm:alice:bob").pair == (ALICE, BOB)
    assert directory.find("dm:Bob:alice").pair == ("Bob", "alice")


@pytest.mark.parametrize(
    "name",
    [
        "dm:bob:alice",
        "dm:alice:alice",
        "dm:alice",
        "dm:alice:",
        "dm::alice",
        "dm:a:b:c",
        "dm:alice:bob:",
        "dm:" + "a" * 65,
    ],
)
def test_other_names_of_direct_chats_are_no_channels(directory: Directory, name: str) -> None:
    assert code(directory, name) is ErrorCode.UNKNOWN_CHANNEL


@pytest.mark.parametrize(
    "name", ["", "room", "room:", ":a", "nowhere:a", "Room:a", "room:a b", "room:\ud800", "room:\x00"]
)
def test_what_is_no_channel_has_no_rules(directory: Directory, name: str) -> None:
    for _ in range(2):
        assert code(directory, name) is ErrorCode.UNKNOWN_CHANNEL


def test_other_namespaces_are_in_force_once_the_directory_forgot(settings: Settings, directory: Directory) -> None:
    before = directory.find("room:a")
    assert directory.find("room:a") is before
    closed = msgspec.structs.replace(NAMESPACES["room"], write="nobody")
    settings.replace(msgspec.structs.replace(Config(), namespaces={"room": closed}))
    directory.forget()
    assert directory.find("room:a").namespace is closed
    assert code(directory, "group:a") is ErrorCode.UNKNOWN_CHANNEL


def test_the_memory_of_names_is_bounded(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights, "_REMEMBERED", 10)
    for number in range(100):
        directory.find(f"room:{number}")
        assert len(directory.known) <= 10
    assert directory.find("room:99").rest == "99"
