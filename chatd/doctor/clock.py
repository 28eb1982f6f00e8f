"""Whether this machine's clock is kept right: times of messages and the life of tokens come from it."""

import ctypes
import sys

from chatd.config import Config
from chatd.doctor import Finding, ok, warning

SKEW_SECONDS = 1.0  # more than this between two machines is worth a line

_TIME_ERROR = 5  # adjtimex(2): the clock is not synchronized
_TIMEX_BYTES = 512  # more than struct timex has on any machine; zeros ask and change nothing


def check_clock(_: Config) -> list[Finding]:
    """Ask the kernel whether something keeps its clock."""
    if sys.platform != "linux":
        return []
    state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    return [judge_clock(state)]


def judge_clock(state: int) -> Finding:
    """Say what a state that adjtimex(2) returned means."""
    if state == _TIME_ERROR:
        return warning("clock", "the kernel says that nothing keeps it right", "run chrony or systemd-timesyncd")
    if state < 0:
        return ok("clock", "the kernel does not say whether it is kept right")
    return ok("clock", "is kept right")


def judge_skew(subject: str, seconds: float) -> list[Finding]:
    """Return a warning if another machine's clock is so many seconds ahead of this one's, or behind; else nothing."""
    if abs(seconds) <= SKEW_SECONDS:
        return []
    where = "ahead of" if seconds > 0 else "behind"
    seen = f"its clock is {abs(seconds):.1f} s {where} this machine's"
    return [warning(subject, seen, "let chrony or systemd-timesyncd keep both")]
