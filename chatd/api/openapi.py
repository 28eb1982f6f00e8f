"""What every operation answers beside its own answer, added to the description that is made from the routes."""

from typing import Any

from chatd.api.problems import CONTENT_TYPE

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


def complete(described: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a whole API, with the answers that no route describes by itself."""
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
