"""The names of users, devices and channels: their types, and the one place that says which are well formed.

Grammar (also in docs/reference/protocol.md):

    user     1 to 64 of  A-Z a-z 0-9 _ . @ | ~ + = -
    device   the same
    channel  NAMESPACE ":" REST, at most 255 characters
             NAMESPACE  a-z, then up to 31 of a-z 0-9 _
             REST       1 or more of the user's characters and ":"
    key      1 to 128 printable ASCII characters without space
"""

import re
from typing import NewType

from protocol.hot import is_key

__all__ = [
    "MAX_CHANNEL_LENGTH",
    "ChannelName",
    "DeviceId",
    "Epoch",
    "Seq",
    "UserId",
    "direct_channel",
    "is_key",
    "is_user_id",
    "split_channel",
]

UserId = NewType("UserId", str)
DeviceId = NewType("DeviceId", str)
ChannelName = NewType("ChannelName", str)
Epoch = NewType("Epoch", str)
Seq = NewType("Seq", int)

MAX_CHANNEL_LENGTH = 255

_USER = re.compile(r"[A-Za-z0-9_.@|~+=-]{1,64}")
_CHANNEL = re.compile(r"([a-z][a-z0-9_]{0,31}):([A-Za-z0-9_.@|~+=:-]+)")


def is_user_id(text: str) -> bool:
    """Tell whether `text` can be the id of a user or of a device."""
    return _USER.fullmatch(text) is not None


def split_channel(text: str) -> tuple[str, str] | None:
    """Split a channel's name into its namespace and the rest; None if it is not well formed."""
    if len(text) > MAX_CHANNEL_LENGTH:
        return None
    match = _CHANNEL.fullmatch(text)
    return (match[1], match[2]) if match else None


def direct_channel(one: UserId, other: UserId) -> ChannelName:
    """Name the direct chat of two users: their ids in order, so that both find the same channel."""
    first, second = sorted((one, other))
    return ChannelName(f"dm:{first}:{second}")
