"""The sends of a turn: to many sessions at once where a ring can, else one by one."""

from collections.abc import Sequence
from errno import EAGAIN

import structlog

from chatd.outlet import Outlet, send_to, send_to_all
from chatd.ring import SCRATCH_BYTES, Ring

# Below this many sends, as many system calls cost less than one batch.
_FEW = 8

_log = structlog.get_logger("hub")


class Batch:
    """Sends to sessions, whatever their `send` is. Never waits and never raises."""

    def __init__(self) -> None:
        self.ring: Ring | None = None

    def send_same(self, data: bytes, sessions: Sequence[Outlet]) -> None:
        """Send the same bytes to sessions, each of which is there once. The hot path of fan-out."""
        ring = self.ring
        if ring is None or len(sessions) < _FEW or len(data) > SCRATCH_BYTES:
            send_to_all(data, sessions)
            return
        heads = [head for session in sessions if (head := session.direct) is not None]
        if len(heads) < len(sessions):
            others = [session for session in sessions if session.direct is None]
            sessions = [session for session in sessions if session.direct is not None]
            send_to_all(data, others)
        for start in range(0, len(heads), ring.size):
            for number, result in ring.send_same(data, heads[start : start + ring.size]):
                _refused(sessions[start + number], data, result)

    def flush(self, sessions: Sequence[Outlet]) -> None:
        """Send what sessions held back."""
        ring = self.ring if len(sessions) >= _FEW else None
        items: list[tuple[bytes, bytes]] = []
        of_items: list[Outlet] = []
        room = SCRATCH_BYTES
        for session in sessions:
            try:
                data = session.release()
            except Exception:
                _log.exception("session failed", session=session.id)
                session.lose()
                continue
            if not data:
                continue
            head = session.direct
            size = len(data)
            if ring is None or head is None or size > room or len(items) == ring.size:
                send_to(session, data)
                continue
            room -= size
            items.append((head, data))
            of_items.append(session)
        if ring is not None and items:
            for number, result in ring.send_each(items):
                _refused(of_items[number], items[number][1], result)

    def close(self) -> None:
        """Go on without the ring."""
        if self.ring is not None:
            self.ring.close()
            self.ring = None


def _refused(session: Outlet, data: bytes, result: int) -> None:
    if result >= 0 or result == -EAGAIN:
        session.start_queue(data, max(0, result))
    else:
        session.lose()
