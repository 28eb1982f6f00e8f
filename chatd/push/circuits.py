"""Leaving alone what fails: one circuit breaker for each service, or host of a service. Pure state."""

from collections import OrderedDict
from dataclasses import dataclass

from chatd.config import Push


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    rest_seconds: float = 0.0  # more than 0: it is open
    idle_until: float = 0.0  # until then nobody tries
    is_tried: bool = False


class Circuits:
    """What failed lately, by name.

        closed ──`push.failures` in a row──► open ──after a rest──► one try ──► closed, or open for twice as long

    Times are seconds of any clock that does not jump.
    """

    def __init__(self, config: Push) -> None:
        self._config = config
        self._circuits: OrderedDict[str, _Circuit] = OrderedDict()

    def wait(self, name: str, now: float) -> float:
        """Return for how many seconds to leave this alone: 0 if it may be tried, by one at a time while it fails."""
        circuit = self._circuits.get(name)
        if circuit is None:
            return 0.0
        if now < circuit.idle_until:
            return circuit.idle_until - now
        if circuit.rest_seconds:
            # This is the one try; the others wait for how it ends.
            circuit.is_tried = True
            circuit.idle_until = now + self._config.request_seconds + self._config.connect_seconds
        return 0.0

    def rest(self, name: str, now: float) -> float:
        """Return for how many seconds this is still to be left alone, without taking the one try."""
        circuit = self._circuits.get(name)
        return max(0.0, circuit.idle_until - now) if circuit is not None else 0.0

    def is_open(self, name: str) -> bool:
        """Tell whether this may be tried by one at a time only."""
        circuit = self._circuits.get(name)
        return circuit is not None and circuit.rest_seconds > 0

    def succeeded(self, name: str) -> None:
        """Forget what failed before."""
        self._circuits.pop(name, None)

    def failed(self, name: str, now: float, retry_after: float | None) -> bool:
        """Note a failure; tell whether this one opened the circuit. `retry_after` is what the service asks for."""
        circuit = self._get(name)
        pause = retry_after or 0.0
        opens = False
        if circuit.is_tried:
            circuit.is_tried = False
            circuit.rest_seconds = min(circuit.rest_seconds * 2, self._config.rest_max_seconds)
            circuit.idle_until = now + max(pause, circuit.rest_seconds)
        elif not circuit.rest_seconds:
            circuit.failures += 1
            opens = circuit.failures >= self._config.failures
            circuit.rest_seconds = self._config.rest_seconds if opens else 0.0
            circuit.idle_until = max(circuit.idle_until, now + max(pause, circuit.rest_seconds))
        # Else it is open, and this one had begun before: it says nothing new.
        return opens

    def pause(self, name: str, now: float, seconds: float) -> None:
        """Leave this alone for a while because it asks for it; nothing failed."""
        circuit = self._get(name)
        circuit.idle_until = max(circuit.idle_until, now + seconds)

    def open_count(self, now: float) -> int:
        """Return how many are left alone now."""
        return sum(circuit.idle_until > now for circuit in self._circuits.values())

    def _get(self, name: str) -> _Circuit:
        circuit = self._circuits.get(name)
        if circuit is None:
            circuit = self._circuits[name] = _Circuit()
            if len(self._circuits) > self._config.circuits:
                self._circuits.popitem(last=False)
        return circuit
