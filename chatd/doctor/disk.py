"""Whether the disk under `server.var` has room, and keeps what it was told to keep."""

import os
import secrets
import shutil
import time
from pathlib import Path

from chatd.config import Config
from chatd.doctor import Finding, failure, ok, warning

LITTLE_BYTES = 2**30
NOTHING_BYTES = 100 * 2**20
SLOW_SECONDS = 0.02  # a sync of a disk of today takes less, an old spinning one about 10 ms

_SYNCS = 9
_PAGE = bytes(4096)
_IN_MEMORY = ("tmpfs", "ramfs")
_REMOTE = ("nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "glusterfs", "ceph")  # file locks there are not sure


def check_disk(config: Config) -> list[Finding]:
    """Look at the free space and the kind of the file system, and time how long a sync takes."""
    var = Path(config.server.var).absolute()
    folder = next(folder for folder in (var, *var.parents) if folder.is_dir())
    findings = [judge_space(shutil.disk_usage(folder).free)]
    findings += judge_file_system(_file_system(folder))
    if os.access(folder, os.W_OK | os.X_OK):
        try:
            findings.append(judge_sync(_sync_seconds(folder)))
        except OSError as error:
            findings.append(
                failure("disk", f"{folder} cannot be written: {error.strerror}", "free some, or mount it anew")
            )
    return findings


def judge_space(free: int) -> Finding:
    """Say whether so much free space is enough."""
    seen = f"{free / 2**30:.1f} GiB are free under server.var"
    if free < NOTHING_BYTES:
        return failure("disk", seen, "free some: without it every message is refused")
    if free < LITTLE_BYTES:
        return warning("disk", seen, "free some, or shorten the `retention_days` of namespaces")
    return ok("disk", seen)


def judge_file_system(kind: str) -> list[Finding]:
    """Return a warning about a kind of file system that does not keep a database; else nothing."""
    if kind in _IN_MEMORY:
        return [warning("disk", f"server.var is on {kind}, which is memory", "put it on a disk")]
    if kind in _REMOTE:
        return [warning("disk", f"server.var is on {kind}: locks and syncs there are not sure", "use a local disk")]
    return []


def judge_sync(seconds: float) -> Finding:
    """Say whether a disk that takes so long for a sync is quick enough for senders that wait for it."""
    seen = f"a sync takes {seconds * 1000:.2f} ms"
    if seconds > SLOW_SECONDS:
        return warning("disk", seen, "each durable message waits for one: use a quicker disk")
    return ok("disk", seen)


def _sync_seconds(folder: Path) -> float:
    """Write a page and sync it, some times, as a commit does; return the middle time."""
    path = folder / f"doctor.{secrets.token_hex(4)}"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        times = []
        for _ in range(_SYNCS):
            began = time.perf_counter()
            os.write(descriptor, _PAGE)
            os.fsync(descriptor)
            times.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        path.unlink()
    return sorted(times)[_SYNCS // 2]


def _file_system(folder: Path) -> str:
    """Return the kind of the file system that the folder is on; empty where the kernel does not say."""
    try:
        mounts = Path("/proc/self/mounts").read_text()
    except OSError:
        return ""
    best, kind = "", ""
    for line in mounts.splitlines():
        _, place, name = line.split()[:3]
        place = place.encode().decode("unicode_escape")  # a space is written as \040
        if folder.is_relative_to(place) and len(place) >= len(best):
            best, kind = place, name
    return kind
