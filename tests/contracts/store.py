"""What every store must do: the promises of `storage.Store`, one test each.

An adapter joins in tests/storage/test_contract.py with one param of the fixture `open_store`, which opens the same
database each time it is called.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest
import trio

from protocol.body import Body, Encoding
from protocol.names import ChannelName, DeviceId, Epoch, Seq, UserId
from storage import AlreadyExists, Store
from storage.records import DeviceRecord, Membership, Place, Role, StoredMessage, UserRecord

OpenStore = Callable[[], AbstractAsyncContextManager[Store]]

ALICE, BOB, CAROL = UserId("alice"), UserId("bob"), UserId("carol")
ROOM, OTHER_ROOM, GROUP = ChannelName("room:one"), ChannelName("room:two"), ChannelName("group:one")


def message(
    seq: int,
    *,
    channel: str = ROOM,
    sender: str = ALICE,
    key: str | None = None,
    at: int | None = None,
    epoch: str = "first",
    body: Body | None = None,
    kind: str = "",
) -> StoredMessage:
    """Make a message whose values follow from its seq; `at` is ten times it."""
    return StoredMessage(
        channel=ChannelName(channel),
        epoch=Epoch(epoch),
        seq=Seq(seq),
        sender=UserId(sender),
        key=f"key-{channel}-{seq}" if key is None else key,
        at=seq * 10 if at is None else at,
        body=Body(Encoding.JSON, b'{"n":%d}' % seq) if body is None else body,
        kind=kind,
    )


async def write(store: Store, messages: Sequence[StoredMessage]) -> None:
    """Write messages and wait for them."""
    finished = trio.Event()
    errors: list[Exception | None] = []

    def done(error: Exception | None) -> None:
        errors.append(error)
        finished.set()

    store.submit(messages, done)
    await finished.wait()
    assert errors == [None]


async def seqs(store: Store, channel: str = ROOM) -> list[int]:
    """Read which seqs a channel has."""
    return [message.seq for message in await store.history(ChannelName(channel), limit=10_000)]


def user(
    name: str, password_hash: str | None = "hash", *, is_guest: bool = False, is_suspended: bool = False
) -> UserRecord:
    """Make an account."""
    return UserRecord(
        user=UserId(name),
        password_hash=password_hash,
        created_at=1000,
        is_guest=is_guest,
        is_suspended=is_suspended,
    )


def device(name: str, *, owner: str = ALICE, generation: int = 1, seen_at: int = 2000) -> DeviceRecord:
    """Make a device."""
    return DeviceRecord(
        device=DeviceId(name),
        user=UserId(owner),
        title="Alice's phone · ☎",
        created_at=1000,
        seen_at=seen_at,
        generation=generation,
        token_hash=b"\x00\xff token",
        expires_at=9000,
    )


class MessageContract:
    """Messages are kept whole, in order and once."""

    @pytest.mark.parametrize("encoding", Encoding)
    async def test_a_message_comes_back_as_it_was_written(self, store: Store, encoding: Encoding) -> None:
        raw = b'{"text":"\xc3\xa9 \\u0000 \\n"}\n' if encoding is Encoding.JSON else b"\x81\xa1x\xc4\x03\x00\xff\xfe"
        written = message(7, body=Body(encoding, raw), kind="edit")
        await write(store, [written])
        (kept,) = await store.history(ROOM, limit=10)
        assert kept == written
        assert type(kept.body.encoding) is Encoding

    async def test_a_large_and_an_empty_body_come_back(self, store: Store) -> None:
        written = [
            message(1, body=Body(Encoding.MSGPACK, b"")),
            message(2, body=Body(Encoding.JSON, b'{"t":"' + b"x" * 100_000 + b'"}')),
        ]
        await write(store, written)
        assert await store.history(ROOM, limit=10) == written

    @pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 63, 500, 1025])
    async def test_batches_of_every_size_are_kept_whole(self, store: Store, count: int) -> None:
        written = [message(seq) for seq in range(1, count + 1)]
        await write(store, written)
        assert await store.history(ROOM, limit=10_000) == written

    async def test_writes_are_reported_in_the_order_of_their_submission(self, store: Store) -> None:
        reported: list[int] = []
        finished = trio.Event()

        def report(seq: int, _: Exception | None) -> None:
            reported.append(seq)
            if seq == 300:
                finished.set()

        for seq in range(1, 301):
            store.submit([message(seq)], partial(report, seq))
        await finished.wait()
        assert reported == list(range(1, 301))

    async def test_done_is_never_called_before_submit_returns(self, store: Store) -> None:
        finished = trio.Event()
        store.submit([message(1)], lambda _: finished.set())
        assert not finished.is_set()
        await finished.wait()

    async def test_what_was_reported_done_can_be_read_at_once(self, store: Store) -> None:
        for seq in range(1, 20):
            await write(store, [message(seq)])
            assert await store.head(ROOM) == Place(Epoch("first"), Seq(seq), seq * 10)

    async def test_an_error_in_a_done_callback_harms_no_other_write(self, store: Store) -> None:
        def fail(_: Exception | None) -> None:
            raise RuntimeError("a fault in the caller")

        store.submit([message(1)], fail)
        await write(store, [message(2)])
        assert await seqs(store) == [1, 2]

    async def test_writing_the_same_message_again_changes_nothing(self, store: Store) -> None:
        await write(store, [message(1), message(2)])
        await write(store, [message(2), message(2), message(3), message(1)])
        assert await store.history(ROOM, limit=10) == [message(1), message(2), message(3)]

    async def test_messages_survive_closing_the_store(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            store.submit([message(seq) for seq in range(1, 2000)], lambda _: None)
        async with open_store() as store:
            assert await seqs(store) == list(range(1, 2000))

    async def test_leaving_the_store_while_cancelled_reports_and_keeps_what_was_queued(
        self, open_store: OpenStore
    ) -> None:
        reported: list[Exception | None] = []
        with trio.CancelScope() as scope:
            async with open_store() as store:
                for seq in range(1, 101):
                    store.submit([message(seq)], reported.append)
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught
        assert reported == [None] * 100
        async with open_store() as store:
            assert await seqs(store) == list(range(1, 101))

    async def test_a_write_that_was_begun_is_finished_though_its_caller_is_cancelled(self, store: Store) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await store.put_meta("begun", "and finished")
        await store.put_meta("later", "")  # behind the first one
        assert await store.get_meta("begun") == "and finished"

    async def test_history_can_be_read_while_others_write(self, store: Store) -> None:
        async def write_all() -> None:
            for start in range(1, 1000, 10):
                await write(store, [message(seq) for seq in range(start, start + 10)])
            scope.cancel()

        async def read_on() -> None:
            while True:
                page = await seqs(store)
                assert page == list(range(1, len(page) + 1))  # no hole
                assert len(page) % 10 == 0  # nothing half written

        async with trio.open_nursery() as nursery:
            scope = nursery.cancel_scope
            nursery.start_soon(write_all)
            for _ in range(6):
                nursery.start_soon(read_on)
        assert await seqs(store) == list(range(1, 1001))

    async def test_statistics_count_what_was_written(self, store: Store) -> None:
        before = store.statistics()
        store.submit([message(1), message(2)], lambda _: None)
        assert store.statistics().rows_waiting == 2
        await write(store, [message(3)])
        after = store.statistics()
        assert after.rows_waiting == 0
        assert after.rows_written - before.rows_written == 3
        assert after.batches_written > before.batches_written
        assert after.failures == before.failures


class HistoryContract:
    """History is paged both ways."""

    @pytest.mark.parametrize(
        ("before", "after", "limit", "expected"),
        [
            (None, None, 3, [8, 9, 10]),
            (None, None, 100, list(range(1, 11))),
            (5, None, 3, [2, 3, 4]),
            (3, None, 3, [1, 2]),
            (1, None, 3, []),
            (100, None, 2, [9, 10]),
            (None, 5, 3, [6, 7, 8]),
            (None, 8, 3, [9, 10]),
            (None, 0, 2, [1, 2]),
            (None, 10, 3, []),
            (None, 100, 3, []),
            (8, 5, 10, [6, 7]),
            (8, 2, 2, [3, 4]),
        ],
    )
    async def test_a_page_has_the_messages_next_to_its_bounds(
        self, store: Store, before: int | None, after: int | None, limit: int, expected: list[int]
    ) -> None:
        await write(store, [message(seq) for seq in range(1, 11)])
        await write(store, [message(seq, channel=OTHER_ROOM) for seq in range(1, 21)])
        page = await store.history(
            ROOM,
            before=None if before is None else Seq(before),
            after=None if after is None else Seq(after),
            limit=limit,
        )
        assert [found.seq for found in page] == expected
        assert {found.channel for found in page} <= {ROOM}

    async def test_a_channel_without_messages_has_no_history_and_no_head(self, store: Store) -> None:
        assert await store.history(ROOM, limit=10) == []
        assert await store.history(ROOM, after=Seq(0), limit=10) == []
        assert await store.head(ROOM) is None

    async def test_head_is_the_newest_message_of_the_newest_epoch(self, store: Store) -> None:
        await write(store, [message(1), message(2), message(2**20, epoch="second", at=77)])
        assert await store.head(ROOM) == Place(Epoch("second"), Seq(2**20), 77)

    async def test_seqs_beyond_32_bits_are_kept(self, store: Store) -> None:
        await write(store, [message(2**52), message(2**52 + 1)])
        assert await seqs(store) == [2**52, 2**52 + 1]


class FindContract:
    """A resent message is found by its sender and key."""

    async def test_a_message_is_found_by_its_sender_and_key(self, store: Store) -> None:
        await write(store, [message(1, key="same"), message(2, key="same", sender=BOB), message(3)])
        assert await store.find(BOB, "same", 0) == message(2, key="same", sender=BOB)
        assert await store.find(CAROL, "same", 0) is None
        assert await store.find(ALICE, "other", 0) is None

    async def test_a_message_is_found_only_after_the_window_began(self, store: Store) -> None:
        await write(store, [message(1, key="same", at=1000)])
        assert await store.find(ALICE, "same", 999) is not None
        assert await store.find(ALICE, "same", 1000) is None

    async def test_of_two_messages_with_one_key_the_newer_is_found(self, store: Store) -> None:
        await write(store, [message(1, key="same"), message(2, key="same")])
        found = await store.find(ALICE, "same", 0)
        assert found is not None
        assert found.seq == 2


class TrimContract:
    """Old messages are removed, the newest of each channel stays."""

    async def trim(self, store: Store, *, older_than: int | None, keep: int | None, limit: int = 1000) -> int:
        """Trim the namespace of the rooms until there is nothing to remove; tell how many were."""
        total = 0
        while (removed := await store.trim("room", older_than=older_than, keep=keep, limit=limit)) > 0:
            assert removed <= limit
            total += removed
        return total

    async def test_messages_that_are_too_old_are_removed(self, store: Store) -> None:
        await write(store, [message(seq) for seq in range(1, 11)])
        assert await self.trim(store, older_than=50, keep=None) == 4
        assert await seqs(store) == [5, 6, 7, 8, 9, 10]

    async def test_messages_beyond_the_newest_are_removed(self, store: Store) -> None:
        await write(store, [message(seq) for seq in (1, 2, 3, 2**20, 2**20 + 1)])
        assert await self.trim(store, older_than=None, keep=4) == 1
        assert await self.trim(store, older_than=None, keep=4) == 0
        assert await seqs(store) == [2, 3, 2**20, 2**20 + 1]

    async def test_either_rule_is_enough_to_remove_a_message(self, store: Store) -> None:
        await write(store, [message(seq) for seq in range(1, 11)])
        await write(store, [message(seq, channel=OTHER_ROOM, at=1000) for seq in range(1, 11)])
        await self.trim(store, older_than=90, keep=5)
        assert await seqs(store) == [9, 10]
        assert await seqs(store, OTHER_ROOM) == [6, 7, 8, 9, 10]

    @pytest.mark.parametrize("keep", [None, 0, 1])
    async def test_the_newest_message_stays_however_old_it_is(self, store: Store, keep: int | None) -> None:
        await write(store, [message(seq) for seq in range(1, 11)])
        assert await self.trim(store, older_than=10**12, keep=keep) == 9
        assert await store.head(ROOM) == message(10).place

    async def test_small_steps_remove_what_one_large_step_does(self, store: Store) -> None:
        for number in range(5):
            await write(store, [message(seq, channel=f"room:{number}") for seq in range(1, 11)])
        assert await self.trim(store, older_than=None, keep=3, limit=4) == 35
        for number in range(5):
            assert await seqs(store, f"room:{number}") == [8, 9, 10]

    async def test_messages_written_between_the_steps_are_trimmed_in_a_later_round(self, store: Store) -> None:
        await write(store, [message(seq, channel="room:b") for seq in range(1, 11)])
        assert await store.trim("room", older_than=None, keep=1, limit=5) == 5
        await write(store, [message(seq, channel="room:a") for seq in range(1, 11)])
        assert await self.trim(store, older_than=None, keep=1) == 4 + 9

    async def test_other_namespaces_are_left_alone(self, store: Store) -> None:
        names = ["roo:x", "room1:x", "rooms:x", "zoo:x", "dm:x"]
        for name in names:
            await write(store, [message(seq, channel=name) for seq in (1, 2, 3)])
        assert await self.trim(store, older_than=10**12, keep=1) == 0
        for name in names:
            assert await seqs(store, name) == [1, 2, 3]

    async def test_without_a_rule_nothing_is_removed(self, store: Store) -> None:
        await write(store, [message(seq) for seq in range(1, 11)])
        assert await self.trim(store, older_than=None, keep=None) == 0
        assert len(await seqs(store)) == 10


class MemberContract:
    """Channels have members with roles."""

    async def test_a_channel_that_nobody_made_has_no_members(self, store: Store) -> None:
        assert await store.members(GROUP) == {}

    async def test_a_channel_is_made_with_its_members_once(self, store: Store) -> None:
        first = {ALICE: Role.OWNER, BOB: Role.MEMBER}
        await store.create_channel(GROUP, first, 1000)
        assert await store.members(GROUP) == first
        with pytest.raises(AlreadyExists):
            await store.create_channel(GROUP, {CAROL: Role.OWNER}, 1001)
        assert await store.members(GROUP) == first

    async def test_of_two_who_make_a_channel_at_once_one_succeeds(self, store: Store) -> None:
        made: list[UserId] = []

        async def make(owner: UserId) -> None:
            try:
                await store.create_channel(GROUP, {owner: Role.OWNER}, 1000)
            except AlreadyExists:
                return
            made.append(owner)

        async with trio.open_nursery() as nursery:
            for owner in (ALICE, BOB, CAROL):
                nursery.start_soon(make, owner)
        assert len(made) == 1
        assert await store.members(GROUP) == {made[0]: Role.OWNER}

    async def test_members_are_added_changed_and_removed_in_one_step(self, store: Store) -> None:
        await store.create_channel(GROUP, {ALICE: Role.OWNER, BOB: Role.MEMBER}, 1000)
        await store.change_members(GROUP, put={BOB: Role.ADMIN, CAROL: Role.MEMBER}, remove=[ALICE], at=2000)
        assert await store.members(GROUP) == {BOB: Role.ADMIN, CAROL: Role.MEMBER}

    async def test_a_change_of_role_keeps_the_time_of_joining(self, store: Store) -> None:
        await store.create_channel(GROUP, {ALICE: Role.MEMBER}, 1000)
        await store.change_members(GROUP, put={ALICE: Role.ADMIN}, remove=[], at=2000)
        assert await store.memberships(ALICE, since=0, limit=10) == [
            Membership(channel=GROUP, role=Role.ADMIN, joined_at=1000, last=None)
        ]

    async def test_a_channel_may_have_a_thousand_members(self, store: Store) -> None:
        many = {UserId(f"user-{number}"): Role.MEMBER for number in range(1000)}
        await store.create_channel(GROUP, many, 1000)
        assert await store.members(GROUP) == many

    async def test_memberships_are_sorted_by_the_newest_message_or_joining(self, store: Store) -> None:
        for name, joined in (("group:quiet", 500), ("group:busy", 100), ("group:new", 900)):
            await store.create_channel(ChannelName(name), {ALICE: Role.MEMBER, BOB: Role.OWNER}, joined)
        await store.create_channel(ChannelName("group:strange"), {BOB: Role.OWNER}, 1000)
        await write(store, [message(1, channel="group:busy", at=200), message(2, channel="group:busy", at=700)])
        await write(store, [message(1, channel="group:new", at=300)])
        assert await store.memberships(ALICE, since=0, limit=10) == [
            Membership(
                channel=ChannelName("group:new"),
                role=Role.MEMBER,
                joined_at=900,
                last=message(1, channel="group:new", at=300).place,
            ),
            Membership(
                channel=ChannelName("group:busy"),
                role=Role.MEMBER,
                joined_at=100,
                last=message(2, channel="group:busy", at=700).place,
            ),
            Membership(channel=ChannelName("group:quiet"), role=Role.MEMBER, joined_at=500, last=None),
        ]

    async def test_memberships_can_be_limited_by_time_and_count(self, store: Store) -> None:
        for number in range(1, 6):
            await store.create_channel(ChannelName(f"group:{number}"), {ALICE: Role.MEMBER}, number * 100)

        async def names(since: int, limit: int) -> list[str]:
            return [found.channel for found in await store.memberships(ALICE, since=since, limit=limit)]

        assert await names(300, 10) == ["group:5", "group:4", "group:3"]
        assert await names(301, 10) == ["group:5", "group:4"]
        assert await names(0, 2) == ["group:5", "group:4"]
        assert await store.memberships(BOB, since=0, limit=10) == []

    async def test_memberships_go_on_after_the_last_one_that_is_known(self, store: Store) -> None:
        for number, joined in ((1, 300), (2, 200), (3, 200), (4, 200), (5, 100)):
            await store.create_channel(ChannelName(f"group:{number}"), {ALICE: Role.MEMBER}, joined)
        await write(store, [message(1, channel="group:5", at=200), message(1, channel="group:3", at=50)])

        found: list[Membership] = []
        while page := await store.memberships(
            ALICE, since=0, after=(found[-1].at, found[-1].channel) if found else None, limit=2
        ):
            found += page
        assert [each.channel for each in found] == ["group:1", "group:2", "group:3", "group:4", "group:5"]
        assert [each.at for each in found] == [300, 200, 200, 200, 200]

        # The last one that is known may be elsewhere by now, or gone.
        after = await store.memberships(ALICE, since=0, after=(200, ChannelName("group:30")), limit=10)
        assert [each.channel for each in after] == ["group:4", "group:5"]
        assert await store.memberships(ALICE, since=201, after=(300, ChannelName("group:1")), limit=10) == []


class AccountContract:
    """Accounts have names that differ in more than case."""

    async def test_an_account_is_found_whatever_the_case(self, store: Store) -> None:
        await store.add_user(user("Alice"))
        for name in ("alice", "ALICE", "Alice"):
            assert await store.user(UserId(name)) == user("Alice")
        assert await store.user(BOB) is None

    async def test_a_name_in_use_is_refused_in_any_case(self, store: Store) -> None:
        await store.add_user(user("alice"))
        with pytest.raises(AlreadyExists):
            await store.add_user(user("ALICE", "another hash"))
        assert await store.user(ALICE) == user("alice")

    async def test_an_account_is_replaced(self, store: Store) -> None:
        await store.add_user(user("guest", None, is_guest=True))
        assert await store.user(UserId("guest")) == user("guest", None, is_guest=True)
        await store.put_user(user("guest", "new hash", is_suspended=True))
        assert await store.user(UserId("guest")) == user("guest", "new hash", is_suspended=True)

    async def test_an_account_that_does_not_exist_cannot_be_replaced(self, store: Store) -> None:
        await store.put_user(user("nobody"))
        assert await store.user(UserId("nobody")) is None


class DeviceContract:
    """Devices carry refresh tokens that are used once."""

    async def test_a_device_comes_back_as_it_was_written(self, store: Store) -> None:
        await store.put_device(device("phone"))
        assert await store.device(DeviceId("phone")) == device("phone")
        await store.put_device(device("phone", generation=5))
        assert await store.device(DeviceId("phone")) == device("phone", generation=5)
        assert await store.device(DeviceId("other")) is None

    async def test_devices_are_those_not_revoked_the_latest_seen_first(self, store: Store) -> None:
        for name, seen_at in (("old", 10), ("new", 30), ("lost", 40), ("middle", 20)):
            await store.put_device(device(name, seen_at=seen_at))
        await store.put_device(device("stranger", owner=BOB))
        await store.revoke_device(DeviceId("lost"), 50)
        assert [found.device for found in await store.devices(ALICE)] == ["new", "middle", "old"]

    async def test_a_device_rotates_only_from_the_expected_generation(self, store: Store) -> None:
        await store.put_device(device("phone", generation=1))
        assert await store.rotate_device(device("phone", generation=2), 1)
        assert not await store.rotate_device(device("phone", generation=2, seen_at=9), 1)
        assert await store.device(DeviceId("phone")) == device("phone", generation=2)
        assert not await store.rotate_device(device("other"), 1)
        assert await store.device(DeviceId("other")) is None

    async def test_of_two_rotations_at_once_one_succeeds(self, store: Store) -> None:
        await store.put_device(device("phone", generation=1))
        answers: list[bool] = []

        async def rotate(seen_at: int) -> None:
            answers.append(await store.rotate_device(device("phone", generation=2, seen_at=seen_at), 1))

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(rotate, number)
        assert sorted(answers) == [False, False, False, False, True]

    async def test_a_revoked_device_does_not_rotate_and_stays_revoked(self, store: Store) -> None:
        await store.put_device(device("phone", generation=1))
        assert await store.revoke_device(DeviceId("phone"), 50)
        assert not await store.revoke_device(DeviceId("phone"), 60)
        assert not await store.revoke_device(DeviceId("other"), 60)
        assert not await store.rotate_device(device("phone", generation=2), 1)
        found = await store.device(DeviceId("phone"))
        assert found is not None
        assert found.revoked_at == 50

    async def test_revoked_devices_are_listed_from_a_time_on(self, store: Store) -> None:
        for name, at in (("one", 10), ("two", 20), ("three", 30)):
            await store.put_device(device(name))
            await store.revoke_device(DeviceId(name), at)
        await store.put_device(device("good"))
        assert sorted(await store.revoked_since(20)) == ["three", "two"]
        assert await store.revoked_since(31) == []


class ValueContract:
    """Last seen, and small values."""

    async def test_last_seen_keeps_the_later_time(self, store: Store) -> None:
        await store.save_last_seen({ALICE: 100, BOB: 100})
        await store.save_last_seen({ALICE: 99, BOB: 101})
        assert await store.last_seen([ALICE, BOB, CAROL]) == {ALICE: 100, BOB: 101}
        assert await store.last_seen([CAROL]) == {}
        assert await store.last_seen([]) == {}

    async def test_last_seen_of_many_users_is_saved_at_once(self, store: Store) -> None:
        many = {UserId(f"user-{number}"): number for number in range(1, 3000)}
        await store.save_last_seen(many)
        await store.save_last_seen({})
        assert await store.last_seen(list(many)) == many

    async def test_a_named_value_is_kept_replaced_and_removed(self, store: Store) -> None:
        assert await store.get_meta("name") is None
        await store.put_meta("name", "one")
        await store.put_meta("name", "two")
        assert await store.get_meta("name") == "two"
        await store.put_meta("name", None)
        assert await store.get_meta("name") is None

    async def test_a_store_that_works_passes_its_check(self, store: Store) -> None:
        await store.check()

    async def test_everything_awaited_survives_closing_the_store(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.add_user(user("alice"))
            await store.put_device(device("phone"))
            await store.create_channel(GROUP, {ALICE: Role.OWNER}, 1000)
            await store.save_last_seen({ALICE: 5})
            await store.put_meta("name", "value")
        async with open_store() as store:
            assert await store.user(ALICE) == user("alice")
            assert await store.device(DeviceId("phone")) == device("phone")
            assert await store.members(GROUP) == {ALICE: Role.OWNER}
            assert await store.last_seen([ALICE]) == {ALICE: 5}
            assert await store.get_meta("name") == "value"
