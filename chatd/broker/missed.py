"""Reads what came after a place: from the channel's log in Redis, and what is older from the store."""

from chatd.broker import Routed
from chatd.broker.heads import Head
from chatd.broker.record import HIDE, NOBODY, hide_content, read_content, read_id
from chatd.redis.servers import Servers
from protocol.names import Epoch, Seq
from storage import Store
from storage.records import StoredMessage

# Read from the store at once.
_PAGE = 500

# More than any log has.
_LOG = 10_000

Item = tuple[StoredMessage, Routed]


class Missed:
    """Reads logs. Raises `RedisError` and `StoreError` where they cannot be read."""

    def __init__(self, servers: Servers, store: Store) -> None:
        self._servers = servers
        self._store = store

    async def log(self, head: Head, after: tuple[Epoch, Seq] | None, limit: int) -> list[Item]:
        """Return what the log has after a place, in its order; without a place the newest of it."""
        if after is None:
            entries = await self._servers.call(head.shard, "XREVRANGE", head.key, "+", "-", "COUNT", limit)
            entries = entries[::-1]
        else:
            start = f"({after[0]}-{after[1]}" if after[0].isdigit() else "-"
            entries = await self._servers.call(head.shard, "XRANGE", head.key, start, "+", "COUNT", limit)
        hidden = frozenset(await self._servers.call(head.shard, "HKEYS", _hidden(head))) if entries else ()
        items: list[Item] = []
        for place, (_, value) in entries:
            if value:
                at, content = value.split(b" ", 1)
                if place in hidden:
                    content = hide_content(content)
                epoch, seq = read_id(place)
                items.append(read_content(head.channel, (epoch, seq, int(at)), content))
        return items

    async def hide(self, head: Head, ended: StoredMessage, keep_seconds: int) -> None:
        """Let nobody read any more what a message said, from the log or from the memory of any node."""
        place = f"{ended.epoch}-{ended.seq}"
        await self._servers.call(head.shard, "HSET", _hidden(head), place, "1")
        await self._servers.call(head.shard, "EXPIRE", _hidden(head), keep_seconds)
        await self._servers.call(head.shard, "SPUBLISH", head.key, HIDE + place.encode())

    async def since(self, head: Head, last: Seq, at: tuple[Epoch, Seq], limit: int) -> tuple[list[Item], bool]:
        """Return up to `limit` messages after a place, and whether nothing is missing among or before them.

        `last` is where the log stood before. What the log has of its own epoch is dense. Of a durable channel all
        else is read from the store; when the epoch has changed, what the store has is all there is.
        """
        epoch, seq = at
        if epoch == head.epoch and seq >= last:
            return [], seq == last
        items = await self.log(head, at, _LOG)
        if head.namespace.history == "durable":
            items = [item for item in items if item[0].epoch == head.epoch]
        follows = bool(items) and (items[0][0].epoch, items[0][0].seq) == (epoch, seq + 1)
        if follows or head.namespace.history != "durable":
            return items[:limit], follows
        first = items[0][0].seq if items else Seq(last + 1)
        older = await self._stored(head, seq, first, limit)
        is_whole = epoch != head.epoch or len(older) == min(limit, first - seq - 1)
        return (older + items)[:limit], is_whole

    async def _stored(self, head: Head, after: Seq, before: Seq, limit: int) -> list[Item]:
        """Read the store between two seqs."""
        rows: list[Item] = []
        while len(rows) < limit and after < before - 1:
            page = await self._store.history(
                head.channel, after=after, before=before, limit=min(_PAGE, limit - len(rows))
            )
            if not page:
                break
            rows += [(message, NOBODY) for message in page]
            after = page[-1].seq
        return rows


def _hidden(head: Head) -> str:
    """Return the key of the places of a channel whose messages are to be read no more."""
    return f"{head.key}:hidden"
