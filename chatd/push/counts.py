"""What pushes count; chatd/metrics.py turns it into text."""

from collections import defaultdict
from dataclasses import dataclass


class PushCounts:
    """Counts since the start. The keys are chatd's own words: how pushes end, providers, causes."""

    def __init__(self) -> None:
        self.ends: defaultdict[str, int] = defaultdict(int)  # by `states.End`
        self.handed_over: defaultdict[str, int] = defaultdict(int)  # by provider
        self.again: defaultdict[str, int] = defaultdict(int)  # tries that failed and are made again, by provider
        self.lost: defaultdict[str, int] = defaultdict(int)  # messages of which nobody is told, by cause


@dataclass(frozen=True, slots=True)
class PushStatistics:
    """The counts, and what there is now."""

    ends: defaultdict[str, int]
    handed_over: defaultdict[str, int]
    again: defaultdict[str, int]
    lost: defaultdict[str, int]
    waiting_messages: int
    in_flight: int
    connections: int
    open_circuits: int
