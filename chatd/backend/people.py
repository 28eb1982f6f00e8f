"""Accounts, made and kept by backends and by people with a role: create, import, suspend, erase, list, give roles."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

import msgspec
from argon2 import extract_parameters
from argon2.exceptions import InvalidHashError

from chatd.accounts.accounts import Accounts
from chatd.accounts.errors import AccountError
from chatd.accounts.names import new_name
from chatd.backend.actions import ROLES, BackendAction
from chatd.backend.audit import Audit
from chatd.backend.caller import Caller
from chatd.backend.sessions import Sessions
from chatd.groups import Groups
from chatd.rights import Denied, Directory
from protocol.codes import ErrorCode
from protocol.names import UserId, is_user_id
from storage import AlreadyExists, Store
from storage.records import UserRecord

# A hash from elsewhere says itself how much work checking it is; these bound what one login may cost.
_MOST_HASH_KIB = 262_144
_MOST_HASH_PASSES = 16
_MOST_HASH_LANES = 16
_HASH_LENGTH = 512

_PAGE = 200


class ImportedUser(msgspec.Struct, frozen=True):
    """An account from elsewhere. `password_hash` is an argon2 hash in PHC format; without one nobody can log in."""

    user: str
    password_hash: str | None = None
    created_at: int | None = None
    is_suspended: bool = False


class People:
    """Makes and changes accounts for callers. Raises `Denied`, `AccountError` and `StoreError`."""

    def __init__(
        self,
        store: Store,
        accounts: Accounts,
        groups: Groups,
        directory: Directory,
        audit: Audit,
        sessions: Sessions,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._groups = groups
        self._directory = directory
        self._audit = audit
        self._sessions = sessions
        self._clock = clock  # Unix seconds

    async def page(self, caller: Caller, after: UserId | None, limit: int) -> tuple[list[UserRecord], bool]:
        """Return accounts that follow `after` in the store's order, and whether there are more."""
        caller.require(BackendAction.USERS)
        found = await self._store.users(after=after, limit=limit + 1)
        return found[:limit], len(found) > limit

    async def get(self, caller: Caller, user: str) -> UserRecord:
        """Return an account."""
        caller.require(BackendAction.USERS)
        return await self._accounts.user(user)

    async def create(self, caller: Caller, name: str, password: str | None) -> UserRecord:
        """Make an account, whether people may register by themselves or not. Without a password nobody can log in."""
        caller.require(BackendAction.USERS_CHANGE)
        record = await self._accounts.create(name, password)
        await self._audit.note(caller, "user.create", record.user)
        return record

    async def import_many(self, caller: Caller, users: Sequence[ImportedUser]) -> list[str]:
        """Make accounts with the hashes of their passwords; return for each `created`, `exists` or why it cannot be."""
        caller.require(BackendAction.USERS_CHANGE)
        outcomes = [await self._import(user) for user in users]
        await self._audit.note(caller, "user.import", "", created=outcomes.count("created"), of=len(users))
        return outcomes

    async def _import(self, user: ImportedUser) -> str:
        try:
            name = new_name(user.user)
        except AccountError as error:
            return str(error)
        if name != user.user:
            return "a name has no capitals"
        if user.password_hash is not None and not _is_usable(user.password_hash):
            return "the password's hash is no argon2 hash, or checking it would take too much"
        record = UserRecord(
            user=name,
            password_hash=user.password_hash,
            created_at=self._now() if user.created_at is None else user.created_at,
            is_suspended=user.is_suspended,
        )
        try:
            await self._store.add_user(record)
        except AlreadyExists:
            return "exists"
        return "created"

    async def suspend(self, caller: Caller, user: str) -> None:
        """Let an account in no more: its devices are revoked and its sessions close, on all nodes."""
        caller.require(BackendAction.USERS_SUSPEND)
        record = await self._accounts.suspend(user)
        await self._sessions.close_all(record.user)
        await self._audit.note(caller, "user.suspend", record.user)

    async def unsuspend(self, caller: Caller, user: str) -> None:
        """Let an account in again; on each device its owner logs in anew."""
        caller.require(BackendAction.USERS_SUSPEND)
        record = await self._accounts.unsuspend(user)
        await self._audit.note(caller, "user.unsuspend", record.user)

    async def erase(self, caller: Caller, user: str) -> None:
        """Remove an account and what belongs to it; what it wrote stays in the channels.

        First its sessions close and it leaves its groups, each of which is told; then the account goes. Killed in
        between, it is done again from the start.
        """
        caller.require(BackendAction.USERS_ERASE)
        record = await self._accounts.suspend(user)
        await self._sessions.close_all(record.user)
        await self._leave_groups(caller, record.user)
        await self._store.erase_user(record.user)
        await self._audit.note(caller, "user.erase", record.user)

    async def _leave_groups(self, caller: Caller, user: UserId) -> None:
        limit = _PAGE
        while True:
            found = await self._store.memberships(user, since=0, limit=limit)
            for membership in found:
                with suppress(Denied):  # not to be changed: a direct chat, or of a namespace that is no more
                    address = self._directory.find(membership.channel)
                    await self._groups.set_members(caller.sender, address, {}, [user])
            if len(found) < limit:
                return
            limit += _PAGE  # direct chats stay in the list until the account goes, and would hide what follows

    async def set_roles(self, caller: Caller, user: str, roles: Collection[str]) -> UserRecord:
        """Say what a person may do by the server API."""
        caller.require(BackendAction.USERS_ROLES)
        unknown = sorted(set(roles) - ROLES.keys())
        if unknown:
            raise Denied(ErrorCode.BAD_REQUEST, f"there is no role {unknown[0]!r}: {', '.join(ROLES)}")
        if not is_user_id(user):
            raise Denied(ErrorCode.UNKNOWN_USER, "that is no user id")
        record = await self._accounts.user(user)
        changed = msgspec.structs.replace(record, roles=tuple(sorted(set(roles))))
        await self._store.put_user(changed)
        await self._audit.note(caller, "user.roles", record.user, roles=",".join(changed.roles))
        return changed

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _is_usable(password_hash: str) -> bool:
    if len(password_hash) > _HASH_LENGTH or not password_hash.isascii():
        return False
    try:
        parameters = extract_parameters(password_hash)
    except (InvalidHashError, ValueError):
        return False
    return (
        8 <= parameters.memory_cost <= _MOST_HASH_KIB
        and 1 <= parameters.time_cost <= _MOST_HASH_PASSES
        and 1 <= parameters.parallelism <= _MOST_HASH_LANES
    )
