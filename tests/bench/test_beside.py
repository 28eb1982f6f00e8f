"""Requests beside a measured room come from a process of their own, as many as asked for; and who runs first does."""

import os
import subprocess
import sys

import pytest

from bench.api_load import ApiLoadFailed
from bench.beside import Requests, answering, requesting
from bench.cores import put_first

POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.system
def test_requests_come_at_about_the_rate_and_each_is_answered() -> None:
    with answering(None) as address, requesting(Requests(address, [POST] * 4, 400.0, 0.5), None) as running:
        load = running.wait()
    assert 0 < load.answered <= 400
    assert len(load.latencies) == load.answered
    assert load.seconds == 0.5


@pytest.mark.system
def test_a_server_that_refuses_is_said() -> None:
    with subprocess.Popen([sys.executable, "-m", "http.server", "0"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().partition(" port ")[2].split()[0])
        try:
            order = Requests(("127.0.0.1", port), [POST], 100.0, 5.0)
            with requesting(order, None) as running, pytest.raises(ApiLoadFailed, match="501"):
                running.wait()
        finally:
            server.kill()


def test_a_process_runs_first_where_that_is_allowed() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        expected = os.SCHED_FIFO if put_first([child.pid]) else os.SCHED_OTHER
        assert os.sched_getscheduler(child.pid) == expected
        child.kill()
    assert not put_first([child.pid])
