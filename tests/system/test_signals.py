"""What a real node does on signals: SIGTERM and Ctrl-C leave in order, SIGHUP takes over a changed configuration."""

import signal
import time

import pytest
import trio

from protocol.codes import CloseCode, ErrorCode
from protocol.frames import Opcode, close_payload
from tests.system.conftest import StartNode
from tests.system.process import NodeProcess
from tests.system.wire import wire

pytestmark = pytest.mark.system

DRAIN: dict[str, object] = {
    "server.drain_seconds": 1.5,
    "websocket.close_seconds": 0.5,
    "server.shutdown_seconds": 20.0,
}

# Longer than any test may last: who still waits for it fails the test.
NEVER = 600.0


async def _ended(node: NodeProcess) -> int:
    return await trio.to_thread.run_sync(node.wait)


async def _is_refused(node: NodeProcess) -> None:
    """Wait until the port takes nobody any more."""
    await trio.to_thread.run_sync(node.wait_for_log, "draining")
    with trio.fail_after(10), pytest.raises(OSError, match="Connection refused"):
        await _connect_for_ever(node)


async def _connect_for_ever(node: NodeProcess) -> None:
    while True:
        async with wire(node):
            await trio.sleep(0.01)


async def test_sigterm_tells_clients_to_reconnect_over_a_window_and_then_lets_them_go(start_node: StartNode) -> None:
    node = start_node(DRAIN)
    async with trio.open_nursery() as nursery, wire(node) as http:
        told: list[float] = []
        codes: list[int] = []

        async def stay(number: int, ready: trio.Event) -> None:
            async with wire(node) as device:
                await device.enter(node.token(f"user{number}"))
                ready.set()
                event = await device.hear()
                assert event["type"] == "reconnect"
                told.append(event["after_seconds"])
                assert (await device.ask(type="ping"))["type"] == "ok"  # it is served until the window is over
                codes.append(await device.close_code())

        for number in range(10):
            ready = trio.Event()
            nursery.start_soon(stay, number, ready)
            await ready.wait()
        assert (await http.get("/readyz")).status == 200
        node.send_signal(signal.SIGTERM)
        await _is_refused(node)
        answer = await http.get("/readyz")
        assert (answer.status, answer.problem["code"]) == (503, ErrorCode.DRAINING)
        assert await _ended(node) == 0
    assert all(0 <= seconds <= 1.5 for seconds in told)
    assert len(set(told)) > 5
    assert codes == [CloseCode.DRAINING] * 10


async def test_a_node_whose_clients_all_left_does_not_wait_for_the_window(start_node: StartNode) -> None:
    node = start_node({"server.drain_seconds": NEVER, "server.shutdown_seconds": NEVER})
    async with wire(node) as device:
        await device.enter(node.token("alice"))
        node.send_signal(signal.SIGTERM)
        assert (await device.hear())["type"] == "reconnect"
        await device.frame(close_payload(CloseCode.GOING_AWAY), Opcode.CLOSE)
        assert await _ended(node) == 0


async def test_a_request_under_way_is_finished(start_node: StartNode) -> None:
    node = start_node(DRAIN)
    body = b'{"name":"alice","password":"correct horse battery"}'
    async with wire(node) as client, wire(node) as device:
        await device.enter(node.token("bob"))
        head = f"POST /v1/auth/register HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n"
        await client.say(head.encode() + body[:10])
        node.send_signal(signal.SIGTERM)
        await _is_refused(node)
        await client.say(body[10:])
        assert (await client.answer()).status in (200, 201)
        assert await _ended(node) == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_at_once(start_node: StartNode, second: signal.Signals) -> None:
    node = start_node({"server.drain_seconds": NEVER, "server.shutdown_seconds": NEVER})
    async with wire(node) as device:
        await device.enter(node.token("alice"))
        node.send_signal(signal.SIGTERM)
        assert (await device.hear())["type"] == "reconnect"
        node.send_signal(second)
        assert await _ended(node) == 0
    assert "leaving at once" in node.log


async def test_ctrl_c_lets_everybody_go_without_a_window(start_node: StartNode) -> None:
    node = start_node({"server.drain_seconds": NEVER, "server.shutdown_seconds": NEVER})
    async with wire(node) as device:
        await device.enter(node.token("alice"))
        node.send_signal(signal.SIGINT)
        assert await device.close_code() == CloseCode.DRAINING
        await device.frame(close_payload(CloseCode.DRAINING), Opcode.CLOSE)
        assert await _ended(node) == 0


async def test_who_never_answers_does_not_hold_the_node_beyond_its_deadline(start_node: StartNode) -> None:
    node = start_node({"server.drain_seconds": NEVER, "server.shutdown_seconds": 1.0, "websocket.close_seconds": NEVER})
    async with wire(node) as device, wire(node) as head:
        await device.enter(node.token("alice"))
        await head.say(b"GET / HT")
        begun = time.monotonic()
        node.send_signal(signal.SIGTERM)
        assert await _ended(node) == 0
        assert time.monotonic() - begun > 0.9


async def test_messages_acknowledged_while_leaving_are_kept(start_node: StartNode) -> None:
    node = start_node(DRAIN)
    async with wire(node) as device:
        await device.enter(node.token("alice"))
        node.send_signal(signal.SIGTERM)
        assert (await device.hear())["type"] == "reconnect"
        send = {"channel": "room:last", "key": "k", "data": {"n": 1}}
        sent = await device.ask(type="send", **send)
        assert sent["type"] == "sent"
        await device.frame(close_payload(CloseCode.GOING_AWAY), Opcode.CLOSE)
        assert await _ended(node) == 0
    node.start()
    async with wire(node) as device:
        await device.enter(node.token("alice"))
        [message] = (await device.ask(type="history", channel="room:last"))["messages"]
        assert (message["epoch"], message["seq"]) == (sent["epoch"], sent["seq"])


# SIGHUP.


def _reload(node: NodeProcess, text: str, wait_for: str) -> str:
    (node.directory / "config.toml").write_text(text)
    node.send_signal(signal.SIGHUP)
    return node.wait_for_log(wait_for)


async def test_sighup_takes_over_limits_namespaces_and_the_level_of_the_log(start_node: StartNode) -> None:
    node = start_node()
    text = '[limits]\nsubscriptions = 1\n[log]\nlevel = "warning"\n[namespaces.club]\nread = "anyone"\n'
    async with wire(node) as device:
        await device.enter(node.token("alice"))
        assert (await device.ask(type="subscribe", channel="club:a"))["code"] == ErrorCode.UNKNOWN_CHANNEL
        text += "[server]\ndrain_seconds = 0.5\n[store]\nbatch_rows = 5\n"
        _reload(node, text, "need a restart .*server.drain_seconds.*store.batch_rows")
        assert (await device.ask(type="subscribe", channel="club:a"))["type"] == "subscribed"
        answer = await device.ask(type="subscribe", channel="club:b")
        assert answer["code"] == ErrorCode.TOO_MANY_SUBSCRIPTIONS
    async with wire(node) as device:
        await device.enter(node.token("bob"))
    assert "configuration reloaded" not in node.log.splitlines()[-1]
    assert "user=bob" not in node.log  # opening a session is told at the level `info`


async def test_a_file_that_is_wrong_changes_nothing_and_is_named(start_node: StartNode) -> None:
    node = start_node()
    async with wire(node) as device:
        await device.enter(node.token("alice"))
        for text, words in (
            ("[limits]\nsubscriptions = 0\n", "limits.subscriptions"),
            ("[limits\n", "config.toml: "),
            ("[server]\ntrusted_proxies = [", "config.toml: "),
        ):
            _reload(node, text, f"configuration not reloaded .*{words}")
        assert (await device.ask(type="subscribe", channel="room:a"))["type"] == "subscribed"
        assert len([line for line in node.faults() if "not reloaded" in line]) == 3
    (node.directory / "log").write_text("")


async def test_a_namespace_that_is_gone_or_changed_harms_nobody_who_uses_it(start_node: StartNode) -> None:
    before = "[broker]\nsave_seconds = 0.05\nidle_seconds = 0.4\n[presence]\ntick_seconds = 0.05\n"
    club = '[namespaces.club]\npresence = "list"\nhistory = "{}"\nretention_messages = 2\n'
    node = start_node({"server.drain_seconds": 0.1}, config=before + club.format("recent"))
    async with wire(node) as alice, wire(node) as bob:
        for device, name in ((alice, "alice"), (bob, "bob")):
            await device.enter(node.token(name))
            await device.ask(type="subscribe", channel="club:a")
        for number, text in enumerate((club.format("durable"), club.format("none"), "", club.format("recent"))):
            send = {"type": "send", "channel": "club:a", "data": {}}
            await alice.ask(**send, key=f"a{number}")
            (node.directory / "log").write_text("")
            _reload(node, before + text, "configuration reloaded")
            await alice.ask(**send, key=f"b{number}")
            await bob.ask(type="history", channel="club:a")
            await bob.ask(type="presence", channel="club:a")
            await bob.ask(type="unsubscribe", channel="club:a")
            await trio.sleep(0.3)  # for the saver, the presence and the idle channels of the node to meet the change
            await bob.ask(type="subscribe", channel="club:a")
            assert node.faults() == []
        assert (await alice.ask(type="send", channel="club:a", key="end", data={}))["type"] == "sent"
