"""As much of the CQL protocol as it takes to ask a node whether it serves (native_protocol_v4.spec)."""

import socket
import ssl
import struct
from contextlib import suppress
from typing import BinaryIO

_VERSION = 4
_HEAD = struct.Struct("!BBhBi")  # version, flags, stream, opcode, length of the body
_READY, _OPTIONS, _SUPPORTED, _STARTUP, _QUERY, _RESULT = 2, 5, 6, 1, 7, 8
_ALL = 5  # the consistency level

# A table of Cassandra's own that has three copies of each row, so that ALL asks every node of a cluster of three; of
# this row there is none.
_EVERYWHERE = (
    "SELECT id FROM system_distributed.repair_history WHERE keyspace_name = 'none' AND columnfamily_name = 'none'"
)


def serves(address: str, port: int, seconds: float = 1.0, authority: str = "") -> bool:
    """Return whether the node answers. It accepts connections before it does, so a connection is no sign.

    It is asked by TLS if there is an `authority`, the file of who signed its certificate.
    """
    return _ask(address, port, seconds, [(_OPTIONS, b"", _SUPPORTED)], authority)


def reaches_all(address: str, port: int, seconds: float = 5.0, authority: str = "") -> bool:
    """Return whether the node, in a cluster of up to three, holds all nodes for up and gets an answer from each.

    A node that asks for a password does not say.
    """
    text = _EVERYWHERE.encode()
    startup = b"\x00\x01" + _short_text(b"CQL_VERSION") + _short_text(b"3.0.0")
    query = struct.pack("!i", len(text)) + text + struct.pack("!HB", _ALL, 0)
    return _ask(address, port, seconds, [(_STARTUP, startup, _READY), (_QUERY, query, _RESULT)], authority)


def _ask(address: str, port: int, seconds: float, exchanges: list[tuple[int, bytes, int]], authority: str) -> bool:
    """Send each request and return whether the answers are those hoped for."""
    with suppress(OSError), _connect(address, port, seconds, authority) as connection:
        answers = connection.makefile("rb")
        for opcode, body, hoped in exchanges:
            connection.sendall(_HEAD.pack(_VERSION, 0, 0, opcode, len(body)) + body)
            if _answer(answers) != hoped:
                return False
        return True
    return False


def _connect(address: str, port: int, seconds: float, authority: str) -> socket.socket:
    connection = socket.create_connection((address, port), seconds)
    if not authority:
        return connection
    context = ssl.create_default_context(cafile=authority)
    try:
        return context.wrap_socket(connection, server_hostname=address)
    except OSError:
        connection.close()
        raise


def _answer(answers: BinaryIO) -> int:
    """Read one frame; return its opcode, or -1 if there came none."""
    head = answers.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return -1
    opcode, length = _HEAD.unpack(head)[3:]
    answers.read(length)
    return int(opcode)


def _short_text(text: bytes) -> bytes:
    return struct.pack("!H", len(text)) + text
