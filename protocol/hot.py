"""The functions that every message passes: compiled where an installation could compile them, else in Python.

A C compiler is no requirement: without one, or on another kind of Python, `protocol.plain` does the same, slower.
"""

try:
    from protocol._hot import (
        is_key,
        is_plain_map,
        message_frame,
        packed_message_frame,
        packed_sent_frame,
        read_whole,
        sent_frame,
    )

    COMPILED = True
except ImportError:
    from protocol.plain import (
        is_key,
        is_plain_map,
        message_frame,
        packed_message_frame,
        packed_sent_frame,
        read_whole,
        sent_frame,
    )

    COMPILED = False

__all__ = [
    "COMPILED",
    "is_key",
    "is_plain_map",
    "message_frame",
    "packed_message_frame",
    "packed_sent_frame",
    "read_whole",
    "sent_frame",
]
