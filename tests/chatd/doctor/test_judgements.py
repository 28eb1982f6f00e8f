"""What the checks of this machine make of what they see."""

import datetime
import resource

import pytest

from chatd.doctor import Finding, Verdict
from chatd.doctor.certificate import judge_times
from chatd.doctor.clock import judge_clock, judge_skew
from chatd.doctor.disk import judge_file_system, judge_space, judge_sync
from chatd.doctor.kernel import judge_backlog, judge_open_files

NOW = datetime.datetime(2026, 11, 21, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.mark.parametrize(
    ("finding", "verdict"),
    [
        (judge_open_files(110_000, 100_000), Verdict.OK),
        (judge_open_files(100_000, 100_000), Verdict.WARNING),
        (judge_open_files(resource.RLIM_INFINITY, 100_000), Verdict.OK),
        (judge_backlog(4096, 4096), Verdict.OK),
        (judge_backlog(128, 4096), Verdict.WARNING),
        (judge_clock(0), Verdict.OK),
        (judge_clock(5), Verdict.WARNING),
        (judge_clock(-1), Verdict.OK),
        (judge_space(50 * 2**30), Verdict.OK),
        (judge_space(2**29), Verdict.WARNING),
        (judge_space(2**20), Verdict.FAILURE),
        (judge_sync(0.001), Verdict.OK),
        (judge_sync(0.1), Verdict.WARNING),
        (judge_times(NOW - DAY, NOW + 60 * DAY, NOW), Verdict.OK),
        (judge_times(NOW - DAY, NOW + 3 * DAY, NOW), Verdict.WARNING),
        (judge_times(NOW - 2 * DAY, NOW - DAY, NOW), Verdict.FAILURE),
        (judge_times(NOW + DAY, NOW + 90 * DAY, NOW), Verdict.FAILURE),
    ],
    ids=lambda value: value.seen if isinstance(value, Finding) else value.value,
)
def test_a_finding_is_as_bad_as_it_is(finding: Finding, verdict: Verdict) -> None:
    assert finding.verdict is verdict
    assert bool(finding.advice) is (verdict is not Verdict.OK)


@pytest.mark.parametrize(("kind", "warned"), [("ext4", False), ("xfs", False), ("tmpfs", True), ("nfs4", True)])
def test_a_file_system_that_does_not_keep_a_database_is_warned_of(kind: str, warned: bool) -> None:
    assert bool(judge_file_system(kind)) is warned


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.3, []), (-0.3, []), (2.5, ["2.5 s ahead of"]), (-60, ["60.0 s behind"])]
)
def test_a_clock_that_differs_is_told_by_how_much(seconds: float, said: list[str]) -> None:
    findings = judge_skew("redis", seconds)
    assert [text in finding.seen for finding, text in zip(findings, said, strict=True)] == [True] * len(said)
