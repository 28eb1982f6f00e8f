"""Who belongs to a channel: read once, changed in memory as in the store, and bounded."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import cast

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from chatd.accounts.principal import Principal
from chatd.broker import Broker, Draft, Published, Refused
from chatd.config import Config
from chatd.groups import Groups
from chatd.members import Members, Roles
from chatd.rights import Address, Denied, Directory
from chatd.settings import Settings
from protocol.names import ChannelName, DeviceId, UserId
from storage import StoreUnavailable
from storage.records import Role
from tests.fakes.hand_clock import HandClock
from tests.fakes.member_store import MemberStore

ALICE, BOB, CAROL = UserId("alice"), UserId("bob"), UserId("carol")
GROUP = ChannelName("group:g")
DIRECTORY = Directory(Settings(Config()))


def address(name: str = GROUP) -> Address:
    return DIRECTORY.find(name)


@pytest.fixture
def store() -> MemberStore:
    """A store with one group."""
    made = MemberStore()
    made.channels[GROUP] = {ALICE: Role.OWNER, BOB: Role.MEMBER}
    return made


@pytest.fixture
def members(store: MemberStore) -> Members:
    """Members of that store, none in memory yet."""
    return Members(store.as_store(), 3)


# Reading.


async def test_members_are_read_once(store: MemberStore, members: Members) -> None:
    assert members.known(address()) is None
    for _ in range(3):
        assert await members.get(address()) == {ALICE: Role.OWNER, BOB: Role.MEMBER}
    assert members.known(address()) == {ALICE: Role.OWNER, BOB: Role.MEMBER}
    assert store.reads == 1


async def test_that_a_channel_does_not_exist_is_remembered(store: MemberStore, members: Members) -> None:
    for _ in range(3):
        assert await members.get(address("group:none")) == {}
    assert store.reads == 1


async def test_an_inbox_has_one_member_and_needs_no_store(store: MemberStore, members: Members) -> None:
    assert members.known(address("user:alice")) == {ALICE: Role.OWNER}
    assert await members.get(address("user:alice")) == {ALICE: Role.OWNER}
    assert (store.reads, len(members)) == (0, 0)


async def test_many_who_ask_at_once_share_one_read(store: MemberStore, members: Members, nursery: trio.Nursery) -> None:
    store.waits = True
    found: list[Roles] = []

    async def ask() -> None:
        found.append(await members.get(address()))

    for _ in range(10):
        nursery.start_soon(ask)
    await wait_all_tasks_blocked()
    store.let_go()
    await wait_all_tasks_blocked()
    assert (len(found), store.reads) == (10, 1)


@pytest.mark.parametrize("way", ["error", "cancel"])
async def test_who_waits_reads_again_when_the_reader_fails(
    store: MemberStore, members: Members, nursery: trio.Nursery, way: str
) -> None:
    store.waits = True
    scope = trio.CancelScope()
    found: list[Roles] = []

    async def first() -> None:
        with scope:
            if way == "error":
                with pytest.raises(StoreUnavailable):
                    await members.get(address())
            else:
                await members.get(address())

    async def second() -> None:
        found.append(await members.get(address()))

    nursery.start_soon(first)
    await wait_all_tasks_blocked()
    nursery.start_soon(second)
    await wait_all_tasks_blocked()
    if way == "error":
        store.error = StoreUnavailable("no database")
        store.let_go()
    else:
        scope.cancel()
    await wait_all_tasks_blocked()
    store.error = None
    store.let_go()
    await wait_all_tasks_blocked()
    assert [dict(roles) for roles in found] == [store.channels[GROUP]]


# Changing.


async def test_a_change_is_known_at_once_and_disturbs_nobody_who_walks_over_the_members(
    store: MemberStore, members: Members
) -> None:
    before = await members.get(address())
    members.changed(GROUP, {CAROL: Role.ADMIN}, [BOB])
    assert before == {ALICE: Role.OWNER, BOB: Role.MEMBER}
    assert members.known(address()) == {ALICE: Role.OWNER, CAROL: Role.ADMIN}
    assert store.reads == 1


async def test_a_change_of_what_is_not_in_memory_is_left_to_the_store(store: MemberStore, members: Members) -> None:
    members.changed(GROUP, {CAROL: Role.ADMIN}, ())
    assert len(members) == 0
    assert await members.get(address()) == {ALICE: Role.OWNER, BOB: Role.MEMBER}


@pytest.mark.parametrize("forget", [False, True])
async def test_a_change_while_the_members_are_read_is_not_lost(
    store: MemberStore, members: Members, nursery: trio.Nursery, forget: bool
) -> None:
    store.waits = True
    found: list[Roles] = []

    async def ask() -> None:
        found.append(await members.get(address()))

    nursery.start_soon(ask)
    nursery.start_soon(ask)
    await wait_all_tasks_blocked()
    store.channels[GROUP][CAROL] = Role.MEMBER
    if forget:
        members.forget(GROUP)
    else:
        members.changed(GROUP, {CAROL: Role.MEMBER}, ())
    store.let_go()
    await wait_all_tasks_blocked()
    assert found == []  # what was read is out of date: it is read again
    store.let_go()
    await wait_all_tasks_blocked()
    assert [set(roles) for roles in found] == [{ALICE, BOB, CAROL}] * 2
    assert store.reads == 2


# Bounds.


async def test_the_channels_used_the_longest_ago_are_forgotten(store: MemberStore, members: Members) -> None:
    for name in ("group:1", "group:2", "group:3"):
        await members.get(address(name))
    members.known(address("group:1"))
    await members.get(address("group:4"))
    assert len(members) == 3
    assert members.known(address("group:2")) is None
    assert members.known(address("group:1")) == {}


# Changes by several at once.


class Told:
    """Takes what groups publish."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []

    async def publish(self, drafts: Sequence[Draft]) -> list[Published | Refused]:
        """Take messages."""
        self.drafts += drafts
        return []


class Scene:
    """A group whose members change it by its rules."""

    def __init__(self, store: MemberStore) -> None:
        self.store = store
        self.members = Members(store.as_store(), 10)
        self.told = Told()
        self.groups = Groups(store.as_store(), self.members, DIRECTORY, HandClock(), lambda: "key", users_are_here=True)
        self.groups.broker = cast(Broker, self.told)

    async def change(self, *changes: Callable[[], Awaitable[None]]) -> list[Denied | None]:
        """Let several make a change at once, each waiting for the store at every step; return who was refused."""
        self.store.waits = True
        outcomes: list[Denied | None] = [None] * len(changes)

        async def make(place: int, change: Callable[[], Awaitable[None]]) -> None:
            try:
                await change()
            except Denied as error:
                outcomes[place] = error

        async with trio.open_nursery() as nursery:
            for place, change in enumerate(changes):
                nursery.start_soon(make, place, change)
                await wait_all_tasks_blocked()
            while nursery.child_tasks:
                self.store.let_go(10)
                await wait_all_tasks_blocked()
        self.store.waits = False
        assert await self.members.get(address()) == self.store.channels[GROUP]
        return outcomes

    def invite(self, by: UserId, user: UserId, role: Role = Role.MEMBER) -> Callable[[], Awaitable[None]]:
        """Prepare to add somebody."""
        return partial(self.groups.invite, principal(by), address(), [user], role)

    def remove(self, by: UserId, user: UserId) -> Callable[[], Awaitable[None]]:
        """Prepare to take somebody out."""
        return partial(self.groups.remove, principal(by), address(), [user])


def principal(user: UserId) -> Principal:
    return Principal(user, DeviceId("phone"), False, None)


async def test_memory_ends_as_the_store_does_when_several_change_the_members_at_once(store: MemberStore) -> None:
    scene = Scene(store)
    for _ in range(20):  # trio wakes tasks in random order
        await scene.change(
            scene.invite(ALICE, CAROL),
            scene.remove(ALICE, CAROL),
            scene.invite(ALICE, BOB, Role.ADMIN),
            scene.invite(ALICE, BOB),
        )
        assert store.channels[GROUP] == {ALICE: Role.OWNER, BOB: Role.MEMBER}
    told = [draft.body for draft in scene.told.drafts]
    assert told == told[:4] * 20


async def test_rights_are_those_of_the_moment_of_the_change(store: MemberStore) -> None:
    store.channels[GROUP] = {ALICE: Role.OWNER, BOB: Role.ADMIN}
    scene = Scene(store)
    outcomes = await scene.change(scene.remove(ALICE, BOB), scene.invite(BOB, CAROL))
    assert [outcome is None for outcome in outcomes] == [True, False]
    assert store.channels[GROUP] == {ALICE: Role.OWNER}


async def test_two_owners_who_leave_at_once_leave_an_owner_behind(store: MemberStore) -> None:
    store.channels[GROUP] = {ALICE: Role.OWNER, BOB: Role.OWNER, CAROL: Role.MEMBER}
    scene = Scene(store)
    await scene.change(scene.remove(ALICE, ALICE), scene.remove(BOB, BOB))
    assert store.channels[GROUP] == {CAROL: Role.OWNER}


async def test_after_a_failed_change_the_members_are_read_again(store: MemberStore) -> None:
    scene = Scene(store)
    await scene.members.get(address())
    with pytest.raises(StoreUnavailable):
        await _failing(scene, scene.invite(ALICE, CAROL))
    # The fake made the change before it failed, as a database may.
    assert set(await scene.members.get(address())) == {ALICE, BOB, CAROL}


async def test_after_a_failed_making_the_members_are_read_again(store: MemberStore) -> None:
    scene = Scene(store)
    new = address("group:new")
    assert await scene.members.get(new) == {}
    with pytest.raises(StoreUnavailable):
        await _failing(scene, partial(scene.groups.create, principal(ALICE), new, []))
    assert await scene.members.get(new) == {ALICE: Role.OWNER}


async def _failing(scene: Scene, change: Callable[[], Awaitable[None]]) -> None:
    scene.store.change_error = StoreUnavailable("no database")
    await change()


async def test_with_many_nodes_an_old_version_is_noticed_by_who_asks_for_rights(
    store: MemberStore, members: Members
) -> None:
    versions = {"newest": "1-5"}

    async def ask_version(_: ChannelName) -> str:
        return versions["newest"]

    members.ask_version = ask_version
    await members.get(address())
    assert members.version(address()) == "1-5"
    await members.get(address())
    assert store.reads == 1
    store.channels[address().name][UserId("zoe")] = Role.MEMBER
    versions["newest"] = "1-6"
    assert UserId("zoe") in await members.get(address())
    assert members.version(address()) == "1-6"


async def test_with_many_nodes_members_are_believed_for_a_while_only(
    store: MemberStore, members: Members, autojump_clock: trio.testing.MockClock
) -> None:
    async def ask_version(_: ChannelName) -> str:
        return ""

    members.ask_version = ask_version
    await members.get(address())
    assert members.known(address()) is not None
    await trio.sleep(61)
    assert members.known(address()) is None
    await members.get(address())
    assert store.reads == 2
