"""The bytes that wait for one session whose socket is full: bounded, in order, newest first to go stale.

An outbox exists only while bytes wait. Its limit is `limits.outbox_bytes`; when it is full the session is cut off
as slow and comes back with its cursors.
"""

from collections import deque


class OutboxFull(Exception):
    """The session reads too slowly: as much as it may have waiting is waiting."""


# Joined for one send. More would only be refused by the socket again.
_CHUNK_BYTES = 65536


class _Entry:
    __slots__ = ("data", "topic")

    def __init__(self, data: bytes, topic: str | None) -> None:
        self.data = data
        self.topic = topic


class Outbox:
    """A queue of frames behind what is being sent.

    The limit is on what is queued. What is being sent was one write already: answers that the client asked for, and
    the session asks for no more of them until it has read these.
    """

    __slots__ = ("_entries", "_head", "_limit", "_newest", "_queued")

    def __init__(self, limit: int, rest: bytes) -> None:
        self._limit = limit
        self._head = memoryview(rest)
        self._entries: deque[_Entry] = deque()
        self._newest: dict[str, _Entry] = {}
        self._queued = 0

    @property
    def size(self) -> int:
        """How many bytes wait, those being sent among them."""
        return len(self._head) + self._queued

    def put(self, data: bytes) -> None:
        """Queue frames.

        Raises:
            OutboxFull: They do not fit; the outbox is as before.
        """
        if self._queued + len(data) > self._limit:
            raise OutboxFull
        self._entries.append(_Entry(data, None))
        self._queued += len(data)

    def add(self, data: bytes) -> None:
        """Queue frames whatever the limit: answers, which somebody else bounds."""
        self._entries.append(_Entry(data, None))
        self._queued += len(data)

    def put_newest(self, data: bytes, topic: str) -> bool:
        """Queue frames of which only the newest of a topic counts; tell whether they replaced waiting ones.

        Raises:
            OutboxFull: They do not fit; the outbox is as before.
        """
        waiting = self._newest.get(topic)
        queued = self._queued + len(data) - (len(waiting.data) if waiting else 0)
        if queued > self._limit:
            raise OutboxFull
        self._queued = queued
        if waiting is not None:
            waiting.data = data
            return True
        entry = self._newest[topic] = _Entry(data, topic)
        self._entries.append(entry)
        return False

    def clear(self) -> None:
        """Forget every frame of which nothing was sent yet; the rest of a half-sent one stays."""
        self._entries.clear()
        self._newest.clear()
        self._queued = 0

    def peek(self) -> memoryview:
        """Return the bytes to send next; empty when nothing waits."""
        if not self._head and self._entries:
            self._head = memoryview(b"".join(self._take_chunk()))
        return self._head

    def sent(self, count: int) -> None:
        """Drop that many bytes from the front, which the socket took."""
        self._head = self._head[count:]

    def _take_chunk(self) -> list[bytes]:
        chunk: list[bytes] = []
        size = 0
        while self._entries and size < _CHUNK_BYTES:
            entry = self._entries.popleft()
            if entry.topic is not None:
                del self._newest[entry.topic]
            chunk.append(entry.data)
            size += len(entry.data)
        self._queued -= size
        return chunk
