"""One timer for all sessions of a node: pings, dead and stalled clients, expired tokens, deadlines.

Sessions are dealt into as many slots as a keepalive period has ticks, so each tick looks at a part of them and each
session is looked at once a period. Two things must not wait that long and have lists of their own, in the order in
which they fall due: who has not said `connect` yet, and whose close frame is not answered yet.
"""

from collections.abc import Callable
from itertools import takewhile

import trio

from chatd.hub import Hub
from chatd.outlet import State
from chatd.session import Session
from protocol.codes import CloseCode
from protocol.frames import Opcode, server_frame

PING_FRAME = server_frame(Opcode.PING, b"")

_TICK_SECONDS = 1.0

# Sessions looked at before other tasks get their turn.
_SLICE = 200


class Keepalive:
    """Looks after the sessions of a hub. `add` and `remove` return at once; `run` is the timer."""

    def __init__(self, hub: Hub, clock: Callable[[], float]) -> None:
        self._hub = hub
        self._clock = clock  # Unix seconds, for the expiry of tokens
        ticks = max(1, round(hub.settings.config.websocket.ping_seconds / _TICK_SECONDS))
        self._slots: list[dict[Session, None]] = [{} for _ in range(ticks)]
        self._next_slot = 0
        self._greeting: dict[Session, float] = {}  # since when they could have said `connect`

    def add(self, session: Session) -> dict[Session, None]:
        """Look after a session from now on; return its slot, from which its owner removes it."""
        slot = self._slots[self._next_slot]
        self._next_slot = (self._next_slot + 1) % len(self._slots)
        slot[session] = None
        self._greeting[session] = trio.current_time()
        return slot

    def remove(self, session: Session, slot: dict[Session, None]) -> None:
        """Forget a session."""
        slot.pop(session, None)
        self._greeting.pop(session, None)

    async def run(self) -> None:
        """Tick until cancelled."""
        tick_seconds = self._hub.settings.config.websocket.ping_seconds / len(self._slots)
        while True:
            for slot in self._slots:
                await trio.sleep(tick_seconds)
                now = trio.current_time()
                self._end_greetings(now)
                self._end_closings(now)
                for number, session in enumerate(list(slot), 1):
                    self._look_at(session, now)
                    if number % _SLICE == 0:
                        await trio.lowlevel.checkpoint()

    def _end_greetings(self, now: float) -> None:
        """Close those who did not say who they are. All have the same time for it, so the first is the oldest."""
        began_before = now - self._hub.settings.limits.hello_seconds
        due = takewhile(
            lambda item: item[1] <= began_before or item[0].state is not State.GREETING, self._greeting.items()
        )
        for session, _ in list(due):
            del self._greeting[session]
            if session.state is State.GREETING:
                session.close(CloseCode.HELLO_TIMEOUT, "no `connect` came in time")

    def _end_closings(self, now: float) -> None:
        closing = self._hub.closing_sessions
        for session, _ in list(takewhile(lambda item: item[1] <= now, closing.items())):
            del closing[session]
            session.lose()

    def _look_at(self, session: Session, now: float) -> None:
        if session.state is not State.READY:
            return
        if session.expires_at is not None and session.expires_at < self._clock() - self._leeway():
            session.close(CloseCode.TOKEN_EXPIRED, "the token has expired")
        elif session.outbox_bytes and self._has_stalled(session, now):
            self._hub.counters.drops["stalled"] += 1
            session.close(CloseCode.SLOW, "nothing was read for too long")
        elif not session.heard and not session.outbox_bytes:
            # There was a ping a whole period ago, and not even its pong came.
            session.close(CloseCode.NO_PONG, "nothing was heard for a whole keepalive period")
        else:
            session.heard = False
            session.write(PING_FRAME)

    def _has_stalled(self, session: Session, now: float) -> bool:
        if session.stalled_since is None:
            session.stalled_since = now
            return False
        return now - session.stalled_since > self._hub.settings.config.websocket.stall_seconds

    def _leeway(self) -> int:
        return self._hub.settings.config.auth.leeway_seconds
