"""What every operation answers beside its own answer, added to the description that is made from the routes."""

from collections.abc import Iterable
from typing import Any

import msgspec
from quart import Quart
from quart_schema.validation import QUART_SCHEMA_REQUEST_ATTRIBUTE, QUART_SCHEMA_RESPONSE_ATTRIBUTE

from chatd.api.problems import CONTENT_TYPE, Problem

_PROBLEM = {
    "description": "refused, or not possible now: a problem (RFC 9457); `code` says what to do",
    "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    "headers": {
        "RateLimit-Policy": {"description": "which rates count this request", "schema": {"type": "string"}},
        "RateLimit": {"description": "what is left of each", "schema": {"type": "string"}},
        "Retry-After": {"description": "seconds to wait, where waiting helps", "schema": {"type": "string"}},
    },
}
_TEXT = {"description": "as text", "content": {"text/plain": {"schema": {"type": "string"}}}}
_PLAIN = ("/healthz", "/readyz", "/metrics")
_DONE = {"description": "it is done; there is nothing to say"}
_SAME = {"description": "what `If-None-Match` names is still what would be answered"}


def models_of(app: Quart) -> set[type[msgspec.Struct]]:
    """Return every object that the routes of an app say they take or answer."""
    found: set[type[msgspec.Struct]] = {Problem}
    for route in app.view_functions.values():
        taken = getattr(route, QUART_SCHEMA_REQUEST_ATTRIBUTE, None)
        answered = getattr(route, QUART_SCHEMA_RESPONSE_ATTRIBUTE, {})
        found.update(one[0] for one in [*answered.values(), *([taken] if taken else [])])
    return found


def complete(described: dict[str, Any], models: Iterable[type[msgspec.Struct]]) -> dict[str, Any]:
    """Return the description of a whole API, with the answers that no route describes by itself.

    And with the objects inside of other objects, to which quart-schema only refers.
    """
    _, parts = msgspec.json.schema_components(tuple(models), ref_template="#/components/schemas/{name}")
    described["components"]["schemas"].update(parts)
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            answers = operation["responses"]
            if path in _PLAIN:
                answers["200"] = _TEXT
            elif not answers:
                answers["204"] = _DONE
            if method == "get" and path.startswith("/v1/server/"):
                answers["304"] = _SAME
            answers["default"] = _PROBLEM
    return described
