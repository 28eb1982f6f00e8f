"""The base of every table of the configuration, the types of its numbers, and its one error."""

from typing import Annotated

import msgspec
from msgspec import Meta

# What is larger is a mistake, and not every part could take it; infinity is no time to wait either.
MOST = 2**31 - 1

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1, le=MOST)]
Zero = Annotated[int, Meta(ge=0, le=MOST)]
Seconds = Annotated[float, Meta(gt=0, le=MOST)]
Pause = Annotated[float, Meta(ge=0, le=MOST)]
Rate = Annotated[float, Meta(gt=0, le=MOST)]
Text = Annotated[str, Meta(min_length=1)]  # where nothing cannot be meant


class ConfigError(Exception):
    """The configuration cannot be used. Its text is one line that names the key."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration: an unknown key in it is an error."""
