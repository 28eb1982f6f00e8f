"""Jobs in SQLite: the steps of a job's life. `storage.jobs` says what they promise."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import Any

from storage import StoreBusy
from storage.jobs import ERROR_CHARACTERS, Job, JobCounts, NewJob
from storage.sqlite_insert import RowInsert
from storage.sqlite_records import json_text


class State(IntEnum):
    """Where a job stands. The numbers are stored, and the schema's indexes name them."""

    WAITING = 0
    CLAIMED = 1
    BLOCKED = 2  # another job of its lane comes first
    DEAD = 3


_ADD = RowInsert(
    "jobs",
    ("queue", "lane", "key", "state", "ready_at", "due", "attempts", "created_at", "error", "body"),
    "DO NOTHING",
)
_COLUMNS = "id, queue, lane, key, body, due, attempts, created_at, error"
_DUE = "SELECT id FROM jobs WHERE queue = ? AND state < 2 AND ready_at <= ? ORDER BY ready_at, id LIMIT ?"
_CLAIM = f"""
UPDATE jobs SET state = 1, ready_at = ?, attempts = attempts + 1
WHERE id IN (SELECT value FROM json_each(?)) RETURNING {_COLUMNS}
"""
_CLAIMED = "id = ? AND attempts = ? AND state = 1"
_FINISH = """
DELETE FROM jobs WHERE id IN (SELECT value ->> 0 FROM json_each(:jobs)) AND state = 1
    AND (id, attempts) IN (SELECT value ->> 0, value ->> 1 FROM json_each(:jobs))
"""
_DEAD = f"SELECT {_COLUMNS} FROM jobs WHERE queue = ? AND state = 3 AND id > ? ORDER BY id LIMIT ?"
_PENDING = f"SELECT {_COLUMNS} FROM jobs WHERE queue = ? AND state < 3 AND id > ? ORDER BY id LIMIT ?"
_FORGET_DEAD = """
DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE queue = ? AND state = 3 ORDER BY id DESC LIMIT -1 OFFSET ?)
"""
_REPLAY = """
UPDATE jobs SET state = iif(lane = '', 0, 2), ready_at = ?, due = ?, attempts = 0, error = ''
WHERE queue = ? AND state = 3 AND id IN (SELECT value FROM json_each(?)) RETURNING lane
"""
_CANCEL = """
DELETE FROM jobs WHERE queue = ? AND key <> '' AND key IN (SELECT value FROM json_each(?)) AND state < 3 RETURNING lane
"""
_BLOCK_LANE = "UPDATE jobs SET state = 2 WHERE queue = ? AND lane = ? AND lane <> '' AND state = 0"
_OPEN_LANE = """
UPDATE jobs SET state = 0
WHERE id = (SELECT min(id) FROM jobs WHERE queue = :queue AND lane = :lane AND lane <> '' AND state = 2)
    AND NOT EXISTS (SELECT 1 FROM jobs WHERE queue = :queue AND lane = :lane AND lane <> '' AND state < 2)
"""
_NEXT_DUE = "SELECT min(ready_at) FROM jobs WHERE queue = ? AND state < 2"
_LAST_ID = 2**63 - 1


def put(connection: sqlite3.Connection, jobs: Sequence[NewJob], now: int, bound: int) -> int:
    """Insert the jobs whose keys are not known; return how many."""
    rows = [
        (
            job.queue,
            job.lane,
            job.key,
            int(State.BLOCKED if job.lane else State.WAITING),
            job.due,
            job.due,
            0,
            now,
            "",
            bytearray(job.body),
        )
        for job in jobs
    ]
    added = _ADD.run(connection, rows)
    for queue in {job.queue for job in jobs}:
        held = counts(connection, queue)
        if held.waiting + held.claimed > bound:
            raise StoreBusy(f"{bound} jobs of the queue {queue} wait already")
    _open_lanes(connection, {(job.queue, job.lane) for job in jobs})
    return added


def claim(connection: sqlite3.Connection, queue: str, now: int, lease_end: int, limit: int) -> list[Job]:
    """Take jobs that are due, the longest due first."""
    ids = [number for (number,) in connection.execute(_DUE, (queue, now, limit)).fetchall()]
    if not ids:
        return []
    taken = {row[0]: _job(row) for row in connection.execute(_CLAIM, (lease_end, json_text(ids))).fetchall()}
    return [taken[number] for number in ids]


def finish(connection: sqlite3.Connection, jobs: Sequence[Job]) -> None:
    """Delete claimed jobs."""
    connection.execute(_FINISH, {"jobs": json_text([_claimed(job) for job in jobs])})
    _open_lanes(connection, {(job.queue, job.lane) for job in jobs})


def retry(connection: sqlite3.Connection, job: Job, due: int, error: str) -> None:
    """Let a claimed job wait."""
    update = f"UPDATE jobs SET state = 0, ready_at = ?, due = ?, error = ? WHERE {_CLAIMED}"
    connection.execute(update, (due, due, error[:ERROR_CHARACTERS], *_claimed(job)))


def bury(connection: sqlite3.Connection, job: Job, error: str, bound: int) -> None:
    """Mark a claimed job as dead, and delete the oldest dead ones beyond the bound."""
    update = f"UPDATE jobs SET state = 3, error = ? WHERE {_CLAIMED}"
    if connection.execute(update, (error[:ERROR_CHARACTERS], *_claimed(job))).rowcount == 0:
        return
    _open_lanes(connection, {(job.queue, job.lane)})
    if counts(connection, job.queue).dead > bound:
        connection.execute(_FORGET_DEAD, (job.queue, bound))


def dead(connection: sqlite3.Connection, queue: str, after: str | None, limit: int) -> list[Job]:
    """Read dead jobs, in the order in which they were put."""
    return _page(connection, _DEAD, queue, after, limit)


def pending(connection: sqlite3.Connection, queue: str, after: str | None, limit: int) -> list[Job]:
    """Read jobs that are not dead, in the order in which they were put."""
    return _page(connection, _PENDING, queue, after, limit)


def _page(connection: sqlite3.Connection, select: str, queue: str, after: str | None, limit: int) -> list[Job]:
    start = 0 if after is None else next(_numbers([after]), _LAST_ID)
    return [_job(row) for row in connection.execute(select, (queue, start, limit)).fetchall()]


def replay(connection: sqlite3.Connection, queue: str, job_ids: Sequence[str], now: int) -> int:
    """Let dead jobs wait again; return how many there were."""
    numbers = json_text(list(_numbers(job_ids)))
    lanes = [(queue, lane) for (lane,) in connection.execute(_REPLAY, (now, now, queue, numbers)).fetchall()]
    for place in set(lanes):
        connection.execute(_BLOCK_LANE, place)
    _open_lanes(connection, lanes)
    return len(lanes)


def cancel(connection: sqlite3.Connection, queue: str, keys: Sequence[str]) -> int:
    """Delete jobs that are not dead; return how many there were."""
    lanes = [(queue, lane) for (lane,) in connection.execute(_CANCEL, (queue, json_text(keys))).fetchall()]
    _open_lanes(connection, lanes)
    return len(lanes)


def counts(connection: sqlite3.Connection, queue: str) -> JobCounts:
    """Read how many jobs of each state there are."""
    found = dict(connection.execute("SELECT state, jobs FROM job_counts WHERE queue = ?", (queue,)).fetchall())
    return JobCounts(
        waiting=found.get(State.WAITING, 0) + found.get(State.BLOCKED, 0),
        claimed=found.get(State.CLAIMED, 0),
        dead=found.get(State.DEAD, 0),
    )


def next_due(connection: sqlite3.Connection, queue: str) -> int | None:
    """Read when a job can be claimed next."""
    (at,) = connection.execute(_NEXT_DUE, (queue,)).fetchone()
    found: int | None = at
    return found


def _open_lanes(connection: sqlite3.Connection, lanes: Iterable[tuple[str, str]]) -> None:
    """Let the first job of each lane be claimed where no other of the lane can be or is."""
    for queue, lane in set(lanes):
        if lane:
            connection.execute(_OPEN_LANE, {"queue": queue, "lane": lane})


def _claimed(job: Job) -> tuple[int, int]:
    """Return what `_CLAIMED` compares with; no job has the number 0."""
    return (next(_numbers([job.job_id]), 0), job.attempts)


def _numbers(job_ids: Sequence[str]) -> Iterator[int]:
    """Return the numbers that are the ids; texts that cannot be one of ours are left out."""
    return (int(text) for text in job_ids if text.isascii() and text.isdigit() and len(text) < 19)


def _job(row: tuple[Any, ...]) -> Job:
    number, queue, lane, key, body, due, attempts, created_at, error = row
    return Job(
        job_id=str(number),
        queue=queue,
        lane=lane,
        key=key,
        body=body,
        due=due,
        attempts=attempts,
        created_at=created_at,
        error=error,
    )
