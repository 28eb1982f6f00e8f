"""Member channels: who belongs to them, who may change that, and how the change becomes a message.

The store is changed first, then this node's memory, then everybody is told by a message of kind "members" in the
channel itself. A crash in between costs only that message: who asks for the members gets the right ones.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from weakref import WeakValueDictionary

import trio

from chatd.accounts.principal import Principal
from chatd.broker import Broker, Draft
from chatd.members import Members, Roles
from chatd.rights import Action, Address, Denied, Directory, require, require_backend
from protocol.body import json_body
from protocol.codes import ErrorCode
from protocol.names import ChannelName, UserId, is_user_id
from storage import AlreadyExists, Store, StoreError
from storage.records import Role

MEMBERS_KIND = "members"

_RANK = {Role.OWNER: 3, Role.ADMIN: 2, Role.MEMBER: 1}


class Groups:
    """Makes and changes member channels on behalf of principals.

    Its methods raise `Denied` where the principal may not, and `StoreError` where the store fails.
    """

    def __init__(
        self,
        store: Store,
        members: Members,
        directory: Directory,
        clock: Callable[[], float],
        new_key: Callable[[], str],
        *,
        users_are_here: bool,
    ) -> None:
        self._store = store
        self._members = members
        self._directory = directory
        self._clock = clock  # Unix seconds
        self._new_key = new_key
        self._users_are_here = users_are_here  # False: an outside issuer knows the users, the store does not
        self._turns: WeakValueDictionary[ChannelName, trio.Lock] = WeakValueDictionary()
        self.broker: Broker  # set by the server

    # Looking.

    async def roles(self, principal: Principal, address: Address) -> Roles:
        """Return the members of a channel that the principal may read."""
        roles = await self._members.get(address)
        require(principal, Action.READ, address, address.pair or roles)
        if address.pair is not None:
            return dict.fromkeys(address.pair, Role.MEMBER)
        return roles

    def known_writers(self, address: Address) -> Collection[UserId] | None:
        """Return who may write to a member channel and gets what is written; None if `writers` must be asked."""
        if address.pair is not None:
            return address.pair if self._members.known(address) else None
        return self._members.known(address)

    async def writers(self, principal: Principal, address: Address) -> Collection[UserId]:
        """Return who may write and gets what is written; the first message of a direct chat makes the chat."""
        roles = await self._members.get(address)
        if address.pair is None:
            return roles
        if not roles and principal.user in address.pair:
            require(principal, Action.CREATE, address, ())
            await self._begin_direct(address, address.pair, [user for user in address.pair if user != principal.user])
        return address.pair

    # Changing.

    async def create(self, principal: Principal, address: Address, members: Collection[str]) -> None:
        """Make a channel; the principal owns it."""
        require(principal, Action.CREATE, _makeable(address), ())
        if await self._store.head(address.name) is not None:
            # Everybody left it, but what was said there is kept, and none of a newcomer's business.
            raise Denied(ErrorCode.NAME_TAKEN, "a channel of this name existed")
        roles = dict.fromkeys(await self._known_users(members), Role.MEMBER) | {principal.user: Role.OWNER}
        await self._make(principal.user, address, roles)

    async def invite(self, principal: Principal, address: Address, users: Collection[str], role: Role) -> None:
        """Add users, or change the roles of members. Owners do all; admins add and keep members."""
        async with self._turn(address):
            roles = await self._changeable(principal, address)
            rank = _RANK[roles[principal.user]]
            put = dict.fromkeys(await self._known_users(users), role)
            highest = max([_RANK[role], *(_RANK[roles[user]] for user in put if user in roles)])
            if rank < _RANK[Role.ADMIN] or highest >= rank:
                raise Denied(ErrorCode.FORBIDDEN, "your role does not allow it")
            _check_size(address, len(roles.keys() | put.keys()))
            await self._change(principal.user, address, put, ())

    async def remove(self, principal: Principal, address: Address, users: Collection[str]) -> None:
        """Take users out: oneself always, others by who ranks above them. An owner who leaves hands over."""
        async with self._turn(address):
            roles = await self._changeable(principal, address)
            gone = [UserId(user) for user in dict.fromkeys(users) if user in roles]
            rank = _RANK[roles[principal.user]]
            others = [user for user in gone if user != principal.user]
            if others and (rank < _RANK[Role.ADMIN] or any(_RANK[roles[user]] >= rank for user in others)):
                raise Denied(ErrorCode.FORBIDDEN, "your role does not allow it")
            await self._change(principal.user, address, _heir(roles, gone), gone)

    def _turn(self, address: Address) -> trio.Lock:
        """Let changes of one channel be made one after the other: each is checked against the roles it changes."""
        return self._turns.setdefault(address.name, trio.Lock())

    # For backends: what their keys allow was checked before, and no role in the channel counts.

    async def roles_of(self, address: Address) -> Roles:
        """Return the members of a member channel; empty when nobody made it."""
        if address.pair is not None:
            return dict.fromkeys(address.pair, Role.MEMBER)
        return await self._members.get(address)

    async def audience(self, address: Address) -> Collection[UserId]:
        """Return who gets what a backend writes; its first message to a direct chat makes the chat."""
        roles = await self._members.get(address)
        if address.pair is not None:
            if not roles:
                require_backend(Action.CREATE, address)
                await self._begin_direct(address, address.pair, address.pair)
            return address.pair
        if not roles:
            raise Denied(ErrorCode.UNKNOWN_CHANNEL, "nobody made this channel")
        return roles

    async def make(self, sender: UserId, address: Address, roles: Mapping[str, Role]) -> None:
        """Make a channel with these members."""
        require_backend(Action.CREATE, _makeable(address))
        known = await self._known_users(roles)
        await self._make(sender, address, {user: roles[user] for user in known})

    async def set_members(
        self, sender: UserId, address: Address, put: Mapping[str, Role], remove: Collection[str]
    ) -> Roles:
        """Add members or change their roles, and take others out; return who belongs to the channel then."""
        async with self._turn(address):
            _check_changeable(address)
            roles = await self._members.get(address)
            if not roles:
                raise Denied(ErrorCode.UNKNOWN_CHANNEL, "nobody made this channel")
            added = {user: put[user] for user in await self._known_users(put)}
            gone = [UserId(user) for user in dict.fromkeys(remove) if user in roles and user not in added]
            after = {user: role for user, role in {**roles, **added}.items() if user not in gone}
            _check_size(address, len(after))
            await self._change(sender, address, added | _heir(after, ()), gone)
            return await self._members.get(address)

    async def _make(self, sender: UserId, address: Address, roles: Roles) -> None:
        _check_size(address, len(roles))
        try:
            await self._store.create_channel(address.name, roles, self._now())
        except AlreadyExists as error:
            raise Denied(ErrorCode.NAME_TAKEN, "a channel of this name exists") from error
        except StoreError:
            self._members.forget(address.name)  # whether it was made is not known
            raise
        self._members.changed(address.name, roles, ())
        await self._tell(sender, address, roles, ())

    async def _changeable(self, principal: Principal, address: Address) -> Roles:
        _check_changeable(address)
        roles = await self._members.get(address)
        if principal.user not in roles:
            raise Denied(ErrorCode.FORBIDDEN, "you are no member of this channel")
        return roles

    async def _change(self, sender: UserId, address: Address, put: Roles, remove: Collection[UserId]) -> None:
        try:
            await self._store.change_members(address.name, put=put, remove=remove, at=self._now())
        except StoreError:
            self._members.forget(address.name)  # whether it was changed is not known
            raise
        self._members.changed(address.name, put, remove)
        await self._tell(sender, address, put, remove)

    async def _tell(
        self, sender: UserId, address: Address, put: Mapping[UserId, Role], remove: Collection[UserId]
    ) -> None:
        members = await self._members.get(address)
        draft = Draft(
            channel=address.name,
            sender=sender,
            key=f"members-{self._new_key()}",
            body=json_body({"put": put, "remove": list(remove)}),
            kind=MEMBERS_KIND,
            audience=[*members, *remove],
        )
        await self.broker.publish([draft])

    async def _begin_direct(self, address: Address, pair: tuple[UserId, UserId], strangers: Collection[UserId]) -> None:
        await self._known_users(strangers)
        roles = dict.fromkeys(pair, Role.MEMBER)
        with suppress(AlreadyExists):  # the other one was quicker
            await self._store.create_channel(address.name, roles, self._now())
        self._members.changed(address.name, roles, ())

    async def _known_users(self, users: Iterable[str]) -> list[UserId]:
        """Return the ids, if every one of them is a user."""
        ids = [UserId(user) for user in dict.fromkeys(users)]
        for user in ids:
            if not is_user_id(user):
                raise Denied(ErrorCode.UNKNOWN_USER, "that is no user id")
            record = await self._store.user(user) if self._users_are_here else None
            # An id that differs from the account's in case only would make a second chat with the same user.
            if self._users_are_here and (record is None or record.user != user):
                raise Denied(ErrorCode.UNKNOWN_USER, f"there is no user {user}")
        return ids

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _makeable(address: Address) -> Address:
    """Return the address, if channels like it are made by somebody.

    Raises:
        Denied: They are not.
    """
    if not address.is_member_channel or address.pair is not None or address.namespace.members == 1:
        raise Denied(ErrorCode.FORBIDDEN, "channels of this namespace are not made by a command")
    return address


def _check_changeable(address: Address) -> None:
    if not address.is_member_channel or address.pair is not None or address.namespace.members == 1:
        raise Denied(ErrorCode.FORBIDDEN, "the members of this channel cannot be changed")


def _check_size(address: Address, size: int) -> None:
    if size > address.namespace.members:
        raise Denied(ErrorCode.TOO_MANY_MEMBERS, f"a channel here has at most {address.namespace.members} members")


def _heir(roles: Roles, gone: Collection[UserId]) -> dict[UserId, Role]:
    """Say who owns the channel when its last owner goes: the first by rank, then by name."""
    stay = {user: role for user, role in roles.items() if user not in gone}
    if not stay or Role.OWNER in stay.values():
        return {}
    heir = min(stay, key=lambda user: (-_RANK[stay[user]], user))
    return {heir: Role.OWNER}
