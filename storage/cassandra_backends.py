"""What backends and operators may do and did, the keys of sealed bodies, last seen and small values, in Cassandra."""

from collections.abc import Mapping, Sequence

from protocol.names import UserId
from storage.cassandra_batches import read_in, write_all
from storage.cassandra_records import RecordTable
from storage.cassandra_session import Session
from storage.records import ApiKeyRecord, AuditRecord, DataKeyRecord

API_KEYS = RecordTable("api_keys", ApiKeyRecord)
DATA_KEYS = RecordTable("data_keys", DataKeyRecord)
AUDIT = RecordTable("audit", AuditRecord)

_API_KEY = f"{API_KEYS.select} WHERE key_id = ?"
_ADD_AUDIT = AUDIT.insert.replace('("audit_id"', '(day, "audit_id"').replace("VALUES (", "VALUES (?, ")
_ADD_DAY = "INSERT INTO audit_days (shelf, day) VALUES (0, ?)"
_READ_AUDIT = f"{AUDIT.select} WHERE day = ? AND audit_id < ? LIMIT ?"
_READ_DAYS = "SELECT day FROM audit_days WHERE shelf = 0 AND day <= ? LIMIT ?"
_SEEN = "INSERT INTO last_seen (user, at) VALUES (?, ?) USING TIMESTAMP ?"
_READ_SEEN = "SELECT user, at FROM last_seen WHERE user IN ?"
_FORGET_SEEN = "DELETE FROM last_seen WHERE user = ?"
_GET_META = "SELECT value FROM meta WHERE name = ?"
_PUT_META = "INSERT INTO meta (name, value) VALUES (?, ?)"
_DROP_META = "DELETE FROM meta WHERE name = ?"

_DAY_BITS = 20  # of an audit id below its Unix milliseconds
_DAY_MILLISECONDS = 86_400_000
_PAGE_DAYS = 100
_LAST_DAY = 2**31 - 1
_END = 2**63 - 1


class Backends:
    """Reads and changes API keys, audit records and data keys."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def put_api_key(self, key: ApiKeyRecord) -> None:
        """Insert or replace an API key."""
        await self._session.write(API_KEYS.insert, API_KEYS.row(key))

    async def api_key(self, key_id: str) -> ApiKeyRecord | None:
        """Read one API key."""
        found = API_KEYS.records(await self._session.read(_API_KEY, (key_id,)))
        return found[0] if found else None

    async def api_keys(self) -> list[ApiKeyRecord]:
        """Read all API keys, the oldest first: a scan of a small table."""
        found = API_KEYS.records(await self._session.read(API_KEYS.select))
        return sorted(found, key=lambda key: (key.created_at, key.key_id))

    async def put_data_key(self, key: DataKeyRecord) -> None:
        """Insert or replace a data key."""
        await self._session.write(DATA_KEYS.insert, DATA_KEYS.row(key))

    async def data_keys(self) -> list[DataKeyRecord]:
        """Read all data keys, the oldest first: a scan of a small table."""
        found = DATA_KEYS.records(await self._session.read(DATA_KEYS.select))
        return sorted(found, key=lambda key: (key.created_at, key.data_key))

    async def add_audit(self, records: Sequence[AuditRecord]) -> None:
        """Insert records. Their days are listed first: a listed day without records is passed over."""
        days = sorted({_day(record.audit_id) for record in records})
        await write_all(self._session, _ADD_DAY, [(day,) for day in days])
        rows = [(_day(record.audit_id), *AUDIT.row(record)) for record in records]
        await write_all(self._session, _ADD_AUDIT, rows)

    async def audit(self, before: int | None, limit: int) -> list[AuditRecord]:
        """Read records, the newest first, from day to day."""
        end = _END if before is None else before
        last = _LAST_DAY if before is None else _day(before)
        found: list[AuditRecord] = []
        while len(found) < limit and (days := await self._session.read(_READ_DAYS, (last, _PAGE_DAYS))):
            for (day,) in days:
                if len(found) < limit:
                    rows = await self._session.read(_READ_AUDIT, (day, end, limit - len(found)))
                    found += AUDIT.records(rows)
            last = days[-1][0] - 1
        return found


def _day(audit_id: int) -> int:
    return (audit_id >> _DAY_BITS) // _DAY_MILLISECONDS


class Values:
    """Reads and changes last seen and small named values."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def save_last_seen(self, seen: Mapping[UserId, int]) -> None:
        """Keep the later one of the given and the kept time of each user: the time is the timestamp."""
        await write_all(self._session, _SEEN, [(user, at, at * 1000) for user, at in seen.items()])

    async def last_seen(self, users: Sequence[UserId]) -> dict[UserId, int]:
        """Read when these users were last seen."""
        return {UserId(user): at for user, at in await read_in(self._session, _READ_SEEN, users)}

    async def forget_last_seen(self, user: UserId) -> None:
        """Remove when a user was last seen."""
        await self._session.write(_FORGET_SEEN, (user,))

    async def get_meta(self, name: str) -> str | None:
        """Read a named value."""
        for (value,) in await self._session.read(_GET_META, (name,)):
            return str(value)
        return None

    async def put_meta(self, name: str, value: str | None) -> None:
        """Write a named value, or delete it."""
        if value is None:
            await self._session.write(_DROP_META, (name,))
        else:
            await self._session.write(_PUT_META, (name, value))
