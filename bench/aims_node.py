"""The aims that need one node only."""

from bench.aims import Aim, Work
from bench.scenarios import Connect, Dm, Echo, Fanout, Half, Idle, Slow
from bench.targets import Target

_DELIVERIES = "deliveries_per_cpu_second"
_TWO_PINGS_SECONDS = 50.0


def works(seconds: float) -> list[Work]:
    """Return what is measured, with so many seconds for each load."""
    return [*_ratios(seconds), *_bounds(seconds), *_encodings(seconds)]


def _ratios(seconds: float) -> list[Work]:
    """Aims that are said as a part or a multiple of the peer's figure."""
    paced = "fan-out, 1,000 readers, 100 msg/s"
    half = "p99 delivery at half of its own saturation, 1,000 readers, ms"
    echo = "publish, ack, delivery: 100 clients, 1 in flight"
    return [
        Work(
            "fanout",
            Fanout(clients=1000, rate=100.0, seconds=seconds),
            (
                Aim(paced, _DELIVERIES, 1.8),
                Aim("p99 delivery of that, ms", "delivery_p99_ms", 0.5, at_least=False),
            ),
        ),
        _fanout(seconds, 4),
        _fanout(seconds, 16),
        Work("half", Half(seconds=seconds), (Aim(half, "delivery_p99_ms", 1, at_least=False),)),
        Work("echo", Echo(seconds=seconds), (Aim(echo, _DELIVERIES, 1),)),
        Work("echo", Echo(clients=1000, seconds=seconds), (Aim("the same, 1,000 clients", _DELIVERIES, 1.5),)),
        Work(
            "echo", Echo(in_flight=8, seconds=seconds), (Aim("the same, 100 clients, 8 in flight", _DELIVERIES, 1.5),)
        ),
    ]


def _fanout(seconds: float, in_flight: int) -> Work:
    aim = Aim(f"fan-out, {in_flight} in flight", _DELIVERIES, 1.7)
    return Work("fanout", Fanout(rate=0.0, in_flight=in_flight, seconds=seconds), (aim,))


def _bounds(seconds: float) -> list[Work]:
    """Aims that are said as a figure of our own, whatever the peer's is."""
    return [
        Work(
            "idle",
            Idle(clients=8000, seconds=2 * seconds),
            (Aim("memory, 8,000 idle connections, KiB each", "kib_per_connection", 10, False, False),),
        ),
        Work(
            "connect",
            Connect(clients=3000),
            (Aim("handshake and connect, per server CPU second", "connects_per_cpu_second", 3000, of_peer=False),),
        ),
        Work(
            "dm",
            Dm(seconds=seconds),
            (Aim("durable direct messages acked a second, 500 senders", "acks_per_second", 8000, of_peer=False),),
        ),
        Work(
            "idle",
            Idle(clients=10_000, seconds=_TWO_PINGS_SECONDS),
            (Aim("CPU of 10,000 idle connections, share of a core", "server_cpu", 0.03, False, False),),
        ),
        Work(
            "slow",
            Slow(seconds=seconds),
            (Aim("p99 of a room when 1 % stop reading, over before", "p99_ratio", 1.5, False, False),),
        ),
        Work(
            "connect",
            Connect(clients=5000, storm=True),
            (Aim("storm of 5,000 with cursors, CPU seconds", "storm_cpu_seconds", 5, False, False),),
        ),
    ]


def _encodings(seconds: float) -> list[Work]:
    """Aims of other ways to speak, beside chatd in plain JSON."""
    room = Fanout(clients=1000, rate=100.0, seconds=seconds)
    packed, compressed = Target(encoding="msgpack", peer="chatd"), Target(compress=True, peer="chatd")
    alone = Aim("publish, ack, delivery in MessagePack, over JSON", _DELIVERIES, 1)
    eight = Aim("publish, ack, delivery in MessagePack, over JSON, 8 in flight", _DELIVERIES, 1)
    return [
        Work("fanout", room, (Aim("fan-out in MessagePack, over JSON", _DELIVERIES, 1),), packed),
        Work("echo", Echo(seconds=seconds), (alone,), packed),
        Work("echo", Echo(in_flight=8, seconds=seconds), (eight,), packed),
        Work("fanout", room, (Aim("compressed fan-out, over uncompressed", _DELIVERIES, 0.6),), compressed),
    ]
