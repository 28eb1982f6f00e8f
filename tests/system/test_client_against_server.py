"""The Python client and the real server, which share no code: what one says, the other must understand."""

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
import trio

from client import (
    Client,
    Count,
    Event,
    Message,
    PresenceChanged,
    Reconnected,
    RequestError,
    TokenKeeper,
    Tokens,
    Unsubscribed,
    login,
    open_client,
    register,
)
from client.codec import Encoding
from client.options import Address, dial
from tests.system.process import ROOT, NodeProcess

pytestmark = pytest.mark.system

SECONDS = 5
QUICK = {
    "auth.hash_memory_kib": 8,
    "auth.hash_passes": 1,
    "auth.access_seconds": 3600,
    "presence.grace_seconds": 0.2,
    "presence.tick_seconds": 0.1,
    "server.drain_seconds": 0.2,
    "limits.messages_per_second": 10_000,
    "limits.messages_burst": 10_000,
    "limits.commands_per_second": 10_000,
    "limits.commands_burst": 10_000,
    "log.format": "json",
}
PASSWORD = "correct horse battery"

_number = count()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """Run one node for all tests of this file that do not end it."""
    running = NodeProcess(tmp_path_factory.mktemp("node"), QUICK).start()
    yield running
    running.stop()


@pytest.fixture
def own_node(tmp_path: Path) -> Iterator[NodeProcess]:
    """Run a node that the test may end and start again."""
    running = NodeProcess(tmp_path, QUICK).start()
    yield running
    running.stop()


class Line:
    """A way to the server that can be cut."""

    def __init__(self) -> None:
        self._stream: trio.abc.Stream | None = None

    async def dial(self, address: Address) -> trio.abc.Stream:
        """Open it."""
        self._stream = await dial(address, None)
        return self._stream

    async def cut(self) -> None:
        """End it without a word."""
        assert self._stream is not None
        await trio.aclose_forcefully(self._stream)


class Person:
    """A user with one device: its client, and the line that it uses."""

    def __init__(self, tokens: Tokens, client: Client, line: Line) -> None:
        self.tokens = tokens
        self.name = tokens.user
        self.client = client
        self.line = line

    async def next(self, *kinds: type[Event]) -> Event:
        """Return the next event of these kinds; others are passed over."""
        async for event in self.client.events():
            if isinstance(event, kinds):
                return event
        raise AssertionError("unreachable")

    async def messages(self, number: int) -> list[Message]:
        """Return the next messages."""
        found = [await self.next(Message) for _ in range(number)]
        return [message for message in found if isinstance(message, Message)]


@asynccontextmanager
async def _device(node: NodeProcess, tokens: Tokens, encoding: Encoding = "msgpack") -> AsyncIterator[Person]:
    line = Line()
    keeper = TokenKeeper(node.http_url, tokens)
    with trio.fail_after(SECONDS):
        async with open_client(node.ws_url, token=keeper, encoding=encoding, dial=line.dial) as client:
            yield Person(tokens, client, line)


@asynccontextmanager
async def _person(node: NodeProcess, name: str, encoding: Encoding = "msgpack") -> AsyncIterator[Person]:
    tokens = await register(node.http_url, f"{name}{next(_number)}", PASSWORD)
    async with _device(node, tokens, encoding) as person:
        yield person


def _dm(one: Person, other: Person) -> str:
    return "dm:{}:{}".format(*sorted((one.name, other.name)))


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
async def test_two_people_write_to_each_other_and_every_device_sees_it(node: NodeProcess, encoding: Encoding) -> None:
    async with _person(node, "alice", encoding) as alice, _person(node, "bob") as bob:
        tokens = await login(node.http_url, bob.name.upper(), PASSWORD)
        assert tokens.device != bob.tokens.device
        async with _device(node, tokens, encoding) as phone:
            chat = _dm(alice, bob)
            data = {"text": "grüß dich", "n": [1, -2.5, None, True], "o": {"deep": {"er": "x" * 300}}}
            sent = await alice.client.send(chat, data)
            for device in (bob, phone):
                [message] = await device.messages(1)
                assert (message.channel, message.seq, message.sender) == (chat, sent.seq, alice.name)
                assert (message.data, message.at, message.own) == (data, sent.at, False)
            await phone.client.send(chat, {"text": "hi"})
            assert [m.data for m in await alice.messages(1)] == [{"text": "hi"}]
            assert [m.data for m in await bob.messages(1)] == [{"text": "hi"}]
            [conversation] = await alice.client.channels()
            assert (conversation.channel, conversation.seq) == (chat, 2)


async def test_binary_data_reaches_msgpack_readers_untouched_and_json_readers_as_base64(node: NodeProcess) -> None:
    async with _person(node, "alice") as alice, _person(node, "bob") as bob, _person(node, "carol", "json") as carol:
        await bob.client.subscribe("room:bytes")
        await carol.client.subscribe("room:bytes")
        await alice.client.send("room:bytes", {"raw": b"\x00\xff"})
        assert (await bob.messages(1))[0].data == {"raw": b"\x00\xff"}
        assert (await carol.messages(1))[0].data == {"raw": "AP8="}


async def test_a_group_from_its_making_to_a_member_put_out(node: NodeProcess) -> None:
    async with _person(node, "alice") as alice, _person(node, "bob") as bob, _person(node, "carol") as carol:
        group = f"group:g{next(_number)}"
        await alice.client.create(group, [bob.name])
        [made] = await bob.messages(1)
        assert (made.kind, made.data["put"]) == ("members", {alice.name: "owner", bob.name: "member"})
        with pytest.raises(RequestError, match="207"):
            await bob.client.invite(group, [carol.name])
        await alice.client.invite(group, [carol.name], "admin")
        assert (await carol.messages(1))[0].data["put"] == {carol.name: "admin"}
        await carol.client.send(group, {"text": "hello"})
        assert [m.data for m in (await bob.messages(2))[1:]] == [{"text": "hello"}]
        assert await bob.client.members(group) == {alice.name: "owner", bob.name: "member", carol.name: "admin"}
        await carol.client.remove(group, [bob.name])
        assert (await bob.messages(1))[0].data["remove"] == [bob.name]
        with pytest.raises(RequestError, match="207"):
            await bob.client.send(group, {})
        with pytest.raises(RequestError, match="207"):
            await bob.client.history(group)
        kinds = [m.kind for m in (await alice.client.history(group)).messages]
        assert kinds == ["members", "members", "", "members"]


async def test_a_room_is_subscribed_echoes_counts_and_is_left(node: NodeProcess) -> None:
    async with _person(node, "alice") as alice, _person(node, "bob") as bob:
        first = await alice.client.subscribe("room:lobby")
        assert first.messages == ()
        await bob.client.subscribe("room:lobby")
        event = await alice.next(Count)
        while event != Count("room:lobby", 2):
            event = await alice.next(Count)
        sent = await alice.client.send("room:lobby", {"text": "hi"})
        [echo] = await alice.messages(1)
        assert (echo.seq, echo.own) == (sent.seq, True)
        assert (await bob.messages(1))[0].own is False
        with pytest.raises(RequestError, match="210"):
            await bob.client.subscribe("room:lobby")
        await bob.client.unsubscribe("room:lobby")
        with pytest.raises(RequestError, match="209"):
            await bob.client.unsubscribe("room:lobby")
        assert (await alice.client.presence(channel="room:lobby")).count == 1
        again = await bob.client.subscribe("room:lobby", (first.epoch, first.seq))
        assert again.recovered
        assert [m.data for m in again.messages] == [{"text": "hi"}]


async def test_history_is_paged_both_ways(node: NodeProcess) -> None:
    async with _person(node, "alice") as alice, _person(node, "bob") as bob:
        chat = _dm(alice, bob)
        for number in range(1, 26):
            await alice.client.send(chat, {"n": number})
        numbers: list[int] = []
        before, more = None, True
        while more:
            page = await bob.client.history(chat, before=before, limit=10)
            numbers = [m.data["n"] for m in page.messages] + numbers
            before, more = page.messages[0].seq, page.more
        assert numbers == list(range(1, 26))
        page = await bob.client.history(chat, after=20, limit=3)
        assert ([m.seq for m in page.messages], page.more) == ([21, 22, 23], True)
        assert not (await bob.client.history(chat, after=25)).messages
        with pytest.raises(RequestError, match="200"):
            await bob.client.history(chat, before=3, after=1)


async def test_a_line_that_was_cut_is_resumed_with_everything_missed(node: NodeProcess) -> None:
    async with _person(node, "alice") as alice, _person(node, "bob") as bob:
        chat, room = _dm(alice, bob), f"room:r{next(_number)}"
        await bob.client.subscribe(room)
        await alice.client.send(room, {"n": 0})
        await alice.client.send(chat, {"n": 0})
        await bob.messages(2)
        await bob.line.cut()
        for number in range(1, 6):
            await alice.client.send(room, {"n": number})
            await alice.client.send(chat, {"n": number})
        await bob.next(Reconnected)
        for number in range(6, 8):
            await alice.client.send(room, {"n": number})
            await alice.client.send(chat, {"n": number})
        found = await bob.messages(14)
        for channel in (room, chat):
            assert [m.data["n"] for m in found if m.channel == channel] == list(range(1, 8))


async def test_a_conversation_that_began_while_the_line_was_cut_is_caught_up(node: NodeProcess) -> None:
    async with _person(node, "alice") as alice, _person(node, "bob") as bob:
        await bob.line.cut()
        await alice.client.send(_dm(alice, bob), {"text": "did you hear"})
        await alice.client.send(_dm(alice, bob), {"text": "of this?"})
        assert [m.seq for m in await bob.messages(2)] == [1, 2]


async def test_the_same_key_is_stored_once_and_belongs_to_one_channel(node: NodeProcess) -> None:
    async with _person(node, "alice") as alice, _person(node, "bob") as bob:
        chat = _dm(alice, bob)
        first = await alice.client.send(chat, {"n": 1}, key="mine")
        again = await alice.client.send(chat, {"n": 1}, key="mine", retry=True)
        assert (again.seq, again.at, again.duplicate, first.duplicate) == (first.seq, first.at, True, False)
        assert len((await bob.client.history(chat)).messages) == 1
        with pytest.raises(RequestError, match="214"):
            await alice.client.send("room:lobby", {"n": 1}, key="mine", retry=True)


async def test_presence_follows_a_user_over_all_devices(node: NodeProcess) -> None:
    async with _person(node, "alice") as alice:
        async with _person(node, "bob") as bob:
            await alice.client.subscribe(f"presence:{bob.name}")
            [state] = (await alice.client.presence(users=[bob.name])).users or ()
            assert state.state == "online"
            await bob.client.status("away")
            changed = await alice.next(PresenceChanged)
            assert isinstance(changed, PresenceChanged)
            assert (changed.channel, changed.user, changed.state) == (f"presence:{bob.name}", bob.name, "away")
            async with _device(node, await login(node.http_url, bob.name, PASSWORD)):
                changed = await alice.next(PresenceChanged)
                assert isinstance(changed, PresenceChanged)
                assert changed.state == "online"
        changed = await alice.next(PresenceChanged)
        while isinstance(changed, PresenceChanged) and changed.state != "offline":
            changed = await alice.next(PresenceChanged)
        assert isinstance(changed, PresenceChanged)
        assert changed.last_seen
        [state] = (await alice.client.presence(users=[bob.name])).users or ()
        assert (state.state, state.last_seen) == ("offline", changed.last_seen)


async def test_a_lost_right_is_told_when_the_cursor_is_shown(node: NodeProcess) -> None:
    async with _person(node, "alice") as alice, _person(node, "bob") as bob:
        group = f"group:g{next(_number)}"
        await alice.client.create(group, [bob.name])
        await bob.messages(1)
        await bob.line.cut()
        await alice.client.remove(group, [bob.name])
        ended = await bob.next(Unsubscribed)
        assert isinstance(ended, Unsubscribed)
        assert (ended.channel, ended.code) == (group, 207)


async def test_a_killed_node_loses_nothing_that_was_acknowledged(own_node: NodeProcess) -> None:
    async with _person(own_node, "alice") as alice, _person(own_node, "bob") as bob:
        chat = _dm(alice, bob)
        await alice.client.send(chat, {"n": 0})
        sent: dict[int, int] = {0: 1}

        async def write(number: int) -> None:
            sent[number] = (await alice.client.send(chat, {"n": number})).seq

        async with trio.open_nursery() as nursery:
            for number in range(1, 301):
                nursery.start_soon(write, number)
            while len(sent) < 100:
                await trio.testing.wait_all_tasks_blocked(0.001)
            own_node.kill()
            own_node.start()
        found = await bob.messages(301)
        assert {m.data["n"]: m.seq for m in found} == sent
        assert [m.seq for m in found] == sorted(sent.values())
        page = (await alice.client.history(chat, limit=1000)).messages
        pages = page + (await alice.client.history(chat, before=page[0].seq, limit=1000)).messages
        assert sorted(m.data["n"] for m in pages) == list(range(301))


async def test_a_node_that_stops_is_left_and_found_again(own_node: NodeProcess) -> None:
    async with _person(own_node, "alice") as alice:
        await alice.client.subscribe("room:lobby")
        await alice.client.send("room:lobby", {"n": 1})
        await trio.to_thread.run_sync(own_node.stop)
        own_node.start()
        await alice.next(Reconnected)
        await alice.client.send("room:lobby", {"n": 2})
        assert [m.data["n"] for m in (await alice.client.history("room:lobby")).messages] == [1, 2]


def test_the_tutorial_works_as_written(node: NodeProcess, tmp_path: Path) -> None:
    text = (ROOT / "docs/tutorial/first-client.md").read_text("utf-8")
    match = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert match
    (tmp_path / "talk.py").write_text(match[1].replace("127.0.0.1:8000", f"127.0.0.1:{node.port}"))
    talk = subprocess.run(
        [sys.executable, str(tmp_path / "talk.py")],
        input="hello from the tutorial\n\n",
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT)},
        timeout=SECONDS,
        check=True,
    )
    assert re.search(r"^You are guest-\w+\.", talk.stdout, re.MULTILINE)
