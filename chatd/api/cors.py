"""Which pages of other hosts may use the HTTP API from a browser (CORS, the Fetch standard).

chatd uses no cookies, and never says `Access-Control-Allow-Credentials`: a request is somebody's only by the token in
its `Authorization` header, which a browser adds to none by itself. So a page that may not read an answer could not have
asked in anybody's name either, and there is nothing for a CSRF token to protect.
"""

from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]

_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_REQUEST_HEADERS = b"Authorization, Content-Type, Idempotency-Key, If-None-Match"
_ANSWER_HEADERS = b"ETag, RateLimit, RateLimit-Policy, Retry-After, Deprecation, Sunset, Link"
PREFLIGHT_SECONDS = 7200
"""How long a browser may remember what it was allowed; more than this none of them does."""


class Cors:
    """Knows the origins of the configuration. Without any, no header is said and browsers keep other pages out."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.lower().encode() for origin in origins)
        self._any = b"*" in self._origins

    def answer_headers(self, request: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Return what an answer to this request says beside its own headers."""
        if not self._origins:
            return []
        if self._any:
            return [(b"access-control-allow-origin", b"*"), (b"access-control-expose-headers", _ANSWER_HEADERS)]
        vary = (b"vary", b"Origin")
        origin = _header(request, b"origin")
        if origin not in self._origins:
            return [vary]
        return [
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _ANSWER_HEADERS),
            vary,
        ]

    def preflight_headers(self, method: str, request: list[tuple[bytes, bytes]]) -> Headers | None:
        """Return the answer to a browser's question whether a page may send a request; None for all other requests."""
        if method != "OPTIONS" or not self._origins:
            return None
        if not _header(request, b"origin") or not _header(request, b"access-control-request-method"):
            return None
        allowed = self.answer_headers(request)
        if len(allowed) < 2:
            return allowed  # another page: the browser sees no permission
        return [
            *allowed,
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", _REQUEST_HEADERS),
            (b"access-control-max-age", b"%d" % PREFLIGHT_SECONDS),
        ]


def _header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    return next((value for key, value in headers if key == name), b"")
