"""The master keys that data keys are wrapped with: where the configuration says, made by `chatd db keys make`."""

import binascii
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from chatd.config import ConfigError, Encryption
from storage.sealing import KEY_BYTES, KeyRing

_MOST_BYTES = 4096  # read of a file; a key is 64 digits


def open_ring(config: Encryption, environment: Mapping[str, str]) -> KeyRing:
    """Read the master keys that the configuration names.

    Raises:
        ConfigError: One of them cannot be had.
    """
    masters = {name: _read(name, place, environment) for name, place in config.keys.items()}
    return KeyRing(masters, config.active)


def make_file(path: Path) -> None:
    """Write a new random master key to a new file that only its owner may read.

    Raises:
        OSError: It cannot be written, or there is such a file.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _read(name: str, place: str, environment: Mapping[str, str]) -> bytes:
    kind, _, rest = place.partition(":")
    try:
        text = environment[rest].encode() if kind == "env" else _read_file(Path(rest))
        key = binascii.unhexlify(text.strip())
    except KeyError as error:
        raise ConfigError(f"store.encryption.keys.{name}: there is no variable {rest}") from error
    except OSError as error:
        raise ConfigError(f"store.encryption.keys.{name}: {rest}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"store.encryption.keys.{name}: a key is written as hexadecimal digits") from error
    if len(key) != KEY_BYTES:
        raise ConfigError(f"store.encryption.keys.{name}: a key has {2 * KEY_BYTES} hexadecimal digits")
    return key


def _read_file(path: Path) -> bytes:
    """Read a key's file.

    Raises:
        PermissionError: Others may read it too.
        OSError: It cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("is no file")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise PermissionError("others may read the key; make it yours alone with chmod 600")
        return os.read(descriptor, _MOST_BYTES)
    finally:
        os.close(descriptor)
