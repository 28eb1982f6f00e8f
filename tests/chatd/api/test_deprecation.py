"""A route that is to go says so in every answer, refusals too."""

from pathlib import Path

import pytest

from chatd.api.app import build_app
from chatd.api.deprecation import DEPRECATED, Deprecation
from chatd.api.services import Services

YEAR_SECONDS = 365 * 86_400
GOING = Deprecation(since=1_800_000_000, sunset=1_800_000_000 + YEAR_SECONDS, successor="/v2/users/{user}")


@pytest.mark.parametrize(("path", "status"), [("/v1/users/alice", 401), ("/v1/users/alice?x=1", 401)])
async def test_a_route_that_is_to_go_says_since_when_and_until_when(
    services: Services, tmp_path: Path, path: str, status: int
) -> None:
    client = build_app(services, tmp_path, {"GET /v1/users/{user}": GOING}).test_client()
    response = await client.get(path)
    assert response.status_code == status
    assert response.headers["Deprecation"] == "@1800000000"
    assert response.headers["Sunset"] == "Sat, 15 Jan 2028 08:00:00 GMT"
    assert response.headers["Link"] == '</v2/users/{user}>; rel="successor-version"'


async def test_other_routes_and_methods_say_nothing(services: Services, tmp_path: Path) -> None:
    client = build_app(services, tmp_path, {"DELETE /v1/devices": GOING}).test_client()
    for response in (await client.get("/v1/devices"), await client.get("/v1/users/alice"), await client.get("/no")):
        assert not {"Deprecation", "Sunset", "Link"} & set(response.headers.keys())


def test_what_is_to_go_exists_and_stays_for_a_year(services: Services, tmp_path: Path) -> None:
    known = {
        f"{method} {rule.rule.replace('<', '{').replace('>', '}')}"
        for rule in build_app(services, tmp_path).url_map.iter_rules()
        for method in rule.methods or ()
    }
    assert set(DEPRECATED) <= known
    assert "GET /v1/users/{user}" in known
    assert all(one.sunset - one.since >= YEAR_SECONDS for one in DEPRECATED.values())
