"""`chatd doctor` and the public port: free, a chatd's, or somebody else's."""

import socket
from collections.abc import Iterator

import pytest
import trio

from chatd.config import Config, Server
from chatd.doctor import Verdict
from chatd.doctor.port import check_port
from tests.rig.ports import free_port


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """Return a listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def _config(port: int, host: str = "127.0.0.1") -> Config:
    return Config(server=Server(host=host, port=port))


async def _answer(server: socket.socket, answer: bytes) -> None:
    server.setblocking(False)
    connection, _ = await trio.socket.from_stdlib_socket(server).accept()
    with connection:
        await connection.recv(65536)
        await connection.send(answer)


async def test_a_free_port_is_good_and_stays_free() -> None:
    port = free_port()
    for _ in range(2):
        (finding,) = await check_port(_config(port))
        assert finding.verdict is Verdict.OK


async def test_a_port_on_which_a_chatd_serves_is_good(taken: socket.socket, nursery: trio.Nursery) -> None:
    nursery.start_soon(_answer, taken, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nalive\n")
    (finding,) = await check_port(_config(taken.getsockname()[1]))
    assert (finding.verdict, finding.seen) == (Verdict.OK, "a chatd serves on it")


async def test_a_port_that_another_program_has_is_a_failure(taken: socket.socket, nursery: trio.Nursery) -> None:
    nursery.start_soon(_answer, taken, b"220 mail.example.org ESMTP\r\n")
    (finding,) = await check_port(_config(taken.getsockname()[1]))
    assert (finding.verdict, finding.seen) == (Verdict.FAILURE, "another program has it")


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
async def test_a_host_that_is_not_this_machine_is_a_failure(host: str) -> None:
    (finding,) = await check_port(_config(free_port(), host))
    assert finding.verdict is Verdict.FAILURE
