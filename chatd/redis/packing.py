"""Commands as the bytes that go to a server."""

from collections.abc import Callable, Sequence
from typing import cast

import hiredis

Argument = str | bytes | int | float

# hiredis' own annotation says that a command has one word.
pack = cast(Callable[[tuple[Argument, ...]], bytes], hiredis.pack_command)
"""Return a command, given as a tuple of its words, as the bytes that a server takes."""


BLANK = "(blank)"
"""Stands for a word that is not known yet, in the words of a `Template`."""


class Template:
    """A command of which two words differ from one time to the next; the others are packed once."""

    __slots__ = ("_after", "_before", "_between")

    def __init__(self, words: Sequence[Argument]) -> None:
        """Take its words, with BLANK itself for the two."""
        first, second = (place for place, word in enumerate(words) if word is BLANK)
        self._before = b"*%d\r\n%b" % (len(words), _words(words[:first]))
        self._between = _words(words[first + 1 : second])
        self._after = _words(words[second + 1 :])

    def fill(self, first: bytes, second: bytes) -> bytes:
        """Return the command with the two words."""
        return b"%b$%d\r\n%b\r\n%b$%d\r\n%b\r\n%b" % (
            self._before,
            len(first),
            first,
            self._between,
            len(second),
            second,
            self._after,
        )


def _words(words: Sequence[Argument]) -> bytes:
    """Return words as they stand in a command, without its beginning, which is how many there are."""
    return pack(tuple(words)).partition(b"\r\n")[2] if words else b""
