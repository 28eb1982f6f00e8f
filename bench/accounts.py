"""Puts accounts and groups of simulated users into the database of a server that is not started yet.

Direct chats and groups are possible with existing users only, and registering thousands over HTTP would take minutes of
password hashing that nobody wants to measure. These accounts have no password: they live by tokens of the bench's.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from chatd.config import Store
from protocol.names import ChannelName, UserId
from storage import Store as Storage
from storage.records import Role, UserRecord
from storage.sqlite import open_sqlite


@dataclass(frozen=True, slots=True)
class Population:
    """Who must exist before the server starts: users, what people may do, members of channels (the owner first)."""

    users: Sequence[str] = ()
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of people, by user


OpenStore = Callable[[], AbstractAsyncContextManager[Storage]]


def populate(open_store: OpenStore, population: Population) -> None:
    """Make these users and groups in a database. Not to be called inside of trio."""
    trio.run(_populate, open_store, population)


def sqlite_under(var: Path) -> OpenStore:
    """Return what opens the database that a chatd will have in this folder."""
    return partial(open_sqlite, var / Store().path)


async def _populate(open_store: OpenStore, population: Population) -> None:
    now = int(time.time() * 1000)
    async with open_store() as store:
        # All at once, so that one synced transaction takes many.
        async with trio.open_nursery() as nursery:
            for name in population.users:
                roles = population.roles.get(name, ())
                user = UserRecord(user=UserId(name), password_hash=None, created_at=now, roles=roles)
                nursery.start_soon(store.add_user, user)
        async with trio.open_nursery() as nursery:
            for channel, members in population.groups.items():
                nursery.start_soon(_add_group, store, ChannelName(channel), members, now)


async def _add_group(store: Storage, channel: ChannelName, members: Sequence[str], now: int) -> None:
    owner, *others = members
    roles = dict.fromkeys(map(UserId, others), Role.MEMBER) | {UserId(owner): Role.OWNER}
    await store.create_channel(channel, roles, now)
