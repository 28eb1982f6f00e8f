"""The text of /metrics: every number is in it, under a name that is documented, with its right value."""

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock, wait_all_tasks_blocked

from chatd.broker import BrokerStatistics
from chatd.broker.redis import ManyNodesStatistics
from chatd.cluster.cluster import ClusterStatistics
from chatd.counters import LATENCY_BOUNDS, Counters, HubStatistics, Latency
from chatd.hooks.hooks import HookStatistics
from chatd.metrics import COUNTER_FAMILIES, SOURCE_FAMILIES, Metrics, watch_lag
from chatd.push.counts import PushStatistics
from chatd.redis.servers import RedisStatistics
from chatd.webhooks.statistics import WebhookStatistics
from protocol.codes import CloseCode, ErrorCode
from storage import StoreStatistics

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
STATISTICS: dict[str, type] = {
    "hub": HubStatistics,
    "broker": BrokerStatistics,
    "store": StoreStatistics,
    "cluster": ClusterStatistics,
    "push": PushStatistics,
    "webhooks": WebhookStatistics,
    "hooks": HookStatistics,
    "redis": RedisStatistics,
    "redis_broker": ManyNodesStatistics,
}


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = metrics.render()[0].decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def counting(source: str) -> Callable[[], object]:
    """Return a source whose plain fields are 1, 2, 3, …"""
    values: list[object] = []
    for number, family in enumerate(SOURCE_FAMILIES[source], 1):
        values.append(Latency() if family.kind == "histogram" else {"a": number} if family.label else number)
    value = STATISTICS[source](*values)
    return lambda: value


def test_every_counter_has_its_metric() -> None:
    assert sorted(family.field for family in COUNTER_FAMILIES) == sorted(Counters.__slots__)


@pytest.mark.parametrize("source", STATISTICS)
def test_every_statistic_of_a_part_has_its_metric(source: str) -> None:
    assert [family.field for family in SOURCE_FAMILIES[source]] == [field.name for field in fields(STATISTICS[source])]
    assert STATISTICS.keys() == SOURCE_FAMILIES.keys()


def test_names_say_what_they_are_and_none_is_used_twice() -> None:
    families = [*COUNTER_FAMILIES, *(family for source in SOURCE_FAMILIES.values() for family in source)]
    assert len({family.name for family in families}) == len(families)
    for family in families:
        assert family.name.startswith("chatd_")
        assert family.name.endswith("_total") is (family.kind == "counter"), family
        assert family.kind != "histogram" or family.name.endswith("_seconds")


def test_plain_and_labelled_counters_come_out_as_they_are() -> None:
    counters = Counters()
    counters.bytes_out += 12345
    counters.commands["send"] += 3
    counters.errors[ErrorCode.RATE_LIMITED] += 2
    found = samples(Metrics(counters, {}))
    assert found["chatd_sent_bytes_total", frozenset()] == 12345
    assert found["chatd_commands_total", frozenset({("type", "send")})] == 3
    assert found["chatd_errors_total", frozenset({("code", "100")})] == 2


def test_close_codes_that_clients_make_up_are_counted_together() -> None:
    counters = Counters()
    counters.closes[CloseCode.SLOW] += 1
    counters.closes[1006] += 1
    for code in range(3000, 3100):
        counters.closes[code] += 1
    found = samples(Metrics(counters, {}))
    closes = {dict(labels)["code"]: value for (name, labels), value in found.items() if name == "chatd_closes_total"}
    assert closes == {"1006": 1, "4001": 1, "other": 100}


def test_statistics_are_read_when_the_text_is_asked_for() -> None:
    found = samples(Metrics(Counters(), {name: counting(name) for name in STATISTICS}))
    assert found["chatd_connections", frozenset()] == 1
    assert found["chatd_slow_sessions", frozenset()] == 7
    assert found["chatd_broker_duplicates_total", frozenset()] == 2
    assert found["chatd_store_failures_total", frozenset()] == 4


def test_a_histogram_has_rising_buckets_a_count_and_a_sum() -> None:
    counters = Counters()
    counters.delivery.observe(0.003, 10)
    counters.delivery.observe(20.0)
    found = samples(Metrics(counters, {}))

    def bucket(bound: str) -> float:
        return found["chatd_delivery_seconds_bucket", frozenset({("le", bound)})]

    assert (bucket("0.0025"), bucket("0.005"), bucket("10.0"), bucket("+Inf")) == (0, 10, 10, 11)
    assert found["chatd_delivery_seconds_count", frozenset()] == 11
    assert found["chatd_delivery_seconds_sum", frozenset()] == pytest.approx(20.03)


def test_the_process_and_the_version_are_in_it() -> None:
    text, content_type = Metrics(Counters(), {}).render()
    assert content_type.startswith("text/plain; version=0.0.4")
    for name in (b"chatd_build_info{", b"process_cpu_seconds_total ", b"process_resident_memory_bytes "):
        assert name in text
    assert b"process_start_time_seconds " in text


def test_a_source_that_nobody_knows_is_refused() -> None:
    with pytest.raises(KeyError):
        Metrics(Counters(), {"weather": object})


def test_the_reference_lists_every_metric_and_no_other() -> None:
    families = [*COUNTER_FAMILIES, *(family for source in SOURCE_FAMILIES.values() for family in source)]
    rows = [line.split("|") for line in REFERENCE.read_text("utf-8").splitlines() if line.startswith("| `chatd_")]
    documented = {row[1].strip().strip("`"): (row[2].strip(), row[3].strip().strip("`")) for row in rows}
    expected = {family.name: (family.kind, family.label) for family in families}
    assert documented == expected | {"chatd_build_info": ("gauge", "version`, `python")}
    bounds = ", ".join(f"{bound:g}" for bound in LATENCY_BOUNDS)
    assert bounds in REFERENCE.read_text("utf-8").replace("\n", " ")


async def test_lag_is_how_late_a_sleeper_wakes(mock_clock: MockClock) -> None:
    lag = Latency()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_lag, lag)
        for step in (1.0, 1.3, 0.5):
            await wait_all_tasks_blocked()
            mock_clock.jump(step)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert sum(lag.counts) == 2
    assert lag.total_seconds == pytest.approx(0.3)


def test_every_cause_of_a_drop_is_documented() -> None:
    source = "".join(path.read_text("utf-8") for path in (REFERENCE.parents[2] / "chatd").glob("*.py"))
    causes = set(re.findall(r'drops\["(\w+)"\]', source))
    assert len(causes) >= 3
    [row] = [line for line in REFERENCE.read_text("utf-8").splitlines() if "`chatd_drops_total`" in line]
    assert causes <= set(re.findall(r"`(\w+)`", row))
