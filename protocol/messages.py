"""Every command and event of the client protocol, on one page.

Commands are verbs that the client says; each carries the client's `id` and gets one answer with the same `id`.
Events are what happened; they have no `id`. Times are Unix milliseconds, `data` is any object of the application's.
docs/reference/protocol.md is the same page in prose.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from protocol.names import ChannelName, DeviceId, Epoch, Seq, UserId

CommandId = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Number = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""A seq or a time of a client's. Every language and every database holds it exactly."""
Text = Annotated[str, Meta(max_length=255)]
Cursor = tuple[Epoch, Seq]
"""Where a reader stands in a channel: everything up to `seq` of this `epoch` has been seen."""


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", gc=False):
    """What every command has: the id that its answer repeats."""

    id: CommandId


class Connect(Command, tag="connect", frozen=True, kw_only=True):
    """Say who is there; the first command of every session. Cursors resume where an earlier session stood."""

    token: str = ""
    device: Annotated[str, Meta(max_length=64)] = ""
    cursors: dict[Text, Cursor] = {}


class Refresh(Command, tag="refresh", frozen=True, kw_only=True):
    """Replace the session's token by a newer one of the same user, before it expires."""

    token: str


class Ping(Command, tag="ping", frozen=True, kw_only=True, gc=False):
    """Ask for an `ok`; for clients that cannot see WebSocket pings, such as pages in a browser."""


class Subscribe(Command, tag="subscribe", frozen=True, kw_only=True, gc=False):
    """Get the channel's events from now on, and first what came after `since`. A `token` is a backend's leave to."""

    channel: Text
    since: Cursor | None = None
    token: str = ""


class Unsubscribe(Command, tag="unsubscribe", frozen=True, kw_only=True, gc=False):
    """Get no more events of the channel."""

    channel: Text


class Send(Command, tag="send", frozen=True, kw_only=True, gc=False):
    """Append one message to a channel. Sending it again with the same `key` and `retry` stores it once.

    `from` and `ttl_seconds` are for server sessions; those of users are theirs and without end, whatever they say.
    """

    channel: Text
    key: Annotated[str, Meta(max_length=128)]
    data: msgspec.Raw
    retry: bool = False
    sender: UserId | None = msgspec.field(default=None, name="from")
    ttl_seconds: Annotated[float, Meta(gt=0)] | None = None


class History(Command, tag="history", frozen=True, kw_only=True, gc=False):
    """Read a page of a channel: the last one, the one before a seq, or the one after a seq."""

    channel: Text
    before: Number | None = None
    after: Number | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50


class Presence(Command, tag="presence", frozen=True, kw_only=True):
    """Ask who is in a channel, or in what state some users are."""

    channel: Text | None = None
    users: Annotated[list[Text], Meta(max_length=1000)] | None = None


class Status(Command, tag="status", frozen=True, kw_only=True, gc=False):
    """Say whether the person at this device is there (`online`) or not looking (`away`)."""

    state: Literal["online", "away"]


class Channels(Command, tag="channels", frozen=True, kw_only=True, gc=False):
    """List the member channels of the user, the one with the newest message first.

    `after` has `at` and `channel` of the last one that is known: the next page begins behind it.
    """

    since: Number = 0
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    after: tuple[Number, Text] | None = None


class Read(Command, tag="read", frozen=True, kw_only=True, gc=False):
    """Say that the user has read a member channel up to a seq, on whichever device."""

    channel: Text
    seq: Number


class Create(Command, tag="create", frozen=True, kw_only=True):
    """Make a channel with members; its creator becomes its owner."""

    channel: Text
    members: list[Text] = []


class Members(Command, tag="members", frozen=True, kw_only=True, gc=False):
    """List the members of a channel and their roles."""

    channel: Text


class Invite(Command, tag="invite", frozen=True, kw_only=True):
    """Add users to a channel, or change the role of those who are in it."""

    channel: Text
    users: Annotated[list[Text], Meta(min_length=1)]
    role: Literal["member", "admin"] = "member"


class Remove(Command, tag="remove", frozen=True, kw_only=True):
    """Take users out of a channel; everybody may take out themselves."""

    channel: Text
    users: Annotated[list[Text], Meta(min_length=1)]


# For server sessions only: `connect` with an API key.


class Broadcast(Command, tag="broadcast", frozen=True, kw_only=True):
    """Append the same message to many channels: those named, the inboxes of users, all member channels of a user."""

    channels: list[Text] = []
    users: list[Text] = []
    member_of: Text = ""
    key: Annotated[str, Meta(max_length=115)]
    data: msgspec.Raw
    retry: bool = False
    sender: UserId | None = msgspec.field(default=None, name="from")
    ttl_seconds: Annotated[float, Meta(gt=0)] | None = None


class Sessions(Command, tag="sessions", frozen=True, kw_only=True, gc=False):
    """List the sessions of a user."""

    user: Text


class Disconnect(Command, tag="disconnect", frozen=True, kw_only=True, gc=False):
    """End one session, or all sessions of a user; `reconnect` lets them come back."""

    user: Text = ""
    session: Text = ""
    reconnect: bool = False
    reason: Annotated[str, Meta(max_length=100)] = ""


class SubscribeUser(Command, tag="subscribe_user", frozen=True, kw_only=True, gc=False):
    """Subscribe every session of a user to a channel, whether the user may subscribe to it or not."""

    user: Text
    channel: Text


class UnsubscribeUser(Command, tag="unsubscribe_user", frozen=True, kw_only=True, gc=False):
    """End the subscriptions of a user to a channel."""

    user: Text
    channel: Text


AnyCommand = (
    Connect
    | Refresh
    | Ping
    | Subscribe
    | Unsubscribe
    | Send
    | History
    | Presence
    | Status
    | Channels
    | Read
    | Create
    | Members
    | Invite
    | Remove
    | Broadcast
    | Sessions
    | Disconnect
    | SubscribeUser
    | UnsubscribeUser
)


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True, gc=False):
    """What the server says, unasked or (the answers) with the id of a command."""


class Message(Event, tag="message", frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One message of a channel. `kind` is empty for the application's own, else chatd's word for what happened."""

    channel: ChannelName
    epoch: Epoch
    seq: Seq
    sender: UserId = msgspec.field(name="from")
    key: str
    at: int
    data: msgspec.Raw
    kind: str = ""


class Resumed(msgspec.Struct, frozen=True, kw_only=True):
    """What a cursor brought: if `recovered`, `messages` are all that came after it, and live follows."""

    epoch: Epoch
    seq: Seq
    recovered: bool
    messages: list[Message]


class Connected(Event, tag="connected", frozen=True, kw_only=True):
    """Answers `connect`. A silence of twice `ping_seconds` means the connection is dead."""

    id: int
    user: UserId
    device: DeviceId
    session: str
    time: int
    ping_seconds: float
    expires: int | None
    resumed: dict[ChannelName, Resumed]


class Subscribed(Event, tag="subscribed", frozen=True, kw_only=True):
    """Answers `subscribe`: where the channel stands, and what came after `since`. Without `id` a backend asked."""

    id: int | None = None
    channel: ChannelName
    epoch: Epoch
    seq: Seq
    recovered: bool
    messages: list[Message]


class Sent(Event, tag="sent", frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Answers `send`: the message's place. In a durable channel it is on disk now."""

    id: int
    channel: str
    epoch: Epoch
    seq: Seq
    at: int
    duplicate: bool = False


class Placed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One message of a broadcast: its place, or the code and reason why it has none."""

    channel: str
    epoch: Epoch = Epoch("")
    seq: Seq = Seq(0)
    at: int = 0
    duplicate: bool = False
    code: int | None = None
    reason: str = ""
    retry_after: float | None = None


class Broadcasted(Event, tag="broadcasted", frozen=True, kw_only=True):
    """Answers `broadcast`: what became of the message in each channel."""

    id: int
    results: list[Placed]


class SessionState(msgspec.Struct, frozen=True, kw_only=True):
    """One session: its user, the device, and the address that it came from."""

    session: str
    user: UserId
    device: DeviceId
    address: str


class SessionsAnswer(Event, tag="sessions", frozen=True, kw_only=True):
    """Answers `sessions`."""

    id: int
    sessions: list[SessionState]


class Affected(Event, tag="affected", frozen=True, kw_only=True, gc=False):
    """Answers `disconnect`, `subscribe_user` and `unsubscribe_user`: how many sessions it concerned."""

    id: int
    sessions: int


class HistoryPage(Event, tag="history", frozen=True, kw_only=True):
    """Answers `history`, in rising seq; `more` tells whether there is another page in the same direction."""

    id: int
    channel: ChannelName
    messages: list[Message]
    more: bool


class UserState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One user's presence: `online`, `away` or `offline`, and since when it is so or last was not offline."""

    user: UserId
    state: str
    last_seen: int | None = None


class PresenceAnswer(Event, tag="presence", frozen=True, kw_only=True, omit_defaults=True):
    """Answers `presence`: for a channel its count and, where it is small enough, its list; else the users asked for."""

    id: int
    channel: ChannelName | None = None
    count: int | None = None
    users: list[UserState] | None = None


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """One member channel of a user, where it stands, and up to which seq the user has read it."""

    channel: ChannelName
    role: str
    epoch: Epoch
    seq: Seq
    at: int
    read: int = 0


class ChannelsAnswer(Event, tag="channels", frozen=True, kw_only=True):
    """Answers `channels`."""

    id: int
    channels: list[Conversation]
    more: bool


class MembersAnswer(Event, tag="members", frozen=True, kw_only=True):
    """Answers `members`: roles by user."""

    id: int
    channel: ChannelName
    members: dict[UserId, str]


class Refreshed(Event, tag="refreshed", frozen=True, kw_only=True, gc=False):
    """Answers `refresh`: when the newer token's time is over."""

    id: int
    expires: int | None


class Ok(Event, tag="ok", frozen=True, kw_only=True, gc=False):
    """Answers a command that has nothing else to say."""

    id: int


class Error(Event, tag="error", frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Answers a command that was refused; protocol/codes.py lists the codes."""

    id: int
    code: int
    reason: str
    retry_after: float | None = None


class PresenceChanged(Event, tag="presence_changed", frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A user's state changed; in the channel `presence:USER`. Conflated: only the newest counts."""

    channel: ChannelName
    user: UserId
    state: str
    last_seen: int | None = None


class HasRead(Event, tag="read", frozen=True, kw_only=True, gc=False):
    """A user has read a member channel up to a seq: told to the user's other sessions, and with receipts to members."""

    channel: ChannelName
    user: UserId
    seq: Seq
    at: int


class Joined(Event, tag="joined", frozen=True, kw_only=True, gc=False):
    """A user came into a channel that lists its readers."""

    channel: ChannelName
    user: UserId


class Left(Event, tag="left", frozen=True, kw_only=True, gc=False):
    """A user left a channel that lists its readers."""

    channel: ChannelName
    user: UserId


class Count(Event, tag="count", frozen=True, kw_only=True, gc=False):
    """How many users read a channel that counts instead of lists. Conflated."""

    channel: ChannelName
    count: int


class Unsubscribed(Event, tag="unsubscribed", frozen=True, kw_only=True, gc=False):
    """The server ended a subscription, for example because the right to read was taken away."""

    channel: ChannelName
    code: int
    reason: str


class Reconnect(Event, tag="reconnect", frozen=True, kw_only=True, gc=False):
    """The node leaves: close and connect again after this time, so that not everybody does at once."""

    after_seconds: float


AnyEvent = (
    Message
    | Connected
    | Subscribed
    | Sent
    | Broadcasted
    | SessionsAnswer
    | Affected
    | HistoryPage
    | PresenceAnswer
    | ChannelsAnswer
    | MembersAnswer
    | Refreshed
    | Ok
    | Error
    | PresenceChanged
    | HasRead
    | Joined
    | Left
    | Count
    | Unsubscribed
    | Reconnect
)
