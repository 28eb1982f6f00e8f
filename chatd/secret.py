"""The node's secret: it signs chatd's own tokens. Made at the first start, kept in a file that only its owner reads."""

import binascii
import os
import secrets
import stat
from pathlib import Path

from chatd.config import ConfigError

SECRET_BYTES = 32


def load_or_create(path: Path) -> bytes:
    """Return the secret kept in this file, made now if there is no file yet.

    When several processes make it at the same time, all return the one that was first.

    Raises:
        ConfigError: The file cannot be read or made, others may read it, or it holds no secret.
    """
    try:
        try:
            return _load(path)
        except FileNotFoundError:
            _create(path)
            return _load(path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error


def _load(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"{path}: is no file")
        if stat.S_IMODE(status.st_mode) & 0o077:
            raise ConfigError(f"{path}: others may read the secret; make it yours alone with chmod 600")
        text = file.read(4096)
    try:
        secret = binascii.unhexlify(text.strip())
    except ValueError as error:
        raise ConfigError(f"{path}: a secret is written as hexadecimal digits") from error
    if len(secret) < SECRET_BYTES:
        raise ConfigError(f"{path}: a secret has at least {2 * SECRET_BYTES} hexadecimal digits")
    return secret


def _create(path: Path) -> None:
    """Write the whole file under another name first and then link it, which fails if somebody else was faster."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(secrets.token_hex(SECRET_BYTES).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink()
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
