"""Coming back: cursors, recovery, restarts; nothing missed, nothing twice, and the truth where that cannot be."""

from pathlib import Path
from typing import Any

import msgspec
import trio

from chatd.config import NAMESPACES, Config
from protocol.codes import CloseCode, ErrorCode
from storage import COPIED_AT
from tests.rig.node import Device, Rig, changed, running_node


def config(**sections: Any) -> Config:
    """Return a configuration whose rooms do not tell who is there, so that only messages come."""
    rooms = msgspec.structs.replace(NAMESPACES["room"], presence="none")
    limits = msgspec.structs.replace(Config().limits, messages_burst=10_000, commands_burst=10_000)
    return msgspec.structs.replace(
        Config(), **{"namespaces": {**NAMESPACES, "room": rooms}, "limits": limits, **sections}
    )


async def write(device: Device, channel: str, count: int, start: int = 0) -> dict[str, Any]:
    """Send messages; return the answer to the last one."""
    answer: dict[str, Any] = {}
    for number in range(start, start + count):
        answer = await device.ask(type="send", channel=channel, key=f"{channel}-{number}", data={"n": number})
        assert answer["type"] == "sent", answer
    return answer


async def reconnect(rig: Rig, user: str, cursors: dict[str, Any], device: str = "") -> tuple[Device, dict[str, Any]]:
    """Connect with cursors; return the device and the answer."""
    connected = rig.connect()
    answer = await connected.ask(type="connect", token=rig.token(user, device=device), cursors=cursors)
    return connected, answer


def seqs(messages: list[dict[str, Any]]) -> list[int]:
    """Return the seqs of messages."""
    return [message["seq"] for message in messages]


async def test_a_cursor_of_a_room_brings_what_was_missed_and_then_live(tmp_path: Path) -> None:
    async with running_node(tmp_path, config()) as rig:
        writer = await rig.enter("writer")
        epoch = (await write(writer, "room:a", 10))["epoch"]
        device, answer = await reconnect(rig, "alice", {"room:a": [epoch, 4]})
        resumed = answer["resumed"]["room:a"]
        assert (resumed["recovered"], resumed["seq"]) == (True, 10)
        assert seqs(resumed["messages"]) == [5, 6, 7, 8, 9, 10]
        await write(writer, "room:a", 1, start=10)
        assert (await device.hear())["seq"] == 11


async def test_subscribing_with_a_cursor_is_the_same(tmp_path: Path) -> None:
    async with running_node(tmp_path, config()) as rig:
        writer, device = await rig.enter("writer"), await rig.enter("alice")
        epoch = (await write(writer, "room:a", 10))["epoch"]
        answer = await device.ask(type="subscribe", channel="room:a", since=[epoch, 8])
        assert (answer["recovered"], seqs(answer["messages"])) == (True, [9, 10])


async def test_a_cursor_that_cannot_be_recovered_is_told_so(tmp_path: Path) -> None:
    async with running_node(
        tmp_path, config(broker=msgspec.structs.replace(Config().broker, recent_messages=5))
    ) as rig:
        writer = await rig.enter("writer")
        epoch = (await write(writer, "room:a", 20))["epoch"]
        for cursor in ([epoch, 3], ["other", 18], [epoch, 21]):
            _, answer = await reconnect(rig, "alice", {"room:a": cursor})
            resumed = answer["resumed"]["room:a"]
            assert (resumed["recovered"], resumed["seq"], resumed["messages"]) == (False, 20, [])
        _, answer = await reconnect(rig, "alice", {"room:a": [epoch, 15]})
        assert seqs(answer["resumed"]["room:a"]["messages"]) == [16, 17, 18, 19, 20]


async def test_a_cursor_of_a_direct_chat_reaches_back_into_the_store(tmp_path: Path) -> None:
    async with running_node(tmp_path, config()) as rig:
        await rig.register("alice", "bob")
        bob = await rig.enter("bob")
        epoch = (await write(bob, "dm:alice:bob", 150))["epoch"]
        device, answer = await reconnect(rig, "alice", {"dm:alice:bob": [epoch, 10]})
        resumed = answer["resumed"]["dm:alice:bob"]
        assert (resumed["recovered"], seqs(resumed["messages"])) == (True, list(range(11, 151)))
        await write(bob, "dm:alice:bob", 1, start=150)
        assert (await device.hear())["seq"] == 151


async def test_more_than_the_limit_is_not_recovered(tmp_path: Path) -> None:
    limits = msgspec.structs.replace(config().limits, recover_messages=20)
    async with running_node(tmp_path, config(limits=limits)) as rig:
        await rig.register("alice", "bob")
        bob = await rig.enter("bob")
        epoch = (await write(bob, "dm:alice:bob", 100))["epoch"]
        _, answer = await reconnect(rig, "alice", {"dm:alice:bob": [epoch, 79]})
        assert answer["resumed"]["dm:alice:bob"]["recovered"] is False
        _, answer = await reconnect(rig, "alice", {"dm:alice:bob": [epoch, 80]})
        assert len(answer["resumed"]["dm:alice:bob"]["messages"]) == 20


async def test_resuming_while_somebody_writes_misses_and_repeats_nothing(tmp_path: Path) -> None:
    async with running_node(tmp_path, config()) as rig:
        await rig.register("alice", "bob")
        bob = await rig.enter("bob")
        first = await write(bob, "dm:alice:bob", 100)
        await write(bob, "room:a", 1)
        cursors = {"dm:alice:bob": [first["epoch"], 1]}
        results: list[list[int]] = []

        async def come_and_listen(number: int) -> None:
            device, answer = await reconnect(rig, "alice", cursors, device=f"device{number}")
            seen = seqs(answer["resumed"]["dm:alice:bob"]["messages"])
            while not seen or seen[-1] < 160:
                seen.append((await device.hear())["seq"])
            results.append(seen)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, bob, "dm:alice:bob", 60, 100)
            for number in range(10):
                nursery.start_soon(come_and_listen, number)
        assert results == [list(range(2, 161))] * 10


async def test_a_cursor_of_a_channel_that_may_not_be_read_any_more_ends_only_that(rig: Rig) -> None:
    await rig.register("alice", "bob", "eve")
    alice = await rig.enter("alice")
    await alice.say({"type": "create", "channel": "group:g", "members": ["bob"]})
    assert {(await alice.hear())["type"], (await alice.hear())["type"]} == {"message", "ok"}
    device, answer = await reconnect(rig, "eve", {"group:g": ["e", 1], "nowhere:x": ["e", 1]})
    assert (answer["type"], answer["resumed"]) == ("connected", {})
    lost = [await device.hear(), await device.hear()]
    assert {event["type"] for event in lost} == {"unsubscribed"}
    assert {(event["channel"], event["code"]) for event in lost} == {
        ("group:g", ErrorCode.FORBIDDEN),
        ("nowhere:x", ErrorCode.UNKNOWN_CHANNEL),
    }
    await device.silence()


async def test_too_many_cursors_are_refused(tmp_path: Path) -> None:
    async with running_node(tmp_path, changed("limits", cursors=1)) as rig:
        _, answer = await reconnect(rig, "alice", {"room:a": ["e", 1], "room:b": ["e", 1]})
        assert answer["code"] == ErrorCode.BAD_REQUEST


async def test_rooms_and_chats_go_on_after_a_clean_restart(tmp_path: Path) -> None:
    async with running_node(tmp_path, config()) as rig:
        await rig.register("alice", "bob")
        bob = await rig.enter("bob")
        room = await write(bob, "room:a", 5)
        chat = await write(bob, "dm:alice:bob", 5)
    async with running_node(tmp_path, config()) as rig:
        cursors = {"room:a": [room["epoch"], 3], "dm:alice:bob": [chat["epoch"], 3]}
        _, answer = await reconnect(rig, "alice", cursors)
        for channel in cursors:
            resumed = answer["resumed"][channel]
            assert (resumed["recovered"], seqs(resumed["messages"])) == (True, [4, 5])
        bob = await rig.enter("bob")
        assert (await write(bob, "room:a", 1, start=5))["seq"] == 6
        again = await bob.ask(type="send", channel="dm:alice:bob", key="dm:alice:bob-2", data={}, retry=True)
        assert (again["seq"], again["duplicate"]) == (3, True)


async def test_after_a_crash_a_room_is_reborn_and_nobody_is_told_that_nothing_was_missed(tmp_path: Path) -> None:
    async with running_node(tmp_path, config()) as rig:
        bob = await rig.enter("bob")
        before = await write(bob, "room:a", 5)
        await rig.node.broker.stop()  # saves what there is, as the timer does
        await rig.store.put_meta("recent_channels_saved", None)  # but the process never got to say so
        rig.node.broker.stop = _nothing  # type: ignore[method-assign]
    async with running_node(tmp_path, config()) as rig:
        _, answer = await reconnect(rig, "alice", {"room:a": [before["epoch"], 5]})
        resumed = answer["resumed"]["room:a"]
        assert resumed["recovered"] is False
        assert resumed["epoch"] != before["epoch"]
        bob = await rig.enter("bob")
        page = await bob.ask(type="history", channel="room:a")
        assert seqs(page["messages"]) == [1, 2, 3, 4, 5]
        after = await write(bob, "room:a", 1, start=5)
        assert after["seq"] > 5
        assert after["epoch"] == resumed["epoch"]


async def _nothing() -> None:
    """Stand for a process that was killed before it could do its last things."""


async def test_history_pages_both_ways(tmp_path: Path) -> None:
    async with running_node(tmp_path, config()) as rig:
        await rig.register("alice", "bob")
        bob = await rig.enter("bob")
        for channel in ("room:a", "dm:alice:bob"):
            await write(bob, channel, 25)
            page = await bob.ask(type="history", channel=channel, limit=10)
            assert (seqs(page["messages"]), page["more"]) == (list(range(16, 26)), True)
            page = await bob.ask(type="history", channel=channel, before=16, limit=15)
            assert (seqs(page["messages"]), page["more"]) == (list(range(1, 16)), False)
            page = await bob.ask(type="history", channel=channel, after=20, limit=3)
            assert (seqs(page["messages"]), page["more"]) == ([21, 22, 23], True)
            page = await bob.ask(type="history", channel=channel, after=25)
            assert (page["messages"], page["more"]) == ([], False)
            both = await bob.ask(type="history", channel=channel, after=1, before=5)
            assert both["code"] == ErrorCode.BAD_REQUEST
        assert (await bob.ask(type="history", channel="presence:x"))["code"] == ErrorCode.NO_HISTORY


async def test_connecting_while_the_store_fails_is_answered_and_may_be_tried_again(rig: Rig) -> None:
    await rig.register("alice", "bob")
    device = rig.connect()

    async def fail(*_: object, **__: object) -> None:
        from storage import StoreUnavailable

        raise StoreUnavailable("the disk is gone")

    rig.store.members = fail  # type: ignore[assignment]
    answer = await device.ask(type="connect", token=rig.token("alice"), cursors={"dm:alice:bob": ["e", 1]})
    assert (answer["type"], answer["code"]) == ("error", ErrorCode.UNAVAILABLE)
    assert answer["retry_after"] > 0
    assert await device.close_code() == CloseCode.UNAVAILABLE


async def test_what_one_connect_brings_is_bounded_in_bytes(tmp_path: Path) -> None:
    limits = msgspec.structs.replace(config().limits, recover_bytes=50)
    async with running_node(tmp_path, config(limits=limits)) as rig:
        writer = await rig.enter("writer")
        cursors = {}
        for channel in ("room:a", "room:b"):
            cursors[channel] = [(await write(writer, channel, 5))["epoch"], 0]
        _, answer = await reconnect(rig, "alice", cursors)
        assert seqs(answer["resumed"]["room:a"]["messages"]) == [1, 2, 3, 4, 5]
        assert answer["resumed"]["room:b"]["recovered"] is False
        device = await rig.enter("bob")
        subscribed = await device.ask(type="subscribe", channel="room:b", since=cursors["room:b"])
        assert subscribed["recovered"] is True


async def test_a_restored_backup_gives_no_seq_twice(tmp_path: Path) -> None:
    async with running_node(tmp_path, config()) as rig:
        await rig.register("alice", "bob")
        bob = await rig.enter("bob")
        before = await write(bob, "dm:alice:bob", 5)
        await rig.store.put_meta(COPIED_AT, str(before["at"]))  # as a backup made now carries it
    async with running_node(tmp_path, config()) as rig:
        bob = await rig.enter("bob")
        after = await write(bob, "dm:alice:bob", 1, start=5)
        assert after["epoch"] != before["epoch"]
        assert after["seq"] > before["seq"] + 1
        _, answer = await reconnect(rig, "alice", {"dm:alice:bob": [before["epoch"], 7]})
        assert answer["resumed"]["dm:alice:bob"]["recovered"] is False
