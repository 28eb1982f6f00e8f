"""Who speaks: what a verified token says about the sender of a command or request."""

import msgspec

from protocol.names import DeviceId, UserId


class Principal(msgspec.Struct, frozen=True, gc=False):
    """A user on a device. `expires_at` (Unix seconds) is when the token that said so ends; None: never."""

    user: UserId
    device: DeviceId
    is_guest: bool
    expires_at: int | None
