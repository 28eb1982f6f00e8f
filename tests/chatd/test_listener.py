"""What is kept of a connection while nothing happens on it."""

import gc
from pathlib import Path

import trio
import trio.testing

from protocol.handshake import RequestHead
from tests.rig.node import changed, running_node

UPGRADE = (
    b"GET /v1/ws HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def test_a_session_does_not_keep_the_request_that_it_began_with(tmp_path: Path) -> None:
    async with running_node(tmp_path, changed("server", port=0)) as rig, trio.open_nursery() as nursery:
        [(_, port), *_] = rig.node.listener.bind([])
        nursery.start_soon(rig.node.listener.run)
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(UPGRADE)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 101 ")
            while not rig.node.hub.sessions:
                await trio.testing.wait_all_tasks_blocked()
            assert not [kept for kept in gc.get_objects() if isinstance(kept, RequestHead)]
        rig.node.listener.end()
