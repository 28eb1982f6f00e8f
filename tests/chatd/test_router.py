"""The router: what one read brought is checked, published and answered as one piece, each command by itself."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from chatd.accounts.principal import Principal
from chatd.broker import Published, Refused
from chatd.router import Router
from protocol.body import json_body
from protocol.codec import MSGPACK
from protocol.codes import ErrorCode
from protocol.names import DeviceId, UserId
from tests.rig.node import Device, Rig, changed, running_node


def send(channel: str, key: str, **data: Any) -> dict[str, Any]:
    """Make a `send` command."""
    return {"type": "send", "channel": channel, "key": key, "data": data}


def router(rig: Rig) -> Router:
    """Return the node's router, which its handlers have."""
    found = rig.node.listener.handlers.send.__self__  # type: ignore[attr-defined]
    assert isinstance(found, Router)
    return found


async def answers(device: Device, count: int) -> list[tuple[int, object]]:
    """Return the ids of the next answers, and for each its seq or the code of its refusal."""
    heard = [await device.hear() for _ in range(count)]
    return [(event["id"], event.get("code", event.get("seq"))) for event in heard]


async def test_commands_of_one_write_are_answered_each_by_itself_and_in_order(rig: Rig) -> None:
    await rig.register("alice", "bob")
    alice = await rig.enter("alice")
    first, *_ = await alice.say(
        send("room:a", "a"),
        send("event:a", "b"),
        send("dm:alice:bob", "c"),
        send("nowhere:a", "d"),
        send("room:a", "e f"),
        send("room:a", "g"),
        send("dm:alice:bob", "h"),
        send("room:a", "a"),
        send("room:b", "a"),
        {**send("room:a", "i"), "data": []},
        send("dm:bob:carol", "j"),
        send("room:a", "k", x="x" * 17_000),
        send("room:a", "l"),
    )
    assert await answers(alice, 13) == list(
        enumerate(
            [
                1,
                ErrorCode.FORBIDDEN,
                1,
                ErrorCode.UNKNOWN_CHANNEL,
                ErrorCode.BAD_REQUEST,
                2,
                2,
                1,
                ErrorCode.KEY_REUSED,
                ErrorCode.BAD_REQUEST,
                ErrorCode.FORBIDDEN,
                ErrorCode.TOO_LARGE,
                3,
            ],
            start=first,
        )
    )


async def test_a_user_sends_no_more_at_once_than_a_burst_in_one_write_or_many(tmp_path: Path) -> None:
    # So slow a rate that no time of the test's gives a message back.
    async with running_node(tmp_path, changed("limits", messages_per_second=0.001, messages_burst=20)) as rig:
        alice, bob = await rig.enter("alice"), await rig.enter("bob")
        await alice.say(*(send("room:a", str(number)) for number in range(30)))
        for number in range(30):
            await bob.say(send("room:b", str(number)))
        for device in (alice, bob):
            outcomes = [outcome for _, outcome in await answers(device, 30)]
            assert outcomes == [*range(1, 21), *[ErrorCode.RATE_LIMITED] * 10]


async def test_all_sessions_of_a_user_share_one_burst(tmp_path: Path) -> None:
    async with running_node(tmp_path, changed("limits", messages_per_second=0.001, messages_burst=20)) as rig:
        phone, desk = await rig.enter("alice", device="phone"), await rig.enter("alice", device="desk")
        await phone.say(*(send("room:a", f"phone-{number}") for number in range(15)))
        await answers(phone, 15)
        await desk.say(*(send("room:a", f"desk-{number}") for number in range(10)))
        outcomes = [outcome for _, outcome in await answers(desk, 10)]
        assert outcomes == [*range(16, 21), *[ErrorCode.RATE_LIMITED] * 5]


async def test_messages_and_refusals_are_counted(rig: Rig) -> None:
    alice = await rig.enter("alice")
    await alice.say(send("room:a", "a"), send("room:a", "b"), send("event:a", "c"), send("room:b", "a"))
    await answers(alice, 4)
    counters = rig.node.counters
    assert (counters.messages_in, alice.session.messages_in, counters.commands["send"]) == (2, 2, 4)
    assert counters.errors == {ErrorCode.FORBIDDEN: 1, ErrorCode.KEY_REUSED: 1}


async def test_the_rights_of_one_channel_are_not_those_of_the_next(rig: Rig) -> None:
    alice = await rig.enter("alice", codec=MSGPACK)
    await alice.say(send("track:alice", "a"), send("track:bob", "b"), send("track:alice", "c"))
    assert [code for _, code in await answers(alice, 3)] == [1, ErrorCode.FORBIDDEN, 2]


@pytest.mark.parametrize(("channel", "code"), [("event:a", ErrorCode.FORBIDDEN), ("dm:a:b", ErrorCode.FORBIDDEN)])
async def test_a_request_has_no_more_rights_than_a_session(rig: Rig, channel: str, code: ErrorCode) -> None:
    alice = Principal(UserId("alice"), DeviceId("phone"), False, None)
    answer = await router(rig).publish(alice, channel, "k", json_body({}), False)
    assert isinstance(answer, Refused)
    assert answer.code is code


async def test_every_session_gets_the_message_of_a_request_its_senders_too(rig: Rig) -> None:
    await rig.register("alice", "bob")
    devices = [await rig.enter("alice"), await rig.enter("bob")]
    alice = Principal(UserId("alice"), DeviceId("phone"), False, None)
    answer = await router(rig).publish(alice, "dm:alice:bob", "k", json_body({"n": 1}), False)
    assert isinstance(answer, Published)
    for device in devices:
        assert (await device.hear())["data"] == {"n": 1}


async def test_messages_that_come_alone_are_numbered_and_answered_as_in_a_batch(rig: Rig) -> None:
    alice = await rig.enter("alice")
    await alice.ask(type="subscribe", channel="event:none-of-hers")
    asked = [await alice.ask(**send("room:a", key)) for key in ("a", "b", "c")]
    assert [(answer["type"], answer["seq"]) for answer in asked] == [("sent", 1), ("sent", 2), ("sent", 3)]
    again = await alice.ask(**send("room:a", "b"))
    assert again == {**asked[1], "id": again["id"], "duplicate": True}
    assert (await alice.ask(**send("room:a", "two words")))["code"] == ErrorCode.BAD_REQUEST
    assert (await alice.ask(**send("room:b", "d")))["seq"] == 1
    assert rig.node.counters.messages_in == 4
    assert rig.node.counters.commands["send"] == 6


async def test_a_right_that_a_reload_takes_away_is_gone_for_who_just_wrote(rig: Rig) -> None:
    alice = await rig.enter("alice")
    for key in ("a", "b"):
        assert (await alice.ask(**send("room:a", key)))["type"] == "sent"
    config = rig.node.settings.config
    closed = msgspec.structs.replace(config.namespaces["room"], write="nobody")
    rig.node.settings.replace(msgspec.structs.replace(config, namespaces={**config.namespaces, "room": closed}))
    assert (await alice.ask(**send("room:a", "c")))["code"] == ErrorCode.FORBIDDEN


async def test_a_limit_of_messages_holds_for_those_that_come_alone(tmp_path: Path) -> None:
    async with running_node(tmp_path, changed("limits", messages_per_second=0.01, messages_burst=3)) as rig:
        alice = await rig.enter("alice")
        kinds = [(await alice.ask(**send("room:a", str(number))))["type"] for number in range(5)]
        assert kinds == ["sent", "sent", "sent", "error", "error"]
