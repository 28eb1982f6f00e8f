"""Members of channels, seen and changed by backends; no role in the channel counts, only what the key allows."""

from collections.abc import Collection, Mapping

from chatd.backend.actions import BackendAction
from chatd.backend.audit import Audit
from chatd.backend.caller import Caller
from chatd.groups import Groups
from chatd.members import Roles
from chatd.rights import Address, Denied, Directory
from protocol.codes import ErrorCode
from storage.records import Role


class Membership:
    """Sees and changes members. Raises `Denied` where the caller may not, `StoreError` where the store fails."""

    def __init__(self, groups: Groups, directory: Directory, audit: Audit) -> None:
        self._groups = groups
        self._directory = directory
        self._audit = audit

    async def members(self, caller: Caller, channel: str) -> Roles:
        """Return the members of a channel and their roles."""
        address = self._address(caller, BackendAction.MEMBERS, channel)
        roles = await self._groups.roles_of(address)
        if not roles:
            raise Denied(ErrorCode.UNKNOWN_CHANNEL, "nobody made this channel")
        return roles

    async def create(self, caller: Caller, channel: str, members: Mapping[str, Role]) -> None:
        """Make a channel with these members, of whom one owns it: the first by name, if none is said to."""
        address = self._address(caller, BackendAction.MEMBERS_CHANGE, channel)
        if not members:
            raise Denied(ErrorCode.BAD_REQUEST, "a channel has one member at least")
        roles = dict(members)
        if Role.OWNER not in roles.values():
            roles[min(roles)] = Role.OWNER
        await self._groups.make(caller.sender, address, roles)
        await self._audit.note(caller, "channel.create", address.name, members=len(roles))

    async def change(self, caller: Caller, channel: str, put: Mapping[str, Role], remove: Collection[str]) -> Roles:
        """Add members or change their roles, and take others out; return who belongs to it then."""
        address = self._address(caller, BackendAction.MEMBERS_CHANGE, channel)
        roles = await self._groups.set_members(caller.sender, address, put, remove)
        await self._audit.note(caller, "channel.members", address.name, put=",".join(put), remove=",".join(remove))
        return roles

    def _address(self, caller: Caller, action: BackendAction, channel: str) -> Address:
        address = self._directory.find(channel)
        caller.require_in(action, address)
        if not address.is_member_channel:
            raise Denied(ErrorCode.FORBIDDEN, "this channel has no members")
        return address
