"""Backends at a running node: keys made from the command line, the hot route, rates, CORS, server sessions."""

from pathlib import Path

import httpx
import pytest
import trio

from client import ConnectionClosed, RequestError, open_backend, open_client
from client.events import Message
from protocol.codes import ErrorCode
from tests.system.conftest import StartNode
from tests.system.process import NodeProcess, chatd

pytestmark = pytest.mark.system

MESSAGES = "/v1/server/channels/event:a/messages"


def run(node: NodeProcess, *arguments: str) -> str:
    """Run a command on the node's store, while it serves."""
    done = chatd(node.directory, *arguments, settings={"server.var": node.directory / "var"})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def new_key(node: NodeProcess, *actions: str) -> str:
    return run(node, "key", "create", "test", *(part for action in actions or ("*",) for part in ("--action", action)))


@pytest.fixture
def node(start_node: StartNode) -> NodeProcess:
    return start_node({"backend.key_refresh_seconds": 0.1, "server.cors_origins": ["https://app.example"]})


def test_a_key_made_and_revoked_beside_a_running_node_counts_there(node: NodeProcess) -> None:
    key = new_key(node)
    with httpx.Client(base_url=node.http_url, headers={"Authorization": f"Bearer {key}"}) as http:
        assert http.get("/v1/server/users").status_code == 200
        key_id = run(node, "key", "list").split()[0]
        rotated = run(node, "key", "rotate", key_id)
        assert http.get("/v1/server/users", headers={"Authorization": f"Bearer {rotated}"}).status_code == 200
        run(node, "key", "revoke", key_id)
        while http.get("/v1/server/users").status_code != 401:
            pass  # known within backend.key_refresh_seconds
        assert http.get("/v1/server/users").json()["code"] == ErrorCode.REVOKED


def test_the_hot_route_answers_as_the_app_does(node: NodeProcess) -> None:
    key = new_key(node, "publish")
    with httpx.Client(base_url=node.http_url, headers={"Authorization": f"Bearer {key}"}) as http:
        # The first request of a key that the node does not know yet goes to the app, all others past it.
        answers = [http.post(MESSAGES, json={"data": {"n": n}, "key": "k"}) for n in range(3)]
        assert [answer.json()["duplicate"] for answer in answers] == [False, True, True]
        assert answers[1].headers["RateLimit-Policy"] == '"key";q=4000;w=2'
        assert answers[1].headers["RateLimit"].startswith('"key";r=')
        refusals = [
            (http.post(MESSAGES, content=b"{"), 400),
            (http.post(MESSAGES, content=b"\xff"), 400),
            (http.post(MESSAGES, json={"data": {}, "from": "alice"}), 403),
            (http.post(MESSAGES.replace("event", "nosuch"), json={"data": {}}), 404),
            (http.post(MESSAGES, json={"data": {"x": "y" * 20_000}}), 413),
            (http.post(MESSAGES, content=b"x" * 1_048_577), 413),
            (http.get(MESSAGES), 403),
        ]
    for answer, status in refusals:
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")


def test_pages_of_named_hosts_may_use_the_api_and_others_not(node: NodeProcess) -> None:
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    with httpx.Client(base_url=node.http_url) as http:
        allowed = http.options(MESSAGES, headers={"Origin": "https://app.example", **asking})
        assert (allowed.status_code, allowed.headers["Access-Control-Allow-Origin"]) == (204, "https://app.example")
        assert "Authorization" in allowed.headers["Access-Control-Allow-Headers"]
        other = http.options(MESSAGES, headers={"Origin": "https://evil.example", **asking})
        assert "Access-Control-Allow-Origin" not in other.headers
        read = http.get("/v1/devices", headers={"Origin": "https://app.example"})
        assert (read.status_code, read.headers["Vary"]) == (401, "Origin")
        assert read.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert "Access-Control-Allow-Credentials" not in read.headers


def test_a_key_over_its_rate_is_told_how_long_to_wait(start_node: StartNode) -> None:
    node = start_node({"backend.requests_per_second": 1.0, "backend.requests_burst": 1})
    key = new_key(node)
    with httpx.Client(base_url=node.http_url, headers={"Authorization": f"Bearer {key}"}) as http:
        statuses = [http.get("/v1/server/namespaces").status_code for _ in range(4)]
        refused = http.get("/v1/server/namespaces")
    assert (statuses[0], refused.status_code, refused.headers["Retry-After"]) == (200, 429, "1")
    assert refused.headers["RateLimit"].startswith('"key";r=0')


def test_the_first_admin_is_made_and_people_suspended_from_the_command_line(node: NodeProcess) -> None:
    with httpx.Client(base_url=node.http_url) as http:
        grant = http.post("/v1/auth/register", json={"name": "ada", "password": "correct horse"}).json()
        headers = {"Authorization": f"Bearer {grant['access_token']}"}
        assert http.get("/v1/server/users", headers=headers).status_code == 403
        assert run(node, "user", "role", "ada", "admin") == "ada has admin"
        assert [one["user"] for one in http.get("/v1/server/users", headers=headers).json()["users"]] == ["ada"]
        run(node, "user", "suspend", "ada")
        while http.get("/v1/devices", headers=headers).status_code != 401:
            pass  # known within backend.key_refresh_seconds
        run(node, "user", "unsuspend", "ada")
        assert http.post("/v1/auth/login", json={"name": "ada", "password": "correct horse"}).status_code == 200


async def test_a_backend_client_uses_every_operation(node: NodeProcess) -> None:
    key = await trio.to_thread.run_sync(new_key, node)
    with trio.fail_after(30):
        async with (
            open_client(node.ws_url, token=node.token("alice")) as alice,
            open_backend(node.ws_url, key=key) as backend,
        ):
            assert backend.session.user == "backend"
            assert await backend.subscribe_user("alice", "event:a") == 1
            sent = await backend.send("event:a", {"n": 1}, key="one", ttl_seconds=60.0)
            assert (await backend.send("event:a", {"n": 1}, key="one", retry=True)).seq == sent.seq
            await backend.subscribe("event:b")
            placed = await backend.broadcast({"n": 2}, channels=["event:b", "nosuch:x"], users=["alice"])
            assert [(one.sent is None, one.error is None) for one in placed] == [
                (False, True),
                (True, False),
                (False, True),
            ]
            events = alice.events()
            got = [await anext(events), await anext(events)]
            assert [event.channel for event in got if isinstance(event, Message)] == ["event:a", "user:alice"]
            own = await anext(backend.events())
            assert isinstance(own, Message)
            assert own.channel == "event:b"
            await backend.unsubscribe("event:b")
            assert [one.key for one in (await backend.history("event:a")).messages] == ["one"]
            states = (await backend.presence(users=["alice"])).users or ()
            assert [one.state for one in states] == ["online"]
            [session] = await backend.sessions("alice")
            assert session.user == "alice"
            with pytest.raises(RequestError):
                await backend.members("group:nobody-made-it")
            assert await backend.unsubscribe_user("alice", "event:a") == 1
            assert await backend.disconnect(user="alice") == 1


async def test_a_backend_client_with_a_bad_key_stops(node: NodeProcess) -> None:
    with pytest.raises(ConnectionClosed):
        async with open_backend(node.ws_url, key="chatd_key_nonsense"):
            raise AssertionError("it is let in")


def test_the_commands_say_what_is_wrong_in_one_line(tmp_path: Path, node: NodeProcess) -> None:
    settings: dict[str, object] = {"server.var": node.directory / "var"}
    for arguments in (
        ("key", "create", "x", "--action", "fly"),
        ("key", "revoke", "nosuch"),
        ("key", "rotate", "nosuch"),
        ("user", "show", "nobody"),
        ("user", "suspend", "nobody"),
    ):
        done = chatd(node.directory, *arguments, settings=settings)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1), done.stderr
