"""docs/reference/http.md names every route, and every status with the codes that come with it."""

import re
from pathlib import Path

import msgspec
from quart.testing import QuartClient

from chatd.api.problems import STATUS
from protocol.codes import ErrorCode

TEXT = (Path(__file__).parents[3] / "docs" / "reference" / "http.md").read_text("utf-8")
# Only commands of a session can get these.
OF_SESSIONS = {
    ErrorCode.UNKNOWN_COMMAND,
    ErrorCode.NOT_CONNECTED,
    ErrorCode.ALREADY_CONNECTED,
    ErrorCode.NOT_SUBSCRIBED,
    ErrorCode.ALREADY_SUBSCRIBED,
    ErrorCode.TOO_MANY_SUBSCRIPTIONS,
}


async def test_every_route_is_described(client: QuartClient) -> None:
    openapi = msgspec.json.decode(await (await client.get("/openapi.json")).get_data(as_text=False))
    described = set(re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`?]*)", TEXT))
    assert described == {(method.upper(), path) for path, methods in openapi["paths"].items() for method in methods}


def test_every_code_is_beside_its_status() -> None:
    rows = {int(status): codes for status, codes in re.findall(r"^\| (\d{3}) \| (.*) \|$", TEXT, re.MULTILINE)}
    for code, status in STATUS.items():
        if code not in OF_SESSIONS:
            assert f"`{code.name.lower()}`" in rows[status], code
