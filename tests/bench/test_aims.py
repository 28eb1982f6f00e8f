"""The table of aims says whether each is met, and does not say so where it cannot be told."""

import pytest

from bench import aims, aims_node
from bench.aims import Aim, Row
from bench.bed import Round
from bench.results import Result


def row(aim: Aim, **figures: float) -> Row:
    rounds = [Round(target, "1", {"f": value}) for target, value in figures.items()]
    return Row(aim, Result("fanout", {}, 0.0, {}, "", rounds))


@pytest.mark.parametrize(
    ("aim", "chatd", "peer", "verdict"),
    [
        (Aim("a", "f", 1.8), 36.0, 20.0, "yes"),
        (Aim("a", "f", 1.8), 35.0, 20.0, "NO"),
        (Aim("a", "f", 0.5, at_least=False), 9.0, 20.0, "yes"),
        (Aim("a", "f", 0.5, at_least=False), 11.0, 20.0, "NO"),
        (Aim("a", "f", 10, at_least=False, of_peer=False), 9.0, 34.0, "yes"),
        (Aim("a", "f", 10, at_least=True, of_peer=False), 9.0, 1.0, "NO"),
    ],
)
def test_an_aim_is_met_or_not(aim: Aim, chatd: float, peer: float, verdict: str) -> None:
    assert row(aim, chatd=chatd, centrifugo=peer).verdict == verdict


def test_an_aim_beside_a_peer_cannot_be_told_without_it() -> None:
    assert row(Aim("a", "f", 1.8), chatd=36.0).verdict == "–"


def test_the_markdown_has_a_line_for_each_aim() -> None:
    lines = aims.as_markdown([row(Aim("work a", "f", 1.8), chatd=30.0, centrifugo=10.0)]).splitlines()
    assert lines[0] == "| work | aim | chatd | peer | ratio | met |"
    assert lines[2] == "| work a | ≥ 1.80× | 30.0 | 10.0 | 3.00× | yes |"


def test_every_aim_names_a_figure_of_its_own() -> None:
    names = [aim.name for work in aims_node.works(1.0) for aim in work.aims]
    assert len(names) == len(set(names))
