"""Plans that are due are worked on in parts."""

from chatd.push.jobs import PLAN_QUEUE, Plan, plan_job
from chatd.push.planning import parts_of
from protocol.names import UserId
from storage.jobs import Job
from tests.chatd.push.contents import content


def job(number: int, body: bytes) -> Job:
    return Job(
        job_id=str(number),
        queue=PLAN_QUEUE,
        lane="",
        key="",
        body=body,
        due=0,
        attempts=1,
        created_at=0,
        error="",
    )


def plan_of(number: int, users: int) -> Job:
    plan = Plan(content({"text": "hi"}, seq=number), [UserId(f"user-{each}") for each in range(users)])
    return job(number, plan_job(plan, 0, 0).body)


def test_a_part_ends_when_it_has_enough_users() -> None:
    jobs = [plan_of(number, 100) for number in range(1, 8)]
    parts = list(parts_of(jobs))
    assert [(part.users, len(part.plans)) for part in parts] == [(500, 5), (200, 2)]
    assert [job for part in parts for job in part.jobs] == jobs


def test_a_job_that_cannot_be_read_belongs_to_a_part_and_so_is_finished() -> None:
    broken = job(2, b"?")
    [part] = parts_of([plan_of(1, 1), broken])
    assert (len(part.plans), part.jobs[-1]) == (1, broken)
    [alone] = parts_of([broken])
    assert (alone.plans, alone.jobs) == ([], [broken])


def test_no_jobs_make_no_part() -> None:
    assert list(parts_of([])) == []
