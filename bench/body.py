"""The body of every message the bench sends: fixed size, with a counter and the time it was meant to be sent.

    {"n":1000000123,"t":1000000012345678901,"p":"xxx…"}

Both numbers always have the same count of digits, so a reader finds them by position, without a JSON parser.
"""

COUNTER_BASE = 1_000_000_000
"""Counters have ten digits and stay below 2**32, which some peers demand of command ids."""

TIME_BASE = 10**18
"""Times are CLOCK_MONOTONIC nanoseconds: one clock for every process of the machine."""

MARK = b'"data":{"n":'
COUNTER_AT = len(MARK)
COUNTER_END = COUNTER_AT + 10
TIME_AT = COUNTER_END + len(',"t":')
TIME_END = TIME_AT + 19

_OPEN = b'{"n":%d,"t":%d,"p":"'
_CLOSE = b'"}'
SMALLEST = len(_OPEN % (COUNTER_BASE, TIME_BASE)) + len(_CLOSE)


def template(size: int) -> bytes:
    """Make a bytes template of a body of exactly `size` bytes; it takes the counter and the time, based.

    Raises:
        ValueError: The size has no room for the two numbers.
    """
    if size < SMALLEST:
        raise ValueError(f"a body needs at least {SMALLEST} bytes")
    return _OPEN + b"x" * (size - SMALLEST) + _CLOSE
