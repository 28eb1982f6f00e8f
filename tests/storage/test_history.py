"""The checker that long tests rely on: it is silent about a store that keeps its word, and sees each kind of fault."""

from pathlib import Path

import trio

from protocol.names import ChannelName, Seq
from storage import Store, append
from storage.sqlite import open_sqlite
from tests.rig.history import BATCH, History, Writers, faults, make_message

ROOM = ChannelName("room:history-0")


async def _load(store: Store) -> History:
    writers = Writers(store, channels=2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writers.run)
        await writers.write_more(10 * BATCH)
        writers.stop()
    return writers.history


async def test_a_store_that_keeps_everything_has_no_faults(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "db") as store:
        history = await _load(store)
        assert history.messages >= 10 * BATCH
        assert list(history.tries) == [1]
        assert await faults(store, history) == []


async def test_a_message_that_is_missing_at_the_end_is_seen(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "db") as store:
        history = await _load(store)
        history.acknowledged[ROOM] += 1
        assert len(await faults(store, history)) == 1


async def test_a_hole_is_seen(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "db") as store:
        history = await _load(store)
        await append(store, [make_message(ROOM, Seq(history.acknowledged[ROOM] + 2))])
        assert "once and in order" in (await faults(store, history))[0]


async def test_another_message_in_its_place_is_seen(tmp_path: Path) -> None:
    async with open_sqlite(tmp_path / "db") as store:
        history = await _load(store)
        other = make_message(ChannelName("room:other"), Seq(1))
        place = Seq(history.acknowledged[ROOM] + 1)
        await append(store, [make_message(ROOM, place)])
        assert await faults(store, history) == []
        wrong = other.__class__(
            channel=ROOM, epoch=other.epoch, seq=Seq(place + 1), sender=other.sender, key="k", at=1, body=other.body
        )
        await append(store, [wrong])
        assert await faults(store, history) == [f"{ROOM} {place + 1}: another body"]
