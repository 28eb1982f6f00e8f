"""Member channels: making them, their rights and roles, and who gets what."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from chatd.config import NAMESPACES, Config
from protocol.codes import ErrorCode
from tests.rig.node import Device, Rig, changed, running_node


async def enter_all(rig: Rig, *users: str) -> list[Device]:
    """Register users and connect a device of each."""
    await rig.register(*users)
    return [await rig.enter(user) for user in users]


async def test_everybody_hears_of_a_new_group_and_of_its_messages(rig: Rig) -> None:
    alice, bob, eve = await enter_all(rig, "alice", "bob", "eve")
    await alice.say({"type": "create", "channel": "group:g", "members": ["bob"]})
    heard = [await alice.hear(), await alice.hear()]
    assert {event["type"] for event in heard} == {"ok", "message"}
    event = await bob.hear()
    assert (event["kind"], event["from"], event["seq"]) == ("members", "alice", 1)
    assert event["data"] == {"put": {"bob": "member", "alice": "owner"}, "remove": []}
    await alice.ask(type="send", channel="group:g", key="k", data={"text": "hi"})
    assert (await bob.hear())["data"] == {"text": "hi"}
    await eve.silence()


async def test_who_is_no_member_may_nothing(rig: Rig) -> None:
    alice, eve = await enter_all(rig, "alice", "eve")
    await alice.say({"type": "create", "channel": "group:g"})
    for channel in ("group:g", "group:never-made"):
        commands: list[dict[str, Any]] = [
            {"type": "send", "channel": channel, "key": "k", "data": {}},
            {"type": "history", "channel": channel},
            {"type": "members", "channel": channel},
            {"type": "presence", "channel": channel},
            {"type": "invite", "channel": channel, "users": ["eve"]},
            {"type": "remove", "channel": channel, "users": ["alice"]},
            {"type": "subscribe", "channel": channel},
        ]
        for command in commands:
            assert (await eve.ask(**command))["code"] == ErrorCode.FORBIDDEN, command


async def test_roles_say_who_may_change_the_members(rig: Rig) -> None:
    alice, bob, carol = await enter_all(rig, "alice", "bob", "carol")
    await rig.register("dave")
    await _done(alice, type="create", channel="group:g", members=["bob", "carol"])
    assert await _refused(bob, type="invite", channel="group:g", users=["dave"]) == ErrorCode.FORBIDDEN
    assert await _refused(bob, type="remove", channel="group:g", users=["carol"]) == ErrorCode.FORBIDDEN
    await _done(alice, type="invite", channel="group:g", users=["bob"], role="admin")
    await _done(bob, type="invite", channel="group:g", users=["dave"])
    assert await _refused(bob, type="invite", channel="group:g", users=["dave"], role="admin") == ErrorCode.FORBIDDEN
    assert await _refused(bob, type="remove", channel="group:g", users=["alice"]) == ErrorCode.FORBIDDEN
    await _done(bob, type="remove", channel="group:g", users=["carol"])
    answer = await _done(alice, type="members", channel="group:g")
    assert answer["members"] == {"alice": "owner", "bob": "admin", "dave": "member"}
    assert await _refused(carol, type="send", channel="group:g", key="k", data={}) == ErrorCode.FORBIDDEN


async def test_changes_of_the_members_count_for_who_writes_one_message_after_the_other(rig: Rig) -> None:
    alice, bob, carol = await enter_all(rig, "alice", "bob", "carol")
    await _done(alice, type="create", channel="group:g", members=["bob"])
    for key in ("first", "second"):
        assert (await _sent(bob, key))["type"] == "sent"
    await _done(alice, type="invite", channel="group:g", users=["carol"])
    assert (await carol.hear())["kind"] == "members"
    assert (await _sent(bob, "third"))["type"] == "sent"
    assert (await carol.hear())["key"] == "third"
    await _done(alice, type="remove", channel="group:g", users=["bob"])
    assert (await _sent(bob, "fourth"))["code"] == ErrorCode.FORBIDDEN
    assert (await _sent(bob, "fifth"))["code"] == ErrorCode.FORBIDDEN
    assert (await carol.hear())["kind"] == "members"
    await carol.silence()


async def _sent(device: Device, key: str) -> dict[str, Any]:
    """Write to the group; return the answer, whatever was heard before it."""
    [sent] = await device.say({"type": "send", "channel": "group:g", "key": key, "data": {}})
    while (event := await device.hear()).get("id") != sent:
        assert event["kind"] == "members"
    return event


async def test_who_is_taken_out_hears_of_it_and_then_nothing_more(rig: Rig) -> None:
    alice, bob = await enter_all(rig, "alice", "bob")
    await _done(alice, type="create", channel="group:g", members=["bob"])
    await bob.hear()
    await _done(alice, type="remove", channel="group:g", users=["bob"])
    assert (await bob.hear())["data"] == {"put": {}, "remove": ["bob"]}
    await _done(alice, type="send", channel="group:g", key="k", data={})
    await bob.silence()


async def test_an_owner_who_leaves_hands_over(rig: Rig) -> None:
    alice, bob, carol = await enter_all(rig, "alice", "bob", "carol")
    await _done(alice, type="create", channel="group:g", members=["bob", "carol"])
    await _done(alice, type="invite", channel="group:g", users=["carol"], role="admin")
    await _done(alice, type="remove", channel="group:g", users=["alice"])
    answer = await _done(bob, type="members", channel="group:g")
    assert answer["members"] == {"bob": "member", "carol": "owner"}
    del carol


async def test_a_group_needs_a_free_name_known_users_and_room(tmp_path: Path) -> None:
    small = msgspec.structs.replace(NAMESPACES["group"], members=2)
    config = msgspec.structs.replace(Config(), namespaces={**NAMESPACES, "group": small})
    async with running_node(tmp_path, config) as rig:
        alice, _, _ = await enter_all(rig, "alice", "bob", "carol")
        create: dict[str, Any] = {"type": "create", "channel": "group:g"}
        assert await _refused(alice, **create, members=["nobody"]) == ErrorCode.UNKNOWN_USER
        assert await _refused(alice, **create, members=["Bob"]) == ErrorCode.UNKNOWN_USER
        assert await _refused(alice, **create, members=["bob\x00"]) == ErrorCode.UNKNOWN_USER
        assert await _refused(alice, **create, members=["bob", "carol"]) == ErrorCode.TOO_MANY_MEMBERS
        await _done(alice, **create, members=["bob"])
        assert await _refused(alice, **create) == ErrorCode.NAME_TAKEN
        assert await _refused(alice, type="invite", channel="group:g", users=["carol"]) == ErrorCode.TOO_MANY_MEMBERS
        for channel in ("dm:alice:bob", "room:a", "user:alice"):
            assert await _refused(alice, type="create", channel=channel) == ErrorCode.FORBIDDEN


async def test_member_channels_are_listed_page_by_page(tmp_path: Path) -> None:
    async with running_node(tmp_path, changed("limits", listed_channels=2)) as rig:
        alice, bob = await enter_all(rig, "alice", "bob")
        names = [f"group:{number}" for number in range(5)]
        for name in names:
            await _done(alice, type="create", channel=name, members=["bob"])
            await bob.hear()
        first = await bob.ask(type="channels")  # as clients say it that know of no pages
        assert (len(first["channels"]), first["more"]) == (2, True)

        listed, more = first["channels"], True
        while more:
            page = await bob.ask(type="channels", limit=1000, after=[listed[-1]["at"], listed[-1]["channel"]])
            listed, more = listed + page["channels"], page["more"]
        assert sorted(one["channel"] for one in listed) == names
        assert [one["at"] for one in listed] == sorted((one["at"] for one in listed), reverse=True)
        last = listed[-1]
        page = await bob.ask(type="channels", after=[last["at"], last["channel"]])
        assert (page["channels"], page["more"]) == ([], False)
        for after in ([], [1], [-1, "group:a"], ["1", "group:a"], "1,group:a", [1, "x" * 256]):
            assert await _refused(bob, type="channels", after=after) == ErrorCode.BAD_REQUEST


async def test_a_direct_chat_begins_with_its_first_message(rig: Rig) -> None:
    alice, bob, eve = await enter_all(rig, "alice", "bob", "eve")
    assert (await alice.ask(type="channels"))["channels"] == []
    sent = await alice.ask(type="send", channel="dm:alice:bob", key="k", data={})
    assert (await bob.hear())["channel"] == "dm:alice:bob"
    for device in (alice, bob):
        [found] = (await device.ask(type="channels"))["channels"]
        assert (found["channel"], found["role"], found["seq"]) == ("dm:alice:bob", "member", 1)
        assert (found["epoch"], found["at"]) == (sent["epoch"], sent["at"])
    assert (await eve.ask(type="history", channel="dm:alice:bob"))["code"] == ErrorCode.FORBIDDEN
    assert (await eve.ask(type="send", channel="dm:alice:bob", key="k", data={}))["code"] == ErrorCode.FORBIDDEN


@pytest.mark.parametrize(
    ("channel", "code"),
    [
        ("dm:alice:nobody", ErrorCode.UNKNOWN_USER),
        ("dm:zoe:alice", ErrorCode.UNKNOWN_CHANNEL),
        ("dm:alice", ErrorCode.UNKNOWN_CHANNEL),
        ("dm:alice:alice", ErrorCode.UNKNOWN_CHANNEL),
        ("dm:Alice:alice", ErrorCode.UNKNOWN_USER),
        ("dm:alice:bob\x00", ErrorCode.UNKNOWN_CHANNEL),
        ("", ErrorCode.UNKNOWN_CHANNEL),
        ("room", ErrorCode.UNKNOWN_CHANNEL),
        ("room:", ErrorCode.UNKNOWN_CHANNEL),
        ("Room:a", ErrorCode.UNKNOWN_CHANNEL),
        ("room:ä", ErrorCode.UNKNOWN_CHANNEL),
        ("nowhere:a", ErrorCode.UNKNOWN_CHANNEL),
        ("user:alice", ErrorCode.FORBIDDEN),
        ("event:x", ErrorCode.FORBIDDEN),
        ("track:bob", ErrorCode.FORBIDDEN),
        ("presence:alice", ErrorCode.FORBIDDEN),
    ],
)
async def test_where_one_cannot_write(rig: Rig, channel: str, code: int) -> None:
    [alice] = await enter_all(rig, "alice")
    assert await _refused(alice, type="send", channel=channel, key="k", data={}) == code


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"key": ""}, ErrorCode.BAD_REQUEST),
        ({"key": "two words"}, ErrorCode.BAD_REQUEST),
        ({"key": "é"}, ErrorCode.BAD_REQUEST),
        ({"key": "k" * 129}, ErrorCode.BAD_REQUEST),
        ({"data": []}, ErrorCode.BAD_REQUEST),
        ({"data": 1}, ErrorCode.BAD_REQUEST),
        ({"data": {"x": "y" * 20_000}}, ErrorCode.TOO_LARGE),
    ],
)
async def test_what_cannot_be_written(rig: Rig, fields: dict[str, Any], code: int) -> None:
    [alice] = await enter_all(rig, "alice")
    command: dict[str, Any] = {"type": "send", "channel": "room:a", "key": "k", "data": {}, **fields}
    assert await _refused(alice, **command) == code


async def test_guests_have_rooms_and_nothing_else(rig: Rig) -> None:
    await rig.register("alice")
    guest = await rig.enter("guest-1", guest=True)
    assert (await guest.ask(type="subscribe", channel="room:a"))["type"] == "subscribed"
    for command in (
        {"type": "send", "channel": "dm:alice:guest-1", "key": "k", "data": {}},
        {"type": "create", "channel": "group:g"},
        {"type": "subscribe", "channel": "presence:alice"},
        {"type": "presence", "users": ["alice"]},
    ):
        assert await _refused(guest, **command) == ErrorCode.FORBIDDEN, command


async def _done(device: Device, **command: Any) -> dict[str, Any]:
    """Send a command; return its answer, past the events that come before it."""
    answer = await _answer(device, command)
    assert answer["type"] != "error", answer
    return answer


async def _refused(device: Device, **command: Any) -> int:
    answer = await _answer(device, command)
    assert answer["type"] == "error", answer
    code: int = answer["code"]
    return code


async def _answer(device: Device, command: dict[str, Any]) -> dict[str, Any]:
    [command_id] = await device.say(command)
    while (answer := await device.hear()).get("id") != command_id:
        pass
    return answer


async def test_the_name_of_a_group_that_everybody_left_stays_taken(rig: Rig) -> None:
    alice, eve = await enter_all(rig, "alice", "eve")
    await _done(alice, type="create", channel="group:g")
    await _done(alice, type="send", channel="group:g", key="k", data={"secret": 1})
    await _done(alice, type="remove", channel="group:g", users=["alice"])
    assert await _refused(eve, type="create", channel="group:g") == ErrorCode.NAME_TAKEN
    assert await _refused(eve, type="history", channel="group:g") == ErrorCode.FORBIDDEN
