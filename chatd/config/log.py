"""What the server says of itself, and what is for developing it: `[log]` and `[dev]`."""

from typing import Literal

from chatd.config.section import Count, Section


class Log(Section, frozen=True, kw_only=True):
    """What goes to standard error."""

    format: Literal["console", "json"] = "console"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Dev(Section, frozen=True, kw_only=True):
    """For developing and testing only."""

    echo: bool = False
    echo_message_bytes: Count = 67_108_864
    echo_fragments: Count = 1_000_000
