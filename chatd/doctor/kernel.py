"""Whether the kernel lets this process have as many connections as the configuration says."""

import resource
from pathlib import Path

from chatd.config import Config
from chatd.doctor import Finding, ok, warning

# Beside its connections, a node has the database, its log, listening sockets and connections to services.
OTHER_FILES = 200

_MOST_WAITING = Path("/proc/sys/net/core/somaxconn")


def check_open_files(config: Config) -> list[Finding]:
    """Compare the files that this process may open with the connections that it is to hold."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return [judge_open_files(most, config.limits.connections)]


def judge_open_files(most: int, connections: int) -> Finding:
    """Say whether so many open files are enough for so many connections."""
    if most == resource.RLIM_INFINITY:
        return ok("open files", "as many as wanted")
    seen, needed = f"{most:,} may be open, limits.connections is {connections:,}", connections + OTHER_FILES
    if most >= needed:
        return ok("open files", seen)
    return warning("open files", seen, f"raise LimitNOFILE in the unit to {needed}, or set limits.connections lower")


def check_backlog(config: Config) -> list[Finding]:
    """Compare the connections that the kernel lets wait with `server.backlog`."""
    try:
        most = int(_MOST_WAITING.read_text())
    except OSError:  # no Linux
        return []
    return [judge_backlog(most, config.server.backlog)]


def judge_backlog(most: int, backlog: int) -> Finding:
    """Say whether the kernel lets so many connections wait to be accepted."""
    if most >= backlog:
        return ok("backlog", f"{backlog:,} connections may wait to be accepted")
    return warning(
        "backlog",
        f"server.backlog is {backlog:,}, and the kernel cuts it to {most:,}",
        f"sysctl net.core.somaxconn={backlog}",
    )
