"""Every error has one shape; health, metrics, documentation and the web app answer."""

import re

import msgspec
import pytest
import trio
from quart.testing import QuartClient

from chatd.api.problems import STATUS, problem
from chatd.broker import Refused
from protocol.codes import ErrorCode
from storage import StoreBusy, StoreUnavailable
from tests.chatd.api.conftest import Ask
from tests.fakes.account_records import AccountRecords
from tests.fakes.calm_realtime import CalmRealtime


def test_every_code_has_a_status() -> None:
    assert set(STATUS) == set(ErrorCode)
    assert all(400 <= problem(code, "").status < 600 for code in ErrorCode)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/nowhere", None, 404, ErrorCode.NOT_FOUND),
        ("GET", "/static/../secret.txt", None, 404, ErrorCode.NOT_FOUND),
        ("GET", "/static/secret.txt", None, 404, ErrorCode.NOT_FOUND),
        ("GET", "/v1/auth/login", None, 405, ErrorCode.METHOD_NOT_ALLOWED),
        ("POST", "/v1/auth/login", b"{", 400, ErrorCode.BAD_REQUEST),
        ("POST", "/v1/auth/login", b"[]", 400, ErrorCode.BAD_REQUEST),
        ("POST", "/v1/auth/login", b"", 400, ErrorCode.BAD_REQUEST),
        ("POST", "/v1/auth/login", b'{"name": 1, "password": "x"}', 400, ErrorCode.BAD_REQUEST),
        ("POST", "/v1/auth/login", b'{"name": "\xff", "password": "x"}', 400, ErrorCode.BAD_REQUEST),
        ("POST", "/v1/auth/login", b'{"name": "\\ud800", "password": "x"}', 400, ErrorCode.BAD_REQUEST),
        ("POST", "/v1/auth/login", b'{"x": ' + b"[" * 900 + b"]" * 900 + b"}", 400, ErrorCode.BAD_REQUEST),
        ("POST", "/v1/auth/login", b"x" * 2001, 413, ErrorCode.TOO_LARGE),
        ("POST", "/v1/auth/login", b'{"name": "nobody", "password": "x"}', 401, ErrorCode.WRONG_CREDENTIALS),
        ("POST", "/v1/auth/refresh", b'{"refresh_token": "x"}', 401, ErrorCode.BAD_TOKEN),
        ("GET", "/v1/ws", None, 426, ErrorCode.BAD_REQUEST),
    ],
)
async def test_every_error_is_a_problem_with_a_code(
    client: QuartClient, method: str, path: str, body: bytes | None, status: int, code: ErrorCode
) -> None:
    response = await client.open(path, method=method, data=body)
    problem = msgspec.json.decode(await response.get_data(as_text=False))
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem.keys() >= {"type", "title", "detail"}


async def test_the_methods_that_exist_are_named(client: QuartClient) -> None:
    response = await client.get("/v1/auth/login")
    assert "POST" in response.headers["Allow"]


@pytest.mark.parametrize("header", ["", "Basic YTpi", "Bearer", "Bearer ", "Bearer nonsense", "Bearer a.b.c"])
async def test_without_a_valid_token_nothing_is_told(client: QuartClient, header: str) -> None:
    for path in ("/v1/devices", "/v1/users/alice", "/v1/channels", "/v1/channels/room:a/messages"):
        response = await client.get(path, headers={"Authorization": header})
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert "nonsense" not in await response.get_data(as_text=True)


async def test_a_fault_tells_nothing_and_the_next_request_is_served(ask: Ask, realtime: CalmRealtime) -> None:
    realtime.fault = ZeroDivisionError("secret detail")
    status, problem = await ask("POST", "/v1/channels/room:a/messages", {"data": {}})
    assert (status, problem["code"]) == (500, ErrorCode.INTERNAL)
    assert "secret" not in str(problem)
    realtime.fault = None
    assert (await ask("POST", "/v1/channels/room:a/messages", {"data": {}}))[0] == 200


@pytest.mark.parametrize("failure", [StoreBusy("full"), StoreUnavailable("no disk")])
async def test_a_failing_store_is_unavailable_for_now(
    client: QuartClient, records: AccountRecords, failure: Exception
) -> None:
    records.failure = failure
    response = await client.post("/v1/auth/guest", data=b"{}")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"


async def test_a_node_is_ready_while_its_store_answers_and_it_stays(
    ask: Ask, client: QuartClient, records: AccountRecords, realtime: CalmRealtime
) -> None:
    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/readyz")).status_code == 200
    realtime.reason_not_ready = Refused(ErrorCode.DRAINING, "leaving")
    status, problem = await ask("GET", "/readyz")
    assert (status, problem["code"], problem["detail"]) == (503, ErrorCode.DRAINING, "leaving")
    realtime.reason_not_ready = None
    records.failure = StoreUnavailable("no disk")
    status, problem = await ask("GET", "/readyz")
    assert (status, problem["code"]) == (503, ErrorCode.UNAVAILABLE)
    assert (await client.get("/healthz")).status_code == 200


async def test_a_store_that_hangs_makes_the_node_unready(
    ask: Ask, records: AccountRecords, autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "check", _hang)
    assert (await ask("GET", "/readyz"))[0] == 503


async def test_metrics_are_what_the_node_says(client: QuartClient) -> None:
    response = await client.get("/metrics", scope_base={"client": ("127.0.0.1", 1)})
    assert await response.get_data(as_text=False) == b"up 1\n"
    assert response.headers["Content-Type"] == "text/plain"


async def test_the_web_app_is_served_once_and_then_only_when_it_changed(client: QuartClient) -> None:
    page = await client.get("/")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "default-src 'self'; connect-src 'self' ws: wss:" in page.headers["Content-Security-Policy"]
    script = await client.get("/static/main.js")
    assert script.headers["Content-Type"].startswith("text/javascript")
    assert script.headers["X-Content-Type-Options"] == "nosniff"
    assert script.headers["Cache-Control"] == page.headers["Cache-Control"] == "no-cache"
    again = await client.get("/static/main.js", headers={"If-None-Match": script.headers["ETag"]})
    assert again.status_code == 304
    assert await again.get_data(as_text=False) == b""


async def test_the_reference_describes_every_route_and_needs_no_other_host(client: QuartClient) -> None:
    openapi = msgspec.json.decode(await (await client.get("/openapi.json")).get_data(as_text=False))
    assert openapi["openapi"].startswith("3.1")
    paths = {(method, path) for path, methods in openapi["paths"].items() for method in methods}
    assert {one for one in paths if not one[1].startswith("/v1/server/")} == {
        ("post", "/v1/auth/register"),
        ("post", "/v1/auth/login"),
        ("post", "/v1/auth/guest"),
        ("post", "/v1/auth/refresh"),
        ("post", "/v1/auth/logout"),
        ("post", "/v1/auth/password"),
        ("get", "/v1/users/{user}"),
        ("get", "/v1/devices"),
        ("delete", "/v1/devices/{device}"),
        ("put", "/v1/devices/{device}/push"),
        ("delete", "/v1/devices/{device}/push"),
        ("get", "/v1/push/key"),
        ("get", "/v1/push/preferences"),
        ("put", "/v1/push/preferences"),
        ("get", "/v1/push/preferences/{channel}"),
        ("put", "/v1/push/preferences/{channel}"),
        ("post", "/v1/channels/{channel}/messages"),
        ("get", "/v1/channels/{channel}/messages"),
        ("get", "/v1/channels/{channel}/presence"),
        ("get", "/v1/channels"),
        ("get", "/v1/presence"),
        ("get", "/healthz"),
        ("get", "/readyz"),
        ("get", "/metrics"),
    }
    send = openapi["paths"]["/v1/channels/{channel}/messages"]["post"]
    assert send["security"] == [{"bearer": []}]
    assert {one["name"] for one in send["parameters"]} == {"channel", "idempotency-key"}
    page = await (await client.get("/docs")).get_data(as_text=True)
    assert "/v1/channels/{channel}/messages" in page
    assert f'id="error-{ErrorCode.NAME_TAKEN.value}"' in page
    assert "://" not in page
    assert "<script" not in page


async def test_the_reference_names_the_fields_of_every_body_and_answer(client: QuartClient) -> None:
    page = await (await client.get("/docs")).get_data(as_text=True)
    assert "refresh_token" in page
    assert "<td>object</tr>" not in page
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'id="([^"]+)"', page))


async def _hang() -> None:
    await trio.sleep_forever()
