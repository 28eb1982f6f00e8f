"""What channels do and who may do what in them: `[namespaces.…]`, and the namespaces that are shipped."""

from typing import Literal

from chatd.config.section import Count, Section, Zero

Who = Literal["nobody", "backend", "owner", "members", "users", "anyone"]
"""Who may: nobody · backends only · the user named in the channel · its members · all with an account · guests too.

A backend may wherever somebody may: with all of these but `nobody`, as far as its key goes.
"""


class Namespace(Section, frozen=True, kw_only=True):
    """What a channel whose name starts with this namespace does, and who may do what in it."""

    delivery: Literal["subscribed", "member"] = "subscribed"
    history: Literal["none", "recent", "durable"] = "recent"
    presence: Literal["none", "list", "count"] = "none"
    conflate: bool = False
    echo: bool = False
    push: bool = False
    receipts: bool = False
    read: Who = "users"
    write: Who = "users"
    create: Who = "nobody"
    members: Count = 1000
    data_bytes: Count = 16384
    retention_days: Zero = 0
    retention_messages: Zero = 0


NAMESPACES = {
    "dm": Namespace(
        delivery="member",
        history="durable",
        push=True,
        read="members",
        write="members",
        create="users",
        members=2,
    ),
    "group": Namespace(
        delivery="member", history="durable", push=True, read="members", write="members", create="users"
    ),
    "room": Namespace(
        history="recent", presence="count", echo=True, read="anyone", write="anyone", retention_messages=1000
    ),
    "user": Namespace(
        delivery="member",
        history="durable",
        push=True,
        read="owner",
        write="backend",
        members=1,
        retention_days=90,
    ),
    "presence": Namespace(history="none", conflate=True, read="users", write="nobody"),
    "track": Namespace(history="durable", conflate=True, read="users", write="owner", retention_days=30),
    "area": Namespace(history="none", conflate=True, read="users", write="nobody"),
    "event": Namespace(history="recent", read="users", write="backend", retention_messages=1000),
}
