"""Puts accounts of simulated users into the database of a server that is not started yet.

Direct chats are possible with existing users only, and registering thousands over HTTP would take minutes of password
hashing that nobody wants to measure. These accounts have no password: they live by tokens that the bench signs.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import trio

from chatd.config import Store
from protocol.names import UserId
from storage.records import UserRecord
from storage.sqlite import open_sqlite


def make_accounts(var: Path, names: Sequence[str]) -> None:
    """Make accounts of these names in the database under `var`. Not to be called inside of trio."""
    trio.run(_make, var / Store().path, names)


async def _make(path: Path, names: Sequence[str]) -> None:
    now = int(time.time() * 1000)
    async with open_sqlite(path) as store, trio.open_nursery() as nursery:
        for name in names:
            # All at once, so that one synced transaction takes many.
            nursery.start_soon(store.add_user, UserRecord(user=UserId(name), password_hash=None, created_at=now))
