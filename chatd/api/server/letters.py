"""What was given up of webhooks and of pushes: pages of it, and which of it is to be tried again."""

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from chatd.api.exchange import read_query
from chatd.api.problems import ApiError
from chatd.api.server.asking import PageQuery, decode_cursor, encode_cursor, page_size
from chatd.api.services import Services
from chatd.push.operations import DeadPush
from chatd.webhooks.operations import DeadLetter
from protocol.codes import ErrorCode

_LETTERS = 1000

_Letter = TypeVar("_Letter", DeadLetter, DeadPush)


class Replay(msgspec.Struct, frozen=True):
    """Which of what was given up is to be tried again: these letters, or `all`."""

    letters: Annotated[list[str], Meta(max_length=_LETTERS)] = []
    all: bool = False


class Replayed(msgspec.Struct, frozen=True):
    """How many are tried again; letters that were not there are not counted."""

    count: int


async def page_of(
    services: Services, kind: str, read: Callable[[str | None, int], Awaitable[list[_Letter]]]
) -> tuple[list[_Letter], str | None]:
    """Read the page that is asked for of what was given up; return it, and the cursor of the next one."""
    asked = read_query(PageQuery)
    limit = page_size(services, asked.limit)
    found = await read(decode_cursor(kind, asked.cursor, str), limit)
    return found, encode_cursor(kind, found[-1].letter) if len(found) == limit else None


def wanted(asked: Replay) -> list[str] | None:
    """Return the letters that are meant; None for all.

    Raises:
        ApiError: Neither or both are named.
    """
    if bool(asked.letters) == asked.all:
        raise ApiError(ErrorCode.BAD_REQUEST, "give `letters`, or `all`")
    return None if asked.all else asked.letters
