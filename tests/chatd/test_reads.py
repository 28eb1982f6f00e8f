"""The command `read`: kept, saved together, told to who wants to know, and given back by `channels`."""

from pathlib import Path

import msgspec
import pytest
import trio

from chatd.config import NAMESPACES, Config, Reads
from protocol.codes import ErrorCode
from protocol.names import ChannelName, UserId
from storage import StoreUnavailable
from tests.rig.node import Device, running_node

DM = "dm:alice:bob"
ALICE = UserId("alice")


async def _talk(alice: Device, key: str = "k1") -> int:
    answer = await alice.ask(type="send", channel=DM, key=key, data={"text": "hi"})
    assert answer["type"] == "sent", answer
    seq: int = answer["seq"]
    return seq


async def test_a_mark_is_in_the_list_of_channels_at_once_and_survives_a_restart(tmp_path: Path) -> None:
    async with running_node(tmp_path) as rig:
        await rig.register("alice", "bob")
        alice, bob = await rig.enter("alice"), await rig.enter("bob")
        seq = await _talk(alice)
        assert (await bob.hear())["type"] == "message"
        assert (await bob.ask(type="channels"))["channels"][0]["read"] == 0
        assert (await bob.ask(type="read", channel=DM, seq=seq))["type"] == "ok"
        assert (await bob.ask(type="channels"))["channels"][0]["read"] == seq
    async with running_node(tmp_path) as rig:
        bob = await rig.enter("bob")
        assert (await bob.ask(type="channels"))["channels"][0]["read"] == seq


async def test_other_devices_of_the_user_are_told_and_nobody_else(tmp_path: Path) -> None:
    async with running_node(tmp_path) as rig:
        await rig.register("alice", "bob")
        alice, phone, desk = await rig.enter("alice"), await rig.enter("bob"), await rig.enter("bob", device="desk")
        seq = await _talk(alice)
        await phone.hear()
        await desk.hear()
        await phone.ask(type="read", channel=DM, seq=seq)
        told = await desk.hear()
        assert {**told, "at": 0} == {"type": "read", "channel": DM, "user": "bob", "seq": seq, "at": 0}
        await phone.silence()
        await alice.silence()


async def test_with_receipts_all_members_are_told(tmp_path: Path) -> None:
    dm = msgspec.structs.replace(NAMESPACES["dm"], receipts=True)
    async with running_node(tmp_path, Config(namespaces={**NAMESPACES, "dm": dm})) as rig:
        await rig.register("alice", "bob")
        alice, bob = await rig.enter("alice"), await rig.enter("bob")
        seq = await _talk(alice)
        await bob.hear()
        await bob.ask(type="read", channel=DM, seq=seq)
        told = await alice.hear()
        assert (told["type"], told["user"], told["seq"]) == ("read", "bob", seq)


async def test_a_mark_that_does_not_move_forward_is_told_to_nobody(tmp_path: Path) -> None:
    async with running_node(tmp_path) as rig:
        await rig.register("alice", "bob")
        alice, desk = await rig.enter("alice"), await rig.enter("alice", device="desk")
        await _talk(alice)
        await desk.hear()
        for seq in (5, 5, 3):
            assert (await alice.ask(type="read", channel=DM, seq=seq))["type"] == "ok"
        assert (await desk.hear())["seq"] == 5
        await desk.silence()
        assert await rig.node.reads.of(ALICE, [ChannelName(DM)]) == {DM: 5}


@pytest.mark.parametrize(
    ("channel", "code"),
    [("room:lobby", ErrorCode.FORBIDDEN), ("group:none", ErrorCode.FORBIDDEN), ("nothing", ErrorCode.UNKNOWN_CHANNEL)],
)
async def test_only_members_of_member_channels_may(tmp_path: Path, channel: str, code: int) -> None:
    async with running_node(tmp_path) as rig:
        await rig.register("alice")
        alice = await rig.enter("alice")
        answer = await alice.ask(type="read", channel=channel, seq=1)
        assert (answer["type"], answer["code"]) == ("error", code)


async def test_more_marks_than_may_wait_are_refused(tmp_path: Path) -> None:
    async with running_node(tmp_path, Config(reads=Reads(waiting=1, save_seconds=1000))) as rig:
        await rig.register("alice", "bob", "carol")
        alice = await rig.enter("alice")
        for other in ("bob", "carol"):
            await alice.ask(type="send", channel=f"dm:alice:{other}", key=other, data={})
        assert (await alice.ask(type="read", channel=DM, seq=1))["type"] == "ok"
        assert (await alice.ask(type="read", channel="dm:alice:carol", seq=1))["code"] == ErrorCode.UNAVAILABLE
        assert (await alice.ask(type="read", channel=DM, seq=2))["type"] == "ok"


async def test_marks_that_could_not_be_saved_are_saved_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_node(tmp_path, Config(reads=Reads(save_seconds=0.01))) as rig:
        await rig.register("alice", "bob")
        alice = await rig.enter("alice")
        await _talk(alice)
        save, failed, saved = rig.store.save_read_marks, trio.Event(), trio.Event()

        async def flaky(marks: object) -> None:
            if not failed.is_set():
                failed.set()
                raise StoreUnavailable("gone for a moment")
            await save(marks)  # type: ignore[arg-type]
            saved.set()

        monkeypatch.setattr(rig.store, "save_read_marks", flaky)
        await alice.ask(type="read", channel=DM, seq=1)
        with trio.fail_after(10):
            await failed.wait()
            await saved.wait()
        [mark] = await rig.store.read_marks([(ALICE, ChannelName(DM))])
        assert mark.seq == 1
