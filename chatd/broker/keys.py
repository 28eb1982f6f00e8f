"""The keys of lately sent messages: what makes a resend harmless without asking the store."""

import msgspec

from chatd.broker.commit import Commit
from protocol.names import ChannelName, Epoch, Seq, UserId
from storage.records import Place

Key = tuple[UserId, str]


class KnownKey(msgspec.Struct, gc=False):
    """Where the message of a key was placed. `commit` is what its sender waits for, while it is being stored."""

    channel: ChannelName
    epoch: Epoch
    seq: Seq
    at: int
    commit: Commit | None = None

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.epoch, self.seq, self.at)


def known_key(channel: ChannelName, place: Place) -> KnownKey:
    """Make what is known of the key of a message that nobody waits for any more."""
    return KnownKey(channel, place.epoch, place.seq, place.at)


class Keys:
    """A bounded table of keys by age, in two generations: when the younger one is full, the older one is dropped.

    So between a half and the whole of its size is always remembered, and forgetting costs nothing. The two tables are
    there for publishing, which looks into them without a call and then says `turn`.
    """

    __slots__ = ("_half", "older", "younger")

    def __init__(self, size: int) -> None:
        self._half = max(1, size // 2)
        self.younger: dict[Key, KnownKey] = {}
        self.older: dict[Key, KnownKey] = {}

    def __len__(self) -> int:
        return len(self.younger) + len(self.older)

    def get(self, key: Key) -> KnownKey | None:
        """Return what is known of a key."""
        return self.younger.get(key) or self.older.get(key)

    def put(self, key: Key, known: KnownKey) -> None:
        """Remember a key."""
        self.turn()
        self.younger[key] = known

    def turn(self) -> None:
        """Drop the older generation if the younger one is full."""
        if len(self.younger) >= self._half:
            self.older = self.younger
            self.younger = {}

    def discard(self, key: Key) -> None:
        """Forget a key whose message was not stored."""
        self.younger.pop(key, None)
        self.older.pop(key, None)
