"""What is logged: one line an event whatever the values are, both formats, levels, and the libraries' loggers."""

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from chatd.config import Log
from chatd.logs import MAX_VALUE_CHARACTERS, configure, escape


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def console(stream: io.StringIO) -> None:
    configure(Log(format="console", level="debug"), stream)


def as_json(stream: io.StringIO) -> None:
    configure(Log(format="json", level="debug"), stream)


def test_an_event_is_one_json_object_with_time_level_and_values() -> None:
    stream = io.StringIO()
    as_json(stream)
    structlog.get_logger().bind(session="s1").info("session opened", user="alice", bytes=3, ratio=0.5, old=None)
    entry = json.loads(stream.getvalue())
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "level": "info",
        "event": "session opened",
        "session": "s1",
        "user": "alice",
        "bytes": 3,
        "ratio": 0.5,
        "old": None,
    }


def test_an_event_is_one_line_for_a_person() -> None:
    stream = io.StringIO()
    console(stream)
    structlog.get_logger().warning("login refused", user="alice", reason="wrong password", tries=3)
    time, rest = stream.getvalue().split(" ", 1)
    assert time.endswith("Z")
    assert rest == 'warning login refused user=alice reason="wrong password" tries=3\n'


def test_a_value_cannot_make_a_second_line_or_a_second_value() -> None:
    stream = io.StringIO()
    console(stream)
    structlog.get_logger().info("hello", user='x\n2026 error user=root "', agent="\x1b[2J\ud800\u2028")
    assert stream.getvalue().count("\n") == 1
    assert 'user="x\\n2026 error user=root \\"" agent=\\x1b[2J\\ud800\\u2028' in stream.getvalue()


@given(st.text(st.characters(exclude_categories=())), st.binary(), st.integers(), st.floats())
def test_whatever_the_values_are_an_event_is_one_line(text: str, data: bytes, number: int, ratio: float) -> None:
    for set_up in (console, as_json):
        stream = io.StringIO()
        set_up(stream)
        structlog.get_logger().info("event", text=text, data=data, number=number, ratio=ratio, both=[text, data])
        assert stream.getvalue().splitlines() == [stream.getvalue()[:-1]]
        stream.getvalue().encode("utf-8")


def test_long_values_are_cut_and_say_so() -> None:
    stream = io.StringIO()
    as_json(stream)
    structlog.get_logger().info("event", text="x" * 10_000, data=b"y" * 10_000)
    entry = json.loads(stream.getvalue())
    assert entry["text"] == "x" * MAX_VALUE_CHARACTERS + "… (10000 characters)"
    assert len(entry["data"]) < MAX_VALUE_CHARACTERS + 30


def test_integers_too_large_for_json_readers_are_text() -> None:
    stream = io.StringIO()
    as_json(stream)
    structlog.get_logger().info("event", large=2**64, small=-(2**63))
    entry = json.loads(stream.getvalue())
    assert (entry["large"], entry["small"]) == (str(2**64), -(2**63))


def fail() -> None:
    raise ValueError("no\rgood\n2026-01-01T00:00:00Z error   forged")


@pytest.mark.parametrize("format_", ["console", "json"])
def test_a_traceback_cannot_forge_an_event(format_: str) -> None:
    stream = io.StringIO()
    (as_json if format_ == "json" else console)(stream)
    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("it broke", session="s1")
    first, *others = stream.getvalue().splitlines()
    assert "it broke" in first
    if format_ == "json":
        assert others == []
        assert "no\\rgood" in json.loads(first)["exception"]
    else:
        assert len(others) > 3
        assert all(line.startswith("    | ") for line in others)
        assert "    | ValueError: no\\rgood" in others


def test_only_a_terminal_gets_colours() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        console(stream)
        structlog.get_logger().error("event")
    assert "\x1b[31m" in terminal.getvalue()
    assert "\x1b" not in file.getvalue()


def test_lower_levels_are_left_out_and_a_new_level_counts_for_old_loggers() -> None:
    stream = io.StringIO()
    logger = structlog.get_logger()
    configure(Log(level="warning", format="json"), stream)
    logger.info("not this")
    logger.warning("this")
    configure(Log(level="debug", format="json"), stream)
    logger.debug("this too")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["this", "this too"]


def test_the_libraries_loggers_are_led_in_once_and_from_warnings_up() -> None:
    stream = io.StringIO()
    logging.getLogger().handlers.clear()  # pytest's own fail the test for a library's bad arguments
    as_json(stream)
    as_json(stream)
    library = logging.getLogger("some.library")
    library.info("not this")
    library.warning("odd: %s", "a\nb")
    library.log(35, "between two levels")
    library.error("bad arguments: %d", "three")
    entries = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(entry["level"], entry["event"]) for entry in entries] == [
        ("warning", "odd: a\\nb"),
        ("warning", "between two levels"),
        ("error", "bad arguments: %d"),
    ]
    assert {entry["logger"] for entry in entries} == {"some.library"}


def test_a_library_that_logs_an_error_brings_its_traceback() -> None:
    stream = io.StringIO()
    as_json(stream)
    try:
        fail()
    except ValueError:
        logging.getLogger("some.library").exception("it broke")
    assert "ValueError" in json.loads(stream.getvalue())["exception"]


def test_a_log_that_cannot_be_written_is_lost_without_an_error() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    console(Broken())
    structlog.get_logger().info("event")
    closed = io.StringIO()
    console(closed)
    closed.close()
    structlog.get_logger().info("event")


def test_printable_text_stays_as_it_is() -> None:
    assert escape("grüße 日本 🙂 a\\b") == "grüße 日本 🙂 a\\b"
    assert escape("a\tb\x00\x7f") == "a\\tb\\x00\\x7f"
