"""Tests of frames of Cassandra's protocol; what is right is what the driver makes of the same batch."""

import struct
from io import BytesIO

import pytest
from cassandra import ConsistencyLevel
from cassandra.protocol import BatchMessage
from cassandra.query import BatchType
from hypothesis import given
from hypothesis import strategies as st

from storage import cassandra_wire as wire
from storage.cassandra_wire import BrokenFrame, FrameReader, Opcode

values = st.lists(st.binary(max_size=300), max_size=12)
statements = st.lists(st.tuples(st.binary(min_size=16, max_size=16), values), max_size=20)


def said(stream: int, opcode: int, body: bytes, version: int = wire.VERSION | 0x80) -> bytes:
    """Return a frame as a server sends it."""
    return struct.pack(">BBhBi", version, 0, stream, opcode, len(body)) + body


@given(statements)
def test_a_batch_is_what_the_driver_would_send(given_statements: list[tuple[bytes, list[bytes]]]) -> None:
    theirs = BytesIO()
    queries = [(True, query_id, its) for query_id, its in given_statements]
    BatchMessage(BatchType.UNLOGGED, queries, ConsistencyLevel.LOCAL_QUORUM, timestamp=1_700_000_000_000_000).send_body(
        theirs, wire.VERSION
    )
    ours = wire.batch(
        [(wire.execution(query_id, len(its)), its) for query_id, its in given_statements],
        ConsistencyLevel.LOCAL_QUORUM,
        1_700_000_000_000_000,
    )
    assert ours == theirs.getvalue()


@given(st.lists(st.tuples(st.integers(0, 32_767), st.binary(max_size=100))), st.integers(1, 40))
def test_frames_are_found_however_the_bytes_are_cut(frames: list[tuple[int, bytes]], size: int) -> None:
    data = b"".join(said(stream, Opcode.RESULT, body) for stream, body in frames)
    reader = FrameReader()
    found = [frame for start in range(0, len(data), size) for frame in reader.feed(data[start : start + size])]
    assert found == [(stream, Opcode.RESULT, body) for stream, body in frames]


@pytest.mark.parametrize(
    "data",
    [
        said(1, Opcode.RESULT, b"", version=wire.VERSION),
        said(1, Opcode.RESULT, b"", version=0x85),
        struct.pack(">BBhBi", wire.VERSION | 0x80, 0, 1, Opcode.RESULT, -1),
        b"HTTP/1.1 400 Bad Request\r\n",
    ],
)
def test_what_is_no_frame_of_this_version_is_refused(data: bytes) -> None:
    with pytest.raises(BrokenFrame):
        FrameReader().feed(data)


def test_an_error_is_said_with_its_number() -> None:
    body = struct.pack(">iH", 0x1100, 9) + b"too slow!" + b"more that some errors have"
    assert wire.error(body) == "too slow! (0x1100)"


def test_an_error_that_says_nothing_is_no_frame_of_this_version() -> None:
    with pytest.raises(BrokenFrame):
        wire.error(b"\0\0\x11")
