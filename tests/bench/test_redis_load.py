"""What a cluster asks of Redis follows from the costs and the crowd, and nothing else."""

import pytest

from bench import redis_costs
from bench.redis_load import Cost, Crowd, load

COSTS = [
    Cost(name, operation.title, {1: 10.0, 100: 109.0} if operation.heard_in else {1: 2.0})
    for name, operation in redis_costs.operations().items()
]
SIZES = {"key": 100.0, "user": 50.0, "hearing": 3.0}


def cores(**crowd: float) -> float:
    return load(COSTS, SIZES, Crowd(**crowd)).cores  # type: ignore[arg-type]


def test_what_every_node_hears_grows_with_them_in_a_straight_line() -> None:
    heard, alone = Cost("a", "a", {1: 10.0, 10: 19.0, 100: 109.0}), Cost("b", "b", {1: 3.0})
    assert [heard.at(nodes) for nodes in (1, 50, 100, 200)] == pytest.approx([10.0, 59.0, 109.0, 209.0])
    assert alone.at(100) == 3.0


def test_twice_the_people_ask_twice_as_much_of_the_same_nodes() -> None:
    idle = cores(nodes=10, connections=0)
    assert cores(nodes=10, connections=2_000) - idle == pytest.approx(2 * (cores(nodes=10, connections=1_000) - idle))


def test_a_server_is_busy_for_half_of_a_core_at_most() -> None:
    asked = load(COSTS, SIZES, Crowd())
    assert asked.cores / asked.servers <= 0.5 < asked.cores / (asked.servers - 1)


def test_memory_is_for_keys_of_ten_minutes_and_users_who_are_there() -> None:
    crowd = Crowd(connections=3600, messages=1.0, room_messages=0.0)
    assert load(COSTS, SIZES, crowd).memory_gib * 2**30 == pytest.approx(600 * 100 + 3600 * 50)


@pytest.mark.system
@pytest.mark.parametrize("name", redis_costs.operations())
def test_every_operation_can_be_measured(name: str) -> None:
    assert redis_costs.measure(redis_costs.operations()[name], 2, 0.1, None) >= 0
