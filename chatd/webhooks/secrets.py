"""Where the secrets of webhooks come from: files that only their owner reads, and variables of the environment."""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from chatd.config import ConfigError
from chatd.webhooks.signing import AsymmetricKey, SecretError, Signer, SymmetricKey, parse_key

MOST_KEYS = 4
"""Secrets in use at once. Two are enough for a rotation; each more is one more signature in every request."""

_FILE_BYTES = 4096


def load_signer(place: str, files: Sequence[str], variables: Sequence[str], environment: Mapping[str, str]) -> Signer:
    """Return what signs with all these secrets; `place` is the key of the configuration that names them.

    A file has one secret a line; empty lines and such that begin with # do not count.

    Raises:
        ConfigError: A file or variable is missing, others may read the file, there is no secret or too many.
    """
    return Signer(load_keys(place, files, variables, environment))


def load_keys(
    place: str, files: Sequence[str], variables: Sequence[str], environment: Mapping[str, str]
) -> list[SymmetricKey | AsymmetricKey]:
    """Return the keys of `load_signer`."""
    found = [(f"{place}.secret_files: {name}", line) for name in files for line in _lines(place, Path(name))]
    for name in variables:
        if name not in environment:
            raise ConfigError(f"{place}.secret_variables: there is no variable {name}")
        found.append((f"{place}.secret_variables: {name}", environment[name].strip()))
    if not 1 <= len(found) <= MOST_KEYS:
        raise ConfigError(f"{place}: give 1 to {MOST_KEYS} secrets by secret_files or secret_variables")
    keys = []
    for source, text in found:
        try:
            keys.append(parse_key(text))
        except SecretError as error:
            raise ConfigError(f"{source}: {error}") from error
    return keys


def _lines(place: str, path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise ConfigError(f"{path}: others may read the secret; make it yours alone with chmod 600")
            text = file.read(_FILE_BYTES).decode("ascii")
    except OSError as error:
        raise ConfigError(f"{place}.secret_files: {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{place}.secret_files: {path}: is no file of secrets") from error
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
