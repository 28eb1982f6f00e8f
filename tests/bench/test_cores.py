"""Who runs on which core while something is measured."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from bench.cores import Cores, kept_clear, share
from bench.targets import Target


@pytest.fixture
def available(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The cores of the machine."""
    found = {0, 1, 2}
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: found)
    return found


def test_the_server_has_a_core_for_itself(available: set[int]) -> None:
    assert share(0) == Cores(0, (1, 2))
    assert share(3) == Cores(0, (1, 2, 1))


def test_beside_a_database_nobody_is_held_to_a_core(available: set[int]) -> None:
    shared = share(0, beside_database=True)
    assert shared == Cores(None, (None, None))
    assert shared.are_shared


@pytest.mark.parametrize(("workers", "count"), [(0, 1), (3, 3)])
def test_one_core_is_everybodys(available: set[int], workers: int, count: int) -> None:
    available -= {1, 2}
    assert share(workers) == Cores(None, (None,) * count)


@pytest.mark.parametrize(
    ("target", "is_beside"),
    [
        (Target(), False),
        (Target(store="cassandra"), True),
        (Target(store="cassandra", nodes=2), False),
        (Target(store="cassandra", workers=2), False),
    ],
)
def test_one_server_on_cassandra_is_beside_a_database(target: Target, is_beside: bool) -> None:
    assert target.is_beside_database is is_beside


def test_all_threads_that_show_the_progress_keep_off_the_servers_core() -> None:
    mine = os.sched_getaffinity(0)
    core = min(mine)
    others = mine - {core} or mine  # with one core there is nowhere to go
    with ThreadPoolExecutor(1) as pool:
        thread = pool.submit(threading.get_native_id).result()
        with kept_clear(core):
            assert os.sched_getaffinity(0) == os.sched_getaffinity(thread) == others
        assert os.sched_getaffinity(0) == os.sched_getaffinity(thread) == mine


def test_where_nobody_is_held_to_a_core_it_stays() -> None:
    mine = os.sched_getaffinity(0)
    with kept_clear(None):
        assert os.sched_getaffinity(0) == mine
