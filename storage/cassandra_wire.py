"""Frames of Cassandra's native protocol, version 4, as far as writing batches needs them: bytes in, bytes out.

From the specification that comes with Cassandra, doc/native_protocol_v4.spec. A frame is

    version 1, flags 1, stream 2, opcode 1, length 4, body

and the stream is a number that the answer to a request has too.
"""

import struct
from collections.abc import Sequence
from enum import IntEnum

VERSION = 4
MOST_STREAMS = 32_768  # numbers of requests that one connection may have without an answer

_ANSWER = 0x80  # in the version of what a server says
_UNLOGGED = b"\x01"  # the kind of a batch
_PREPARED = b"\x01"  # the kind of a statement in it
_WITH_TIMESTAMP = 0x20
_MOST_BYTES = 256 * 1024 * 1024  # of a body, by the specification

_header = struct.Struct(">BBhBi")
_short = struct.Struct(">H").pack
_int = struct.Struct(">i").pack
_batch_end = struct.Struct(">HBq").pack  # consistency, flags, timestamp


class Opcode(IntEnum):
    """What a frame is."""

    ERROR = 0x00
    STARTUP = 0x01
    READY = 0x02
    AUTHENTICATE = 0x03
    RESULT = 0x08
    BATCH = 0x0D
    AUTH_RESPONSE = 0x0F
    AUTH_SUCCESS = 0x10


Frame = tuple[int, int, bytes]
"""The stream, the opcode, and the body."""


class BrokenFrame(Exception):
    """The server sent what is no frame of this version."""


def frame(stream: int, opcode: Opcode, body: bytes) -> bytes:
    """Return a request."""
    return _header.pack(VERSION, 0, stream, opcode, len(body)) + body


def startup() -> bytes:
    """Return the body of the first request."""
    return _short(1) + _string("CQL_VERSION") + _string("3.0.0")


def password(user: str, secret: str) -> bytes:
    """Return the body of the answer to AUTHENTICATE: SASL's PLAIN, which is all that PasswordAuthenticator knows."""
    token = f"\0{user}\0{secret}".encode()
    return _int(len(token)) + token


def error(body: bytes) -> str:
    """Return what the body of an ERROR says.

    Raises:
        BrokenFrame: It is no such body.
    """
    try:
        code, length = struct.unpack_from(">iH", body)
    except struct.error as error:
        raise BrokenFrame("an error that says nothing") from error
    return f"{body[6 : 6 + length].decode(errors='replace')} ({code:#06x})"


def execution(query_id: bytes, markers: int) -> bytes:
    """Return the start of a prepared statement in a batch; its values follow."""
    return _PREPARED + _short(len(query_id)) + query_id + _short(markers)


def batch(statements: Sequence[tuple[bytes, Sequence[bytes]]], consistency: int, timestamp: int) -> bytes:
    """Return the body of an unlogged batch.

    Args:
        statements: Of each, what `execution` returned, and its values.
        consistency: What it waits for.
        timestamp: Of the cells whose statements do not say it, in microseconds.
    """
    parts = [_UNLOGGED, _short(len(statements))]
    add = parts.append
    for start, values in statements:
        add(start)
        for value in values:
            add(_int(len(value)))
            add(value)
    add(_batch_end(consistency, _WITH_TIMESTAMP, timestamp))
    return b"".join(parts)


class FrameReader:
    """Cuts what a server sends into frames."""

    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes) -> list[Frame]:
        """Take what was read, and return the frames that are complete.

        Raises:
            BrokenFrame: It is none of this protocol.
        """
        data = self._left + data if self._left else data
        frames: list[Frame] = []
        start, end = 0, len(data)
        while end - start >= _header.size:
            version, _, stream, opcode, length = _header.unpack_from(data, start)
            if version != VERSION | _ANSWER or not 0 <= length <= _MOST_BYTES:
                raise BrokenFrame(f"version {version:#x}, {length} bytes")
            body = start + _header.size
            if end - body < length:
                break
            start = body + length
            frames.append((stream, opcode, data[body:start]))
        self._left = data[start:]
        return frames


def _string(text: str) -> bytes:
    raw = text.encode()
    return _short(len(raw)) + raw
