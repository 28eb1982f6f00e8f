"""Jobs that this node does itself as soon as they are due."""

from collections.abc import Awaitable, Callable

from storage.jobs import Job, JobQueue

# A node that dies with claimed jobs leaves them to others after this.
_LEASE_MS = 30_000


async def do_what_is_due(
    jobs: JobQueue, queue: str, do: Callable[[list[Job]], Awaitable[None]], *, now: Callable[[], int], at_once: int
) -> None:
    """Claim the jobs of a queue that are due, `at_once` at a time, and do them, until none is left.

    `do` finishes, retries or buries what it is given. `now` tells Unix milliseconds.

    Raises:
        StoreError: The queue failed, or what `do` asked of the store; others get the claimed jobs when the lease ends.
    """
    while True:
        claimed = await jobs.claim(queue, now=now(), lease_ms=_LEASE_MS, limit=at_once)
        if claimed:
            await do(claimed)
        if len(claimed) < at_once:
            return
