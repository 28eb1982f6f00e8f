"""A clock for Cassandra that a test can set back while the node runs.

Cassandra asks the class that `cassandra.clock` names for the time. This one subtracts the length of a file in
milliseconds: setting the clock back by a minute is making the file 60,000 bytes long. There may be no Java compiler
here, for a server needs none, so the class is put together from bytes, as chapter 4 of the Java Virtual Machine
Specification says. In Java it is

    public class HeldBackClock extends Clock.Default {
        public long currentTimeMillis() {
            return System.currentTimeMillis() - new File(System.getProperty("chatd.clock")).length();
        }
    }

(Faking the time of the whole process with libfaketime made a node take 90 s to start instead of 6.)
"""

import os
import struct
from pathlib import Path

_NAME = "HeldBackClock"
_PARENT = "org/apache/cassandra/utils/Clock$Default"
_PUBLIC, _SUPER = 0x0001, 0x0020
_JAVA_8 = 52

_ALOAD_0, _LSUB, _LRETURN, _RETURN, _DUP = b"\x2a", b"\x65", b"\xad", b"\xb1", b"\x59"
_INVOKEVIRTUAL, _INVOKESPECIAL, _INVOKESTATIC, _NEW, _LDC = b"\xb6", b"\xb7", b"\xb8", b"\xbb", b"\x12"


class HeldBackClock:
    """Gives the options that put the clock into a node, and sets it back."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = directory / "held-back"
        self._file.touch()
        (directory / f"{_NAME}.class").write_bytes(_class_file())
        self.class_path = str(directory)
        self.java_options = (f"-Dcassandra.clock={_NAME}", f"-Dchatd.clock={self._file}")

    def set_back(self, seconds: float) -> None:
        """Let the node's time be so many seconds behind this machine's, from now on; 0 puts it right."""
        os.truncate(self._file, int(seconds * 1000))


class _Constants:
    """The pool of constants of a class file, section 4.4."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []

    def add(self, entry: bytes) -> bytes:
        """Return the number of this entry, as two bytes."""
        if entry not in self.entries:
            self.entries.append(entry)
        return struct.pack("!H", self.entries.index(entry) + 1)

    def text(self, value: str) -> bytes:
        return self.add(b"\x01" + struct.pack("!H", len(value)) + value.encode())

    def type(self, name: str) -> bytes:
        return self.add(b"\x07" + self.text(name))

    def string(self, value: str) -> bytes:
        return self.add(b"\x08" + self.text(value))

    def method(self, owner: str, name: str, descriptor: str) -> bytes:
        signature = self.add(b"\x0c" + self.text(name) + self.text(descriptor))
        return self.add(b"\x0a" + self.type(owner) + signature)


def _class_file() -> bytes:
    pool = _Constants()
    create = _method(
        pool, "<init>", "()V", 1, _ALOAD_0 + _INVOKESPECIAL + pool.method(_PARENT, "<init>", "()V") + _RETURN
    )
    time = _method(
        pool,
        "currentTimeMillis",
        "()J",
        6,
        _INVOKESTATIC
        + pool.method("java/lang/System", "currentTimeMillis", "()J")
        + _NEW
        + pool.type("java/io/File")
        + _DUP
        + _LDC
        + pool.string("chatd.clock")[1:]
        + _INVOKESTATIC
        + pool.method("java/lang/System", "getProperty", "(Ljava/lang/String;)Ljava/lang/String;")
        + _INVOKESPECIAL
        + pool.method("java/io/File", "<init>", "(Ljava/lang/String;)V")
        + _INVOKEVIRTUAL
        + pool.method("java/io/File", "length", "()J")
        + _LSUB
        + _LRETURN,
    )
    this, parent = pool.type(_NAME), pool.type(_PARENT)
    constants = struct.pack("!H", len(pool.entries) + 1) + b"".join(pool.entries)
    head = struct.pack("!IHH", 0xCAFEBABE, 0, _JAVA_8) + constants
    return (
        head + struct.pack("!H", _PUBLIC | _SUPER) + this + parent + bytes(4) + b"\x00\x02" + create + time + bytes(2)
    )


def _method(pool: _Constants, name: str, descriptor: str, stack: int, code: bytes) -> bytes:
    """Write a public method that branches nowhere, section 4.6; `stack` is the most that its code puts there."""
    body = struct.pack("!HHI", stack, 1, len(code)) + code + bytes(4)
    head = struct.pack("!H", _PUBLIC) + pool.text(name) + pool.text(descriptor) + b"\x00\x01"
    return head + pool.text("Code") + struct.pack("!I", len(body)) + body
