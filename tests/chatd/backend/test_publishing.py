"""Backends publish: where they may, as whom, once for each key, and for a while."""

import pytest

from chatd.backend.actions import BackendAction
from chatd.backend.fanout import expires_at
from chatd.backend.publishing import NewEvent, key_in
from chatd.broker import Published, Refused
from chatd.rights import Denied
from protocol.body import json_body
from protocol.codes import ErrorCode
from protocol.names import ChannelName, UserId
from storage.records import Role
from tests.chatd.backend.conftest import caller
from tests.rig.node import Rig


def event(channel: str, key: str = "k", *, sender: str | None = None, ends: int | None = None) -> NewEvent:
    return NewEvent(channel, key, json_body({"n": key}), UserId(sender) if sender else None, False, ends)


async def refused(rig: Rig, one: NewEvent, *actions: BackendAction, namespaces: tuple[str, ...] | None = None) -> int:
    [answer] = await rig.node.backend.publishing.publish(caller(*actions, namespaces=namespaces), [one])
    assert isinstance(answer, Refused), answer
    return answer.code


async def placed(rig: Rig, *events: NewEvent) -> list[Published]:
    answers = await rig.node.backend.publishing.publish(caller(), events)
    found = [answer for answer in answers if isinstance(answer, Published)]
    assert len(found) == len(events), answers
    return found


async def test_a_message_reaches_subscribers_and_members_from_the_backend(rig: Rig) -> None:
    await rig.register("alice")
    alice = await rig.enter("alice")
    await alice.ask(type="subscribe", channel="event:news")
    await placed(rig, event("event:news", "a"), event("user:alice", "b"))
    heard = [await alice.hear() for _ in range(2)]
    assert {(one["channel"], one["from"], one["key"]) for one in heard} == {
        ("event:news", "backend", "a"),
        ("user:alice", "backend", "b"),
    }


async def test_a_key_is_placed_once(rig: Rig) -> None:
    first, again = await placed(rig, event("event:news"), event("event:news"))
    assert (first.duplicate, again.duplicate, first.place) == (False, True, again.place)
    assert await refused(rig, event("event:other")) == ErrorCode.KEY_REUSED


async def test_what_a_key_does_not_allow_is_refused(rig: Rig) -> None:
    publish = BackendAction.PUBLISH
    with pytest.raises(Denied, match="`publish`"):
        await rig.node.backend.publishing.publish(caller(BackendAction.HISTORY), [event("event:news")])
    assert await refused(rig, event("room:a"), publish, namespaces=("event",)) == ErrorCode.FORBIDDEN
    assert await refused(rig, event("event:a", sender="alice"), publish) == ErrorCode.FORBIDDEN
    assert await refused(rig, event("presence:alice")) == ErrorCode.FORBIDDEN
    assert await refused(rig, event("nosuch:a")) == ErrorCode.UNKNOWN_CHANNEL
    assert await refused(rig, event("group:nobody-made-it")) == ErrorCode.UNKNOWN_CHANNEL
    assert await refused(rig, event("event:a", sender="no such id")) == ErrorCode.UNKNOWN_USER


async def test_a_backend_speaks_for_a_user_and_begins_a_direct_chat(rig: Rig) -> None:
    await rig.register("alice", "bob")
    bob = await rig.enter("bob")
    await placed(rig, event("dm:alice:bob", sender="alice"))
    assert (await bob.hear())["from"] == "alice"
    assert await refused(rig, event("dm:alice:nobody", "x")) == ErrorCode.UNKNOWN_USER


async def test_one_event_goes_to_all_channels_of_a_user(rig: Rig) -> None:
    await rig.register("alice", "bob")
    backend = rig.node.backend
    await backend.membership.create(caller(), "group:one", {"alice": Role.MEMBER, "bob": Role.OWNER})
    await placed(rig, event("dm:alice:bob"))
    found = await backend.fanout.channels(caller(), ["event:x", "event:x"], ["bob"], "alice")
    assert sorted(found) == ["dm:alice:bob", "event:x", "group:one", "user:bob"]
    assert await backend.fanout.channels(caller(namespaces=("group",)), [], [], "alice") == ["group:one"]
    with pytest.raises(Denied):
        await backend.fanout.channels(caller(), [], [], "")
    events = backend.fanout.events(found, "k", json_body({}), None, False, None, is_many=True)
    assert [one.key for one in events] == [key_in("k", channel) for channel in found]
    assert len({one.key for one in events}) == 4


async def test_more_than_a_key_may_send_is_refused_with_the_time_to_wait(rig: Rig) -> None:
    publishing = rig.node.backend.publishing
    burst = rig.node.settings.config.backend.messages_burst
    await rig.node.backend.usage.messages(caller(), 100 * burst)
    [answer] = await publishing.publish(caller(), [event("event:a")])
    assert isinstance(answer, Refused)
    assert answer.code == ErrorCode.RATE_LIMITED
    assert answer.retry_after


@pytest.mark.parametrize("channel", ["event:a", "track:car"])
async def test_a_message_whose_time_is_over_leaves_an_empty_place(rig: Rig, channel: str) -> None:
    """In a channel whose messages are saved behind the answer, and in a durable one."""
    backend = rig.node.backend
    await placed(rig, event(channel, "stays"), event(channel, "ends", ends=1), event(channel, "after"))
    while (await rig.store.jobs.counts("endings")).waiting:
        await backend.endings.work()
        await rig.node.broker.stop()  # saves what is not saved yet, so that it can be ended for good
    kept, _ = await backend.seeing.history(caller(), channel, before=None, after=None, limit=10)
    assert [(one.key, one.kind, one.body.raw) for one in kept] == [
        ("stays", "", b'{"n":"stays"}'),
        ("ends", "expired", b"{}"),
        ("after", "", b'{"n":"after"}'),
    ]
    assert [one.kind for one in await rig.store.history(ChannelName(channel), limit=10)] == ["", "expired", ""]


def test_a_life_is_bounded() -> None:
    assert expires_at(10.0, 1.5, 1) == 11_500
    with pytest.raises(Denied):
        expires_at(10.0, 86_401.0, 1)
