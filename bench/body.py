"""The body of every message the bench sends: fixed size, with a counter and the time it was meant to be sent.

    {"n":1000000123,"t":1000000012345678901,"p":"river stone …"}

Both numbers always have the same length, so a reader finds them by position, without a parser. The rest is words: what
people write can be compressed a little, and that is what compression is to be measured with.
"""

import random

COUNTER_BASE = 1_000_000_000
"""Counters have ten digits and stay below 2**32, which some peers demand of command ids."""

TIME_BASE = 10**18
"""Times are CLOCK_MONOTONIC nanoseconds: one clock for every process of the machine."""

COUNTERS = 2**32 - COUNTER_BASE
"""So many counters there are, those of commands that are no messages among them."""

SMALLEST = 47
"""Bytes of a JSON body with nothing but its numbers; MessagePack needs fewer."""

_WORDS = [
    "when",
    "you",
    "have",
    "read",
    "this",
    "tell",
    "them",
    "that",
    "we",
    "meet",
    "at",
    "nine",
    "by",
    "the",
    "old",
    "bridge",
    "and",
    "bring",
    "both",
    "of",
    "your",
    "maps",
]


def json_template(size: int) -> bytes:
    """Make a %-template of a JSON body of exactly `size` bytes; it takes the counter and the time, based.

    Raises:
        ValueError: The size has no room for the two numbers.
    """
    return b'{"n":%d,"t":%d,"p":"' + _text(size - SMALLEST) + b'"}'


def msgpack_template(size: int) -> bytes:
    """Make the same in MessagePack; the numbers are to be given as four and eight bytes.

    Raises:
        ValueError: The size has no room for the two numbers.
    """
    return b"\x83\xa1n\xce%b\xa1t\xcf%b\xa1p" + _msgpack_text(size - 21).replace(b"%", b"%%")


def _msgpack_text(size: int) -> bytes:
    """Encode a string so that it is `size` bytes long with its head."""
    if size <= 32:
        return bytes((0xA0 | max(0, size - 1),)) + _text(size - 1)
    if size <= 257:
        return b"\xd9" + (size - 2).to_bytes(1, "big") + _text(size - 2)
    return b"\xda" + (size - 3).to_bytes(2, "big") + _text(size - 3)


def _text(size: int) -> bytes:
    """Return so many bytes of words, always the same ones, in an order that does not repeat."""
    if size < 0:
        raise ValueError(f"a body needs at least {SMALLEST} bytes")
    chosen = random.Random(1)
    words: list[str] = []
    length = -1
    while length < size:
        word = chosen.choice(_WORDS)
        words.append(word)
        length += 1 + len(word)
    return " ".join(words)[:size].encode()
