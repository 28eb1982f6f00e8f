"""How long a Cassandra is warmed: until Java's compilers rest, and no longer than was asked for."""

from collections.abc import Sequence
from itertools import accumulate

from bench.warming import Warming

WINDOW = 5.0


class Compilers:
    """Java's compilers, which use these shares of a core in the windows of a load."""

    def __init__(self, shares: Sequence[float]) -> None:
        self._seconds = [0.0, *accumulate(share * WINDOW for share in shares)]
        self.loads: list[str] = []

    def seconds(self) -> float:
        return self._seconds[len(self.loads)]

    def busy(self, seconds: float) -> None:
        assert seconds == WINDOW
        self.loads.append("busy")

    def paced(self, seconds: float) -> None:
        assert seconds == WINDOW
        self.loads.append("paced")


def warming(compilers: Compilers, most_seconds: float, said: list[str]) -> Warming:
    return Warming(most_seconds, compilers.seconds, said.append)


def test_it_is_warm_when_the_compilers_rested_for_six_windows() -> None:
    rest = [0.02, 0.04, 0.01, 0.0, 0.03, 0.02]
    compilers, said = Compilers([0.6, *rest[:5], 0.06, *rest, 0.9]), list[str]()
    note = warming(compilers, 120.0, said).run(compilers.busy)
    assert compilers.loads == ["busy"] * 13
    assert "for 65 s, until Java's compilers rested: 60% 2% 4% 1% 0% 3% 6% 2% 4% 1% 0% 3% 2% of a core" in note
    assert len(said) == 13
    assert said[0] == "warming Cassandra: 5 s, at most 120; Java's compilers use 60% of a core"


def test_it_ends_at_its_bound_and_says_that_java_still_compiled() -> None:
    compilers = Compilers([0.5] * 10)
    note = warming(compilers, 15.0, []).run(compilers.busy)
    assert len(compilers.loads) == 3
    assert "for 15 s, and Java still compiled" in note


def test_loads_take_turns() -> None:
    compilers = Compilers([0.0] * 6)
    warming(compilers, 120.0, []).run(compilers.busy, compilers.paced)
    assert compilers.loads == ["busy", "paced"] * 3


def test_with_no_time_it_is_left_as_it_is() -> None:
    compilers = Compilers([])
    assert warming(compilers, 0.0, []).run(compilers.busy) == "Cassandra was not warmed"
    assert not compilers.loads


def test_a_compiler_that_ended_with_its_time_is_at_rest() -> None:
    compilers = Compilers([-0.5, *[0.0] * 5])
    note = warming(compilers, 120.0, []).run(compilers.busy)
    assert "0% 0% 0% 0% 0% 0% of a core" in note
