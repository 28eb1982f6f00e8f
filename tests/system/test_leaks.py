"""What is left of connections that came and went: nothing."""

import httpx
import pytest
import trio

from protocol.frames import Opcode, close_payload
from tests.system.conftest import StartNode
from tests.system.process import numbers
from tests.system.wire import request, wire

pytestmark = pytest.mark.system

CYCLES = 500
AT_ONCE = 10
GAUGES = ("chatd_connections", "chatd_sessions", "chatd_users", "chatd_channels", "chatd_subscriptions")


async def test_nothing_is_left_of_many_connections(start_node: StartNode) -> None:
    node = start_node({"limits.connects_burst": 10_000, "limits.http_requests_burst": 10_000})
    token = node.token("alice")
    async with httpx.AsyncClient(base_url=node.http_url) as http:
        await http.get("/healthz")
        before = node.sockets()

        async def come_and_go(first: int) -> None:
            for number in range(first, CYCLES, AT_ONCE):
                async with wire(node) as device:
                    if number % 5 == 4:
                        await device.say(request("/healthz")[: number % 30])
                        continue
                    await device.enter(token)
                    await device.ask(type="subscribe", channel=f"room:{number % 7}")
                    if number % 5 == 3:
                        device.reset()
                    elif number % 5 == 2:
                        await device.frame(close_payload(1000), Opcode.CLOSE)
                        assert await device.close_code() == 1000

        async with trio.open_nursery() as nursery:
            for first in range(AT_ONCE):
                nursery.start_soon(come_and_go, first)
        await trio.to_thread.run_sync(node.wait_for_sockets, before)
        metrics = numbers((await http.get("/metrics")).text)
    assert {name: metrics[name] for name in GAUGES} == dict.fromkeys(GAUGES, 0)
    assert metrics["chatd_sessions_opened_total"] == metrics["chatd_sessions_closed_total"] == CYCLES * 4 / 5
    assert metrics["chatd_connections_opened_total"] == metrics["chatd_connections_closed_total"] + 1
