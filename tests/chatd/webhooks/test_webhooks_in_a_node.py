"""Webhooks of a running node, over real sockets: every event that exists, as a backend gets it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from chatd.accounts.principal import Principal
from chatd.push.content import Content
from chatd.push.jobs import DevicePush
from protocol.codes import CloseCode
from protocol.names import ChannelName, DeviceId, Seq, UserId
from storage.records import PushTokenRecord
from tests.rig.node import Rig, running_node
from tests.rig.webhook_receiver import SECRET, Receiver, Reply, open_receiver
from tests.rig.webhooks import configured, wait_for_outcome

pytestmark = pytest.mark.system


@asynccontextmanager
async def node_and_receiver(
    folder: Path, monkeypatch: pytest.MonkeyPatch, **keys: Any
) -> AsyncIterator[tuple[Rig, Receiver]]:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    async with open_receiver() as receiver, running_node(folder, configured(receiver.url, **keys)) as rig:
        yield rig, receiver


def types(receiver: Receiver) -> list[str]:
    return [event["type"] for event in receiver.events]


async def test_a_session_comes_and_goes_and_its_user_is_offline_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node_and_receiver(tmp_path, monkeypatch) as (rig, receiver):
        phone = await rig.enter("alice", device="phone")
        desk = await rig.enter("alice", device="desk")
        phone.leave()
        await receiver.wait_for(lambda: receiver.of_type("session.disconnected"))
        desk.session.close(CloseCode.NO_PONG, "gone")
        await receiver.wait_for(lambda: receiver.of_type("user.offline"))
        assert types(receiver) == [
            "session.connected",
            "session.connected",
            "session.disconnected",
            "session.disconnected",
            "user.offline",
        ]
        connected, _, first, second, offline = [event["data"] for event in receiver.events]
        assert connected["device"] == "phone"
        assert connected["address"] == "192.0.2.1"
        assert (first["reason"], first["code"]) == ("lost", None)
        assert (second["reason"], second["code"]) == ("no_pong", CloseCode.NO_PONG)
        assert (offline["user"], offline["session"], offline["reason"]) == ("alice", second["session"], "no_pong")
        again = await rig.enter("alice")
        again.leave()
        await receiver.wait_for(lambda: len(receiver.of_type("user.offline")) == 2)
        assert len({event["id"] for event in receiver.events}) == len(receiver.events)


async def test_who_comes_back_in_time_is_never_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with node_and_receiver(tmp_path, monkeypatch, grace_seconds=5.0) as (rig, receiver):
        for _ in range(3):
            device = await rig.enter("alice")
            device.leave()
            await receiver.wait_for(lambda: types(receiver)[-1:] == ["session.disconnected"])
        assert receiver.of_type("user.offline") == []


async def test_messages_are_told_in_the_order_of_their_seqs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with node_and_receiver(
        tmp_path, monkeypatch, events=("message.published",), namespaces=("dm", "room"), concurrency=4
    ) as (rig, receiver):
        await rig.register("alice", "bob")
        alice, bob = await rig.enter("alice"), await rig.enter("bob")
        await alice.ask(type="send", channel="track:alice", key="no", data={})  # of another namespace
        await alice.ask(type="send", channel="dm:alice:bob", key="first", data={"n": 0})
        await alice.say(*({"type": "send", "channel": "dm:alice:bob", "key": f"a{n}", "data": {}} for n in range(20)))
        await bob.say(*({"type": "send", "channel": "dm:alice:bob", "key": f"b{n}", "data": {}} for n in range(20)))
        await alice.say({"type": "send", "channel": "room:one", "key": "r", "data": {"text": "☎"}})
        await receiver.wait_for(lambda: len(receiver.events) == 42)
        direct = [event["data"] for event in receiver.events if event["data"]["channel"] == "dm:alice:bob"]
        assert [data["seq"] for data in direct] == list(range(1, 42))
        [room] = [event for event in receiver.events if event["data"]["channel"] == "room:one"]
        assert room["data"]["data"] == {"text": "☎"}
        assert room["data"]["from"] == "alice"


async def test_channels_open_with_their_first_reader_and_empty_with_their_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node_and_receiver(
        tmp_path, monkeypatch, events=("channel.opened", "channel.emptied"), namespaces=("room",)
    ) as (rig, receiver):
        alice, bob = await rig.enter("alice"), await rig.enter("bob")
        for device in (alice, bob):
            await device.ask(type="subscribe", channel="room:one")
            await device.ask(type="subscribe", channel="event:one")
        await alice.ask(type="unsubscribe", channel="room:one")
        bob.leave()
        await receiver.wait_for(lambda: receiver.of_type("channel.emptied"))
        told = [(event["type"], event["data"]) for event in receiver.events]
        assert told == [("channel.opened", {"channel": "room:one"}), ("channel.emptied", {"channel": "room:one"})]


async def test_who_is_removed_suspended_or_revoked_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = ("moderation.removed", "moderation.suspended", "moderation.revoked", "delivery.failed")
    async with node_and_receiver(tmp_path, monkeypatch, events=events) as (rig, receiver):
        await rig.register("alice", "bob", "carl")
        alice = await rig.enter("alice")
        await alice.say({"type": "create", "channel": "group:one", "members": ["bob", "carl"]})
        await alice.say({"type": "remove", "channel": "group:one", "users": ["bob", "alice"]})
        await receiver.wait_for(lambda: len(receiver.events) == 1)
        grant = await rig.node.accounts.guest("phone")
        principal = Principal(grant.user, grant.device, is_guest=True, expires_at=None)
        await rig.node.accounts.logout(principal)
        await rig.node.accounts.suspend("carl")
        token = PushTokenRecord(
            user=UserId("carl"), device=DeviceId("d"), provider="fcm", token="t", details={}, locale="", created_at=0
        )
        content = Content(
            channel=ChannelName("dm:a:carl"), epoch="e", seq=Seq(1), sender=UserId("a"), at=0, expires_at=0
        )
        rig.node.webhooks.telling.push_given_up(DevicePush(content, token, "en", None, 0), "rejected")
        await receiver.wait_for(lambda: len(receiver.events) == 4)
        removed, revoked, suspended, failed = [(event["type"], event["data"]) for event in receiver.events]
        assert removed[0] == "moderation.removed"
        assert (removed[1]["user"], removed[1]["by"], removed[1]["channel"]) == ("bob", "alice", "group:one")
        assert revoked[0] == "moderation.revoked"
        assert (revoked[1]["user"], revoked[1]["device"]) == (grant.user, grant.device)
        assert (suspended[0], suspended[1]["user"]) == ("moderation.suspended", "carl")
        assert (failed[0], failed[1]["provider"]) == ("delivery.failed", "fcm")


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500),
        Reply(429, (("Retry-After", "0"),)),
        Reply(307, (("Location", "http://169.254.169.254/"),)),
        Reply(garbage=b"no http at all\r\n\r\n"),
        Reply(garbage=b""),
        Reply(hangs=True),
    ],
    ids=["error", "too many", "redirect", "garbage", "hung up", "silence"],
)
async def test_whatever_an_endpoint_does_the_request_comes_again_with_its_id_and_order_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reply: Reply
) -> None:
    async with node_and_receiver(tmp_path, monkeypatch, timeout_seconds=0.3, batch_events=1) as (rig, receiver):
        receiver.script.append(reply)
        alice = await rig.enter("alice")
        alice.leave()
        await receiver.wait_for(lambda: receiver.of_type("user.offline"))
        ids = [request.id for request in receiver.requests]
        assert ids[0] == ids[1]
        assert len(set(ids)) == 3
        assert types(receiver)[1:] == ["session.connected", "session.disconnected", "user.offline"]


async def test_operations_list_dead_letters_and_replay_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with node_and_receiver(tmp_path, monkeypatch) as (rig, receiver):
        receiver.script.append(Reply(410))
        operations = rig.node.webhooks.operations
        await rig.enter("alice")
        await wait_for_outcome(rig, "gone")
        [state] = await operations.endpoints()
        assert (state.name, state.url, state.gone, state.dead) == ("main", receiver.url, True, 1)
        [letter] = await operations.dead_letters("main", limit=10)
        assert letter.request == receiver.requests[0].id
        assert bytes(letter.body) == receiver.requests[0].body
        assert letter.error == "status 410"
        await operations.enable("main")
        assert await operations.replay("main", [letter.letter]) == 1
        await receiver.wait_for(lambda: len(receiver.requests) == 2)
        assert receiver.requests[1].id == receiver.requests[0].id
        result = await operations.test("main")
        assert (result.status, result.error) == (204, "")
        assert receiver.requests[-1].json["type"] == "webhook.test"


async def test_a_rotated_secret_signs_after_a_reload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    file.chmod(0o600)
    async with node_and_receiver(
        tmp_path, monkeypatch, secret_variables=(), secret_files=(str(file),), batch_events=1
    ) as (rig, receiver):
        await rig.enter("alice")
        await receiver.wait_for(lambda: len(receiver.requests) == 1)
        newer = SECRET[:-4] + "bmV3"
        file.write_text(f"{newer}\n{SECRET}\n")
        receiver.secrets = (newer, SECRET)
        rig.node.settings.replace(rig.node.settings.config)
        await rig.enter("bob")
        await receiver.wait_for(lambda: len(receiver.requests) == 2)
        file.write_text("nonsense")  # a mistake in a rotation must not stop the signing
        rig.node.settings.replace(rig.node.settings.config)
        await rig.enter("carl")
        await receiver.wait_for(lambda: len(receiver.requests) == 3)


async def test_an_endpoint_inside_is_not_reached_unless_that_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node_and_receiver(tmp_path, monkeypatch, allow_private=False) as (rig, receiver):
        await rig.enter("alice")
        await wait_for_outcome(rig, "failed")
        assert receiver.connections == 0


async def test_without_endpoints_nothing_stands_between_the_parts(rig: Rig) -> None:
    assert rig.node.hub.observer is rig.node.tracker
    assert rig.node.hub.on_used == []
    assert rig.node.webhooks.statistics().queued == 0
    await rig.enter(UserId("alice"), device=DeviceId("d"))
    assert rig.node.webhooks.gatherer.waiting == 0
