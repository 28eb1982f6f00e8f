"""What the coordinator tells a load generator process to do, and what that answers."""

from dataclasses import dataclass, field

from bench.crew import Stopped
from bench.histogram import Histogram
from bench.pace import Pace
from bench.seats import Checks, Seat
from bench.watcher import Seen


@dataclass(frozen=True, slots=True)
class Open:
    """Connect these clients. Answered by Opened."""

    seats: list[Seat]
    at_once: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Load:
    """Let the writers write. Answered by Loaded."""

    pace: Pace
    start_ns: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Drain:
    """Read on until what was sent has come. Answered by Drained."""

    sent: dict[str, int]
    seconds: float


@dataclass(frozen=True, slots=True)
class Forget:
    """Begin new histograms; what was checked stays. Answered by Done."""


@dataclass(frozen=True, slots=True)
class StopReading:
    """Let the last `count` readers stop reading. Answered by Done."""

    count: int


@dataclass(frozen=True, slots=True)
class ReadAgain:
    """Let those who stopped reading go on. Answered by Stopped."""

    sent: dict[str, int]
    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """Cut the connections of these users for good. Answered by Done."""

    users: frozenset[str]


@dataclass(frozen=True, slots=True)
class Look:
    """Say what those who watch users know, and compare it with who is gone. Answered by Looked."""

    gone: frozenset[str]


@dataclass(frozen=True, slots=True)
class Drop:
    """Cut the connections of all clients that write nothing (or of all). Answered by Done."""

    writers_too: bool


@dataclass(frozen=True, slots=True)
class Return:
    """Connect those that were cut again, with their cursors. Answered by Opened."""

    at_once: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Quit:
    """Close everything and end. Answered by nothing."""


Order = Open | Load | Drain | Forget | StopReading | ReadAgain | Cut | Look | Drop | Return | Quit


@dataclass(frozen=True, slots=True)
class Done:
    """The order was carried out."""


@dataclass(frozen=True, slots=True)
class Opened:
    """So many of those who were asked to became ready in so many seconds; how long each took."""

    asked: int
    ready: int
    seconds: float
    latencies: Histogram


@dataclass(frozen=True, slots=True)
class Loaded:
    """The writers stopped; how many messages were sent to each channel since the clients were made."""

    sent: dict[str, int]


@dataclass(frozen=True, slots=True)
class Drained:
    """What came, all in all, since the last Forget; what was wrong, since the beginning."""

    deliveries: int
    acks: int
    delivery_latencies: Histogram
    ack_latencies: Histogram
    checks: Checks
    errors: dict[str, int] = field(default_factory=dict)
    closes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Looked:
    """What those who watch users know, all together."""

    seen: Seen


@dataclass(frozen=True, slots=True)
class Progress:
    """Comes unasked, some times a second: what was recorded since the last one, and this process's CPU time so far."""

    deliveries: Histogram
    acks: Histogram
    connections: int
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """The process could not go on."""

    reason: str


Answer = Done | Opened | Loaded | Drained | Stopped | Looked | Failed
