"""Whether the folder that chatd writes to is its own, and nobody else's."""

import os
import stat
from pathlib import Path

from chatd.config import Config, ConfigError
from chatd.doctor import Finding, failure, ok, warning
from chatd.secret import load_or_create

_SUBJECT = "var"


def check_var(config: Config) -> list[Finding]:
    """Look at the folder `server.var`, who may enter it, and the secret in it."""
    var = Path(config.server.var).absolute()
    if not var.exists():
        parent = next(folder for folder in var.parents if folder.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return [ok(_SUBJECT, f"{var} is not there, and will be made")]
        return [failure(_SUBJECT, f"{var} is not there and cannot be made", f"make it, for the user {_user()}")]
    if not var.is_dir():
        return [failure(_SUBJECT, f"{var} is no folder", "set server.var")]
    if not os.access(var, os.R_OK | os.W_OK | os.X_OK):
        return [failure(_SUBJECT, f"{var} cannot be written by the user {_user()}", f"chown it to {_user()}")]
    return [_judge_mode(var), *_judge_secret(var / "secret")]


def _judge_mode(var: Path) -> Finding:
    mode = stat.S_IMODE(var.stat().st_mode)
    if mode & 0o077:
        return warning(_SUBJECT, f"{var} can be entered by others (mode {mode:o})", f"chmod 700 {var}")
    return ok(_SUBJECT, f"{var} is writable, and closed to others")


def _judge_secret(path: Path) -> list[Finding]:
    if not path.exists():
        return []  # made at the first start
    try:
        load_or_create(path)
    except ConfigError as error:
        return [failure(_SUBJECT, str(error), "restore it from a backup: with another one all sessions end")]
    return []


def _user() -> str:
    return os.environ.get("USER") or str(os.geteuid())
