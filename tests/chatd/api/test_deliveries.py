"""Webhooks and pushes from the side of a backend: dead letters listed, sent again, and who may do that."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from quart.testing import QuartClient

from chatd.push.content import Content
from chatd.push.jobs import DevicePush, Plan, plan_job, push_job
from protocol.codes import ErrorCode
from protocol.names import ChannelName, DeviceId, Seq, UserId
from storage.jobs import NewJob
from storage.records import PushTokenRecord
from tests.rig.node import Rig, running_node
from tests.rig.webhook_receiver import SECRET, Reply, open_receiver
from tests.rig.webhooks import configured, wait_for_outcome

Call = Callable[..., Awaitable[tuple[int, Any]]]

CONTENT = Content(
    channel=ChannelName("group:a"), epoch="e", seq=Seq(7), sender=UserId("bob"), at=1, expires_at=2**40, text="secret"
)


async def caller(rig: Rig, *actions: str, namespaces: tuple[str, ...] = ("*",)) -> Call:
    """Return what asks with a key of these actions; it returns status and JSON."""
    record, text = await rig.node.backend.keyring.create("test", actions or ("*",), namespaces)
    rig.node.backend.keys.take(record)
    client = cast(QuartClient, rig.node.http.app.test_client())

    async def call(method: str, path: str, body: object = None) -> tuple[int, Any]:
        response = await client.open(
            f"/v1/server{path}",
            method=method,
            data=None if body is None else msgspec.json.encode(body),
            headers={"Authorization": f"Bearer {text}"},
        )
        content = await response.get_data(as_text=False)
        return response.status_code, msgspec.json.decode(content) if content else None

    return call


async def bury(rig: Rig, *jobs: NewJob) -> None:
    """Let these jobs be given up, in their order."""
    await rig.store.jobs.put(jobs, now=1)
    for queue in dict.fromkeys(job.queue for job in jobs):
        while claimed := await rig.store.jobs.claim(queue, now=10, lease_ms=1000, limit=10):
            for job in claimed:
                await rig.store.jobs.bury(job, error="BadTopic")


@pytest.mark.system
async def test_dead_letters_of_an_endpoint_are_listed_and_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    async with open_receiver() as receiver, running_node(tmp_path, configured(receiver.url)) as rig:
        call = await caller(rig)
        receiver.script.append(Reply(410))
        await rig.enter("alice")
        await wait_for_outcome(rig, "gone")
        [endpoint] = (await call("GET", "/webhooks"))[1]["endpoints"]
        assert (endpoint["name"], endpoint["url"], endpoint["gone"], endpoint["dead"]) == (
            "main",
            receiver.url,
            True,
            1,
        )
        status, page = await call("GET", "/webhooks/main/dead?limit=1")
        [letter] = page["letters"]
        assert (status, letter["error"], letter["body"]) == (200, "status 410", receiver.requests[0].json)
        rest = await call("GET", f"/webhooks/main/dead?limit=1&cursor={page['next']}")
        assert rest == (200, {"letters": [], "next": None})
        assert (await call("POST", "/webhooks/main/enable"))[0] == 204
        assert await call("POST", "/webhooks/main/replay", {"letters": ["nonsense"]}) == (200, {"count": 0})
        assert await call("POST", "/webhooks/main/replay", {"all": True}) == (200, {"count": 1})
        await receiver.wait_for(lambda: len(receiver.requests) == 2)
        assert receiver.requests[1].id == receiver.requests[0].id
        status, result = await call("POST", "/webhooks/main/test")
        assert (status, result["status"], receiver.requests[-1].json["type"]) == (200, 204, "webhook.test")
        entries = (await call("GET", "/audit"))[1]["entries"]
        assert [entry["action"] for entry in entries] == [
            "webhook.test",
            "webhook.replay",
            "webhook.replay",
            "webhook.enable",
        ]


async def test_dead_pushes_are_listed_without_their_secrets_and_tried_again(rig: Rig) -> None:
    token = PushTokenRecord(
        user=UserId("alice"),
        device=DeviceId("phone"),
        provider="fcm",
        token="a-secret",
        details={},
        locale="",
        created_at=1,
    )
    await bury(
        rig,
        plan_job(Plan(CONTENT, [UserId("alice"), UserId("eve")]), 0, due=1),
        push_job(DevicePush(CONTENT, token, "", None, 1), due=1),
        NewJob(queue="push:fcm", body=b"of another version", due=1),
    )
    call = await caller(rig)
    queues = {one["queue"]: one["dead"] for one in (await call("GET", "/push"))[1]["queues"]}
    assert queues == {"plans": 1, "apns": 0, "fcm": 2, "webhook": 0, "webpush": 0}
    [plan] = (await call("GET", "/push/plans/dead"))[1]["letters"]
    assert (plan["channel"], plan["seq"], plan["users"], plan["device"]) == ("group:a", 7, ["alice", "eve"], None)
    _, page = await call("GET", "/push/fcm/dead")
    assert [(one["users"], one["device"], one["error"]) for one in page["letters"]] == [
        (["alice"], "phone", "BadTopic"),
        ([], None, "BadTopic"),
    ]
    assert "secret" not in str(page)
    assert await call("POST", "/push/fcm/replay", {"letters": [page["letters"][0]["letter"]]}) == (200, {"count": 1})
    assert await call("POST", "/push/fcm/replay", {"all": True}) == (200, {"count": 1})
    queues = {one["queue"]: one["waiting"] for one in (await call("GET", "/push"))[1]["queues"]}
    assert (queues["fcm"], queues["plans"]) == (2, 0)


async def test_what_is_not_there_and_what_is_not_clear_is_refused(rig: Rig) -> None:
    call = await caller(rig)
    for method, path, body in (
        ("GET", "/webhooks/nosuch/dead", None),
        ("POST", "/webhooks/nosuch/replay", {"all": True}),
        ("POST", "/webhooks/nosuch/test", None),
        ("POST", "/webhooks/nosuch/enable", None),
        ("GET", "/push/nosuch/dead", None),
        ("POST", "/push/nosuch/replay", {"all": True}),
    ):
        status, problem = await call(method, path, body)
        assert (status, problem["code"]) == (404, ErrorCode.NOT_FOUND), path
    for unclear in ({}, {"letters": ["a"], "all": True}):
        assert (await call("POST", "/push/fcm/replay", unclear))[0] == 400


async def test_a_key_of_some_namespaces_sees_and_changes_nothing(rig: Rig) -> None:
    call = await caller(rig, "webhooks", "webhooks.change", "push", "push.change", namespaces=("event",))
    for method, path in (("GET", "/webhooks"), ("GET", "/push"), ("POST", "/webhooks/main/test")):
        status, problem = await call(method, path)
        assert (status, problem["code"]) == (403, ErrorCode.FORBIDDEN), path
