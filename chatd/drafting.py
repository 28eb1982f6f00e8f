"""From what a client wants to write to a draft that may be published, or the reason why not."""

from collections.abc import Collection

from chatd.accounts.principal import Principal
from chatd.broker import Draft, Refused
from chatd.groups import Groups
from chatd.rights import Action, Address, Denied, Directory, is_allowed
from protocol.body import Body
from protocol.codes import ErrorCode
from protocol.names import UserId, is_key
from storage import StoreError

_RETRY_SECONDS = 1.0


class Drafting:
    """Checks names, rights and sizes of messages. A refusal is returned, not raised."""

    def __init__(self, directory: Directory, groups: Groups) -> None:
        self._directory = directory
        self._groups = groups

    def at_once(
        self, principal: Principal, channel: str, key: str, body: Body, retry: bool, origin: str
    ) -> Draft | Refused | None:
        """Return the draft or the refusal; None if the store has to be asked for the channel's members first."""
        try:
            address = self._directory.find(channel)
        except Denied as error:
            return Refused(error.code, str(error))
        members = self._groups.known_writers(address) if address.is_member_channel else ()
        if members is None:
            return None
        return _checked(principal, address, members, key, body, retry, origin)

    async def later(
        self, principal: Principal, channel: str, key: str, body: Body, retry: bool, origin: str
    ) -> Draft | Refused:
        """Return the draft or the refusal; asks the store, and begins a direct chat that is not there yet."""
        try:
            address = self._directory.find(channel)
            members = await self._groups.writers(principal, address) if address.is_member_channel else ()
        except Denied as error:
            return Refused(error.code, str(error))
        except StoreError as error:
            return Refused(ErrorCode.UNAVAILABLE, str(error), _RETRY_SECONDS)
        return _checked(principal, address, members, key, body, retry, origin)


def _checked(
    principal: Principal,
    address: Address,
    members: Collection[UserId],
    key: str,
    body: Body,
    retry: bool,
    origin: str,
) -> Draft | Refused:
    namespace = address.namespace
    if not is_allowed(principal, namespace.write, address, members):
        return Refused(ErrorCode.FORBIDDEN, f"you may not {Action.WRITE} here")
    if not is_key(key):
        return Refused(ErrorCode.BAD_REQUEST, "`key` is 1 to 128 printable ASCII characters without space")
    if len(body.raw) > namespace.data_bytes:
        return Refused(ErrorCode.TOO_LARGE, f"`data` may have {namespace.data_bytes} bytes here")
    return Draft(
        channel=address.name,
        sender=principal.user,
        key=key,
        body=body,
        retry=retry,
        origin="" if namespace.echo else origin,
        audience=members,
    )
