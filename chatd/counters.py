"""What the hot path counts, as plain numbers that cost a few nanoseconds; chatd/metrics.py turns them into text.

Everything here is written by the trio thread only: there are no locks.
"""

from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass

LATENCY_BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of a `Latency`'s buckets, in seconds; one more bucket takes what is longer."""


class Latency:
    """A histogram of times: how many were in each bucket, and their sum."""

    __slots__ = ("counts", "total_seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BOUNDS) + 1)
        self.total_seconds = 0.0

    def observe(self, seconds: float, count: int = 1) -> None:
        """Count `count` things that each took this long."""
        self.counts[bisect_left(LATENCY_BOUNDS, seconds)] += count
        self.total_seconds += seconds * count


class Counters:
    """Every number of this node that is not a part's own statistics. Fields are added to where it happens.

    The dictionaries make a missing key 0; their keys must be few: types, codes and causes that chatd knows, never what
    a client made up.
    """

    __slots__ = (
        "ack",
        "auth_failures",
        "auth_successes",
        "bytes_in",
        "bytes_out",
        "closes",
        "commands",
        "commit",
        "connections_closed",
        "connections_opened",
        "connections_refused",
        "delivery",
        "drops",
        "errors",
        "http_requests",
        "lag",
        "messages_in",
        "messages_out",
        "sessions_closed",
        "sessions_opened",
    )

    def __init__(self) -> None:
        # Connections are sockets; sessions are those of them whose `connect` was answered.
        self.connections_opened = 0
        self.connections_closed = 0
        self.connections_refused: defaultdict[str, int] = defaultdict(int)  # by limit
        self.sessions_opened = 0
        self.sessions_closed = 0

        self.bytes_in = 0
        self.bytes_out = 0
        self.commands: defaultdict[str, int] = defaultdict(int)  # by type
        self.errors: defaultdict[int, int] = defaultdict(int)  # by ErrorCode
        self.closes: defaultdict[int, int] = defaultdict(int)  # by close code
        self.messages_in = 0  # `send`s that were placed
        self.messages_out = 0  # deliveries: one for each session that was given a message
        self.drops: defaultdict[str, int] = defaultdict(int)  # deliveries that were not made, by cause

        self.auth_successes: defaultdict[str, int] = defaultdict(int)  # by how: "password", "token", …
        self.auth_failures: defaultdict[str, int] = defaultdict(int)  # by cause
        self.http_requests: defaultdict[int, int] = defaultdict(int)  # by status

        self.delivery = Latency()  # from a publish received to its event handed to the sockets
        self.ack = Latency()  # from a `send` received to its answer written
        self.commit = Latency()  # from rows queued to the store to their commit
        self.lag = Latency()  # how late the event loop woke a sleeper


@dataclass(frozen=True, slots=True)
class HubStatistics:
    """What this node's hub holds now."""

    connections: int
    sessions: int
    users: int
    channels: int
    subscriptions: int
    outbox_bytes: int
    slow_sessions: int
