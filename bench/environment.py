"""Says on what a result was measured: the machine, the versions of what ran, and the configuration."""

import contextlib
import os
import platform
import sqlite3
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from chatd.config import Config, load
from protocol.hot import COMPILED

_PACKAGES = ("chatd", "trio", "msgspec", "websockets", "numpy")
_GIT_SECONDS = 5.0


def machine() -> dict[str, Any]:
    """Describe what this runs on."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(_memory_kib() / 1024**2, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Name the versions of Python and of what the server is made of, and the commit, where this is a checkout.

    `compiled` says whether the functions that every message passes were compiled.
    """
    found = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version, "compiled": str(COMPILED)}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    commit = _commit(Path(__file__).parent)
    return found | ({"commit": commit} if commit else {})


def config_changes(path: Path) -> dict[str, Any]:
    """Return the keys that the server's configuration sets to something else than it is shipped with.

    Raises:
        ConfigError: The file cannot be used.
    """
    shipped = _flat(msgspec.to_builtins(Config()))
    return {
        key: value
        for key, value in _flat(msgspec.to_builtins(load(path, os.environ))).items()
        if shipped.get(key) != value
    }


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found


def _commit(directory: Path) -> str:
    """Return the commit of the checkout, with a `+` where files differ from it; empty without git or a checkout."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=_GIT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return said.stdout.strip()


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_kib() -> int:
    return int(Path("/proc/meminfo").read_text().split()[1])
