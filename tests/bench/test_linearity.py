"""So many nodes carry as much more as their cost of a delivery did not grow."""

from dataclasses import asdict

import pytest

from bench.aims_node import works as one_node
from bench.aims_redis import works as two_nodes
from bench.linearity import FOR_WORKERS, WORKS, Line, Point


def test_nodes_that_pay_the_same_for_a_delivery_carry_as_many_times_as_they_are() -> None:
    line = Line("room", [Point(1, [2.0, 4.0], [1.0, 1.0]), Point(4, [2.0, 5.0], [1.0, 1.0])])
    assert line.times(line.points[0]) == (1.0, 1.0, 1.0)
    assert line.times(line.points[1]) == pytest.approx((3.2, 3.6, 4.0))


@pytest.mark.parametrize("name", WORKS)
def test_each_node_has_the_same_load(name: str) -> None:
    one, four = (WORKS[name].load(nodes, 1.0) for nodes in (1, 4))
    assert asdict(four)["clients"] == 4 * asdict(one)["clients"]


@pytest.mark.parametrize(("name", "grows"), [("room", "clients"), ("rate", "rate"), ("full", "in_flight")])
def test_each_worker_has_the_same_load(name: str, grows: str) -> None:
    one, two = (asdict(FOR_WORKERS[name].load(workers, 1.0)) for workers in (1, 2))
    assert two[grows] == 2 * one[grows]


@pytest.mark.parametrize("name", ["same-room", "same-echo"])
def test_some_loads_are_the_same_for_any_number_of_workers(name: str) -> None:
    assert FOR_WORKERS[name].load(1, 1.0) == FOR_WORKERS[name].load(2, 1.0)


def test_every_aim_of_two_nodes_has_a_name_of_its_own() -> None:
    names = [aim.name for work in [*one_node(1.0), *two_nodes(1.0)] for aim in work.aims]
    assert len(names) == len(set(names))
