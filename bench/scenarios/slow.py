"""A room in which some stop reading: whether the others notice, and what becomes of those who stopped."""

from dataclasses import dataclass
from pathlib import Path

from bench.bed import Bed
from bench.crew import Stopped
from bench.pace import Pace
from chatd.config import Limits
from protocol.codes import CloseCode

_READ_SECONDS = 20.0
_ENDS = (str(int(CloseCode.SLOW)), "none")
"""How those may end who were cut off; without a goodbye, when they did not even take that."""


@dataclass(frozen=True, slots=True)
class Slow:
    """Measure a paced room, let a share of its readers stop reading, and measure the others again."""

    clients: int = 1000
    rate: float = 100.0
    percent: float = 1.0
    seconds: float = 5.0

    def __call__(self, bed: Bed) -> None:
        """Run it."""
        room = bed.server.dialect.room("slow")
        readers = [bed.seat(f"reader{index}", reads=room, subscribes=True) for index in range(self.clients)]
        bed.open([bed.seat("publisher", writes=room), *readers])
        before = bed.measure(Pace(rate=self.rate), self.seconds)
        bed.fleet.stop_reading(max(1, round(self.clients * self.percent / 100)))
        bed.fleet.forget()
        after = bed.measure(Pace(rate=self.rate), self.seconds, warm_seconds=0)
        bed.report(after)
        self._look_at_stopped(bed, after.sent)
        p99_before = before.drained.delivery_latencies.percentile(99) / 1e6
        bed.round.figures |= {
            "p99_before_ms": p99_before,
            "p99_ratio": bed.round.figures["delivery_p99_ms"] / p99_before,
        }

    def _look_at_stopped(self, bed: Bed, sent: dict[str, int]) -> None:
        """Let those who stopped read again: each was cut off as slow, or gets everything that waited for it.

        What waited is bounded by the outbox and by what the kernel holds for a connection on both sides.
        """
        stopped = bed.fleet.read_again(sent, _READ_SECONDS)
        behind = stopped.messages_behind * bed.body_bytes
        if bed.server.dialect.name == "chatd":  # a peer has codes and bounds of its own
            bed.round.failures += _faults(stopped, behind)
        bed.round.figures |= {
            "cut_off": float(stopped.closed.total()),
            "cut_off_with_4001": float(stopped.closed[_ENDS[0]]),
            "caught_up": float(stopped.caught_up),
            "behind_mib": behind / 2**20,
        }


def _faults(stopped: Stopped, behind: int) -> list[str]:
    bound = Limits().outbox_bytes + _most_kernel_bytes()
    faults = [
        f"{count} who stopped reading were closed with {code}"
        for code, count in stopped.closed.items()
        if code not in _ENDS
    ]
    if stopped.left:
        faults.append(f"{stopped.left} who stopped reading were neither cut off nor got what they missed")
    if behind > bound:
        faults.append(f"{behind} bytes waited for one who stopped reading; {bound} are allowed")
    return faults


def _most_kernel_bytes() -> int:
    """Return how much the kernel may hold for one connection."""
    paths = (Path("/proc/sys/net/ipv4/tcp_wmem"), Path("/proc/sys/net/ipv4/tcp_rmem"))
    return sum(int(path.read_text().split()[2]) for path in paths)
