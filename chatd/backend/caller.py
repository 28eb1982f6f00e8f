"""Who asks for an operation: a key of a backend, or a person with a role; and what it may do."""

from collections.abc import Collection

import msgspec

from chatd.backend.actions import BackendAction, actions_of, known_actions
from chatd.rights import Address, Denied
from protocol.codes import ErrorCode
from protocol.names import UserId
from storage.records import ApiKeyRecord, UserRecord

BACKEND = UserId("backend")
"""The sender of what backends write, unless they name another. Nobody can register this name."""


class Caller(msgspec.Struct, frozen=True, gc=False):
    """A key or a person. `namespaces` is None where all may be touched; `actor` is what the audit calls it."""

    actor: str
    sender: UserId
    actions: Collection[BackendAction]
    namespaces: Collection[str] | None
    key_id: str = ""  # empty for people

    def require(self, action: BackendAction) -> None:
        """Return if this may be done at all.

        Raises:
            Denied: It may not.
        """
        if action not in self.actions:
            raise Denied(ErrorCode.FORBIDDEN, f"this needs the action `{action.value}`")

    def require_in(self, action: BackendAction, address: Address) -> None:
        """Return if this may be done in a channel.

        Raises:
            Denied: It may not.
        """
        self.require(action)
        if self.namespaces is not None and address.namespace_name not in self.namespaces:
            raise Denied(ErrorCode.FORBIDDEN, f"the namespace `{address.namespace_name}` is not among this key's")

    def sender_for(self, name: UserId | None) -> UserId:
        """Return who a message is from: the backend itself, or the user it names and may speak for.

        Raises:
            Denied: It may not.
        """
        if name is None or name == self.sender:
            return self.sender
        self.require(BackendAction.PUBLISH_AS)
        return name


def caller_of_key(record: ApiKeyRecord) -> Caller:
    """Return what a key may do; whether it is valid now is for who asks to know."""
    return Caller(
        actor=f"key:{record.key_id}",
        sender=BACKEND,
        actions=known_actions(record.actions),
        namespaces=None if "*" in record.namespaces else frozenset(record.namespaces),
        key_id=record.key_id,
    )


def caller_of_person(user: UserRecord) -> Caller:
    """Return what a person may do by the roles of the account.

    Raises:
        Denied: The account is suspended, or has no role.
    """
    actions = actions_of(user.roles)
    if user.is_suspended or not actions:
        raise Denied(ErrorCode.FORBIDDEN, "this needs an API key, or an account with a role")
    return Caller(actor=f"user:{user.user}", sender=user.user, actions=actions, namespaces=None)
