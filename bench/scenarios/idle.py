"""Many connections that say nothing: what each costs in memory, and what their keepalives cost."""

from dataclasses import dataclass

from bench.bed import Bed

_SETTLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Idle:
    """Connect so many clients, measure the server's memory before and after, then its CPU over some seconds.

    Memory is that of all its processes, and a page that several of them share counts once.
    """

    clients: int = 8000
    seconds: float = 30.0

    def __call__(self, bed: Bed) -> None:
        """Run it."""
        before = bed.server.memory()
        bed.open([bed.seat(f"idle{index}", node=index) for index in range(self.clients)])
        bed.fleet.hold(_SETTLE_SECONDS, "settling")
        after = bed.server.memory()
        with bed.usage() as usage:
            bed.fleet.hold(self.seconds, "idle")
        bed.check(bed.fleet.drain({}, 0))
        bed.round.figures |= {
            "kib_per_connection": (after.pss_kib - before.pss_kib) / self.clients,
            "kib_per_connection_in_all": after.pss_kib / self.clients,
            "pss_mib_before": before.pss_kib / 1024,
            "rss_mib": after.rss_kib / 1024,
            "pss_mib": after.pss_kib / 1024,
            "server_cpu": usage.server_cpu_seconds / usage.seconds,
            "generator_cpu": usage.generator_cpu,
        }
