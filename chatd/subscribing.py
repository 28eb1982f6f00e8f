"""How a session, a user's or a backend's, comes to read channels: its bound, what it missed, and what it is told.

Who may read which channel is not decided here: users by `chatd/reading.py`, backends by `chatd/backend/seeing.py`.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from chatd.broker import Recovery
from chatd.event import message_event
from chatd.rights import Denied
from chatd.session import Session
from protocol.body import Encoding
from protocol.codes import ErrorCode
from protocol.messages import Cursor, Resumed, Subscribe, Subscribed, Unsubscribed
from protocol.names import ChannelName


class Resumption(NamedTuple):
    """What the cursors of a `connect` brought: what was missed of each channel, and the channels that are lost."""

    found: dict[ChannelName, Recovery]
    lost: list[Unsubscribed]


def check_another(session: Session, channel: ChannelName, most: int) -> None:
    """Return if the session may subscribe to one more channel, of `most` at once.

    Raises:
        Denied: It is subscribed to this one, or has as many as it may.
    """
    held = session.subscriptions or {}
    if channel in held:
        raise Denied(ErrorCode.ALREADY_SUBSCRIBED, "this session is subscribed to it")
    if len(held) >= most:
        raise Denied(ErrorCode.TOO_MANY_SUBSCRIPTIONS, f"a session may have {len(held)} subscriptions")


def subscribed(command: Subscribe, channel: ChannelName, recovery: Recovery, encoding: Encoding) -> Subscribed:
    """Make the answer to `subscribe`."""
    return Subscribed(
        id=command.id,
        channel=channel,
        epoch=recovery.epoch,
        seq=recovery.seq,
        recovered=recovery.recovered,
        messages=[message_event(message, encoding) for message in recovery.messages],
    )


async def resume(
    cursors: Mapping[str, Cursor], room_bytes: int, recover: Callable[[str, Cursor], Awaitable[Recovery]]
) -> Resumption:
    """Recover channels one after the other, with at most so many bytes of messages together.

    A channel for which `recover` raises `Denied` is lost; everything else that it raises ends the resumption.
    """
    found: dict[ChannelName, Recovery] = {}
    lost: list[Unsubscribed] = []
    for name, cursor in cursors.items():
        channel = ChannelName(name)
        try:
            recovery = within(await recover(name, cursor), room_bytes)
        except Denied as error:
            lost.append(Unsubscribed(channel=channel, code=error.code, reason=str(error)))
        else:
            room_bytes -= _size(recovery)
            found[channel] = recovery
    return Resumption(found, lost)


def resumed(found: Mapping[ChannelName, Recovery], encoding: Encoding) -> dict[ChannelName, Resumed]:
    """Say in `connected` what was missed of each channel."""
    return {
        channel: Resumed(
            epoch=recovery.epoch,
            seq=recovery.seq,
            recovered=recovery.recovered,
            messages=[message_event(message, encoding) for message in recovery.messages],
        )
        for channel, recovery in found.items()
    }


def within(recovery: Recovery, room_bytes: int) -> Recovery:
    """Return the recovery if its messages fit, else one that says that something is missing."""
    if _size(recovery) <= room_bytes:
        return recovery
    return Recovery(recovery.epoch, recovery.seq, False, [])


def _size(recovery: Recovery) -> int:
    return sum(len(message.body) for message in recovery.messages)
