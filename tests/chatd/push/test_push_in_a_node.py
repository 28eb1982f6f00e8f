"""Pushes of a whole node: from a message that somebody sends to the browser of who is away."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from click.testing import CliRunner

from chatd.cli import main
from chatd.config import Config, Push, PushWeb, Reads, Server
from chatd.push.vapid import Vapid, load_or_make_key
from protocol.names import DeviceId, UserId
from tests.chatd.push.conftest import Serve
from tests.chatd.push.tokens import push_token
from tests.rig.node import Rig, running_node
from tests.rig.push_servers.webpush import Subscription, WebPushService

DM = "dm:alice:bob"
PATIENCE_SECONDS = 10.0
NOW = 1_800_000_000


@pytest.fixture(autouse=True)
def trusted(certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every TLS context trust the tests' own services."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))


@pytest.fixture
async def service(serve: Serve) -> WebPushService:
    made = WebPushService(time.time)
    server = await serve(made.answer)
    made.origin = server.url
    return made


def config_of(service: WebPushService, folder: Path, **push: Any) -> Config:
    hosts = ("localhost:" + service.origin.rpartition(":")[2],)
    web = PushWeb(subject="mailto:ops@example.org", hosts=hosts)
    given = {"after_seconds": 0.0, "poll_seconds": 0.01, **push}
    return Config(server=Server(var=str(folder)), push=Push(webpush=web, **given))


@asynccontextmanager
async def node(folder: Path, config: Config) -> AsyncIterator[Rig]:
    async with running_node(folder, config) as rig:
        if await rig.store.user(UserId("bob")) is None:
            await rig.register("alice", "bob")
        yield rig


async def subscribe(rig: Rig, service: WebPushService, device: str = "browser") -> Subscription:
    """Give bob's device a subscription."""
    assert rig.node.pushing.public_key is not None
    subscription = service.subscribe(rig.node.pushing.public_key)
    token = push_token("webpush", subscription.endpoint, device=device, details=subscription.details)
    await rig.store.put_push_token(token)
    return subscription


async def until_received(subscription: Subscription, count: int) -> list[dict[str, Any]]:
    with trio.fail_after(PATIENCE_SECONDS):
        while len(subscription.received) < count:
            await trio.lowlevel.checkpoint()
    return [msgspec.json.decode(plain) for plain in subscription.received]


async def until_ended(rig: Rig, **ends: int) -> None:
    with trio.fail_after(PATIENCE_SECONDS):
        while rig.node.pushing.counts.ends != ends:
            await trio.lowlevel.checkpoint()


async def test_who_is_away_is_told_and_who_is_here_is_not(tmp_path: Path, service: WebPushService) -> None:
    async with node(tmp_path, config_of(service, tmp_path)) as rig:
        subscription = await subscribe(rig, service)
        alice = await rig.enter("alice")
        await alice.ask(type="send", channel=DM, key="k1", data={"text": "hi"})
        [told] = await until_received(subscription, 1)
        assert (told["title"], told["body"], told["badge"]) == ("alice", "hi", 1)
        assert told["data"]["channel"] == DM
        bob = await rig.enter("bob")
        await alice.ask(type="send", channel=DM, key="k2", data={"text": "you are here"})
        assert (await bob.hear())["seq"] == 2
        await bob.ask(type="status", state="away")
        await alice.ask(type="send", channel=DM, key="k3", data={"text": "look"})
        assert [one["body"] for one in await until_received(subscription, 2)] == ["hi", "look"]


async def test_a_device_that_is_connected_is_not_told_though_nobody_looks(
    tmp_path: Path, service: WebPushService
) -> None:
    async with node(tmp_path, config_of(service, tmp_path)) as rig:
        desk, phone = await subscribe(rig, service, "desk"), await subscribe(rig, service, "phone")
        alice, bob = await rig.enter("alice"), await rig.enter("bob", device="desk")
        await bob.ask(type="status", state="away")
        await alice.ask(type="send", channel=DM, key="k1", data={"text": "hi"})
        await until_received(phone, 1)
        await until_ended(rig, live=1, pushed=1)
        assert desk.received == []


async def test_who_reads_in_time_is_not_told(tmp_path: Path, service: WebPushService) -> None:
    config = config_of(service, tmp_path, after_seconds=0.5)
    config = msgspec.structs.replace(config, reads=Reads(save_seconds=0.01))
    async with node(tmp_path, config) as rig:
        await subscribe(rig, service)
        alice = await rig.enter("alice")
        await alice.ask(type="send", channel=DM, key="k1", data={"text": "hi"})
        bob = await rig.enter("bob")
        await bob.ask(type="read", channel=DM, seq=1)
        bob.leave()
        await until_ended(rig, read=1)
        assert service.requests == []


async def test_what_is_no_application_message_and_no_push_channel_tells_nobody(
    tmp_path: Path, service: WebPushService
) -> None:
    async with node(tmp_path, config_of(service, tmp_path)) as rig:
        subscription = await subscribe(rig, service)
        alice = await rig.enter("alice")
        await alice.say({"type": "create", "channel": "group:tea", "members": ["bob"]})
        assert {(await alice.hear())["type"], (await alice.hear())["type"]} == {"ok", "message"}
        await alice.ask(type="subscribe", channel="room:lobby")
        await alice.say({"type": "send", "channel": "room:lobby", "key": "r", "data": {"text": "room"}})
        assert {(await alice.hear())["type"], (await alice.hear())["type"]} == {"sent", "message"}
        await alice.ask(type="send", channel=DM, key="k1", data={"text": "last"})
        assert [one["body"] for one in await until_received(subscription, 1)] == ["last"]


async def test_a_push_that_waits_survives_a_restart(tmp_path: Path, service: WebPushService) -> None:
    config = config_of(service, tmp_path, after_seconds=0.5)
    async with node(tmp_path, config) as rig:
        subscription = await subscribe(rig, service)
        alice = await rig.enter("alice")
        await alice.ask(type="send", channel=DM, key="k1", data={"text": "hi"})
        with trio.fail_after(PATIENCE_SECONDS):
            while (await rig.store.jobs.counts("push")).waiting != 1:
                await trio.lowlevel.checkpoint()
    assert subscription.received == []
    async with node(tmp_path, config):
        assert [one["body"] for one in await until_received(subscription, 1)] == ["hi"]


async def test_a_node_that_does_not_work_leaves_the_jobs_to_others(tmp_path: Path, service: WebPushService) -> None:
    async with node(tmp_path, config_of(service, tmp_path, work=False)) as rig:
        await subscribe(rig, service)
        alice = await rig.enter("alice")
        await alice.ask(type="send", channel=DM, key="k1", data={"text": "hi"})
        with trio.fail_after(PATIENCE_SECONDS):
            while (await rig.store.jobs.counts("push")).waiting != 1:
                await trio.lowlevel.checkpoint()
    assert service.requests == []


async def test_the_tokens_of_a_revoked_device_are_removed(tmp_path: Path, service: WebPushService) -> None:
    async with node(tmp_path, config_of(service, tmp_path)) as rig:
        grant = await rig.node.accounts.register("carol", "correct horse", "")
        await rig.store.put_push_token(push_token(user="carol", device=grant.device))
        principal = await rig.node.tokens.verify(grant.access_token)
        await rig.node.accounts.revoke(principal, DeviceId(grant.device))
        with trio.fail_after(PATIENCE_SECONDS):
            while await rig.store.push_tokens([UserId("carol")]):
                await trio.lowlevel.checkpoint()


async def test_without_a_service_nothing_stands_behind_delivery(tmp_path: Path) -> None:
    async with node(tmp_path, Config()) as rig:
        deliver = lambda placed: None  # noqa: E731
        assert rig.node.pushing.tapped(deliver) is deliver
        assert rig.node.pushing.providers == ()


async def test_the_command_pushes_to_one_device_and_says_what_came_of_it(
    tmp_path: Path, service: WebPushService
) -> None:
    config = config_of(service, tmp_path)
    file = tmp_path / "config.toml"
    text = f"""[server]
var = "{tmp_path}"
[push.webpush]
subject = "mailto:ops@example.org"
hosts = ["{config.push.webpush.hosts[0]}"]
"""
    file.write_text(text, "utf-8")
    async with node(tmp_path, config) as rig:
        subscription = await subscribe(rig, service)
        ask = CliRunner().invoke
        command = ["push", "--config", str(file), "--test", "bob", "browser", "--body", "hello"]
        result = await trio.to_thread.run_sync(lambda: ask(main, command))
        assert (result.exit_code, result.output) == (0, "webpush: delivered\n")
        assert [one["body"] for one in await until_received(subscription, 1)] == ["hello"]
        service.expired.update(service.subscriptions)
        result = await trio.to_thread.run_sync(lambda: ask(main, command))
        assert (result.exit_code, result.output) == (1, "webpush: gone 410 expired\n")
        result = await trio.to_thread.run_sync(lambda: ask(main, [*command[:-2], "--dry-run"]))
        assert result.exit_code == 0
        result = await trio.to_thread.run_sync(lambda: ask(main, [*command[:4], "bob", "unknown"]))
        assert result.exit_code == 1


def test_the_command_needs_a_service(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[server]\nvar = "{tmp_path}"\n', "utf-8")
    result = CliRunner().invoke(main, ["push", "--config", str(file)])
    assert (result.exit_code, result.output) == (2, "chatd: push: no service is configured\n")


def test_the_key_in_the_folder_is_the_one_that_pages_get(tmp_path: Path) -> None:
    key = load_or_make_key(tmp_path / "vapid.pem")
    assert Vapid(key, "mailto:x", lambda: NOW).public_key.startswith("B")
