"""How far users have read: the command `read`, kept in memory until the next save, and told to who wants to know."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import structlog
import trio

from chatd.accounts.principal import Principal
from chatd.config import Reads
from chatd.groups import Groups
from chatd.intervals import work_every
from chatd.rights import Address, Denied
from protocol.codes import ErrorCode
from protocol.messages import Event, HasRead
from protocol.names import ChannelName, Seq, UserId
from storage import Store, StoreError
from storage.records import ReadMark

Tell = Callable[[Iterable[UserId], Event, str], None]
"""Sends an event to every session of some users but one (`Hub.deliver_to`); never waits."""


class Telling(Protocol):
    """Tells sessions of all nodes."""

    def tell(self, users: Iterable[UserId], event: Event, origin: str) -> None:
        """Send an event to every session of some users but one; never waits."""

    async def run(self) -> None:
        """Tell other nodes, until cancelled."""


# Marks in one step of the store: it writes in batches, and others want their turn.
_SAVED_AT_ONCE = 1000
_LAST_SAVE_SECONDS = 5.0

_log = structlog.get_logger("reads")


class ReadMarks:
    """Takes read marks and saves them together, `reads.save_seconds` later at most.

    A crash in between costs the newest marks: the user says `read` again with the next message. A mark only moves
    forward; whether the channel has come so far is the client's affair.
    """

    def __init__(self, store: Store, groups: Groups, config: Reads, clock: Callable[[], float], tell: Tell) -> None:
        self._store = store
        self._groups = groups
        self._config = config
        self._clock = clock  # Unix seconds
        self._tell = tell
        self._telling: Telling | None = None
        self._unsaved: dict[tuple[UserId, ChannelName], ReadMark] = {}

    async def read(self, principal: Principal, address: Address, seq: int, origin: str) -> None:
        """Keep how far the user has read, and tell the user's other sessions; the other members where that is wanted.

        Raises:
            Denied: It is no member channel, the user is no member, or too many marks wait to be saved.
        """
        if not address.is_member_channel:
            raise Denied(ErrorCode.FORBIDDEN, "only channels with members keep how far one has read")
        members = await self._groups.roles(principal, address)
        place = (principal.user, address.name)
        known = self._unsaved.get(place)
        if known is not None and known.seq >= seq:
            return
        if known is None and len(self._unsaved) >= self._config.waiting:
            raise Denied(ErrorCode.UNAVAILABLE, "too many read marks wait to be saved")
        at = int(self._clock() * 1000)
        self._unsaved[place] = ReadMark(user=principal.user, channel=address.name, seq=Seq(seq), at=at)
        to = members if address.namespace.receipts else (principal.user,)
        self._tell(to, HasRead(channel=address.name, user=principal.user, seq=Seq(seq), at=at), origin)

    async def of(self, user: UserId, channels: Sequence[ChannelName]) -> dict[ChannelName, Seq]:
        """Return up to where the user has read these channels, saved or not; those never read are left out."""
        kept = await self._store.read_marks([(user, channel) for channel in channels]) if channels else ()
        marks = {mark.channel: mark.seq for mark in kept}
        for channel in channels:
            unsaved = self._unsaved.get((user, channel))
            if unsaved is not None and unsaved.seq > marks.get(channel, 0):
                marks[channel] = unsaved.seq
        return marks

    def tell_elsewhere(self, telling: Telling) -> None:
        """Tell sessions of other nodes too."""
        self._tell = telling.tell
        self._telling = telling

    async def run(self) -> None:
        """Save what there is, in intervals, until cancelled; then save once more."""
        async with trio.open_nursery() as nursery:
            if self._telling is not None:
                nursery.start_soon(self._telling.run)
            await self._save_loop()

    async def _save_loop(self) -> None:
        try:
            await work_every(self._config.save_seconds, self._save, _log, "read marks are not saved")
        finally:
            with trio.move_on_after(_LAST_SAVE_SECONDS, shield=True):
                try:
                    await self._save()
                except StoreError as error:
                    _log.error("the last read marks are not saved", error=str(error))

    async def _save(self) -> None:
        marks = list(self._unsaved.items())
        for start in range(0, len(marks), _SAVED_AT_ONCE):
            part = marks[start : start + _SAVED_AT_ONCE]
            await self._store.save_read_marks([mark for _, mark in part])
            for place, mark in part:
                if self._unsaved.get(place) is mark:  # else it moved on while it was saved
                    del self._unsaved[place]
