"""The text of `/metrics`: names and units for the counters, and for the statistics of the parts.

It only reads, when it is asked; nothing on the way of a message knows of it.
"""

import platform
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from itertools import accumulate
from typing import Literal, NamedTuple

import trio
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from chatd import __version__
from chatd.counters import LATENCY_BOUNDS, Counters, Latency
from chatd.workers.gathering import Gathering
from protocol.codes import CloseCode

LAG_SECONDS = 1.0


class Family(NamedTuple):
    """One metric: the field it is read from, its name, what it is, and (for a dictionary) what its keys are."""

    field: str
    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    label: str = ""


COUNTER_FAMILIES = (
    Family("connections_opened", "chatd_connections_opened_total", "counter", "Connections accepted."),
    Family("connections_closed", "chatd_connections_closed_total", "counter", "Connections that ended."),
    Family("connections_refused", "chatd_connections_refused_total", "counter", "Connections refused.", "limit"),
    Family("sessions_opened", "chatd_sessions_opened_total", "counter", "Sessions whose connect was answered."),
    Family("sessions_closed", "chatd_sessions_closed_total", "counter", "Sessions that ended."),
    Family("bytes_in", "chatd_received_bytes_total", "counter", "Bytes read from WebSocket connections."),
    Family("bytes_out", "chatd_sent_bytes_total", "counter", "Bytes written to WebSocket connections."),
    Family("commands", "chatd_commands_total", "counter", "Commands received.", "type"),
    Family("errors", "chatd_errors_total", "counter", "Errors answered.", "code"),
    Family("closes", "chatd_closes_total", "counter", "Connections closed, by WebSocket close code.", "code"),
    Family("messages_in", "chatd_messages_received_total", "counter", "Messages that were given their place."),
    Family("messages_out", "chatd_messages_delivered_total", "counter", "Messages handed to sessions."),
    Family("drops", "chatd_drops_total", "counter", "Messages not handed to a session.", "cause"),
    Family("auth_successes", "chatd_auth_successes_total", "counter", "Logins and tokens accepted.", "method"),
    Family("auth_failures", "chatd_auth_failures_total", "counter", "Logins and tokens refused.", "cause"),
    Family("http_requests", "chatd_http_requests_total", "counter", "HTTP requests answered.", "status"),
    Family("delivery", "chatd_delivery_seconds", "histogram", "From a message received to its last delivery."),
    Family("ack", "chatd_ack_seconds", "histogram", "From a message received to its sender's answer."),
    Family("commit", "chatd_commit_seconds", "histogram", "From rows queued to the store to their commit."),
    Family("lag", "chatd_loop_lag_seconds", "histogram", "How late the event loop woke a sleeping task."),
)

SOURCE_FAMILIES: Mapping[str, tuple[Family, ...]] = {
    "hub": (
        Family("connections", "chatd_connections", "gauge", "Open connections."),
        Family("sessions", "chatd_sessions", "gauge", "Sessions now."),
        Family("users", "chatd_users", "gauge", "Users with a session now."),
        Family("channels", "chatd_channels", "gauge", "Channels with a subscriber now."),
        Family("subscriptions", "chatd_subscriptions", "gauge", "Subscriptions of all sessions."),
        Family("outbox_bytes", "chatd_outbox_bytes", "gauge", "Bytes waiting in the outboxes of all sessions."),
        Family("slow_sessions", "chatd_slow_sessions", "gauge", "Sessions whose outbox is not empty."),
    ),
    "broker": (
        Family("published", "chatd_broker_published_total", "counter", "Messages placed."),
        Family("duplicates", "chatd_broker_duplicates_total", "counter", "Messages that had been placed before."),
        Family("open_channels", "chatd_broker_open_channels", "gauge", "Channels in memory."),
        Family("waiting", "chatd_broker_waiting_messages", "gauge", "Messages waiting for the store."),
    ),
    "redis_broker": (
        Family("feeds", "chatd_broker_feeds", "gauge", "Channels that this node hears through Redis."),
        Family("pending", "chatd_broker_pending_entries", "gauge", "Messages in the write-ahead streams."),
        Family("leftovers", "chatd_broker_leftovers_total", "counter", "Messages finished that others had left."),
        Family("fills", "chatd_broker_gap_fills_total", "counter", "Times that missed messages were read."),
        Family("filled", "chatd_broker_gap_messages_total", "counter", "Messages that were missed and read."),
        Family("losses", "chatd_broker_gap_losses_total", "counter", "Times that nobody could read them any more."),
        Family("posted", "chatd_broker_posted_total", "counter", "Messages taken to the nodes of their members."),
        Family("append", "chatd_broker_publish_seconds", "histogram", "From a publish to its answer."),
        Family("lag", "chatd_broker_pubsub_lag_seconds", "histogram", "From placed by Redis to heard from pub/sub."),
    ),
    "redis": (
        Family("servers", "chatd_redis_servers", "gauge", "Redis servers that have a shard."),
        Family("servers_up", "chatd_redis_servers_up", "gauge", "Redis servers that are connected."),
        Family("waiting_commands", "chatd_redis_waiting_commands", "gauge", "Commands without an answer."),
        Family("reconnects", "chatd_redis_reconnects_total", "counter", "Connections that were made again."),
        Family("pubsub_channels", "chatd_redis_pubsub_channels", "gauge", "Pub/sub channels that are heard."),
        Family("pubsub_messages", "chatd_redis_pubsub_messages_total", "counter", "Pub/sub messages taken."),
    ),
    "store": (
        Family("rows_written", "chatd_store_rows_written_total", "counter", "Rows written."),
        Family("batches_written", "chatd_store_batches_written_total", "counter", "Transactions."),
        Family("rows_waiting", "chatd_store_waiting_rows", "gauge", "Rows waiting to be written."),
        Family("failures", "chatd_store_failures_total", "counter", "Transactions that failed."),
    ),
    "cluster": (
        Family("nodes", "chatd_cluster_nodes", "gauge", "Nodes that live, as this one knows."),
        Family("known_users", "chatd_cluster_known_users", "gauge", "Users whose nodes are remembered."),
        Family("lookups", "chatd_cluster_lookups_total", "counter", "Users whose nodes Redis was asked for."),
        Family("unsaid_users", "chatd_cluster_unsaid_users", "gauge", "Users of whom something is still to be said."),
        Family("registry_batches", "chatd_cluster_batches_total", "counter", "Batches of what was said of users."),
        Family("post_sent", "chatd_cluster_post_sent_total", "counter", "Envelopes sent to other nodes."),
        Family("post_unsent", "chatd_cluster_post_unsent_total", "counter", "Messages there was no room to send."),
        Family("post_taken", "chatd_cluster_post_taken_total", "counter", "Messages of nodes that were taken."),
        Family("post_lost", "chatd_cluster_post_lost_total", "counter", "Times that messages of nodes were missed."),
    ),
    "push": (
        Family("ends", "chatd_push_ends_total", "counter", "Pushes that ended, by how.", "end"),
        Family("handed_over", "chatd_push_handed_over_total", "counter", "Pushes a service took.", "provider"),
        Family("again", "chatd_push_again_total", "counter", "Tries that failed and are repeated.", "provider"),
        Family("lost", "chatd_push_lost_total", "counter", "Messages or jobs that nobody is told of.", "cause"),
        Family("waiting_messages", "chatd_push_waiting_messages", "gauge", "Messages that wait to become jobs."),
        Family("in_flight", "chatd_push_in_flight", "gauge", "Pushes being handed over."),
        Family("connections", "chatd_push_connections", "gauge", "HTTP/2 connections to push services."),
        Family("open_circuits", "chatd_push_resting_services", "gauge", "Services that are left alone now."),
    ),
    "webhooks": (
        Family("queued", "chatd_webhook_events_total", "counter", "Events put into the queue, for each endpoint."),
        Family("dropped", "chatd_webhook_dropped_total", "counter", "Events not told, by cause.", "cause"),
        Family("requests", "chatd_webhook_requests_total", "counter", "Requests, by what became of them.", "outcome"),
        Family("gathered", "chatd_webhook_gathered_events", "gauge", "Events that are not in the queue yet."),
        Family("latency", "chatd_webhook_request_seconds", "histogram", "From a request to its answer."),
        Family("waiting", "chatd_webhook_waiting_requests", "gauge", "Requests in the queue.", "endpoint"),
        Family("dead", "chatd_webhook_dead_letters", "gauge", "Requests that were given up.", "endpoint"),
    ),
    "hooks": (
        Family("connect", "chatd_hook_connect_total", "counter", "Questions before a connect.", "outcome"),
        Family("subscribe", "chatd_hook_subscribe_total", "counter", "Questions before a subscribe.", "outcome"),
        Family("send", "chatd_hook_send_total", "counter", "Questions before a send.", "outcome"),
        Family("latency", "chatd_hook_seconds", "histogram", "From a question to its answer."),
    ),
}

# A client may close with any code it likes; only these have a line of their own.
_CLOSE_CODES = frozenset(CloseCode) | {1005, 1006}


class Metrics:
    """Renders what the counters and the parts say, and what the system says of the process.

    `sources` gives each part's `statistics`, under the names of `SOURCE_FAMILIES`.
    """

    def __init__(self, counters: Counters, sources: Mapping[str, Callable[[], object]]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Numbers(counters, sources))
        ProcessCollector(registry=self._registry)
        self.gathering: Gathering | None = None  # set by the server, in a worker

    def collect(self) -> list[Metric]:
        """Return the metrics of this process."""
        return list(self._registry.collect())

    def render(self) -> tuple[bytes, str]:
        """Return the metrics of this process in Prometheus' text format, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4

    async def render_all(self) -> tuple[bytes, str]:
        """Return the metrics of all workers of this machine together; of this process if it is no worker."""
        return self.render() if self.gathering is None else await self.gathering.render()


async def watch_lag(lag: Latency) -> None:
    """Observe, once a second and until cancelled, how late the event loop wakes this task."""
    while True:
        due = trio.current_time() + LAG_SECONDS
        await trio.sleep_until(due)
        lag.observe(trio.current_time() - due)


class _Numbers(Collector):
    """Collects the numbers of one node when it is asked for them."""

    def __init__(self, counters: Counters, sources: Mapping[str, Callable[[], object]]) -> None:
        self._counters = counters
        self._sources = [(SOURCE_FAMILIES[name], statistics) for name, statistics in sources.items()]

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("chatd_build_info", "The version that runs.", labels=("version", "python"))
        info.add_metric((__version__, platform.python_version()), 1)
        yield info
        for family in COUNTER_FAMILIES:
            yield _metric(family, self._counters)
        for families, statistics in self._sources:
            values = statistics()
            for family in families:
                yield _metric(family, values)


def _metric(family: Family, source: object) -> Metric:
    value = getattr(source, family.field)
    match family.kind:
        case "histogram":
            return _histogram(family, value)
        case "gauge" if family.label:
            return _labelled_gauge(family, value)
        case "gauge":
            return GaugeMetricFamily(family.name, family.help, value=value)
        case "counter" if family.label:
            return _labelled(family, value)
        case "counter":
            return CounterMetricFamily(family.name, family.help, value=value)


def _labelled(family: Family, values: Mapping[str | int, int]) -> CounterMetricFamily:
    metric = CounterMetricFamily(family.name, family.help, labels=(family.label,))
    totals: dict[str, int] = {}
    for key, value in values.items():
        is_known = family.field != "closes" or key in _CLOSE_CODES
        label = str(key.value if isinstance(key, Enum) else key) if is_known else "other"
        totals[label] = totals.get(label, 0) + value
    for label, total in sorted(totals.items()):
        metric.add_metric((label,), total)
    return metric


def _labelled_gauge(family: Family, values: Mapping[str, int]) -> GaugeMetricFamily:
    metric = GaugeMetricFamily(family.name, family.help, labels=(family.label,))
    for label, value in sorted(values.items()):
        metric.add_metric((label,), value)
    return metric


def _histogram(family: Family, latency: Latency) -> HistogramMetricFamily:
    names = [*map(str, LATENCY_BOUNDS), "+Inf"]
    buckets = list(zip(names, accumulate(latency.counts), strict=True))
    return HistogramMetricFamily(family.name, family.help, buckets=buckets, sum_value=latency.total_seconds)
