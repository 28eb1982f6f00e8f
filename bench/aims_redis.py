"""The aims that need two nodes with a Redis between them: CPU seconds are those of both nodes and of Redis."""

from bench.aims import Aim, Work
from bench.scenarios import Across, Echo, Presence

_NODES = 2
_DELIVERIES = "deliveries_per_cpu_second"
_PUBLISHES = "acks_per_cpu_second"


def works(seconds: float) -> list[Work]:
    """Return what is measured, with so many seconds for each load."""
    room = Across(clients=1000, rate=100.0, seconds=seconds)
    few = Across(clients=10, rate=0.0, in_flight=16, seconds=seconds)
    many = Across(clients=10, writers=8, rate=0.0, in_flight=64, seconds=seconds)
    kept, passing = "", ", the peer without history"
    return [
        _across(room, f"1,000 readers on the other node, 100 msg/s{kept}", _DELIVERIES, 1.5),
        _across(room, f"1,000 readers on the other node, 100 msg/s{passing}", _DELIVERIES, 1.5, history=False),
        Work(
            "echo",
            Echo(seconds=seconds),
            (Aim("publish, ack, delivery through Redis: 100 clients, 1 in flight", _DELIVERIES, 1),),
            nodes=_NODES,
        ),
        Work(
            "echo",
            Echo(in_flight=8, seconds=seconds),
            (Aim("the same through Redis, 8 in flight", _DELIVERIES, 1),),
            nodes=_NODES,
        ),
        _across(few, f"publishes to 10 readers on the other node, 16 in flight{kept}", _PUBLISHES, 1),
        _across(few, f"publishes to 10 readers on the other node, 16 in flight{passing}", _PUBLISHES, 1, history=False),
        _across(many, f"publishes to 10 readers on the other node, 8 × 64 in flight{kept}", _PUBLISHES, 1),
        _across(
            many, f"publishes to 10 readers on the other node, 8 × 64 in flight{passing}", _PUBLISHES, 1, history=False
        ),
        Work(
            "across",
            Across(clients=1, rate=50.0, seconds=seconds),
            (Aim("p50 of delivery between nodes, 50 msg/s, ms", "delivery_p50_ms", 3, False, False),),
            nodes=_NODES,
        ),
        Work(
            "presence",
            Presence(clients=6000, percent=0),
            (
                Aim(
                    "storm of 3,000 users at each node who watch 20 each, CPU seconds of the busier node",
                    "storm_cpu_seconds_a_node",
                    2,
                    False,
                    False,
                ),
            ),
            nodes=_NODES,
        ),
    ]


def _across(options: Across, name: str, figure: str, bound: float, *, history: bool = True) -> Work:
    return Work("across", options, (Aim(name, figure, bound),), nodes=_NODES, peer_history=history)
