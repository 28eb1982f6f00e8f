"""Results survive their file, are compared round by round, and are shown with what was wrong."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from bench import results
from bench.bed import Round
from bench.compare import NotComparable, compare, differences
from bench.report import page, table
from bench.results import Result, ResultError
from bench.seats import Checks
from bench.watch import Tick

TICK = Tick(0.5, 10, 100.0, 10.0, 1.0, 2.0, 0.5, 80.0, 0.3)


def one_round(target: str, deliveries: float, **more: object) -> Round:
    found = Round(target, "1", {"deliveries_per_cpu_second": deliveries}, ticks=[TICK])
    found.delivery.add(np.array([1_000_000, 2_000_000], np.int64))
    for name, value in more.items():
        setattr(found, name, value)
    return found


def result(*rounds: Round) -> Result:
    return Result("fanout", {"clients": 10}, 0.0, {"cores": 2}, "[limits]\n", list(rounds))


def text_of(printed: object) -> str:
    console = Console(width=120, file=io.StringIO())
    with console.capture() as capture:
        console.print(printed)
    return capture.get()


def test_a_result_survives_its_file(tmp_path: Path) -> None:
    before = result(one_round("chatd", 5.0, checks=Checks(holes=2), errors={"x": 1}, generator_limited=True))
    after = results.load(results.save(before, tmp_path))
    assert after.figures() == before.figures()
    assert after.rounds[0].checks == Checks(holes=2)
    assert after.rounds[0].ticks == [TICK]
    assert (after.rounds[0].delivery.counts == before.rounds[0].delivery.counts).all()
    assert replace(after, rounds=[]) == replace(before, rounds=[])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 0}'])
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ResultError):
        results.load(path)


def test_a_ratio_is_taken_round_by_round() -> None:
    found = result(one_round("a", 10.0), one_round("b", 10.0), one_round("a", 40.0), one_round("b", 20.0))
    assert found.ratio("deliveries_per_cpu_second") == (1.0, 1.5, 2.0)


def test_there_is_no_ratio_without_a_peer_or_to_nothing() -> None:
    assert result(one_round("a", 10.0)).ratio("deliveries_per_cpu_second") is None
    assert result(one_round("a", 10.0), one_round("b", 0.0)).ratio("deliveries_per_cpu_second") is None


def test_what_was_wrong_is_said_first_and_fails_the_result() -> None:
    found = result(one_round("chatd", 1.0, checks=Checks(missing=3), generator_limited=True))
    assert not found.is_good
    lines = table.remarks(found)
    assert lines[0] == "WRONG chatd: 3 missing"
    assert any("generator was the limit" in line for line in lines)


def test_a_demand_that_is_not_met_fails_the_result() -> None:
    found = result(one_round("chatd", 1.0, failures=["memory rose"]))
    assert not found.is_good
    assert table.remarks(found) == ["WRONG chatd: memory rose"]


def test_the_page_stands_alone_and_escapes() -> None:
    text = page.render(result(one_round("<chatd>", 1.0, errors={"<script>": 1})))
    for heading in ("Rate over time", "Server CPU over connections", "Server memory over connections"):
        assert heading in text
    assert text.count("<svg") >= 5
    assert "<script" not in text
    assert "<chatd>" not in text
    assert 'src="' not in text


def test_the_page_of_a_short_run_has_no_empty_plots_and_names_what_was_answered() -> None:
    short = one_round("chatd", 1.0, ticks=[], figures={"connect_p50_ms": 1.0})
    short.ack.add(np.array([1_000_000], np.int64))
    text = page.render(result(short))
    assert text.count("<svg") == 2
    assert "Connect latency by percentile" in text


def test_comparing_shows_the_ratio_and_what_else_differs() -> None:
    before, after = result(one_round("chatd", 10.0)), result(one_round("chatd", 15.0))
    after.options["clients"] = 20
    assert "1.50×" in text_of(compare(before, after))
    after.versions["trio"] = "2"
    after.config_changes["limits.fragments"] = 3
    assert differences(before, after) == [
        "option clients: 10 → 20",
        "version trio: – → 2",
        "config limits.fragments: as shipped → 3",
    ]


def test_different_scenarios_are_not_compared() -> None:
    with pytest.raises(NotComparable):
        compare(result(), replace(result(), scenario="echo"))
