"""Who may do what in which channel: the name is looked up once, the right is asked for every command."""

from collections.abc import Container
from enum import StrEnum

import msgspec

from chatd.accounts.principal import Principal
from chatd.config import Namespace, Who
from chatd.settings import Settings
from protocol.codes import ErrorCode
from protocol.names import ChannelName, UserId, is_user_id, split_channel

# Names that were looked up are kept, this many; then the memory of them begins anew.
_REMEMBERED = 100_000


class Denied(Exception):
    """The command is not allowed. Carries the code and the reason of the answer."""

    def __init__(self, code: ErrorCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Action(StrEnum):
    """What a right is needed for; the value is the namespace's key that says who has it."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"


class Address(msgspec.Struct, frozen=True, gc=False):
    """A well-formed channel name: its namespace's rules, and for a direct chat its two users."""

    name: ChannelName
    namespace_name: str
    namespace: Namespace
    rest: str
    pair: tuple[UserId, UserId] | None
    is_member_channel: bool  # it goes to members wherever they are, instead of to who subscribes


class Directory:
    """Turns names into addresses."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.known: dict[str, Address] = {}
        """What was looked up lately; emptied when the namespaces change."""

    def forget(self) -> None:
        """Look every name up again: the namespaces changed."""
        self.known.clear()

    def find(self, name: str) -> Address:
        """Return what the name says.

        Raises:
            Denied: It is malformed, or its namespace does not exist.
        """
        known = self.known.get(name)
        if known is not None:
            return known
        address = self._look_up(name)
        if len(self.known) >= _REMEMBERED:
            self.known.clear()
        self.known[name] = address
        return address

    def _look_up(self, name: str) -> Address:
        parts = split_channel(name)
        if parts is None:
            raise Denied(ErrorCode.UNKNOWN_CHANNEL, "a channel is called NAMESPACE:NAME")
        namespace_name, rest = parts
        namespace = self._settings.namespaces.get(namespace_name)
        if namespace is None:
            raise Denied(ErrorCode.UNKNOWN_CHANNEL, "no such namespace")
        pair = _pair(rest) if namespace_name == "dm" else None
        return Address(ChannelName(name), namespace_name, namespace, rest, pair, namespace.delivery == "member")


def _pair(rest: str) -> tuple[UserId, UserId]:
    one, _, other = rest.partition(":")
    if not (is_user_id(one) and is_user_id(other) and one < other):
        raise Denied(ErrorCode.UNKNOWN_CHANNEL, "a direct chat is called dm:ONE:OTHER, the two ids in order")
    return UserId(one), UserId(other)


def require(principal: Principal, action: Action, address: Address, members: Container[UserId]) -> None:
    """Return if the principal may do this in this channel.

    Raises:
        Denied: It may not. Who is no member of a member channel is not told whether it exists.
    """
    if not is_allowed(principal, getattr(address.namespace, action), address, members):
        raise Denied(ErrorCode.FORBIDDEN, f"you may not {action} here")


def is_allowed(principal: Principal, who: Who, address: Address, members: Container[UserId]) -> bool:
    """Tell whether the principal is among those who may."""
    match who:
        case "anyone":
            return True
        case "users":
            return not principal.is_guest
        case "members":
            return principal.user in members
        case "owner":
            return principal.user == address.rest
        case "backend" | "nobody":
            return False


def require_backend(action: Action, address: Address) -> None:
    """Return if a backend may do this in this channel: it may wherever somebody may, as far as its key goes.

    Raises:
        Denied: Nobody may; only chatd itself writes such channels.
    """
    if getattr(address.namespace, action) == "nobody":
        raise Denied(ErrorCode.FORBIDDEN, f"nobody may {action} here")
