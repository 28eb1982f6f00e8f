"""Clients that return: what it costs to bring each what it missed, and whether all of it comes."""

from dataclasses import dataclass

from bench.bed import Bed, ScenarioFailed
from bench.pace import Pace

_RETURN_SECONDS = 60.0
_DRAIN_SECONDS = 10.0
_ABSENT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Catchup:
    """All readers of a room are cut, so many messages are written, and all readers return with their cursors."""

    clients: int = 1000
    missed: int = 100

    def __call__(self, bed: Bed) -> None:
        """Run it."""
        room = bed.server.dialect.room("catchup")
        readers = [bed.seat(f"reader{index}", reads=room, subscribes=True) for index in range(self.clients)]
        bed.open([bed.seat("publisher", writes=room), *readers])
        fleet = bed.fleet
        fleet.drain(fleet.load(Pace(rate=100.0), 0.5, "before"), _DRAIN_SECONDS)
        fleet.drop(writers_too=False)
        sent = fleet.load(Pace(rate=self.missed / _ABSENT_SECONDS), _ABSENT_SECONDS, "absent")
        fleet.drain(sent, _DRAIN_SECONDS)
        fleet.forget()
        with bed.usage() as usage:
            opened = fleet.bring_back(self.clients, _RETURN_SECONDS)
            drained = fleet.drain(sent, _DRAIN_SECONDS)
        if opened.ready < self.clients:
            raise ScenarioFailed(f"{bed.server.name}: {opened.ready} of {self.clients} clients came back")
        bed.check(drained)
        bed.round.ack.merge(opened.latencies)
        p50, p99 = opened.latencies.percentiles_ms((50, 99))
        bed.round.generator_limited = usage.is_generator_limited
        bed.round.figures |= {
            "messages_caught_up": float(drained.deliveries),
            "messages_per_cpu_second": drained.deliveries / max(usage.server_cpu_seconds, 0.01),
            "return_seconds": opened.seconds,
            "return_cpu_seconds": usage.server_cpu_seconds,
            "return_p50_ms": p50,
            "return_p99_ms": p99,
        }
