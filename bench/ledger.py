"""What one writer of the kill test knows for certain, and the judgement of a history by it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import NamedTuple


class Row(NamedTuple):
    """One message as `history` gives it."""

    epoch: str
    seq: int
    key: str


@dataclass(slots=True)
class Verdict:
    """How a history differs from what was promised. All zero is the only good verdict."""

    lost: int = 0  # acknowledged, and not there
    misplaced: int = 0  # acknowledged at another place
    repeated: int = 0  # there more than once
    unknown: int = 0  # there, and never sent
    unordered: int = 0  # not in the order in which the writer sent them
    holes: int = 0  # a seq that does not follow on the one before it, in the same epoch
    unstored: int = 0  # seen by the reader, and not there or elsewhere

    def add(self, other: "Verdict") -> None:
        """Add another channel's verdict."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    @property
    def is_good(self) -> bool:
        """Tell whether every promise was kept."""
        return not any(getattr(self, one.name) for one in fields(self))


@dataclass(slots=True)
class Ledger:
    """One writer's channel: what was sent, acknowledged, and seen by its reader."""

    writer: str
    reader: str
    channel: str
    sent: int = 0
    resent: int = 0
    duplicates: int = 0
    open: dict[str, int] = field(default_factory=dict)  # keys without an answer, in the order of their first sends
    acked: dict[str, tuple[str, int]] = field(default_factory=dict)
    seen: dict[int, str] = field(default_factory=dict)

    def next_key(self) -> str:
        """Make the key of a new message; it is open until it is acknowledged."""
        key = f"m{self.sent}"
        self.open[key] = self.sent
        self.sent += 1
        return key

    def acknowledge(self, key: str, epoch: str, seq: int, *, duplicate: bool) -> None:
        """Note an answer."""
        self.open.pop(key, None)
        self.acked[key] = (epoch, seq)
        self.duplicates += duplicate

    def judge(self, history: Sequence[Row]) -> Verdict:
        """Compare the channel's whole history with what is known."""
        places = {row.key: (row.epoch, row.seq) for row in history}
        keys_by_seq = {row.seq: row.key for row in history}
        counters = [int(row.key[1:]) for row in history if row.key[1:].isdecimal()]
        pairs = list(pairwise(history))
        return Verdict(
            lost=sum(key not in places for key in self.acked),
            misplaced=sum(key in places and places[key] != place for key, place in self.acked.items()),
            repeated=len(history) - len(places),
            unknown=sum(int(row.key[1:]) >= self.sent for row in history),
            unordered=sum(after <= before for before, after in pairwise(counters)),
            holes=sum(not _follows(before, after) for before, after in pairs),
            unstored=sum(keys_by_seq.get(seq) != key for seq, key in self.seen.items()),
        )


def _follows(before: Row, after: Row) -> bool:
    """Tell whether a row may come after another: the next seq, or any later one in a new epoch."""
    return after.seq == before.seq + 1 or (after.epoch != before.epoch and after.seq > before.seq)
