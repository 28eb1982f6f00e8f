"""What may be done to a deployment from outside: the actions that keys and roles are made of."""

from collections.abc import Iterable
from enum import StrEnum


class BackendAction(StrEnum):
    """One thing that a key or a role allows. Its value is what is written in keys, and never changes."""

    PUBLISH = "publish"  # publish, schedule, cancel what is scheduled
    PUBLISH_AS = "publish_as"  # publish in the name of a user
    HISTORY = "history"  # read messages, subscribe to channels
    PRESENCE = "presence"  # ask who is there
    CHANNELS = "channels"  # list channels, see what they are
    MEMBERS = "members"  # see members and their roles
    MEMBERS_CHANGE = "members.change"  # make channels with members, change members
    USERS = "users"  # list and look up accounts
    USERS_CHANGE = "users.change"  # create and import accounts
    USERS_SUSPEND = "users.suspend"  # suspend accounts, and let them in again
    USERS_ERASE = "users.erase"  # erase accounts and all that belongs to them
    USERS_ROLES = "users.roles"  # give people roles: whoever may, may do everything in the end
    SESSIONS = "sessions"  # list sessions
    SESSIONS_CHANGE = "sessions.change"  # end sessions and devices, subscribe and unsubscribe them
    TOKENS = "tokens"  # sign tokens for one subscription
    CONFIG = "config"  # read the namespaces in force
    KEYS = "keys"  # list keys
    KEYS_CHANGE = "keys.change"  # make, rotate and revoke keys
    AUDIT = "audit"  # read who changed what
    WEBHOOKS = "webhooks"  # see what was delivered to webhooks and what was not
    WEBHOOKS_CHANGE = "webhooks.change"  # deliver dead letters again, or drop them
    PUSH = "push"  # see what was pushed and what was not
    PUSH_CHANGE = "push.change"  # push, deliver dead letters again, or drop them


EVERYTHING = frozenset(BackendAction)

_READING = {
    BackendAction.PRESENCE,
    BackendAction.CHANNELS,
    BackendAction.MEMBERS,
    BackendAction.USERS,
    BackendAction.SESSIONS,
}

ROLES: dict[str, frozenset[BackendAction]] = {
    "admin": EVERYTHING,
    "moderator": frozenset(
        {
            *_READING,
            BackendAction.HISTORY,
            BackendAction.MEMBERS_CHANGE,
            BackendAction.USERS_SUSPEND,
            BackendAction.SESSIONS_CHANGE,
        }
    ),
    "support": frozenset({*_READING, BackendAction.SESSIONS_CHANGE, BackendAction.CONFIG}),
    "auditor": frozenset(
        {
            *_READING,
            BackendAction.CONFIG,
            BackendAction.KEYS,
            BackendAction.AUDIT,
            BackendAction.WEBHOOKS,
            BackendAction.PUSH,
        }
    ),
}
"""What people may do whose accounts have these roles; with several, all of what each of them allows."""


def actions_of(roles: Iterable[str]) -> frozenset[BackendAction]:
    """Return what all these roles allow together. One that is not known allows nothing."""
    return frozenset[BackendAction]().union(*(ROLES.get(role, frozenset()) for role in roles))


def known_actions(names: Iterable[str]) -> frozenset[BackendAction]:
    """Return the actions of these names; `*` is all. A name that this version does not know allows nothing."""
    given = set(names)
    return EVERYTHING if "*" in given else frozenset(action for action in BackendAction if action.value in given)
