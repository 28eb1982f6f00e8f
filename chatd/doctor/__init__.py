"""The checks of `chatd doctor`: what is wrong with a deployment, and what to do about it, before its users find out.

A check looks at one thing and returns findings, each a line. It writes nothing but a file of its own that it removes
again, and may be run while chatd serves. `checks.py` has the list; a new check is a function and a line there.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from chatd.config import Config


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """chatd serves, and does not keep all that it promises, or not for long."""
    FAILURE = "failure"
    """chatd does not start, or does not serve."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, what was seen, and what to do unless that is good."""

    verdict: Verdict
    subject: str
    seen: str
    advice: str = ""


Check = Callable[[Config], list[Finding]]
"""Looks at this machine."""

ServiceCheck = Callable[[Config], Awaitable[list[Finding]]]
"""Asks somebody, within a time, and finds nothing if the configuration does not name the service."""


def ok(subject: str, seen: str) -> Finding:
    """Make the finding of what is as it should be."""
    return Finding(Verdict.OK, subject, seen)


def warning(subject: str, seen: str, advice: str) -> Finding:
    """Make the finding of what is not as it should be."""
    return Finding(Verdict.WARNING, subject, seen, advice)


def failure(subject: str, seen: str, advice: str) -> Finding:
    """Make the finding of what keeps chatd from serving."""
    return Finding(Verdict.FAILURE, subject, seen, advice)
