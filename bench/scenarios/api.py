"""Backends at the server API: requests, batches, a server session, and what readers notice of them."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.accounts import Population
from bench.api_load import Address, ApiLoad, ask, http_load, post, session_load
from bench.bed import Bed, Measured, ScenarioFailed
from bench.beside import Requests, answering, requesting
from bench.loopback import check_target, parse_address
from bench.pace import Pace
from bench.tokens import signer

Load = Callable[[], ApiLoad]
Request = Callable[[int], bytes]

ADMIN = "bench-admin"
_CHANNEL = "event:bench{}"
_MESSAGES = "/v1/server/channels/event:bench{}/messages"


@dataclass(frozen=True, slots=True)
class Api:
    """Publish as fast as answers come, in three ways; then a room is measured alone and beside half of the first.

    As a control it is also measured while as many requests go to a program that only answers.

    `connections` stay open over HTTP; a batch has `batch` messages; a server session has `in_flight` unanswered sends.
    Backends ask the node at `requests_to` (HOST:PORT), which is another one of the same cluster; else the measured one.
    """

    connections: int = 16
    batch: int = 100
    in_flight: int = 64
    clients: int = 200
    rate: float = 50.0
    seconds: float = 5.0
    requests_to: str = ""

    def population(self) -> Population:
        """Return who must exist before the server starts: somebody who may make a key."""
        return Population(users=(ADMIN,), roles={ADMIN: ("admin",)})

    def __call__(self, bed: Bed) -> None:
        """Run it."""
        address = self._requests_to(bed)
        body = {"title": "bench", "actions": ["publish"], "namespaces": ["event"]}
        answer = json.loads(ask(address, post("/v1/server/keys", signer(bed.server.secret)(ADMIN), body)))
        if "secret" not in answer:
            raise ScenarioFailed(f"{bed.server.name}: no API key: {answer}")
        key = answer["secret"]
        data = {"text": "x" * bed.body_bytes}

        def single(number: int) -> bytes:
            return post(_MESSAGES.format(number), key, {"data": data})

        def many(number: int) -> bytes:
            item = {"channel": _CHANNEL.format(number), "data": data}
            return post("/v1/server/messages", key, {"messages": [item] * self.batch})

        singles = self._load(bed, "request", lambda: http_load(address, single, self.connections, self.seconds))
        self._load(bed, "batch", lambda: http_load(address, many, self.connections, self.seconds), self.batch)
        self._load(
            bed,
            "session",
            lambda: session_load(address, key, _CHANNEL.format(0), bed.body_bytes, self.in_flight, self.seconds),
        )
        self._beside(bed, single, singles.per_second / 2)

    def _requests_to(self, bed: Bed) -> Address:
        return check_target(*parse_address(self.requests_to), False) if self.requests_to else bed.server.address

    def _load(self, bed: Bed, name: str, load: Load, messages: int = 1) -> ApiLoad:
        """Put a load and its price into the round."""
        with bed.usage() as usage:
            came = load()
        bed.round.figures |= {
            f"{name}_messages_per_second": came.per_second * messages,
            f"{name}_p50_ms": came.percentile_ms(50),
            f"{name}_p99_ms": came.percentile_ms(99),
        }
        if usage.server_cpu_seconds:
            bed.round.figures[f"{name}_messages_per_cpu_second"] = came.answered * messages / usage.server_cpu_seconds
        return came

    def _beside(self, bed: Bed, single: Request, rate: float) -> None:
        """Measure a room alone, then while requests come at this rate: to a program that only answers, and here."""
        room = bed.server.dialect.room("api")
        readers = [bed.seat(f"reader{index}", reads=room, subscribes=True) for index in range(self.clients)]
        bed.open([bed.seat("publisher", writes=room), *readers])
        bed.put_first()
        alone = bed.measure(Pace(rate=self.rate), self.seconds)
        requests = [single(number) for number in range(self.connections)]
        with answering(bed.generator_core) as control_address:
            control, _ = self._room(bed, requests, control_address, rate)
        beside, load = self._room(bed, requests, self._requests_to(bed), rate)
        bed.report(beside)
        alone_ms, control_ms, beside_ms = _p99(alone), _p99(control), _p99(beside)
        bed.round.figures |= {
            "requests_beside_per_second": load.per_second,
            "requests_beside_p99_ms": load.percentile_ms(99),
            "alone_p99_ms": alone_ms,
            "control_p99_ms": control_ms,
            "beside_p99_ms": beside_ms,
            "p99_ratio": beside_ms / alone_ms,
            "p99_ratio_to_control": beside_ms / control_ms,
        }

    def _room(self, bed: Bed, requests: list[bytes], address: Address, rate: float) -> tuple[Measured, ApiLoad]:
        """Measure the room while requests come to an address, a little longer than the room is measured."""
        bed.fleet.forget()
        order = Requests(address, requests, rate, self.seconds + 1.0)
        with requesting(order, bed.generator_core) as running:
            time.sleep(0.5)
            measured = bed.measure(Pace(rate=self.rate), self.seconds, warm_seconds=0.0)
            return measured, running.wait()


def _p99(measured: Measured) -> float:
    return measured.drained.delivery_latencies.percentiles_ms((99,))[0]
