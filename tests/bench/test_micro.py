"""The costs in isolation are of parts that still exist, and are compared by ratio."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.micro import baseline
from bench.micro.cases import Case, cases
from bench.micro.clock import Cost, measure, reference
from bench.micro.routing import route


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_every_case_runs(case: Case) -> None:
    case.function()


def test_the_way_through_the_router_runs() -> None:
    calls = []

    def once(function: Callable[[], object], count: int) -> Cost:
        function()
        calls.append(count)
        return Cost(1.0, 1.0)

    assert len(route(once)) == len(calls) == 2


def test_a_cost_is_that_of_one_call_and_positive() -> None:
    cost = measure(reference, 1)
    assert cost.microseconds > 0
    assert cost.references > 0


def test_a_baseline_survives_its_file_and_finds_what_is_slower(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    assert baseline.load(path) == {}
    baseline.save({"a": Cost(5.0, 0.5), "b": Cost(5.0, 0.5)}, path)
    costs = {"a": Cost(1.0, 0.6), "b": Cost(1.0, 0.7), "new": Cost(1.0, 9.0)}
    assert baseline.slower(costs, baseline.load(path)) == ["b"]


def test_every_part_has_a_baseline() -> None:
    stored = baseline.load()
    assert {case.name for case in cases()} <= stored.keys()
