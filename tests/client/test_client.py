"""The client against a server that is cut, drained, slow, and refuses."""

import math
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from client import (
    Client,
    ConnectionClosed,
    ConnectionFailed,
    Event,
    Gap,
    Message,
    Reconnected,
    RequestError,
    Unanswered,
    Unsubscribed,
)
from client.codec import Encoding
from tests.fakes.scripted_server import Peer, ScriptedServer, message


@pytest.fixture
def server(nursery: trio.Nursery) -> ScriptedServer:
    """Serve in the test's own nursery."""
    return ScriptedServer(nursery)


async def _subscribe(client: Client, peer: Peer, channel: str = "room:a", seq: int = 0) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.subscribe, channel)
        command = await peer.receive("subscribe")
        await peer.say("subscribed", id=command["id"], channel=channel, epoch="e", seq=seq, recovered=True, messages=[])


async def _take(client: Client, count: int) -> list[Event]:
    events = client.events()
    return [await anext(events) for _ in range(count)]


def _seqs(events: list[Event]) -> list[int]:
    return [event.seq for event in events if isinstance(event, Message)]


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize("compression", [False, True])
async def test_messages_go_both_ways(server: ScriptedServer, encoding: Encoding, compression: bool) -> None:
    async with server.client(encoding=encoding, compression=compression) as client, trio.open_nursery() as nursery:
        peer = await server.peer()
        assert peer.hello["token"] == "token"
        assert client.session.user == "alice"
        await _subscribe(client, peer)
        await peer.message("room:a", 1)
        [event] = await _take(client, 1)
        assert event == Message("room:a", "e", 1, "bob", "k1", 1, {"n": 1})
        nursery.start_soon(client.send, "room:a", {"text": "é" * 500})
        command = await peer.receive("send")
        assert command["data"] == {"text": "é" * 500}
        assert "retry" not in command
        await peer.sent(command, 2)


async def test_the_session_is_closed_with_a_goodbye(server: ScriptedServer) -> None:
    async with server.client():
        peer = await server.peer()
    with pytest.raises(Exception, match="code=1000"):
        await peer.receive("ping")


async def test_an_error_of_the_block_comes_out_as_it_is(server: ScriptedServer) -> None:
    with pytest.raises(LookupError, match="mine"):
        async with server.client():
            raise LookupError("mine")


async def test_a_refused_command_raises_with_its_code(server: ScriptedServer) -> None:
    async with server.client() as client, trio.open_nursery() as nursery:
        peer = await server.peer()

        async def script() -> None:
            await peer.refuse(await peer.receive("history"), 207, 1.5)

        nursery.start_soon(script)
        with pytest.raises(RequestError) as caught:
            await client.history("room:a")
        assert (caught.value.code, caught.value.retry_after, caught.value.may_retry) == (207, 1.5, False)


# Reconnecting.


async def test_a_send_that_was_cut_off_is_sent_again_with_its_key(
    server: ScriptedServer, autojump_clock: MockClock
) -> None:
    async with server.client() as client, trio.open_nursery() as nursery:
        peer = await server.peer()

        async def script() -> None:
            first = await peer.receive("send")
            await peer.cut()
            again = await server.peer()
            second = await again.receive("send")
            assert second == first | {"id": second["id"], "retry": True}
            await again.sent(second, 7, duplicate=True)

        nursery.start_soon(script)
        sent = await client.send("dm:alice:bob", {"text": "hi"})
        assert (sent.seq, sent.duplicate) == (7, True)


async def test_sends_go_out_again_in_their_order(server: ScriptedServer, autojump_clock: MockClock) -> None:
    async with server.client() as client, trio.open_nursery() as nursery:
        peer = await server.peer()
        for number in range(5):
            nursery.start_soon(client.send, "dm:alice:bob", {"n": number})
            await wait_all_tasks_blocked()
        await peer.cut()
        again = await server.peer()
        commands = [await again.receive("send") for _ in range(5)]
        assert [command["data"]["n"] for command in commands] == [0, 1, 2, 3, 4]
        assert all(command["retry"] for command in commands)
        for seq, command in enumerate(commands, start=1):
            await again.sent(command, seq)


async def test_a_send_over_the_rate_is_sent_again_after_the_wait(
    server: ScriptedServer, autojump_clock: MockClock
) -> None:
    async with server.client() as client, trio.open_nursery() as nursery:
        peer = await server.peer()
        nursery.start_soon(client.send, "room:a", {})
        await peer.refuse(await peer.receive("send"), 100, 3.0)
        began = trio.current_time()
        again = await peer.receive("send")
        assert trio.current_time() - began >= 3.0
        assert again["retry"]
        await peer.sent(again, 1)


async def test_a_send_that_is_refused_for_good_raises(server: ScriptedServer) -> None:
    async with server.client() as client, trio.open_nursery() as nursery:
        peer = await server.peer()

        async def script() -> None:
            await peer.refuse(await peer.receive("send"), 212)

        nursery.start_soon(script)
        with pytest.raises(RequestError, match="212"):
            await client.send("room:a", {})


async def test_a_send_without_an_answer_ends_at_its_deadline(server: ScriptedServer, autojump_clock: MockClock) -> None:
    async with server.client() as client:
        with pytest.raises(Unanswered) as caught:
            await client.send("room:a", {}, key="mine", seconds=5)
        assert caught.value.key == "mine"


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
async def test_data_that_cannot_be_encoded_harms_nobody_else(server: ScriptedServer, encoding: Encoding) -> None:
    async with server.client(encoding=encoding) as client, trio.open_nursery() as nursery:
        peer = await server.peer()
        with pytest.raises(TypeError):
            await client.send("room:a", {"x": object()})
        nursery.start_soon(client.send, "room:a", {"x": 1})
        await peer.sent(await peer.receive("send"), 1)


async def test_a_reconnect_brings_cursors_and_delivers_what_was_missed_once(
    server: ScriptedServer, autojump_clock: MockClock
) -> None:
    missed = {"epoch": "e", "seq": 4, "recovered": True, "messages": [message("room:a", seq) for seq in (3, 4)]}
    own = {"epoch": "e", "seq": 9, "recovered": True, "messages": []}
    server.greetings.extend([{}, {"resumed": {"room:a": missed, "dm:alice:bob": own}}])
    async with server.client() as client:
        peer = await server.peer()
        await _subscribe(client, peer, seq=1)
        await peer.message("room:a", 2)
        await peer.message("dm:alice:bob", 9)
        assert _seqs(await _take(client, 2)) == [2, 9]
        await peer.cut()
        again = await server.peer()
        assert again.hello["cursors"] == {"room:a": ["e", 2], "dm:alice:bob": ["e", 9]}
        await again.message("room:a", 4)
        await again.message("room:a", 5)
        events = await _take(client, 4)
        assert isinstance(events[0], Reconnected)
        assert _seqs(events) == [3, 4, 5]


async def test_a_channel_that_a_backend_subscribed_to_is_resumed(
    server: ScriptedServer, autojump_clock: MockClock
) -> None:
    missed = {"epoch": "e", "seq": 9, "recovered": True, "messages": [message("event:a", 9)]}
    server.greetings.extend([{}, {"resumed": {"event:a": missed}}])
    async with server.client() as client:
        peer = await server.peer()
        await peer.say("subscribed", channel="event:a", epoch="e", seq=7, recovered=True, messages=[])
        await peer.message("event:a", 8)
        assert _seqs(await _take(client, 1)) == [8]
        await peer.cut()
        again = await server.peer()
        assert again.hello["cursors"] == {"event:a": ["e", 8]}
        events = await _take(client, 2)
        assert isinstance(events[0], Reconnected)
        assert _seqs(events) == [9]


async def test_a_cursor_that_is_not_recovered_becomes_a_gap(server: ScriptedServer, autojump_clock: MockClock) -> None:
    reborn = {"epoch": "f", "seq": 100, "recovered": False, "messages": []}
    server.greetings.extend([{}, {"resumed": {"room:a": reborn}}])
    async with server.client() as client:
        await _subscribe(client, peer := await server.peer())
        await peer.cut()
        again = await server.peer()
        await again.message("room:a", 101, epoch="f")
        events = await _take(client, 3)
        assert events[1] == Gap("room:a", "f", 100)
        assert _seqs(events) == [101]


async def test_a_channel_that_cannot_be_resumed_is_forgotten(server: ScriptedServer, autojump_clock: MockClock) -> None:
    async with server.client() as client:
        await _subscribe(client, peer := await server.peer())
        await peer.cut()
        again = await server.peer()
        await again.say("unsubscribed", channel="room:a", code=207, reason="no")
        assert (await _take(client, 2))[1] == Unsubscribed("room:a", 207, "no")
        await again.cut()
        assert (await server.peer()).hello["cursors"] == {}


async def test_subscriptions_that_connect_has_no_room_for_are_made_again(
    server: ScriptedServer, autojump_clock: MockClock
) -> None:
    first = {"epoch": "e", "seq": 0, "recovered": True, "messages": []}
    server.greetings.extend([{}, {"resumed": {"room:a": first}}])
    async with server.client(cursors=1) as client:
        peer = await server.peer()
        for channel in ("room:a", "room:b", "room:c"):
            await _subscribe(client, peer, channel)
        await peer.cut()
        again = await server.peer()
        assert list(again.hello["cursors"]) == ["room:a"]
        command = await again.receive("subscribe")
        assert (command["channel"], command["since"]) == ("room:b", ["e", 0])
        missed = {"epoch": "e", "seq": 1, "recovered": True, "messages": [message("room:b", 1)]}
        await again.say("subscribed", id=command["id"], channel="room:b", **missed)
        await again.message("room:b", 2)
        await again.refuse(await again.receive("subscribe"), 207)
        events = await _take(client, 4)
        assert _seqs(events) == [1, 2]
        assert events[3] == Unsubscribed("room:c", 207, "no")


async def test_a_read_is_repeated_on_the_next_connection_but_a_change_is_not(
    server: ScriptedServer, autojump_clock: MockClock
) -> None:
    async with server.client() as client, trio.open_nursery() as nursery:
        peer = await server.peer()

        async def script() -> None:
            await peer.receive("members")
            await peer.cut()
            again = await server.peer()
            command = await again.receive("members")
            await again.say("members", id=command["id"], channel="group:a", members={"alice": "owner"})
            await again.receive("create")
            await again.cut()

        nursery.start_soon(script)
        assert await client.members("group:a") == {"alice": "owner"}
        with pytest.raises(ConnectionClosed):
            await client.create("group:b")


async def test_away_is_said_again(server: ScriptedServer, autojump_clock: MockClock) -> None:
    async with server.client() as client, trio.open_nursery() as nursery:
        peer = await server.peer()
        nursery.start_soon(client.status, "away")
        command = await peer.receive("status")
        await peer.say("ok", id=command["id"])
        await wait_all_tasks_blocked()
        await peer.cut()
        assert (await (await server.peer()).receive("status"))["state"] == "away"


async def test_tries_are_spread_and_grow(server: ScriptedServer, autojump_clock: MockClock) -> None:
    server.refusals.extend([OSError("refused")] * 12)
    async with server.client(connect_seconds=math.inf):
        waits = [later - earlier for earlier, later in zip(server.dialled, server.dialled[1:], strict=False)]
    assert len(waits) == 12
    assert all(wait <= min(30.0, 0.5 * 2**number) for number, wait in enumerate(waits))
    assert sum(waits) > 30


async def test_the_first_connect_has_its_time(server: ScriptedServer, autojump_clock: MockClock) -> None:
    server.refusals.extend([OSError("refused")] * 100)
    with pytest.raises(ConnectionFailed, match="refused"):
        async with server.client(connect_seconds=10):
            pass


@pytest.mark.parametrize(("status", "is_final"), [(404, True), (403, True), (429, False), (503, False)])
async def test_a_refused_handshake(
    server: ScriptedServer, autojump_clock: MockClock, status: int, is_final: bool
) -> None:
    server.refusals.append(status)
    if is_final:
        with pytest.raises(ConnectionClosed, match=str(status)):
            async with server.client():
                pass
    else:
        async with server.client():
            assert len(server.dialled) == 2


@pytest.mark.parametrize("code", [1001, 1011, 4000, 4001, 4002, 4004, 4499])
async def test_the_client_comes_back_after(server: ScriptedServer, autojump_clock: MockClock, code: int) -> None:
    async with server.client():
        await (await server.peer()).close(code)
        await server.peer()


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1009, 4005, 4500, 4502, 4503, 4999])
async def test_the_client_stays_away_after(server: ScriptedServer, autojump_clock: MockClock, code: int) -> None:
    async with server.client() as client:
        await (await server.peer()).close(code)
        with pytest.raises(ConnectionClosed) as caught:
            await _take(client, 1)
        assert caught.value.code == code
        with pytest.raises(ConnectionClosed):
            await client.send("room:a", {})
        with pytest.raises(ConnectionClosed):
            await client.history("room:a")
    assert len(server.dialled) == 1


async def test_a_send_on_its_way_learns_that_the_client_stopped(server: ScriptedServer) -> None:
    async with server.client() as client, trio.open_nursery() as nursery:
        peer = await server.peer()

        async def script() -> None:
            await peer.receive("send")
            await peer.close(4503)

        nursery.start_soon(script)
        with pytest.raises(ConnectionClosed, match="4503"):
            await client.send("room:a", {})


async def test_a_draining_node_is_left_at_the_told_time(server: ScriptedServer, autojump_clock: MockClock) -> None:
    async with server.client() as client, trio.open_nursery() as nursery:
        peer = await server.peer()
        began = trio.current_time()
        await peer.say("reconnect", after_seconds=3.5)
        nursery.start_soon(client.ping)
        command = await peer.receive("ping")
        await peer.say("ok", id=command["id"])
        with pytest.raises(Exception, match="code=1000"):
            await peer.receive("nothing")
        await server.peer()
        assert 3.5 <= trio.current_time() - began < 3.6


async def test_a_silent_server_is_given_up(server: ScriptedServer, autojump_clock: MockClock) -> None:
    server.ping_seconds = 10
    async with server.client() as client:
        await server.peer()
        await server.peer()
        assert trio.current_time() >= 20
        assert isinstance((await _take(client, 1))[0], Reconnected)


async def test_a_server_that_talks_nonsense_is_left_and_tried_again(
    server: ScriptedServer, autojump_clock: MockClock
) -> None:
    async with server.client(encoding="json"):
        await (await server.peer()).raw("[]")
        await (await server.peer()).raw('{"type": "message"}')
        await (await server.peer()).raw(b"binary")
        await server.peer()


async def test_events_that_nobody_knows_are_passed_over(server: ScriptedServer) -> None:
    async with server.client() as client:
        peer = await server.peer()
        await peer.say("confetti", channel="room:a")
        await peer.say("count", channel="room:a", count=3, colour="red")
        assert [type(event).__name__ for event in await _take(client, 1)] == ["Count"]


# Tokens.


async def test_an_expired_token_is_replaced_by_the_provider(server: ScriptedServer, autojump_clock: MockClock) -> None:
    tokens = iter(["old", "new"])

    async def provide() -> str:
        return next(tokens)

    server.greetings.append({"code": 205, "close": 4003})
    async with server.client(provide):
        assert (await server.peer()).hello["token"] == "new"


async def test_a_provider_that_has_no_better_token_ends_the_client(
    server: ScriptedServer, autojump_clock: MockClock
) -> None:
    async def provide() -> str:
        return "forged"

    server.greetings.extend([{"code": 204, "close": 4502}] * 2)
    with pytest.raises(ConnectionClosed, match="4502") as caught:
        async with server.client(provide):
            pass
    assert len(server.dialled) == 2
    assert isinstance(caught.value.__cause__, RequestError)


async def test_a_text_token_that_is_refused_ends_the_client_at_once(server: ScriptedServer) -> None:
    server.greetings.append({"code": 205, "close": 4003})
    with pytest.raises(ConnectionClosed, match="4003"):
        async with server.client():
            pass
    assert len(server.dialled) == 1


async def test_a_server_that_cannot_greet_now_is_tried_again_after_the_wait(
    server: ScriptedServer, autojump_clock: MockClock
) -> None:
    server.greetings.append({"code": 101, "close": 4006, "retry_after": 4.0})
    async with server.client():
        assert 4.0 <= server.dialled[1] - server.dialled[0] <= 8.0


async def test_a_provider_that_fails_is_asked_again(server: ScriptedServer, autojump_clock: MockClock) -> None:
    answers = iter([LookupError("no network"), "good"])

    async def provide() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return cast(str, answer)

    async with server.client(provide):
        assert (await server.peer()).hello["token"] == "good"


async def test_the_token_is_renewed_before_it_runs_out(server: ScriptedServer, autojump_clock: MockClock) -> None:
    tokens = iter(["first", "second", "third"])

    async def provide() -> str:
        return next(tokens)

    server.ping_seconds = 1000
    server.greetings.append({"time": 0, "expires": 900_000})
    async with server.client(provide):
        peer = await server.peer()
        began = trio.current_time()
        command = await peer.receive("refresh")
        assert command["token"] == "second"
        assert 600 < trio.current_time() - began < 900
        # The newer token may live for another time, which the answer tells by the server's clock.
        now = int((trio.current_time() - began) * 1000)
        await peer.say("refreshed", id=command["id"], expires=now + 100_000)
        began = trio.current_time()
        command = await peer.receive("refresh")
        assert command["token"] == "third"
        assert 60 < trio.current_time() - began < 100
        await peer.say("refreshed", id=command["id"], expires=None)


async def test_a_token_that_is_shown_by_hand_says_when_it_ends(server: ScriptedServer) -> None:
    async with server.client() as client:
        peer = await server.peer()
        ends: list[int | None] = []

        async def show() -> None:
            ends.append(await client.refresh("newer"))

        async with trio.open_nursery() as shows:
            shows.start_soon(show)
            command = await peer.receive("refresh")
            assert command["token"] == "newer"
            await peer.say("refreshed", id=command["id"], expires=1234)
        assert ends == [1234]


# Holes.


async def _history(peer: Peer, *, after: int, messages: list[dict[str, Any]], more: bool = False) -> None:
    command = await peer.receive("history")
    assert command["after"] == after
    await peer.say("history", id=command["id"], channel=command["channel"], messages=messages, more=more)


async def test_a_hole_in_a_member_channel_is_filled_before_what_follows(server: ScriptedServer) -> None:
    async with server.client() as client:
        peer = await server.peer()
        for seq in (1, 2, 5, 6):
            await peer.message("group:a", seq)
        await _history(peer, after=2, messages=[message("group:a", 3)], more=True)
        await peer.message("group:a", 7)
        await _history(peer, after=3, messages=[message("group:a", seq) for seq in (4, 5)])
        assert _seqs(await _take(client, 7)) == [1, 2, 3, 4, 5, 6, 7]


async def test_a_hole_that_the_history_cannot_fill_becomes_a_gap(server: ScriptedServer) -> None:
    async with server.client() as client:
        peer = await server.peer()
        await peer.message("group:a", 1)
        await peer.message("group:a", 5)
        await _history(peer, after=1, messages=[message("group:a", 4)])
        events = await _take(client, 4)
        assert isinstance(events[1], Gap)
        assert _seqs(events) == [1, 4, 5]


async def test_a_hole_is_given_up_when_reading_is_forbidden(server: ScriptedServer) -> None:
    async with server.client() as client:
        peer = await server.peer()
        await peer.message("group:a", 1)
        await peer.message("group:a", 5)
        await peer.refuse(await peer.receive("history"), 207)
        events = await _take(client, 3)
        assert isinstance(events[1], Gap)
        assert _seqs(events) == [1, 5]


async def test_a_hole_that_was_not_filled_in_time_is_resumed(server: ScriptedServer, autojump_clock: MockClock) -> None:
    missed = {"epoch": "e", "seq": 3, "recovered": True, "messages": [message("group:a", seq) for seq in (2, 3)]}
    server.greetings.extend([{}, {"resumed": {"group:a": missed}}])
    async with server.client() as client:
        peer = await server.peer()
        await peer.message("group:a", 1)
        await peer.message("group:a", 3)
        await peer.receive("history")
        await peer.cut()
        assert (await server.peer()).hello["cursors"] == {"group:a": ["e", 1]}
        assert _seqs(await _take(client, 4)) == [1, 2, 3]


async def test_an_own_message_under_way_is_no_hole(server: ScriptedServer) -> None:
    async with server.client() as client, trio.open_nursery() as nursery:
        peer = await server.peer()
        await peer.message("group:a", 1)
        nursery.start_soon(client.send, "group:a", {})
        command = await peer.receive("send")
        await peer.message("group:a", 3)
        await peer.sent(command, 2)
        assert _seqs(await _take(client, 2)) == [1, 3]


async def test_an_echo_comes_once_whichever_way_it_meets_its_answer(server: ScriptedServer) -> None:
    async with server.client() as client, trio.open_nursery() as nursery:
        peer = await server.peer()
        await _subscribe(client, peer)
        for seq in (1, 2):
            nursery.start_soon(client.send, "room:a", {})
            command = await peer.receive("send")
            if seq == 1:
                await peer.sent(command, seq)
            await peer.message("room:a", seq, key=command["key"])
            if seq == 2:
                await peer.sent(command, seq)
        await peer.message("room:a", 3)
        events = await _take(client, 3)
        assert _seqs(events) == [1, 2, 3]
        assert [event.own for event in events if isinstance(event, Message)] == [True, True, False]


async def test_a_conflated_subscription_may_skip(server: ScriptedServer) -> None:
    async with server.client() as client:
        peer = await server.peer()
        await _subscribe(client, peer, "track:bob")
        for seq in (1, 7, 9):
            await peer.message("track:bob", seq)
        assert _seqs(await _take(client, 3)) == [1, 7, 9]


async def test_conversations_with_news_are_caught_up_after_a_reconnect(
    server: ScriptedServer, autojump_clock: MockClock
) -> None:
    async with server.client(catch_up=True, cursors=1) as client:
        peer = await server.peer()
        await peer.message("group:old", 1)
        await peer.message("group:new", 5)
        await _take(client, 2)
        await peer.cut()
        again = await server.peer()
        assert list(again.hello["cursors"]) == ["group:new"]
        command = await again.receive("channels")
        assert command["since"] <= 1_000_000
        await again.message("dm:alice:carol", 3)  # live, while it is asked what was missed
        places = [("dm:alice:carol", 3), ("group:old", 2)]
        conversations = [{"channel": c, "role": "member", "epoch": "e", "seq": s, "at": 2} for c, s in places]
        await again.say("channels", id=command["id"], channels=conversations[:1], more=True)
        command = await again.receive("channels")
        assert command["after"] == [2, "dm:alice:carol"]
        await again.say("channels", id=command["id"], channels=conversations[1:], more=False)
        await _history(again, after=1, messages=[message("group:old", 2)])
        command = await again.receive("history")
        assert command["channel"] == "dm:alice:carol"
        page = [message("dm:alice:carol", seq, at=seq * 1_000_000) for seq in (0, 1, 2, 3)]
        await again.say("history", id=command["id"], channel="dm:alice:carol", messages=page, more=False)
        events = await _take(client, 5)
        assert isinstance(events[0], Reconnected)
        assert [(e.channel, e.seq) for e in events if isinstance(e, Message)] == [
            ("group:old", 2),
            ("dm:alice:carol", 1),
            ("dm:alice:carol", 2),
            ("dm:alice:carol", 3),
        ]


# An application that is slow.


async def test_reading_pauses_while_the_application_takes_nothing(server: ScriptedServer) -> None:
    async with server.client(event_queue=10) as client:
        peer = await server.peer()
        await _subscribe(client, peer)
        for seq in range(1, 301):
            await peer.message("room:a", seq)
        await wait_all_tasks_blocked()
        assert client.waiting_events == 10
        assert _seqs(await _take(client, 300)) == list(range(1, 301))


async def test_who_sends_between_events_is_not_held_up_by_a_full_queue(server: ScriptedServer) -> None:
    async with server.client(event_queue=10) as client, trio.open_nursery() as nursery:
        peer = await server.peer()
        await _subscribe(client, peer)
        for seq in range(1, 14):
            await peer.message("room:a", seq)

        async def script() -> None:
            command = await peer.receive("send")
            await peer.sent(command, 14)

        nursery.start_soon(script)
        await client.send("room:a", {})
        assert _seqs(await _take(client, 13)) == list(range(1, 14))
