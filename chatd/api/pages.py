"""The web app: the files of the package `web`, read once, under `/` and `/static/`."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from quart import Blueprint, Response, abort, request
from quart_schema import hide

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
}
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)


def is_page_path(path: str) -> bool:
    """Tell whether this is a file of the web app.

    These do not count in the rate of requests: opening the page takes dozens of them, which come from memory and cost
    next to nothing, and colleagues behind one address open it at the same time.
    """
    return path == "/" or path.startswith("/static/") or path == "/favicon.ico"


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    content_type: str
    etag: str


def page_routes(folder: Path) -> Blueprint:
    """Make the routes of the web app in this folder."""
    routes = Blueprint("pages", __name__)
    files = {
        path.name: _read(path) for path in sorted(folder.iterdir()) if path.suffix in CONTENT_TYPES and path.is_file()
    }

    @routes.get("/")
    @hide
    async def index() -> Response:
        return _answer(files, "index.html")

    @routes.get("/static/<name>")
    @hide
    async def static_file(name: str) -> Response:
        return _answer(files, name)

    return routes


def _read(path: Path) -> _File:
    content = path.read_bytes()
    return _File(content, CONTENT_TYPES[path.suffix], hashlib.sha256(content).hexdigest()[:32])


def _answer(files: dict[str, _File], name: str) -> Response:
    file = files.get(name)
    if file is None:
        abort(404)
    # The names carry no version: a browser must ask each time, and is told in one line that nothing is new.
    headers = {
        "ETag": f'"{file.etag}"',
        "Cache-Control": "no-cache",
        "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    }
    if request.if_none_match.contains_weak(file.etag):
        return Response(b"", 304, headers)
    return Response(file.content, 200, {**headers, "Content-Type": file.content_type})
