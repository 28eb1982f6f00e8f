"""/metrics of several workers together: sums, properties, workers that are gone, and long paths."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from chatd.workers.gathering import FOLDER, Gathering


def metrics_of(sessions: int, version: str = "1") -> list[Metric]:
    """Return what one worker says."""
    closes = CounterMetricFamily("chatd_closes_total", "Closes.", labels=("code",))
    closes.add_metric(("1000",), sessions)
    closes.add_metric((f"40{sessions:02}",), 1)
    info = GaugeMetricFamily("chatd_build_info", "Version.", labels=("version",))
    info.add_metric((version,), 1)
    nodes = GaugeMetricFamily("chatd_cluster_nodes", "Nodes.", value=2)
    buckets = [("0.1", sessions), ("+Inf", 2 * sessions)]
    acks = HistogramMetricFamily("chatd_ack_seconds", "Acks.", buckets=buckets, sum_value=0.5)
    return [GaugeMetricFamily("chatd_sessions", "Sessions.", value=sessions), closes, info, nodes, acks]


@asynccontextmanager
async def worker(var: Path, number: int, *, answers: bool = True) -> AsyncIterator[Gathering]:
    """Run one worker's part."""
    gathering = Gathering(var, lambda: metrics_of(number))
    gathering._name = f"{number}.metrics"
    async with trio.open_nursery() as nursery:
        if answers:
            await nursery.start(gathering.run)
        yield gathering
        nursery.cancel_scope.cancel()


async def sums(gathering: Gathering) -> dict[tuple[str, str], float]:
    """Return the numbers that a worker gives, by name and label."""
    content, _ = await gathering.render()
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(content.decode())
        for sample in family.samples
    }


async def test_what_counts_is_added_and_what_is_a_property_is_not(tmp_path: Path) -> None:
    async with worker(tmp_path, 3) as three, worker(tmp_path, 4) as four:
        for gathering in (three, four):
            found = await sums(gathering)
            assert found["chatd_sessions", ""] == 7
            assert found["chatd_closes_total", "1000"] == 7
            assert (found["chatd_closes_total", "4003"], found["chatd_closes_total", "4004"]) == (1, 1)
            assert (found["chatd_build_info", "1"], found["chatd_cluster_nodes", ""]) == (1, 2)
            assert (found["chatd_ack_seconds_bucket", "0.1"], found["chatd_ack_seconds_count", ""]) == (7, 14)
            assert found["chatd_workers", ""] == 2


async def test_a_worker_that_was_killed_is_left_out_and_forgotten(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    path = tmp_path / FOLDER / "99.metrics"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    async with worker(tmp_path, 3) as three:
        assert (await sums(three))["chatd_workers", ""] == 1
        assert not path.exists()
    assert list((tmp_path / FOLDER).iterdir()) == []


async def test_a_worker_that_says_nothing_is_waited_for_only_so_long(autojump_clock: object, tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / FOLDER / "99.metrics"))
        silent.listen()
        async with worker(tmp_path, 3, answers=False) as three:
            assert (await sums(three))["chatd_workers", ""] == 1


async def test_a_worker_that_says_something_else_is_left_out(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    async with worker(tmp_path, 3) as three, trio.open_nursery() as nursery:
        with trio.socket.socket(socket.AF_UNIX) as other:
            await other.bind(str(tmp_path / FOLDER / "99.metrics"))
            other.listen()

            async def babble() -> None:
                connection, _ = await other.accept()
                async with trio.SocketStream(connection) as stream:
                    await stream.send_all(b"no such thing")

            nursery.start_soon(babble)
            assert (await sums(three))["chatd_sessions", ""] == 3


async def test_a_fault_in_collecting_stays_where_it_is(tmp_path: Path) -> None:
    async with worker(tmp_path, 3) as three, worker(tmp_path, 4) as four:
        four._collect = lambda: [metrics_of(4)[99]]
        assert (await sums(three))["chatd_sessions", ""] == 3
        four._collect = lambda: metrics_of(4)
        assert (await sums(three))["chatd_sessions", ""] == 7


async def test_the_folder_may_have_a_long_path(tmp_path: Path) -> None:
    var = tmp_path / ("long" * 30)
    async with worker(var, 3) as three, worker(var, 4):
        assert (await sums(three))["chatd_sessions", ""] == 7
