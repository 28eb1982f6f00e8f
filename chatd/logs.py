"""What is logged and how: structlog for all of chatd, with the standard library's loggers led into it.

One event is one line on standard error: a line for a person, or one JSON object. Values may come from clients, so
whatever is not printable is written as an escape (`\\n`, `\\x1b`, `\\ud800`): nobody can make a second line, or speak
to the terminal. Only the traceback of an error, on a console, has lines of its own, and each of those begins with a
bar.

Writing may wait for whoever reads standard error; a log that cannot be written is lost, never an error of its writer.
"""

import logging
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import msgspec
import structlog

from chatd.config import Log

MAX_VALUE_CHARACTERS = 500
MAX_TRACEBACK_CHARACTERS = 20_000

# The libraries' own levels of detail are for their authors; what they warn of is for the operator.
_LIBRARY_LEVEL = logging.WARNING

_COLOURS = {
    "debug": "\x1b[2m",
    "info": "\x1b[32m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[31;1m",
}
_RESET = "\x1b[0m"
_TRACEBACK_BAR = "\n    | "

_encode = msgspec.json.Encoder().encode


def configure(log: Log, stream: TextIO | None = None) -> None:
    """Set up logging for the whole process, to standard error unless a stream is given; may be called again."""
    target = sys.stderr if stream is None else stream
    render = _render_json if log.format == "json" else _Console(colours=target.isatty())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            _clean_values,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(log.level),
        logger_factory=_Lines(target),
        cache_logger_on_first_use=False,  # so that a new level counts for loggers that were made before
    )
    _lead_library_loggers()


class _Lines:
    """Writes lines to a stream. It is its own factory: all loggers share it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, *_names: object) -> "_Lines":
        return self

    def msg(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            # The reader of the pipe is gone, the disk is full or the stream is closed. Sessions must go on.
            return

    log = debug = info = warning = error = critical = fatal = msg


class _LibraryHandler(logging.Handler):
    """Hands the records of the standard library's loggers to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        structlog.get_logger().log(level, message, logger=record.name, exc_info=record.exc_info)


def _lead_library_loggers() -> None:
    root = logging.getLogger()
    if not any(isinstance(handler, _LibraryHandler) for handler in root.handlers):
        root.addHandler(_LibraryHandler())
    root.setLevel(_LIBRARY_LEVEL)


def _clean_values(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if key == "exception":
            event[key] = "\n".join(map(escape, _cut(value, MAX_TRACEBACK_CHARACTERS).split("\n")))
        elif value is None or isinstance(value, bool | float):
            continue
        elif isinstance(value, int):
            event[key] = value if -(2**63) <= value < 2**64 else _clean(str(value))
        else:
            event[key] = _clean(value if isinstance(value, str) else repr(value))
    return event


def _clean(text: str) -> str:
    return escape(_cut(text, MAX_VALUE_CHARACTERS))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)"


def escape(text: str) -> str:
    """Return the text with everything that is not printable written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def _render_json(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    first = {"time": event.pop("time"), "level": event.pop("level"), "event": event.pop("event")}
    return _encode({**first, **event}).decode()


class _Console:
    """Renders an event for a person: time, level, what happened, and the values."""

    def __init__(self, *, colours: bool) -> None:
        self._levels: Mapping[str, str] = {
            level: f"{colour}{level:<8}{_RESET}" if colours else f"{level:<8}" for level, colour in _COLOURS.items()
        }

    def __call__(self, _logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        parts = [event.pop("time"), self._levels[event.pop("level")] + str(event.pop("event"))]
        traceback = event.pop("exception", "")
        parts += [f"{key}={_quoted(value)}" for key, value in event.items()]
        line = " ".join(parts)
        return line + _TRACEBACK_BAR + traceback.replace("\n", _TRACEBACK_BAR) if traceback else line


def _quoted(value: object) -> str:
    # A value that looks like two, or like none, is put in quotes, so that a client cannot add values of its own.
    text = str(value)
    if text and not any(character in text for character in ' ="'):
        return text
    return '"' + text.replace('"', '\\"') + '"'
