"""Clients that come: what a handshake and a greeting cost, and what it costs when all come back at once."""

from dataclasses import dataclass

from bench.bed import Bed, ScenarioFailed

_STORM_SECONDS = 60.0
_READERS_PER_ROOM = 100


@dataclass(frozen=True, slots=True)
class Connect:
    """Connect so many clients, `at_once` at a time; with `storm` then cut all and let them return with cursors."""

    clients: int = 2000
    at_once: int = 100
    storm: bool = False

    def __call__(self, bed: Bed) -> None:
        """Run it."""
        room = bed.server.dialect.room
        seats = [
            bed.seat(f"user{index}", reads=room(f"storm{index // _READERS_PER_ROOM}"), subscribes=True, node=index)
            if self.storm
            else bed.seat(f"user{index}", node=index)
            for index in range(self.clients)
        ]
        with bed.usage() as usage:
            opened = bed.open(seats, self.at_once)
        bed.round.ack.merge(opened.latencies)
        p50, p99 = opened.latencies.percentiles_ms((50, 99))
        bed.round.generator_limited = usage.is_generator_limited
        bed.round.figures |= {
            "connects_per_second": opened.ready / opened.seconds,
            "connect_p50_ms": p50,
            "connect_p99_ms": p99,
            "server_cpu": usage.server_cpu,
            "generator_cpu": usage.generator_cpu,
        }
        if usage.server_cpu_seconds:
            bed.round.figures["connects_per_cpu_second"] = opened.ready / usage.server_cpu_seconds
        if self.storm:
            self._storm(bed)
        bed.check(bed.fleet.drain({}, 0))

    def _storm(self, bed: Bed) -> None:
        """Cut everybody and let everybody return."""
        with bed.usage() as usage:
            bed.fleet.drop(writers_too=True)
            opened = bed.fleet.bring_back(self.clients, _STORM_SECONDS)
        if opened.ready < self.clients:
            raise ScenarioFailed(f"{bed.server.name}: {opened.ready} of {self.clients} clients came back")
        p50, p99 = opened.latencies.percentiles_ms((50, 99))
        bed.round.figures |= {
            "storm_seconds": opened.seconds,
            "storm_cpu_seconds": usage.server_cpu_seconds,
            "storm_cpu_seconds_5000": usage.server_cpu_seconds / self.clients * 5000,
            "storm_p50_ms": p50,
            "storm_p99_ms": p99,
        }
