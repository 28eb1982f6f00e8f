"""Events that are published later: once, in time, and never when it is too late for them."""

import pytest

from chatd.backend.publishing import NewEvent
from chatd.rights import Denied
from protocol.body import json_body
from tests.chatd.backend.conftest import caller
from tests.rig.node import Rig

FAR = 4_000_000_000_000


def event(channel: str = "event:a", key: str = "k") -> NewEvent:
    return NewEvent(channel, key, json_body({"n": 1}))


async def history(rig: Rig, channel: str = "event:a") -> list[str]:
    found, _ = await rig.node.backend.seeing.history(caller(), channel, before=None, after=None, limit=10)
    return [one.key for one in found]


async def test_an_event_is_published_when_it_is_due_and_not_before(rig: Rig) -> None:
    schedule = rig.node.backend.schedule
    await schedule.put(caller(), event(key="now"), 1, None)
    later = await schedule.put(caller(), event(key="later"), schedule._now() + 60_000, None)
    await schedule.work()
    assert await history(rig) == ["now"]
    waiting, following = await schedule.page(caller(), failed=False, after=None, limit=10)
    assert (waiting, following) == ([later], None)
    await schedule.cancel(caller(), later.id)
    with pytest.raises(Denied):
        await schedule.cancel(caller(), later.id)


async def test_the_same_event_is_scheduled_once(rig: Rig) -> None:
    schedule = rig.node.backend.schedule
    first = await schedule.put(caller(), event(), 1, None)
    assert (await schedule.put(caller(), event(), 1, None)).id == first.id
    await schedule.work()
    assert await history(rig) == ["k"]


async def test_one_whose_life_is_over_is_dropped(rig: Rig) -> None:
    await rig.node.backend.schedule.put(caller(), event(), 1, 5.0)
    await rig.node.backend.schedule.work()
    assert await history(rig) == []
    assert (await rig.store.jobs.counts("scheduled")).waiting == 0


async def test_what_cannot_be_published_any_more_is_kept_with_the_reason(rig: Rig) -> None:
    schedule = rig.node.backend.schedule
    await schedule.put(caller(), event("event:a", "x"), 1, None)
    await rig.node.backend.publishing.publish(caller(), [event("event:b", "x")])
    await schedule.work()
    failed, _ = await schedule.page(caller(), failed=True, after=None, limit=10)
    assert [(one.key, one.error[:3]) for one in failed] == [("x", "214")]


async def test_what_a_key_may_not_reach_it_neither_schedules_nor_sees_nor_cancels(rig: Rig) -> None:
    schedule = rig.node.backend.schedule
    kept = await schedule.put(caller(), event(), schedule._now() + 60_000, None)
    stranger = caller(namespaces=("room",))
    with pytest.raises(Denied):
        await schedule.put(stranger, event(key="y"), 1, None)
    assert (await schedule.page(stranger, failed=False, after=None, limit=10))[0] == []
    with pytest.raises(Denied):
        await schedule.cancel(stranger, kept.id)


async def test_nothing_is_scheduled_further_ahead_than_may_be(rig: Rig) -> None:
    with pytest.raises(Denied):
        await rig.node.backend.schedule.put(caller(), event(), FAR, None)
