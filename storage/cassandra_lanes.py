"""The order of writes: each channel is a lane in which messages are sent and told in the order of their submission.

    Write   what one `submit` gave; told when all of it is stored, and all that came before it in its lanes is told
    Part    messages of one write in one channel: what a batch takes whole, unless it is larger than a batch may be
    Lane    the parts of one channel: waiting, or in the one batch that is under way

When a batch fails, its lane fails whole, with every lane that shares a write with it: all that was submitted is told
the error, and what may be in the database all the same is remembered as unsettled. Such rows are written again before
anything else of the channel is, and before anybody is told where the channel ends.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from protocol.names import ChannelName, Seq
from storage import Done
from storage.records import StoredMessage


class Write:
    """What one `submit` gave."""

    __slots__ = ("done", "is_told", "lanes", "number", "parts", "rows", "unstored")

    def __init__(self, number: int, done: Done, rows: int) -> None:
        self.number = number
        self.done = done
        self.rows = rows
        self.lanes: list[Lane] = []
        self.parts: list[Part] = []
        self.unstored = 0  # parts that are not stored yet
        self.is_told = False


class Part:
    """Messages of one write in one channel."""

    __slots__ = ("is_sent", "lane", "messages", "write")

    def __init__(self, write: Write, lane: "Lane", messages: Sequence[StoredMessage]) -> None:
        self.write = write
        self.lane = lane
        self.messages = messages
        self.is_sent = False
        write.parts.append(self)
        write.unstored += 1


class Lane:
    """The messages of one channel on their way."""

    __slots__ = ("channel", "is_ready", "is_sending", "unsettled", "untold", "waiting")

    def __init__(self, channel: ChannelName) -> None:
        self.channel = channel
        self.waiting: deque[Part] = deque()  # not sent
        self.untold: deque[Write] = deque()  # in the order of their submission
        self.unsettled: dict[Seq, StoredMessage] = {}
        self.is_ready = False  # it stands in the line of those that may send
        self.is_sending = False

    @property
    def is_idle(self) -> bool:
        """Tell whether it can be forgotten."""
        return not (self.untold or self.unsettled or self.is_sending)

    def add(self, write: Write, messages: Sequence[StoredMessage]) -> None:
        """Let messages wait."""
        self.follow(write)
        self.waiting.append(Part(write, self, messages))

    def follow(self, write: Write) -> None:
        """Tell a write after all that is in the lane now."""
        write.lanes.append(self)
        self.untold.append(write)


def stored(parts: Iterable[Part]) -> list[Write]:
    """Take it that these parts are stored; return the writes that can be told now, in order."""
    ready: list[Write] = []
    lanes: dict[Lane, None] = {}
    for part in parts:
        write = part.write
        if write.is_told:  # failed meanwhile
            for message in part.messages:
                part.lane.unsettled.pop(message.seq, None)
        else:
            write.unstored -= 1
            lanes[part.lane] = None
    while lanes:
        lane, _ = lanes.popitem()
        untold = lane.untold
        while untold and _is_next(untold[0]):
            write = untold[0]
            write.is_told = True
            for other in write.lanes:
                other.untold.popleft()
                if other is not lane:
                    lanes[other] = None
            ready.append(write)
    return ready


def _is_next(write: Write) -> bool:
    """Tell whether all of a write is stored, and everything before it in its lanes was told."""
    if write.unstored:
        return False
    return len(write.lanes) == 1 or all(lane.untold[0] is write for lane in write.lanes)


def fail(lane: Lane) -> list[Write]:
    """Give up everything that is in a lane, and in those it shares writes with; return the writes, in order."""
    failed: dict[int, Write] = {}
    lanes = [lane]
    while lanes:
        given_up = lanes.pop()
        for write in given_up.untold:
            write.is_told = True
            if write.number not in failed:
                failed[write.number] = write
                lanes += [other for other in write.lanes if other is not given_up]
        given_up.untold.clear()
        given_up.waiting.clear()
    for write in failed.values():
        for part in write.parts:
            if part.is_sent:
                part.lane.unsettled.update((message.seq, message) for message in part.messages)
    return [failed[number] for number in sorted(failed)]
