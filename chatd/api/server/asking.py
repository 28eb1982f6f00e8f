"""What the routes of the server API share: who asks, pages and their cursors, answers that a client may keep."""

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, cast

import msgspec
from msgspec import Meta
from quart import Response, request
from quart_schema import security_scheme, tag

from chatd.api.exchange import bearer, speaker
from chatd.api.passage import passage_of
from chatd.api.problems import ApiError
from chatd.api.services import Services
from chatd.backend.caller import Caller, caller_of_person
from chatd.backend.key_text import is_key_text
from chatd.rights import Denied
from protocol.codes import ErrorCode

_T = TypeVar("_T")
_F = TypeVar("_F", bound=Callable[..., Any])

MAX_CURSOR_LENGTH = 512

Cursor = Annotated[str, Meta(max_length=MAX_CURSOR_LENGTH, description="`next` of the page before; opaque")]
PageLimit = Annotated[int, Meta(ge=1, le=1000, description="how many at most; backend.page_items may be lower")]

_encode = msgspec.json.Encoder().encode


class PageQuery(msgspec.Struct, frozen=True):
    """Which page of a list: the first one without a cursor."""

    cursor: Cursor | None = None
    limit: PageLimit = 100


def about(subject: str) -> Callable[[_F], _F]:
    """Put a route under a subject of the reference, and say that it needs a key or a token of a person with a role."""

    def mark(route: _F) -> _F:
        return tag([f"server: {subject}"])(security_scheme([{"key": []}, {"bearer": []}])(route))

    return mark


async def caller_of(services: Services) -> Caller:
    """Return who asks: the key that was shown, or the person whose token was.

    Raises:
        TokenError: There is neither, or it is not accepted.
        Denied: It is a person without a role.
    """
    passed = passage_of(request.scope).caller
    if passed is not None:
        return passed
    text = bearer()
    if is_key_text(text):
        caller = await services.backend.keys.verify(text)
        services.counters.auth_successes["key"] += 1
        return caller
    principal = await speaker(services)
    record = await services.store.user(principal.user)
    # The store finds accounts whatever the case of their letters; an outside issuer may have two that differ in it.
    if record is None or record.user != principal.user:
        raise Denied(ErrorCode.FORBIDDEN, "this needs an API key, or an account with a role")
    return caller_of_person(record)


def page_size(services: Services, asked: int) -> int:
    """Return how many items a page has."""
    return min(asked, services.config.backend.page_items)


def encode_cursor(kind: str, place: object) -> str:
    """Make the cursor of a page's end. It says where, and of which list, and is nobody's business."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode((kind, place))).rstrip(b"=").decode()


def decode_cursor(kind: str, cursor: str | None, place: type[_T]) -> _T | None:
    """Return the place that a cursor of this list says; None without one.

    Raises:
        ApiError: It is no cursor of this list.
    """
    if cursor is None:
        return None
    try:
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        said, at = msgspec.msgpack.decode(raw, type=tuple[str, place])  # type: ignore[valid-type]
    except (msgspec.MsgspecError, binascii.Error, UnicodeError, ValueError, RecursionError) as error:
        raise ApiError(ErrorCode.BAD_REQUEST, "`cursor` is none that this list gave") from error
    if said != kind:
        raise ApiError(ErrorCode.BAD_REQUEST, "`cursor` is none that this list gave")
    return cast(_T, at)


def answer(value: object, status: int = 200) -> Response:
    """Answer with this value as JSON."""
    return Response(_encode(value), status, {"Content-Type": "application/json", "Cache-Control": "no-store"})


def kept_answer(value: object) -> Response:
    """Answer a read with its ETag; or that nothing is new to who has this already."""
    content = _encode(value)
    etag = hashlib.blake2b(content, digest_size=16).hexdigest()
    headers = {"ETag": f'"{etag}"', "Cache-Control": "private, no-cache"}
    if request.if_none_match.contains_weak(etag):
        return Response(b"", 304, headers)
    return Response(content, 200, {**headers, "Content-Type": "application/json"})
