"""Moves everything from a store to an archive, from an archive to a store, or from one store to another.

All three can be interrupted and gone on with. An export goes on behind the last good frame of its file. A store that is
being filled carries a mark (a `meta` value) that says from where and how far; while it is there no node serves from it.
Loading is harmless to repeat, so the mark may lag behind what is loaded, never the other way round.
"""

from collections.abc import Callable, Sequence

import msgspec
import trio

from storage import COPIED_AT, Store, StoreError
from storage.archive import ArchiveDamaged, ArchiveError, Begin, End, FrameReader, Rows
from storage.archive_rows import decode_records, encode_records, split
from storage.archive_writer import ArchiveWriter
from storage.checksum import Checksum, Tally
from storage.moving import Origin, Page, Source, Table, Target

MARK = "being_filled"
"""The `meta` value of a store that is being filled."""

FILLED_FROM = "filled_from"
"""The `meta` value of a store that was filled, and from where: who was interrupted right behind the end is told so."""

PAGE_RECORDS = 1000  # read and encoded at once: with the largest messages some 64 MiB

# Pages of messages that are loaded at the same time, and bytes of them behind which no more are added. Cassandra writes
# what belongs to one channel in order, one batch after the other; eight pages have enough channels to keep it busy.
PAGES_AT_ONCE = 8
BYTES_AT_ONCE = 16 * 1024 * 1024

Progress = Callable[[Table, int], None]
"""Is told how many more records of a table are done."""


class StoreInUse(StoreError):
    """A store can be filled only when nothing is in it, and be served from only when that is done."""


class Mark(msgspec.Struct, frozen=True):
    """How far a store is filled: from where, how many steps are loaded, and behind which page; what was counted."""

    origin: str
    steps: int = 0
    table: Table | None = None
    next: str | None = None
    tallies: dict[Table, Tally] = msgspec.field(default_factory=dict)


async def check_not_being_filled(store: Store) -> None:
    """Return if nobody has left the store half filled.

    Raises:
        StoreInUse: Somebody has.
    """
    text = await store.get_meta(MARK)
    if text is not None:
        origin = msgspec.json.decode(text, type=Mark).origin
        raise StoreInUse(
            f"the store is being filled from {origin}: finish that, with the same command, before you serve"
        )


async def export(source: Origin, writer: ArchiveWriter, now: Callable[[], int], progress: Progress) -> End:
    """Write everything that is not in the archive yet; return its end."""
    last = writer.last
    walk = _Walk(source) if last is None else _Walk(source, last.table, last.next)
    while (step := await walk.next()) is not None:
        table, page = step
        writer.write(table, page.next, encode_records(table, page.records))
        progress(table, len(page.records))
    return writer.end(now(), await _copied_at(source))


async def checksum_of(source: Source, progress: Progress) -> Checksum:
    """Read everything and return its checksum: that of an archive which is made now."""
    checksum = Checksum()
    walk = _Walk(source)
    while (step := await walk.next()) is not None:
        table, page = step
        checksum.add(table, encode_records(table, page.records))
        progress(table, len(page.records))
    return checksum


def check_archive(reader: FrameReader, progress: Progress) -> End:
    """Read a whole archive and return its end.

    Raises:
        ArchiveError: It is damaged, or not one that this program can read.
    """
    checksum = Checksum()
    for frame in reader.frames():
        match frame:
            case Rows():
                raws = split(frame.records)
                checksum.add(frame.table, raws)
                progress(frame.table, len(raws))
            case End():
                _compare(frame, checksum)
                return frame
    raise AssertionError("frames end with an End or an error")


async def load(reader: FrameReader, target: Target, progress: Progress, *, continues: bool = False) -> End:
    """Fill a store with what of an archive is not in it yet; return the archive's end.

    `continues` says that nothing was written to the old store since: then channels go on with their epochs.

    Raises:
        ArchiveError: The archive is damaged, or not one that this program can read.
        StoreInUse: There is something else in the store.
    """
    frames = reader.frames()
    begin = next(frames)
    assert isinstance(begin, Begin)
    mark = await _begin(target, f"the archive {begin.archive}")
    filler = _Filler(target, progress)
    checksum = Checksum()
    steps = 0
    for frame in frames:
        match frame:
            case Rows():
                raws = split(frame.records)
                checksum.add(frame.table, raws)
                steps += 1
                if steps > mark.steps:
                    size = len(memoryview(frame.records))
                    await filler.add(frame.table, _decode(frame.table, raws), size, Mark(mark.origin, steps))
                else:
                    progress(frame.table, len(raws))
            case End():
                _compare(frame, checksum)
                await filler.flush()
                await _end(target, mark.origin, frame.copied_at if continues else frame.at)
                return frame
    raise AssertionError("frames end with an End or an error")


async def copy(
    source: Origin, target: Target, origin: str, now: Callable[[], int], progress: Progress, *, continues: bool = False
) -> Checksum:
    """Fill a store from another one, called `origin`; return the checksum of what was copied.

    `continues` says that nothing is written to the old store any more: then channels go on with their epochs.

    Raises:
        StoreInUse: There is something else in the store to be filled.
    """
    mark = await _begin(target, origin)
    filler = _Filler(target, progress)
    checksum = Checksum(mark.tallies)
    steps = mark.steps
    walk = _Walk(source, mark.table, mark.next)
    while (step := await walk.next()) is not None:
        table, page = step
        encoded = encode_records(table, page.records)
        checksum.add(table, encoded)
        steps += 1
        mark = Mark(origin, steps, table, page.next, checksum.tallies)
        await filler.add(table, page.records, sum(map(len, encoded)), mark)
    await filler.flush()
    await _end(target, origin, await _copied_at(source) if continues else now())
    return checksum


class _Walk:
    """Reads all tables, or goes on behind the page of a table whose next one begins at `after`."""

    def __init__(self, source: Source, table: Table | None = None, after: str | None = None) -> None:
        self._source = source
        self._places: list[tuple[Table, str | None]] = [(each, None) for each in reversed(Table)]  # the next one last
        while table is not None and self._places.pop()[0] is not table:
            pass
        if table is not None and after is not None:
            self._places.append((table, after))

    async def next(self) -> tuple[Table, Page] | None:
        """Read the next page; None at the end."""
        if not self._places:
            return None
        table, after = self._places.pop()
        page = await self._source.scan(table, after=after, limit=PAGE_RECORDS)
        if page.next is not None:
            self._places.append((table, page.next))
        return table, page


class _Filler:
    """Loads some pages at the same time, and marks the last of them when all are kept."""

    def __init__(self, target: Target, progress: Progress) -> None:
        self._target = target
        self._progress = progress
        self._pages: list[tuple[Table, Sequence[msgspec.Struct]]] = []
        self._bytes = 0
        self._mark = Mark("")

    async def add(self, table: Table, records: Sequence[msgspec.Struct], size: int, mark: Mark) -> None:
        """Take a page that has so many bytes; `mark` is right when it and all before it are loaded."""
        self._pages.append((table, records))
        self._bytes += size
        self._mark = mark
        if len(self._pages) == PAGES_AT_ONCE or self._bytes >= BYTES_AT_ONCE:
            await self.flush()

    async def flush(self) -> None:
        """Load what was taken."""
        pages, self._pages, self._bytes = self._pages, [], 0
        if not pages:
            return
        errors: list[Exception] = []

        async def load_one(table: Table, records: Sequence[msgspec.Struct]) -> None:
            try:
                await self._target.load(table, records)
            except Exception as error:  # raised below, alone: a nursery would make a group of it
                errors.append(error)

        async with trio.open_nursery() as nursery:
            for table, records in pages:
                if table is Table.MESSAGES:
                    nursery.start_soon(load_one, table, records)
                else:  # two pages may have members of one channel
                    await load_one(table, records)
        if errors:
            raise errors[0]
        await _keep(self._target, self._mark)
        for table, records in pages:
            self._progress(table, len(records))


async def _begin(target: Target, origin: str) -> Mark:
    """Mark a store as being filled; return the mark that it has already, if it is of the same origin."""
    text = await target.get_meta(MARK)
    if text is not None:
        mark = msgspec.json.decode(text, type=Mark)
        if mark.origin != origin:
            raise StoreInUse(f"the store is half filled from {mark.origin}: go on with that, or take an empty store")
        return mark
    for table in Table:
        # Data keys may be there: a node makes one when it starts, and those that come have other names.
        if table is not Table.DATA_KEYS and not await _is_empty(target, table):
            before = await target.get_meta(FILLED_FROM)
            wholly = f" (it was filled from {before}, wholly)" if before else ""
            raise StoreInUse(f"the store has {table} already{wholly}: only an empty one can be filled")
    mark = Mark(origin)
    await _keep(target, mark)
    return mark


async def _is_empty(target: Target, table: Table) -> bool:
    page = await target.scan(table, after=None, limit=1)
    while not page.records and page.next is not None:
        page = await target.scan(table, after=page.next, limit=1)
    return not page.records


async def _keep(target: Target, mark: Mark) -> None:
    await target.put_meta(MARK, msgspec.json.encode(mark).decode())


async def _copied_at(source: Origin) -> int:
    """Return when the store was copied from another one; 0 if it was not."""
    return int(await source.get_meta(COPIED_AT) or 0)


async def _end(target: Target, origin: str, at: int) -> None:
    """Say when the copy was made: seqs that were given after it, in the old store, must not be given again.

    A store that continues one that was a copy itself is a copy of that time: its channels may not have been written to
    since, and would be reborn only then.
    """
    await target.put_meta(COPIED_AT, str(at) if at else None)
    await target.put_meta(FILLED_FROM, origin)
    await target.put_meta(MARK, None)


def _compare(end: End, checksum: Checksum) -> None:
    if (end.tallies, end.checksum) != (checksum.tallies, checksum.hexdigest()):
        raise ArchiveDamaged(f"the records are not those of the archive's checksum {end.checksum}")


def _decode(table: Table, raws: list[msgspec.Raw]) -> list[msgspec.Struct]:
    try:
        return decode_records(table, raws)
    except msgspec.MsgspecError as error:
        raise ArchiveError(f"a record of {table} is none that this program knows: {error}") from error
