"""Retention by age and count, namespace by namespace."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import msgspec
import pytest
import trio
import trio.testing

from chatd.config import Config, Namespace
from chatd.config import Store as StoreConfig
from chatd.retention import apply_retention, retention_loop
from protocol.body import Body, Encoding
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage import Store, StoreUnavailable, append
from storage.records import StoredMessage, UserRecord
from storage.sqlite import open_sqlite

DAY = 86_400.0


def message(channel: str, seq: int, at: float) -> StoredMessage:
    return StoredMessage(
        channel=ChannelName(channel),
        epoch=Epoch("first"),
        seq=Seq(seq),
        sender=UserId("alice"),
        key=f"{channel}-{seq}",
        at=int(at * 1000),
        body=Body(Encoding.JSON, b"{}"),
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with open_sqlite(tmp_path / "chatd.sqlite3") as opened:
        yield opened


def configure(trim_rows: int = 1000, **namespaces: Namespace) -> Config:
    return msgspec.structs.replace(Config(), namespaces=namespaces, store=StoreConfig(trim_rows=trim_rows))


async def seqs(store: Store, channel: str) -> list[int]:
    return [found.seq for found in await store.history(ChannelName(channel), limit=1000)]


@pytest.mark.parametrize("trim_rows", [1, 3, 1000])
async def test_each_namespace_is_trimmed_by_its_own_rules(store: Store, trim_rows: int) -> None:
    for name in ("days:x", "count:x", "both:x", "ever:x"):
        await append(store, [message(name, day, at=day * DAY) for day in range(1, 11)])
    config = configure(
        trim_rows,
        days=Namespace(history="durable", retention_days=3),
        count=Namespace(history="recent", retention_messages=2),
        both=Namespace(history="durable", retention_days=5, retention_messages=4),
        ever=Namespace(history="durable"),
    )
    await apply_retention(store, config, now=lambda: 10.5 * DAY)
    assert await seqs(store, "days:x") == [8, 9, 10]
    assert await seqs(store, "count:x") == [9, 10]
    assert await seqs(store, "both:x") == [7, 8, 9, 10]
    assert await seqs(store, "ever:x") == list(range(1, 11))


async def test_the_newest_message_stays_after_everything_is_too_old(store: Store) -> None:
    await append(store, [message("days:x", seq, at=seq) for seq in range(1, 11)])
    config = configure(days=Namespace(history="durable", retention_days=1))
    await apply_retention(store, config, now=lambda: 1000 * DAY)
    assert await seqs(store, "days:x") == [10]


class TrimOnly:
    """A store of which only `trim` and the list of users are used; the first call fails."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, str]] = []
        self.lists = 0

    async def users(self, *, after: UserId | None, limit: int) -> list[UserRecord]:
        self.lists += 1
        return []

    async def trim(self, namespace: str, *, older_than: int | None, keep: int | None, limit: int) -> int:
        self.calls.append((trio.current_time(), namespace))
        if len(self.calls) == 1:
            raise StoreUnavailable("disk I/O error")
        return 0


async def test_the_loop_comes_back_after_a_failure(autojump_clock: trio.testing.MockClock) -> None:
    trimmed = TrimOnly()
    config = configure(days=Namespace(history="durable", retention_days=1))
    start = trio.current_time()
    with trio.move_on_after(config.store.trim_seconds * 3.5):
        await retention_loop(cast(Store, trimmed), lambda: config, now=lambda: 0.0)
    assert [(at - start, name) for at, name in trimmed.calls] == [(600.0, "days"), (1200.0, "days"), (1800.0, "days")]
    assert trimmed.lists == 2
