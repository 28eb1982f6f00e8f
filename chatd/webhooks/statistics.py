"""What webhooks show of themselves in /metrics."""

from collections.abc import Mapping
from dataclasses import dataclass

from chatd.counters import Latency


@dataclass(frozen=True, slots=True)
class WebhookStatistics:
    """Counts since the start, and what waits now; the last two were read from the queue a few seconds ago."""

    queued: int
    dropped: Mapping[str, int]
    requests: Mapping[str, int]
    gathered: int
    latency: Latency
    waiting: Mapping[str, int]
    dead: Mapping[str, int]
