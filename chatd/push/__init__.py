"""Telling who is away: what a push is, and what chatd asks of a service that delivers it.

The way of a push, which docs/explanation/push.md draws:

    watch.py     notes messages of channels that push, and after each turn puts one job for those who are not looking
    planning.py  when the time to read it live is over: one job for each device that should be told
    states.py    what becomes of such a job now, as a pure decision
    worker.py    asks the queue for jobs, has a provider send them, and does what the outcome says

Beside it, operations.py lists what was given up and has it tried again.

Adapters: `fcm`, `apns`, `webpush`, `webhook`. Every provider says by an `Outcome`, never by an exception, how it went.
"""

from typing import Literal, Protocol

import msgspec

from storage.records import PushTokenRecord

Kind = Literal["alert", "background", "voip", "liveactivity"]
"""Shown to a person · wakes the app unseen · a call that rings · changes what a Live Activity shows (Apple's words)."""

Priority = Literal["high", "normal", "low"]
"""At once, waking the device · when the device is awake or soon · when it costs no power."""

PROVIDERS = ("apns", "fcm", "webhook", "webpush")


class Notification(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one device is told. `id` is the same at every try, so that a service that saw it may suppress a second one.

    `collapse` names what it replaces on the device, `thread` what it is grouped with. `expires_at` is in Unix seconds.
    `data` is for the app: the message's place, and who wrote it. `state` is the content of a Live Activity.
    """

    id: str
    kind: Kind = "alert"
    title: str = ""
    body: str = ""
    badge: int | None = None
    sound: str = ""
    thread: str = ""
    collapse: str = ""
    priority: Priority = "high"
    expires_at: int
    data: dict[str, str] = {}
    state: msgspec.Raw | None = None
    event: str = "update"

    @property
    def tag(self) -> str:
        """What it replaces on the device: without a wish of the sender's only itself, should it come twice."""
        return self.collapse or self.id


class Delivered(msgspec.Struct, frozen=True):
    """The service took it; whether the device shows it is the device's affair."""


class Gone(msgspec.Struct, frozen=True):
    """The token is good for nothing any more: it is removed.

    `since` (Unix milliseconds) is when the service says that it became so; a token registered later is kept.
    """

    reason: str
    since: int | None = None


class Throttled(msgspec.Struct, frozen=True):
    """The service wants less: of this device, or (`everybody`) of all of chatd."""

    reason: str
    retry_after: float | None = None
    everybody: bool = False


class Unavailable(msgspec.Struct, frozen=True):
    """The service cannot do it now, or does not know chatd: for the others to come this will be the same."""

    reason: str
    retry_after: float | None = None


class Rejected(msgspec.Struct, frozen=True):
    """The service will never take this one; trying again is of no use."""

    reason: str


Outcome = Delivered | Gone | Throttled | Unavailable | Rejected


class Provider(Protocol):
    """Hands notifications to one push service.

    Promises: `send` returns an outcome for whatever the service answers or does not answer, within the time that its
    configuration names; it may be called many times at once, and be cancelled. Nothing is kept between calls but
    connections and the service's own access tokens.
    """

    def circuit(self, token: PushTokenRecord) -> str:
        """Return the name of what fails together with this token: all of the service, or one host of it."""

    async def send(self, notification: Notification, token: PushTokenRecord) -> Outcome:
        """Hand over one notification for one device."""
