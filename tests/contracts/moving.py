"""What every store must do so that everything in it can be moved: the promises of `storage.moving`."""

from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest

from protocol.names import ChannelName, DeviceId
from storage.moving import RECORDS, Source, Table, Target
from storage.records import DataKeyRecord, LastSeen, MemberRecord, Role, StoredMessage
from tests.contracts.store import ALICE, BOB, GROUP, OTHER_ROOM, ROOM, device, message, user, write
from tests.contracts.store_records import api_key, audit_record, mark, preference, push_token, revised


def everything() -> dict[Table, list[msgspec.Struct]]:
    """Make some records of every table, with the values that are easiest to lose."""
    return {
        Table.DATA_KEYS: [DataKeyRecord(data_key="00112233445566ff", master="m", wrapped=b"\x00\xff", created_at=1)],
        Table.USERS: [
            msgspec.structs.replace(user("Alice", None, is_guest=True), roles=("b", "a")),
            user("bob", is_suspended=True),
            user("0"),
        ],
        Table.DEVICES: [device("phone"), msgspec.structs.replace(device("old", owner=BOB), revoked_at=5)],
        Table.API_KEYS: [api_key("one"), api_key("two", expires_at=1, revoked_at=2, last_used_at=3)],
        Table.MEMBERS: [
            MemberRecord(channel=GROUP, user=ALICE, role=Role.OWNER, joined_at=1),
            MemberRecord(channel=GROUP, user=BOB, role=Role.MEMBER, joined_at=2),
            MemberRecord(channel=ChannelName("group:two"), user=ALICE, role=Role.ADMIN, joined_at=3),
        ],
        Table.LAST_SEEN: [LastSeen(user=ALICE, at=5), LastSeen(user=BOB, at=2**41)],
        Table.PUSH_TOKENS: [
            push_token("one"),
            push_token("one", BOB, "webpush"),
            msgspec.structs.replace(push_token("two"), details={}, locale=""),
        ],
        Table.PREFERENCES: [preference(ALICE, "", z="1", a="2"), preference(ALICE, ROOM, mute="")],
        Table.READ_MARKS: [mark(ROOM, 5), mark(OTHER_ROOM, 2**40), mark(ROOM, 1, BOB)],
        Table.AUDIT: [audit_record(1000), audit_record(1000, 1), audit_record(2**41)],
        Table.MESSAGES: [
            *(message(seq) for seq in range(1, 30)),
            message(2**40, epoch="second", kind="note", at=2**41),
            revised(message(1, channel=OTHER_ROOM), b"\x81\xa1x\x01", at=500),
            revised(message(2, channel=OTHER_ROOM), b"", at=500, kind="deleted"),
            message(7, channel="dm:alice:bob", at=0, key=""),
        ],
    }


def order(record: msgspec.Struct) -> bytes:
    """Return something to sort records by."""
    values: list[Any] = [
        (each.encoding, each.raw) if field == "body" else each
        for field, each in zip(record.__struct_fields__, msgspec.structs.astuple(record), strict=True)
    ]
    return msgspec.json.encode(values)


async def fill(target: Target) -> None:
    """Load some records of every table."""
    for table, records in everything().items():
        await target.load(table, records)


async def scan_all(source: Source, table: Table, limit: int = 1000) -> list[msgspec.Struct]:
    """Read a table page by page."""
    page = await source.scan(table, after=None, limit=limit)
    found: list[msgspec.Struct] = list(page.records)
    while page.next is not None:
        page = await source.scan(table, after=page.next, limit=limit)
        found += page.records
    return found


class MovingContract:
    """Everything can be read and written, table by table."""

    @pytest.mark.parametrize("table", Table)
    async def test_what_is_loaded_is_scanned(self, store: Target, table: Table) -> None:
        await fill(store)
        for limit in (1, 2, 1000):
            found = await scan_all(store, table, limit)
            assert sorted(found, key=order) == sorted(everything()[table], key=order)
            assert {type(record) for record in found} == {RECORDS[table]}

    @pytest.mark.parametrize("table", Table)
    async def test_an_empty_table_has_no_records(self, store: Target, table: Table) -> None:
        assert await scan_all(store, table, 10) == []
        await store.load(table, [])
        assert await scan_all(store, table, 10) == []

    @pytest.mark.parametrize("table", Table)
    async def test_loading_the_same_records_again_changes_nothing(self, store: Target, table: Table) -> None:
        await fill(store)
        await fill(store)
        assert sorted(await scan_all(store, table), key=order) == sorted(everything()[table], key=order)

    async def test_what_was_loaded_is_found_by_everybody_else(self, store: Target) -> None:
        await fill(store)
        records = everything()
        messages = cast(Sequence[StoredMessage], records[Table.MESSAGES])
        assert await store.history(ROOM, limit=100) == [each for each in messages if each.channel == ROOM]
        assert await store.history(OTHER_ROOM, limit=100) == [each for each in messages if each.channel == OTHER_ROOM]
        head = await store.head(ROOM)
        assert head is not None
        assert (head.epoch, head.seq) == ("second", 2**40)
        assert await store.find(ALICE, message(3).key, 0) == message(3)
        assert await store.members(GROUP) == {ALICE: Role.OWNER, BOB: Role.MEMBER}
        memberships = await store.memberships(ALICE, since=0, limit=10)
        assert {each.channel: each.joined_at for each in memberships} == {GROUP: 1, "group:two": 3}
        assert await store.user(ALICE) == records[Table.USERS][0]
        assert [each.device for each in await store.devices(ALICE)] == ["phone"]
        assert await store.device(DeviceId("old")) == records[Table.DEVICES][1]
        assert await store.revoked_since(0) == ["old"]
        assert await store.api_keys() == records[Table.API_KEYS]
        assert await store.audit(limit=10) == records[Table.AUDIT][::-1]
        assert await store.data_keys() == records[Table.DATA_KEYS]
        assert len(await store.push_tokens([ALICE, BOB])) == 3
        assert len(await store.preferences([(ALICE, ROOM)])) == 2
        assert await store.read_marks([(BOB, ROOM)]) == [mark(ROOM, 1, BOB)]
        assert await store.last_seen([ALICE, BOB]) == {ALICE: 5, BOB: 2**41}

    async def test_what_was_written_in_the_usual_way_is_scanned(self, store: Target) -> None:
        await write(store, [message(1), message(2)])
        await store.revise(revised(message(2), b"\x80", at=500))
        await store.create_channel(GROUP, {ALICE: Role.OWNER, BOB: Role.MEMBER}, 1000)
        await store.change_members(GROUP, put={}, remove=[BOB], at=2000)
        await store.add_user(user("Alice"))
        messages = await scan_all(store, Table.MESSAGES)
        assert sorted(messages, key=order) == [message(1), revised(message(2), b"\x80", at=500)]
        assert await scan_all(store, Table.MEMBERS) == [
            MemberRecord(channel=GROUP, user=ALICE, role=Role.OWNER, joined_at=1000)
        ]
        assert await scan_all(store, Table.USERS) == [user("Alice")]

    async def test_many_messages_of_many_channels_are_scanned_once_each(self, store: Target) -> None:
        written = [
            message(seq, channel=f"room:{number}") for number in range(40) for seq in range(1, 2 + number * number % 23)
        ]
        await store.load(Table.MESSAGES, written)
        for limit in (7, 100):
            assert sorted(await scan_all(store, Table.MESSAGES, limit), key=order) == sorted(written, key=order)
