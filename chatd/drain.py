"""How a node leaves without anybody losing a message: clients are told, spread over a window, and then let go."""

from collections.abc import Callable

import structlog
import trio

from chatd.hub import Hub
from protocol.codes import CloseCode
from protocol.messages import Reconnect

# Sessions that are told or closed before other tasks get their turn.
_SLICE = 200

_log = structlog.get_logger("server")


async def drain_sessions(hub: Hub, window_seconds: float, random: Callable[[], float]) -> None:
    """Tell every session to reconnect at some moment of the window, and close those who stay beyond it."""
    sessions = list(hub.sessions.values())
    if not sessions:
        return
    _log.info("draining", sessions=len(sessions), seconds=window_seconds)
    if window_seconds > 0:
        for number, session in enumerate(sessions, 1):
            session.reply(Reconnect(after_seconds=round(random() * window_seconds, 3)))
            if number % _SLICE == 0:
                await trio.lowlevel.checkpoint()
        with trio.move_on_after(window_seconds):
            await hub.wait_empty()
    for number, session in enumerate(list(hub.sessions.values()), 1):
        session.close(CloseCode.DRAINING, "the node is leaving: reconnect")
        if number % _SLICE == 0:
            await trio.lowlevel.checkpoint()
    with trio.move_on_after(hub.settings.config.websocket.close_seconds):
        await hub.wait_empty()
