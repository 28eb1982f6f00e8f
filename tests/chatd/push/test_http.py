"""Connections to push services: a bounded number of hosts, each reached by whoever asks."""

import trio

from chatd.push.h2_client import Answer, ConnectionFailed
from chatd.push.http import Http
from tests.chatd.push.conftest import Serve
from tests.rig.push_servers.http2 import Reply, Request

PATIENCE_SECONDS = 10.0


async def test_the_first_requests_to_a_host_may_come_together(serve: Serve, http: Http) -> None:
    async def take(request: Request) -> Reply:
        return Reply(200)

    server = await serve(take)
    answers: list[Answer] = []

    async def ask() -> None:
        answers.append(await http.post(f"https://localhost:{server.port}", [], b"", path="/a"))

    async with trio.open_nursery() as asking:
        for _ in range(50):
            asking.start_soon(ask)
    assert [answer.status for answer in answers] == [200] * 50
    assert {request.path for request in server.requests} == {"/a"}


async def test_only_hosts_that_nobody_waits_for_make_room_for_another(serve: Serve, http: Http) -> None:
    came, opened = trio.Event(), trio.Event()

    async def hold(request: Request) -> Reply:
        came.set()
        await opened.wait()
        return Reply(200)

    async def take(request: Request) -> Reply:
        return Reply(200)

    busy, *quiet = [await serve(each) for each in (hold, take, take, take, take)]
    statuses: list[int] = []

    async def ask(server_port: int) -> None:
        statuses.append((await http.post(f"https://localhost:{server_port}/", [], b"")).status)

    async with trio.open_nursery() as asking:
        asking.start_soon(ask, busy.port)
        with trio.fail_after(PATIENCE_SECONDS):
            await came.wait()
        for server in quiet:
            await ask(server.port)
            assert http.connections <= 4 + 1  # the one that makes room may not have hung up yet
        opened.set()
    assert statuses == [200] * 5
    assert [server.connections for server in (busy, *quiet)] == [1] * 5
    with trio.move_on_after(PATIENCE_SECONDS):
        while http.connections > 4:
            await trio.lowlevel.checkpoint()
    assert http.connections == 4


async def test_a_host_too_many_is_a_failure_while_all_are_in_use(serve: Serve, http: Http) -> None:
    async def never(request: Request) -> Reply:
        await trio.sleep_forever()
        raise AssertionError

    servers = [await serve(never) for _ in range(5)]
    failures: list[str] = []

    async def ask(server_port: int) -> None:
        try:
            await http.post(f"https://localhost:{server_port}/", [], b"")
        except ConnectionFailed as error:
            failures.append(str(error))
            asking.cancel_scope.cancel()

    with trio.fail_after(PATIENCE_SECONDS):
        async with trio.open_nursery() as asking:
            for server in servers:
                asking.start_soon(ask, server.port)
    assert failures == ["requests to too many hosts at once"]
