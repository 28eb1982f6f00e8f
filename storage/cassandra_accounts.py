"""Accounts and devices in Cassandra.

Their rows are changed under conditions only (lightweight transactions): a write without one has a timestamp of another
clock than a write with one, and the two must not meet in a row.
"""

from functools import partial
from zlib import crc32

from protocol.names import DeviceId, UserId
from storage import AlreadyExists
from storage.cassandra_batches import at_once, read_in
from storage.cassandra_records import RecordTable
from storage.cassandra_session import Session
from storage.records import DeviceRecord, UserRecord

REVOCATION_SHARDS = 8

USERS = RecordTable("users", UserRecord)
DEVICES = RecordTable("devices", DeviceRecord)

_ADD_USER = USERS.insert.replace('("user"', '(name, "user"').replace("VALUES (", "VALUES (?, ") + " IF NOT EXISTS"
_READ_USER = f"{USERS.select} WHERE name = ?"
_PUT_USER = """
UPDATE users SET password_hash = ?, created_at = ?, is_guest = ?, is_suspended = ?, roles = ? WHERE name = ? IF EXISTS
"""
_FIRST_USERS = f"{USERS.select} LIMIT ?"
_NEXT_USERS = f"{USERS.select} WHERE token(name) > token(?) LIMIT ?"
_ERASE_USER = "DELETE FROM users WHERE name = ? IF EXISTS"

_SET = ", ".join(f"{column} = ?" for column in DEVICES.columns[1:])
# A column that is not there differs from every value: this condition holds for a new device too.
_PUT_DEVICE = f"UPDATE devices SET {_SET} WHERE device = ? IF generation != -1"
_ROTATE = f"UPDATE devices SET {_SET} WHERE device = ? IF generation = ? AND revoked_at = null"
_REVOKE = "UPDATE devices SET revoked_at = ? WHERE device = ? IF generation = ? AND revoked_at = null"
_READ_DEVICE = f"{DEVICES.select} WHERE device = ?"
_READ_DEVICES = f"{DEVICES.select} WHERE device IN ?"
_ERASE_DEVICE = "DELETE FROM devices WHERE device = ? IF EXISTS"
_LIST_DEVICE = "INSERT INTO devices_by_user (user, device) VALUES (?, ?)"
_LISTED_DEVICES = "SELECT device FROM devices_by_user WHERE user = ?"
_UNLIST_DEVICES = "DELETE FROM devices_by_user WHERE user = ?"
_NOTE_REVOKED = "INSERT INTO revocations (shard, revoked_at, device) VALUES (?, ?, ?) USING TTL ?"
_REVOKED = "SELECT device FROM revocations WHERE shard IN ? AND revoked_at >= ?"

_ROUNDS = 20


class Accounts:
    """Reads and changes accounts and devices."""

    def __init__(self, session: Session) -> None:
        self._session = session

    # Accounts.

    async def add_user(self, record: UserRecord) -> None:
        """Insert an account, or raise AlreadyExists."""
        answer = await self._session.change(_ADD_USER, (_name(record.user), *USERS.row(record)))
        if not answer[0]:
            raise AlreadyExists(f"the name {record.user} is in use")

    async def load_user(self, record: UserRecord) -> None:
        """Make or replace an account."""
        answer = await self._session.change(_ADD_USER, (_name(record.user), *USERS.row(record)))
        if not answer[0]:
            await self.put_user(record)

    async def put_user(self, record: UserRecord) -> None:
        """Replace an account's record; the name stays as it was first written."""
        _, *values = USERS.row(record)
        await self._session.change(_PUT_USER, (*values, _name(record.user)))

    async def user(self, user: UserId) -> UserRecord | None:
        """Read an account."""
        found = USERS.records(await self._session.read(_READ_USER, (_name(user),)))
        return found[0] if found else None

    async def users(self, after: UserId | None, limit: int) -> list[UserRecord]:
        """Read accounts in the order of the hashes of their names, which is that of the partitions."""
        if after is None:
            return USERS.records(await self._session.read(_FIRST_USERS, (limit,)))
        return USERS.records(await self._session.read(_NEXT_USERS, (_name(after), limit)))

    async def erase_account(self, user: UserId) -> None:
        """Remove an account's row."""
        await self._session.change(_ERASE_USER, (_name(user),))

    # Devices.

    async def put_device(self, record: DeviceRecord) -> None:
        """Insert or replace a device. It is listed first: a listed device that is not there is left out."""
        await self._session.write(_LIST_DEVICE, (record.user, record.device))
        if record.revoked_at is not None:
            await self._note_revoked(record.device, record.revoked_at)
        device, *values = DEVICES.row(record)
        await self._session.change(_PUT_DEVICE, (*values, device))

    async def device(self, device: DeviceId) -> DeviceRecord | None:
        """Read a device."""
        found = DEVICES.records(await self._session.read(_READ_DEVICE, (device,)))
        return found[0] if found else None

    async def devices(self, user: UserId) -> list[DeviceRecord]:
        """Read the user's devices that are not revoked, the latest seen first."""
        rows = await read_in(self._session, _READ_DEVICES, await self._listed(user))
        found = [record for record in DEVICES.records(rows) if record.user == user and record.revoked_at is None]
        found.sort(key=lambda record: (-record.seen_at, record.device))
        return found

    async def _listed(self, user: UserId) -> list[DeviceId]:
        return [DeviceId(device) for (device,) in await self._session.read(_LISTED_DEVICES, (user,))]

    async def rotate_device(self, record: DeviceRecord, expected_generation: int) -> bool:
        """Replace a device if it has this generation and is not revoked."""
        device, *values = DEVICES.row(record)
        answer = await self._session.change(_ROTATE, (*values, device, expected_generation))
        return bool(answer[0])

    async def revoke_device(self, device: DeviceId, at: int) -> bool:
        """Mark a device revoked, if it is not. It is noted first, so that no crash leaves it revoked and not noted."""
        for _ in range(_ROUNDS):
            record = await self.device(device)
            if record is None or record.revoked_at is not None:
                return False
            await self._note_revoked(device, at)
            answer = await self._session.change(_REVOKE, (at, device, record.generation))
            if answer[0]:
                return True
        return False

    async def _note_revoked(self, device: DeviceId, at: int) -> None:
        seconds = self._session.settings.revocation_seconds
        await self._session.write(_NOTE_REVOKED, (_shard(device), at, device, seconds))

    async def revoked_since(self, at: int) -> list[DeviceId]:
        """Read which devices were revoked since then."""
        rows = await self._session.read(_REVOKED, (list(range(REVOCATION_SHARDS)), at))
        return list(dict.fromkeys(DeviceId(device) for (device,) in rows))

    async def erase_devices(self, user: UserId) -> None:
        """Remove all devices of a user, revoked ones too."""
        listed = await self._listed(user)
        await at_once([partial(self._session.change, _ERASE_DEVICE, (device,)) for device in listed])
        await self._session.write(_UNLIST_DEVICES, (user,))


def _name(user: UserId) -> str:
    """Return the name by which an account is found: names that differ in case only are the same name."""
    return user.lower() if user.isascii() else user


def _shard(device: DeviceId) -> int:
    return crc32(device.encode()) % REVOCATION_SHARDS
