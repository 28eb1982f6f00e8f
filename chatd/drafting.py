"""From what a client wants to write to a draft that may be published, or the reason why not."""

from collections.abc import Collection, Sequence

import msgspec

from chatd.accounts.principal import Principal
from chatd.broker import RETRY_SECONDS, Draft, Refused
from chatd.groups import Groups
from chatd.rights import Action, Address, Denied, Directory, is_allowed
from protocol.body import Body, BodyError, Encoding, accept
from protocol.codes import ErrorCode
from protocol.messages import Send
from protocol.names import UserId, is_key
from storage import StoreError


class Permit(msgspec.Struct, frozen=True, gc=False):
    """The right to write to a channel, now: good for the messages of one read, and who they go to."""

    sender: UserId
    address: Address
    audience: Collection[UserId]


class Drafting:
    """Checks names, rights and sizes of messages. A refusal is returned, not raised."""

    def __init__(self, directory: Directory, groups: Groups) -> None:
        self._directory = directory
        self._groups = groups

    def current(self, channel: str) -> Address | None:
        """Return the address that the name stands for now, if it was looked up lately."""
        return self._directory.known.get(channel)

    def permit_now(self, principal: Principal, channel: str) -> Permit | Refused | None:
        """Return the right to write to the channel; None if the store has to be asked who its members are."""
        try:
            address = self._directory.find(channel)
        except Denied as error:
            return Refused(error.code, str(error))
        members = self._groups.known_writers(address) if address.is_member_channel else ()
        permit = None if members is None else _permit(principal, address, members)
        # Who was just let in by another node is refused only by members that were compared with the newest.
        return None if isinstance(permit, Refused) and address.is_member_channel else permit

    async def permit(self, principal: Principal, channel: str) -> Permit | Refused:
        """Return the right to write to the channel; begins a direct chat that is not there yet."""
        try:
            address = self._directory.find(channel)
            members = await self._groups.writers(principal, address) if address.is_member_channel else ()
        except Denied as error:
            return Refused(error.code, str(error))
        except StoreError as error:
            return Refused(ErrorCode.UNAVAILABLE, str(error), RETRY_SECONDS)
        return _permit(principal, address, members)


def _permit(principal: Principal, address: Address, members: Collection[UserId]) -> Permit | Refused:
    if not is_allowed(principal, address.namespace.write, address, members):
        return Refused(ErrorCode.FORBIDDEN, f"you may not {Action.WRITE} here")
    return Permit(principal.user, address, members)


def drafts_at_once(permit: Permit, commands: Sequence[Send], encoding: Encoding, origin: str) -> list[Draft]:
    """Return the drafts of a session's commands, up to the first that the permit is not for, or that is refused.

    The hot path of `draft_of_command`, which says why one is refused.
    """
    address, sender, audience = permit.address, permit.sender, permit.audience
    channel, namespace = address.name, address.namespace
    most, not_to = namespace.data_bytes, "" if namespace.echo else origin
    drafts: list[Draft] = []
    try:
        for command in commands:
            key = command.key
            if command.channel != channel or not is_key(key):
                break
            body = accept(encoding, bytes(command.data))
            if len(body.raw) > most:
                break
            drafts.append(
                Draft(
                    channel=channel,
                    sender=sender,
                    key=key,
                    body=body,
                    retry=command.retry,
                    origin=not_to,
                    audience=audience,
                )
            )
    except BodyError:
        pass
    return drafts


def draft_of_command(permit: Permit, command: Send, encoding: Encoding, origin: str) -> Draft | Refused:
    """Return the draft of a session's command."""
    try:
        body = accept(encoding, bytes(command.data))
    except BodyError as error:
        return Refused(ErrorCode.BAD_REQUEST, str(error))
    return draft(permit, command.key, body, command.retry, origin)


def draft(permit: Permit, key: str, body: Body, retry: bool, origin: str) -> Draft | Refused:
    """Return the draft of a message; `origin` is the session that sent it, if one did."""
    if not is_key(key):
        return Refused(ErrorCode.BAD_REQUEST, "`key` is 1 to 128 printable ASCII characters without space")
    address = permit.address
    namespace = address.namespace
    if len(body.raw) > namespace.data_bytes:
        return Refused(ErrorCode.TOO_LARGE, f"`data` may have {namespace.data_bytes} bytes here")
    return Draft(
        channel=address.name,
        sender=permit.sender,
        key=key,
        body=body,
        retry=retry,
        origin="" if namespace.echo else origin,
        audience=permit.audience,
    )
