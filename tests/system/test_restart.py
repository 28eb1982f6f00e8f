"""A real node that is killed and started again: what was acknowledged, who has an account, and every token."""

import httpx
import pytest
import trio

from protocol.codes import CloseCode
from tests.system.conftest import StartNode
from tests.system.wire import Wire, wire

pytestmark = pytest.mark.system

ACCOUNT = {"name": "alice", "password": "correct horse battery"}


async def _last_of(device: Wire, channel: str) -> dict[str, object]:
    page = await device.ask(type="history", channel=channel)
    return page["messages"][-1] if page["messages"] else {}


async def test_everything_is_there_after_a_kill(start_node: StartNode) -> None:
    node = start_node({"broker.save_seconds": 0.05, "auth.hash_memory_kib": 8})
    async with httpx.AsyncClient(base_url=node.http_url) as http:
        tokens = (await http.post("/v1/auth/register", json=ACCOUNT)).json()
        await http.post("/v1/auth/register", json=ACCOUNT | {"name": "bob"})
    secret = (node.directory / "var" / "secret").read_bytes()
    async with wire(node) as alice:
        await alice.enter(tokens["access_token"])
        await alice.ask(type="create", channel="group:friends", members=["bob"])
        for channel in ("room:hall", "dm:alice:bob", "group:friends", "track:alice"):
            sent = await alice.ask(type="send", channel=channel, key=channel, data={"in": channel})
            assert sent["type"] == "sent", sent
        await trio.sleep(0.5)  # rooms are saved soon after their messages are acknowledged
        node.kill()
        assert await alice.close_code() == 1006
    node.start()
    assert (node.directory / "var" / "secret").read_bytes() == secret
    async with wire(node) as alice:
        await alice.enter(tokens["access_token"])
        for channel in ("room:hall", "dm:alice:bob", "group:friends", "track:alice"):
            message = await _last_of(alice, channel)
            assert (message["key"], message["data"]) == (channel, {"in": channel})
        members = (await alice.ask(type="members", channel="group:friends"))["members"]
        assert members == {"alice": "owner", "bob": "member"}
        again = await alice.ask(type="send", channel="dm:alice:bob", key="dm:alice:bob", data={}, retry=True)
        assert again["duplicate"] is True
    async with httpx.AsyncClient(base_url=node.http_url) as http:
        assert (await http.post("/v1/auth/login", json=ACCOUNT)).status_code == 200
        refresh = {"refresh_token": tokens["refresh_token"]}
        assert (await http.post("/v1/auth/refresh", json=refresh)).status_code == 200


async def test_a_device_that_was_logged_out_stays_out_after_a_kill(start_node: StartNode) -> None:
    node = start_node({"auth.hash_memory_kib": 8})
    async with httpx.AsyncClient(base_url=node.http_url) as http:
        tokens = (await http.post("/v1/auth/register", json=ACCOUNT)).json()
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        async with wire(node) as device:
            await device.enter(tokens["access_token"])
            answer = await http.post("/v1/auth/logout", headers=bearer)
            assert answer.is_success, answer.text
            assert await device.close_code() == CloseCode.REVOKED
    node.kill()
    node.start()
    async with wire(node) as device:
        await device.upgrade()
        await device.tell(type="connect", token=tokens["access_token"])
        assert await device.close_code() == CloseCode.REVOKED
