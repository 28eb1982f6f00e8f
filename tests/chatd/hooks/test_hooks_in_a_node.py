"""Hooks in a running node, asked over real sockets: what sessions are told, and what reaches the channels."""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chatd.accounts.principal import Principal
from chatd.broker import Published
from chatd.config import Config, Hook, Hooks
from chatd.webhooks.signing import AsymmetricKey
from protocol.body import json_body
from protocol.codes import CloseCode, ErrorCode
from protocol.names import DeviceId, UserId
from tests.rig.node import Rig, running_node
from tests.rig.webhook_receiver import SECRET, Received, Receiver, Reply, open_receiver

pytestmark = pytest.mark.system

Decide = Callable[[dict[str, Any]], dict[str, Any]]


def allow(**more: Any) -> dict[str, Any]:
    return {"decision": "allow", **more}


def deny(**more: Any) -> dict[str, Any]:
    return {"decision": "deny", **more}


@asynccontextmanager
async def node_with(
    folder: Path, monkeypatch: pytest.MonkeyPatch, decide: Decide, *names: str, **keys: Any
) -> AsyncIterator[tuple[Rig, Receiver]]:
    """Run a node that asks a backend about these things; `decide` answers the data of each question."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)

    def answer(received: Received) -> Reply:
        return Reply(200, (), msgspec.json.encode(decide(received.json["data"])))

    async with open_receiver() as receiver:
        receiver.answer = answer
        hook = msgspec.structs.replace(
            Hook(url=receiver.url, secret_variables=("HOOK_SECRET",), allow_private=True, deadline_seconds=5.0), **keys
        )
        config = msgspec.structs.replace(Config(), hooks=Hooks(**dict.fromkeys(names, hook)))
        async with running_node(folder, config) as rig:
            yield rig, receiver


async def test_a_backend_lets_a_session_in_and_says_something_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide(data: dict[str, Any]) -> dict[str, Any]:
        return allow(attributes={"plan": "pro"}) if "channel" not in data else allow()

    async with node_with(tmp_path, monkeypatch, decide, "connect", "subscribe") as (rig, receiver):
        alice = await rig.enter("alice")
        assert (await alice.ask(type="subscribe", channel="room:one"))["type"] == "subscribed"
        connect, subscribe = [request.json for request in receiver.requests]
        assert connect["type"] == "hook.connect"
        assert connect["data"]["user"] == "alice"
        assert connect["data"]["address"] == "192.0.2.1"
        assert subscribe["data"]["attributes"] == {"plan": "pro"}
        assert subscribe["data"]["session"] == connect["data"]["session"]


@pytest.mark.parametrize(
    ("code", "close"),
    [
        (None, CloseCode.UNAUTHORIZED),
        (ErrorCode.REVOKED, CloseCode.REVOKED),
        (ErrorCode.UNAVAILABLE, CloseCode.UNAVAILABLE),
        (ErrorCode.RATE_LIMITED, CloseCode.TOO_FAST),
    ],
)
async def test_a_backend_turns_a_session_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: ErrorCode | None, close: CloseCode
) -> None:
    more = {} if code is None else {"code": code}
    async with node_with(tmp_path, monkeypatch, lambda _: deny(reason="not today", **more), "connect") as (rig, _):
        device = rig.connect()
        answer = await device.ask(type="connect", token=rig.token("alice"))
        assert (answer["type"], answer["code"], answer["reason"]) == ("error", code or ErrorCode.FORBIDDEN, "not today")
        assert await device.close_code() == close
        assert not rig.node.hub.users


async def test_a_bad_token_is_not_asked_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with node_with(tmp_path, monkeypatch, lambda _: allow(), "connect") as (rig, receiver):
        device = rig.connect()
        assert (await device.ask(type="connect", token="forged"))["code"] == ErrorCode.BAD_TOKEN
        assert receiver.requests == []


async def test_a_backend_denies_a_subscription_and_a_cursor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decide(data: dict[str, Any]) -> dict[str, Any]:
        return deny(code=ErrorCode.NOT_FOUND, reason="no such room") if data["channel"] == "room:secret" else allow()

    async with node_with(tmp_path, monkeypatch, decide, "subscribe") as (rig, _):
        alice = await rig.enter("alice")
        assert (await alice.ask(type="subscribe", channel="room:open"))["type"] == "subscribed"
        answer = await alice.ask(type="subscribe", channel="room:secret")
        assert (answer["code"], answer["reason"]) == (ErrorCode.NOT_FOUND, "no such room")
        again = rig.connect()
        cursors = {"room:secret": ["e", 1]}
        answer = await again.ask(type="connect", token=rig.token("bob"), cursors=cursors)
        assert answer["resumed"] == {}
        assert await again.hear() == {
            "type": "unsubscribed",
            "channel": "room:secret",
            "code": ErrorCode.NOT_FOUND,
            "reason": "no such room",
        }


async def test_a_backend_allows_denies_and_changes_messages_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decide(data: dict[str, Any]) -> dict[str, Any]:
        match data["data"]["text"]:
            case "bad":
                return deny(reason="mind your words", code=ErrorCode.RATE_LIMITED, retry_after=7.5)
            case "shout":
                return allow(data={"text": "(quietly)"})
        return allow()

    async with node_with(tmp_path, monkeypatch, decide, "send", namespaces=("room",)) as (rig, receiver):
        alice, bob = await rig.enter("alice"), await rig.enter("bob")
        await bob.ask(type="subscribe", channel="room:one")
        words = ["hello", "bad", "shout", "bye"]
        await alice.say(
            *({"type": "send", "channel": "room:one", "key": f"k{word}", "data": {"text": word}} for word in words)
        )
        answers = [await alice.hear() for _ in words]
        assert [answer["type"] for answer in answers] == ["sent", "error", "sent", "sent"]
        assert (answers[1]["code"], answers[1]["reason"], answers[1]["retry_after"]) == (
            ErrorCode.RATE_LIMITED,
            "mind your words",
            7.5,
        )
        assert [answer["seq"] for answer in answers if answer["type"] == "sent"] == [1, 2, 3]
        assert [(await bob.hear())["data"]["text"] for _ in range(3)] == ["hello", "(quietly)", "bye"]
        assert receiver.requests[0].json["data"]["channel"] == "room:one"
        assert len(receiver.requests) == 4


async def test_every_message_is_asked_about_however_often_one_sends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The short way of messages that come alone must not pass a hook by."""
    async with node_with(tmp_path, monkeypatch, lambda _: allow(), "send", namespaces=("room",)) as (rig, receiver):
        alice = await rig.enter("alice")
        for number in range(5):
            sent = await alice.ask(type="send", channel="room:one", key=f"k{number}", data={"n": number})
            assert sent["type"] == "sent"
            sent = await alice.ask(type="send", channel="track:alice", key=f"t{number}", data={"n": number})
            assert sent["type"] == "sent"
        assert [request.json["data"]["data"] for request in receiver.requests] == [{"n": n} for n in range(5)]


async def test_a_message_over_http_is_asked_about_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def decide(data: dict[str, Any]) -> dict[str, Any]:
        return deny(reason="no") if data["data"].get("bad") else allow(data={"checked": True})

    async with node_with(tmp_path, monkeypatch, decide, "send") as (rig, receiver):
        router = rig.node.listener.handlers.send.__self__  # type: ignore[attr-defined]
        bob = await rig.enter("bob")
        await bob.ask(type="subscribe", channel="room:one")
        alice = Principal(UserId("alice"), DeviceId("phone"), is_guest=False, expires_at=None)
        refused = await router.publish(alice, "room:one", "k1", json_body({"bad": True}), False)
        assert (refused.code, refused.reason) == (ErrorCode.FORBIDDEN, "no")
        assert isinstance(await router.publish(alice, "room:one", "k2", json_body({}), False), Published)
        assert (await bob.hear())["data"] == {"checked": True}
        assert [request.json["data"]["session"] for request in receiver.requests] == ["", ""]


async def test_data_of_a_backend_keeps_to_the_size_of_the_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with node_with(tmp_path, monkeypatch, lambda _: allow(data={"text": "x" * 20_000}), "send") as (rig, _):
        alice = await rig.enter("alice")
        answer = await alice.ask(type="send", channel="room:one", key="k", data={})
        assert answer["code"] == ErrorCode.TOO_LARGE


@pytest.mark.parametrize("on_failure", ["allow", "deny"])
async def test_without_a_good_answer_the_configuration_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_failure: str
) -> None:
    async with node_with(
        tmp_path,
        monkeypatch,
        lambda _: {"decision": "perhaps"},
        "send",
        "subscribe",
        on_failure=on_failure,
        failures=99,
    ) as (rig, _):
        alice = await rig.enter("alice")
        sent = await alice.ask(type="send", channel="room:one", key="k", data={})
        subscribed = await alice.ask(type="subscribe", channel="room:one")
        if on_failure == "allow":
            assert (sent["type"], subscribed["type"]) == ("sent", "subscribed")
        else:
            assert sent["code"] == subscribed["code"] == ErrorCode.UNAVAILABLE
            assert sent["retry_after"] > 0


async def test_an_ed25519_key_signs_questions_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = b"s" * 32
    monkeypatch.setenv("HOOK_SECRET", "whsk_" + base64.b64encode(seed).decode())
    async with open_receiver(AsymmetricKey(seed).public) as receiver:
        receiver.answer = lambda _: Reply(200, (), msgspec.json.encode(allow()))
        hook = Hook(url=receiver.url, secret_variables=("HOOK_SECRET",), allow_private=True)
        async with running_node(tmp_path, msgspec.structs.replace(Config(), hooks=Hooks(connect=hook))) as rig:
            await rig.enter("alice")
        assert len(receiver.requests) == 1


async def test_a_node_without_hooks_has_none(rig: Rig) -> None:
    assert not rig.node.hooks.is_used
    alice = await rig.enter("alice")
    await alice.ask(type="send", channel="room:one", key="k", data={})
    assert alice.session.permit is not None  # the short way is open
