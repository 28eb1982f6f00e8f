"""What every store must do with the records of backends, operators and users who are away: one test a promise.

Like tests/contracts/store.py, which has the messages, members, accounts and devices.
"""

import msgspec

from protocol.body import Body, Encoding
from protocol.names import ChannelName, DeviceId, Seq, UserId
from storage import Store
from storage.records import (
    ApiKeyRecord,
    AuditRecord,
    DataKeyRecord,
    PreferenceRecord,
    Provider,
    PushTokenRecord,
    ReadMark,
    Role,
    Standing,
    StoredMessage,
    audit_id,
)
from tests.contracts.store import ALICE, BOB, CAROL, GROUP, OTHER_ROOM, ROOM, OpenStore, device, message, user, write

EVERYWHERE = ChannelName("")


def revised(original: StoredMessage, text: bytes, at: int, kind: str = "") -> StoredMessage:
    """Make a later version of a message."""
    return msgspec.structs.replace(original, body=Body(Encoding.MSGPACK, text), kind=kind, revised_at=at)


def api_key(name: str, created_at: int = 1000, **fields: int) -> ApiKeyRecord:
    """Make an API key."""
    return ApiKeyRecord(
        key_id=name,
        title="Orders · ☎",
        secret_hash=b"\x00\xff hash",
        actions=("publish", "read"),
        namespaces=("event", "user"),
        created_at=created_at,
        **fields,
    )


def push_token(token: str, owner: str = ALICE, provider: Provider = "fcm", device: str = "phone") -> PushTokenRecord:
    """Make a push token."""
    return PushTokenRecord(
        user=UserId(owner),
        device=DeviceId(device),
        provider=provider,
        token=token,
        details={"p256dh": "é", "auth": ""},
        locale="de-AT",
        created_at=1000,
    )


def preference(owner: str, channel: str, **values: str) -> PreferenceRecord:
    """Make a preference."""
    return PreferenceRecord(user=UserId(owner), channel=ChannelName(channel), values=values)


def mark(channel: str, seq: int, owner: str = ALICE) -> ReadMark:
    """Make a read mark; its time is ten times its seq."""
    return ReadMark(user=UserId(owner), channel=ChannelName(channel), seq=Seq(seq), at=seq * 10)


def standing(owner: str, channel: str, last: int, read: int) -> Standing:
    """Make a standing."""
    return Standing(user=UserId(owner), channel=ChannelName(channel), last=Seq(last), read=Seq(read))


def audit_record(at: int, chance: int = 0) -> AuditRecord:
    """Make an audit record."""
    return AuditRecord(
        audit_id=audit_id(at, chance), at=at, actor="admin", action="suspend", target="bob", details={"why": "spam"}
    )


class RevisionContract:
    """A message can be edited and deleted; its place stays."""

    async def test_an_edit_is_read_wherever_the_message_is_read(self, store: Store) -> None:
        await write(store, [message(1), message(2), message(3)])
        edited = revised(message(2), b"\x81\xa1x\x01", at=500)
        await store.revise(edited)
        assert await store.history(ROOM, limit=10) == [message(1), edited, message(3)]
        assert await store.find(ALICE, message(2).key, 0) == edited
        assert await store.head(ROOM) == message(3).place

    async def test_a_deletion_leaves_the_place(self, store: Store) -> None:
        await write(store, [message(1), message(2)])
        deleted = revised(message(2), b"", at=500, kind="deleted")
        await store.revise(deleted)
        assert await store.history(ROOM, limit=10) == [message(1), deleted]
        assert await store.head(ROOM) == message(2).place

    async def test_writing_the_first_version_again_does_not_undo_a_revision(self, store: Store) -> None:
        await write(store, [message(1)])
        edited = revised(message(1), b"\x80", at=500)
        await store.revise(edited)
        await write(store, [message(1)])
        assert await store.history(ROOM, limit=10) == [edited]

    async def test_a_later_revision_wins_whatever_comes_first(self, store: Store) -> None:
        await write(store, [message(1)])
        later = revised(message(1), b"\x80", at=600)
        await store.revise(later)
        await store.revise(revised(message(1), b"\x81\xa1x\x01", at=500))
        assert await store.history(ROOM, limit=10) == [later]

    async def test_what_is_not_kept_cannot_be_revised(self, store: Store) -> None:
        await write(store, [message(1)])
        await store.revise(revised(message(2), b"\x80", at=500))
        await store.revise(revised(message(1, epoch="another"), b"\x80", at=500))
        await store.revise(revised(message(1, channel=OTHER_ROOM), b"\x80", at=500))
        assert await store.history(ROOM, limit=10) == [message(1)]
        assert await store.history(OTHER_ROOM, limit=10) == []


class PeopleContract:
    """Accounts are paged and erased."""

    async def pages(self, store: Store, limit: int) -> list[str]:
        """Read all accounts, page by page."""
        found: list[str] = []
        after: UserId | None = None
        while page := await store.users(after=after, limit=limit):
            assert len(page) <= limit
            found += [account.user for account in page]
            after = page[-1].user
        return found

    async def test_pages_have_every_account_once(self, store: Store) -> None:
        names = {"alice", "Bob", "carol", "~zoe", "0", "Émile".encode().hex(), *(f"user-{n}" for n in range(30))}
        for name in names:
            await store.add_user(user(name))
        for limit in (1, 7, 1000):
            found = await self.pages(store, limit)
            assert len(found) == len(names)
            assert set(found) == names

    async def test_paging_goes_on_after_an_account_that_was_erased(self, store: Store) -> None:
        for number in range(10):
            await store.add_user(user(f"user-{number}"))
        whole = await self.pages(store, 10)
        await store.erase_user(UserId(whole[4]))
        rest = await store.users(after=UserId(whole[4]), limit=10)
        assert [account.user for account in rest] == whole[5:]

    async def test_there_are_no_pages_without_accounts(self, store: Store) -> None:
        assert await store.users(limit=10) == []

    async def test_roles_come_back(self, store: Store) -> None:
        admin = msgspec.structs.replace(user("alice"), roles=("admin", "support"))
        await store.add_user(admin)
        assert await store.user(ALICE) == admin
        await store.put_user(user("alice"))
        assert await store.user(ALICE) == user("alice")

    async def test_an_erased_user_leaves_nothing_but_messages(self, store: Store) -> None:
        for owner in (ALICE, BOB):
            await store.add_user(user(owner))
            await store.put_device(device(f"{owner}-phone", owner=owner))
            await store.save_last_seen({owner: 5})
            await store.put_push_token(push_token(f"{owner}-token", owner))
            await store.put_preference(preference(owner, "", mute="yes"))
            await store.save_read_marks([mark(ROOM, 1, owner)])
        await store.create_channel(GROUP, {ALICE: Role.OWNER, BOB: Role.MEMBER}, 1000)
        await write(store, [message(1)])
        await store.erase_user(UserId("ALICE"))
        assert await store.user(ALICE) is None
        assert await store.device(DeviceId("alice-phone")) is None
        assert await store.devices(ALICE) == []
        assert await store.members(GROUP) == {BOB: Role.MEMBER}
        assert await store.memberships(ALICE, since=0, limit=10) == []
        assert await store.last_seen([ALICE, BOB]) == {BOB: 5}
        assert await store.push_tokens([ALICE, BOB]) == [push_token("bob-token", BOB)]
        assert await store.preferences([(ALICE, ROOM), (BOB, ROOM)]) == [preference(BOB, "", mute="yes")]
        assert await store.read_marks([(ALICE, ROOM)]) == []
        assert await store.read_marks([(BOB, ROOM)]) == [mark(ROOM, 1, BOB)]
        assert await store.history(ROOM, limit=10) == [message(1)]
        assert await store.users(limit=10) == [user("bob")]

    async def test_the_name_of_an_erased_account_is_free(self, store: Store) -> None:
        await store.add_user(user("alice"))
        await store.erase_user(ALICE)
        await store.erase_user(ALICE)
        await store.add_user(user("Alice"))
        assert await store.user(ALICE) == user("Alice")

    async def test_a_guest_who_has_no_account_is_erased_too(self, store: Store) -> None:
        await store.save_last_seen({CAROL: 5})
        await store.erase_user(CAROL)
        assert await store.last_seen([CAROL]) == {}


class BackendContract:
    """API keys, what was done, and data keys."""

    async def test_an_api_key_comes_back_and_is_replaced(self, store: Store) -> None:
        await store.put_api_key(api_key("one"))
        assert await store.api_key("one") == api_key("one")
        changed = api_key("one", expires_at=1, revoked_at=2, last_used_at=3)
        await store.put_api_key(changed)
        assert await store.api_key("one") == changed
        assert await store.api_key("other") is None

    async def test_api_keys_are_listed_the_oldest_first(self, store: Store) -> None:
        assert await store.api_keys() == []
        for name, at in (("b", 20), ("a", 30), ("c", 10)):
            await store.put_api_key(api_key(name, at))
        assert [key.key_id for key in await store.api_keys()] == ["c", "b", "a"]

    async def test_audit_records_are_paged_from_the_newest_on(self, store: Store) -> None:
        day = 86_400_000
        records = [audit_record(at, chance) for at in (1000, 2000, day * 3, day * 400) for chance in (1, 2)]
        await store.add_audit(records[:3])
        await store.add_audit(records[3:])
        records.reverse()
        assert await store.audit(limit=100) == records
        assert await store.audit(limit=3) == records[:3]
        assert await store.audit(before=records[2].audit_id, limit=3) == records[3:6]
        assert await store.audit(before=records[-1].audit_id, limit=3) == []

    async def test_adding_an_audit_record_again_changes_nothing(self, store: Store) -> None:
        await store.add_audit([audit_record(1000)])
        await store.add_audit([audit_record(1000), audit_record(2000)])
        await store.add_audit([])
        assert await store.audit(limit=10) == [audit_record(2000), audit_record(1000)]

    async def test_data_keys_are_listed_the_oldest_first_and_replaced(self, store: Store) -> None:
        def key(name: str, at: int, master: str = "one") -> DataKeyRecord:
            return DataKeyRecord(data_key=name, master=master, wrapped=b"\x00\xff" * 30, created_at=at)

        before = await store.data_keys()  # a store that seals has one from its first moment on
        for name, at in (("b", 20), ("a", 30), ("c", 10)):
            await store.put_data_key(key(name, at))
        await store.put_data_key(key("b", 20, "two"))
        assert await store.data_keys() == [*before, key("c", 10), key("b", 20, "two"), key("a", 30)]


class AwayContract:
    """Push tokens, preferences and read marks."""

    async def test_push_tokens_of_several_users_are_read_at_once(self, store: Store) -> None:
        tokens = [
            push_token("one"),
            push_token("two", provider="apns"),
            push_token("one", provider="webpush", device="laptop"),
            push_token("three", BOB),
            push_token("four", CAROL),
        ]
        for token in tokens:
            await store.put_push_token(token)
        found = await store.push_tokens([ALICE, BOB, UserId("nobody")])
        assert sorted(found, key=lambda token: (token.token, token.provider)) == [
            tokens[0],
            tokens[2],
            tokens[3],
            tokens[1],
        ]
        assert await store.push_tokens([]) == []

    async def test_a_push_token_belongs_to_who_gave_it_last(self, store: Store) -> None:
        await store.put_push_token(push_token("one", ALICE))
        await store.put_push_token(push_token("one", BOB, device="tablet"))
        assert await store.push_tokens([ALICE, BOB]) == [push_token("one", BOB, device="tablet")]

    async def test_a_push_token_is_removed(self, store: Store) -> None:
        await store.put_push_token(push_token("one"))
        await store.put_push_token(push_token("one", provider="apns"))
        await store.remove_push_token("fcm", "one")
        await store.remove_push_token("fcm", "unknown")
        assert await store.push_tokens([ALICE]) == [push_token("one", provider="apns")]

    async def test_preferences_of_a_channel_and_everywhere_are_read_at_once(self, store: Store) -> None:
        kept = [
            preference(ALICE, "", quiet="22-7"),
            preference(ALICE, ROOM, mute="yes"),
            preference(BOB, ROOM, mentions="only", sound=""),
        ]
        for record in [*kept, preference(ALICE, OTHER_ROOM, mute="no"), preference(CAROL, ROOM, mute="no")]:
            await store.put_preference(record)
        found = await store.preferences([(ALICE, ROOM), (BOB, ROOM), (UserId("nobody"), ROOM)])
        assert sorted(found, key=lambda record: (record.user, record.channel)) == kept
        assert await store.preferences([(ALICE, EVERYWHERE)]) == kept[:1]
        assert await store.preferences([]) == []

    async def test_preferences_of_users_in_different_channels_are_read_at_once(self, store: Store) -> None:
        kept = [
            preference(ALICE, "", quiet="22-7"),
            preference(ALICE, OTHER_ROOM, mute="no"),
            preference(BOB, ROOM, mute="yes"),
        ]
        for record in [*kept, preference(BOB, OTHER_ROOM, mute="yes"), preference(CAROL, ROOM, mute="yes")]:
            await store.put_preference(record)
        found = await store.preferences([(BOB, ROOM), (ALICE, OTHER_ROOM), (ALICE, ROOM)])
        assert sorted(found, key=lambda record: (record.user, record.channel)) == kept

    async def test_a_preference_is_replaced_and_removed(self, store: Store) -> None:
        await store.put_preference(preference(ALICE, ROOM, mute="yes", sound="bell"))
        await store.put_preference(preference(ALICE, ROOM, mute="no"))
        assert await store.preferences([(ALICE, ROOM)]) == [preference(ALICE, ROOM, mute="no")]
        await store.put_preference(preference(ALICE, ROOM))
        assert await store.preferences([(ALICE, ROOM)]) == []

    async def test_read_marks_only_go_forward(self, store: Store) -> None:
        await store.save_read_marks([mark(ROOM, 5), mark(OTHER_ROOM, 2**40), mark(ROOM, 7, BOB)])
        await store.save_read_marks([mark(ROOM, 4), mark(OTHER_ROOM, 2**40 + 1)])
        found = await store.read_marks([(ALICE, channel) for channel in (ROOM, OTHER_ROOM, GROUP)])
        assert sorted(found, key=lambda each: each.channel) == [mark(ROOM, 5), mark(OTHER_ROOM, 2**40 + 1)]
        assert await store.read_marks([(BOB, ROOM)]) == [mark(ROOM, 7, BOB)]
        assert await store.read_marks([]) == []

    async def test_many_read_marks_are_saved_at_once(self, store: Store) -> None:
        marks = [mark(f"group:{number}", number + 1) for number in range(1000)]
        await store.save_read_marks(marks)
        await store.save_read_marks([])
        found = await store.read_marks([(each.user, each.channel) for each in marks])
        assert sorted(found, key=lambda each: each.seq) == marks

    async def test_of_two_marks_in_one_call_the_larger_is_kept(self, store: Store) -> None:
        await store.save_read_marks([mark(ROOM, 7), mark(ROOM, 9), mark(ROOM, 8)])
        assert await store.read_marks([(ALICE, ROOM)]) == [mark(ROOM, 9)]

    async def test_marks_of_several_users_are_read_at_once(self, store: Store) -> None:
        await store.save_read_marks([mark(ROOM, 5), mark(OTHER_ROOM, 6), mark(ROOM, 7, BOB), mark(OTHER_ROOM, 8, BOB)])
        found = await store.read_marks([(ALICE, ROOM), (BOB, OTHER_ROOM), (CAROL, ROOM)])
        assert sorted(found, key=lambda each: each.user) == [mark(ROOM, 5), mark(OTHER_ROOM, 8, BOB)]

    async def test_standings_tell_how_far_channels_have_come_and_users_have_read(self, store: Store) -> None:
        for name in ("group:a", "group:b", "group:silent"):
            await store.create_channel(ChannelName(name), {ALICE: Role.MEMBER, BOB: Role.OWNER}, 100)
        await store.create_channel(ChannelName("group:c"), {BOB: Role.OWNER}, 100)
        await write(store, [message(1, channel="group:a", at=200), message(2, channel="group:a", at=300)])
        await write(store, [message(7, channel="group:b", at=400), message(9, channel="group:c", at=500)])
        await store.save_read_marks([mark("group:a", 1), mark("group:c", 9, BOB), mark("group:b", 7, CAROL)])
        found = await store.standings([ALICE, BOB, CAROL], limit=2)
        assert sorted(found, key=lambda each: (each.user, each.channel)) == [
            standing(ALICE, "group:a", 2, 1),
            standing(ALICE, "group:b", 7, 0),
            standing(BOB, "group:b", 7, 0),
            standing(BOB, "group:c", 9, 9),
        ]
        assert [each.channel for each in await store.standings([ALICE], limit=1)] == ["group:b"]
        assert {each.channel for each in await store.standings([ALICE], limit=9)} == {"group:a", "group:b"}
        assert await store.standings([], limit=9) == []

    async def test_these_records_survive_closing_the_store(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await write(store, [message(1)])
            await store.revise(revised(message(1), b"\x80", at=500))
            await store.put_api_key(api_key("one"))
            await store.add_audit([audit_record(1000)])
            await store.put_push_token(push_token("one"))
            await store.put_preference(preference(ALICE, ROOM, mute="yes"))
            await store.save_read_marks([mark(ROOM, 5)])
        async with open_store() as store:
            assert await store.history(ROOM, limit=10) == [revised(message(1), b"\x80", at=500)]
            assert await store.api_keys() == [api_key("one")]
            assert await store.audit(limit=10) == [audit_record(1000)]
            assert await store.push_tokens([ALICE]) == [push_token("one")]
            assert await store.preferences([(ALICE, ROOM)]) == [preference(ALICE, ROOM, mute="yes")]
            assert await store.read_marks([(ALICE, ROOM)]) == [mark(ROOM, 5)]
