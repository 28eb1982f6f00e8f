"""Routes that are to go. Their answers say so from when it is announced; docs/reference/http.md has the rules."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from wsgiref.handlers import format_date_time

from quart import Response, request


@dataclass(frozen=True, slots=True)
class Deprecation:
    """Since when a route is to go, when it goes (Unix seconds), and the path of what replaces it."""

    since: int
    sunset: int
    successor: str


DEPRECATED: Mapping[str, Deprecation] = {}
"""By method and path as the description has them: "GET /v1/users/{user}". A sunset is a year after `since` at least."""


def announce(deprecated: Mapping[str, Deprecation]) -> Callable[[Response], Awaitable[Response]]:
    """Make what adds the headers to the answers of these routes (RFC 9745, RFC 8594, RFC 5829)."""

    async def add(response: Response) -> Response:
        rule = request.url_rule
        found = deprecated.get(f"{request.method} {_described(rule.rule)}") if rule is not None else None
        if found is not None:
            response.headers["Deprecation"] = f"@{found.since}"
            response.headers["Sunset"] = format_date_time(found.sunset)
            response.headers["Link"] = f'<{found.successor}>; rel="successor-version"'
        return response

    return add


def _described(rule: str) -> str:
    """Return the path of a rule as OpenAPI writes it."""
    return rule.replace("<", "{").replace(">", "}")
