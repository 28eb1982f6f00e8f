"""Commands as the bytes that go to a server."""

from collections.abc import Callable
from typing import cast

import hiredis

Argument = str | bytes | int | float

# hiredis' own annotation says that a command has one word.
pack = cast(Callable[[tuple[Argument, ...]], bytes], hiredis.pack_command)
"""Return a command, given as a tuple of its words, as the bytes that a server takes."""
