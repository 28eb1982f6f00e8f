"""Fetches Cassandra's jars by Maven, once for all checkouts and tests of this user."""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.cassandra.errors import LocalCassandraError, Missing

_HERE = Path(__file__).parent
_POM = _HERE / "pom.xml"
_FETCH_SECONDS = 900


def version() -> str:
    """Return the release of Cassandra that the pom names."""
    found = re.search(r"<artifactId>cassandra-all</artifactId>\s*<version>([\d.]+)</version>", _POM.read_text())
    assert found, f"{_POM} names no release"
    return found[1]


def folder() -> Path:
    """Return where the jars are, or will be: the user's cache, as the XDG base directory specification has it."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "chatd" / f"cassandra-{version()}"


def fetch() -> Path:
    """Fetch the jars unless they are there (67 MB); return their folder.

    Several processes may ask at once: one fetches, the others wait for it. The folder appears only when it is whole.

    Raises:
        Missing: Maven is needed and not here.
        LocalCassandraError: Maven failed.
    """
    target = folder()
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target.with_name(target.name + ".lock")):
            if not target.exists():
                _fetch(target)
    return target


def _fetch(target: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise Missing("Maven fetches Cassandra and is not here. On Debian or Ubuntu: apt-get install maven")
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    goal = ("dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={partial}")
    fetched = subprocess.run(
        [maven, "--batch-mode", "--quiet", "--file", str(_POM), *goal],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_FETCH_SECONDS,
        check=False,
    )
    if fetched.returncode or not (partial / f"cassandra-all-{version()}.jar").exists():
        raise LocalCassandraError(f"Maven could not fetch Cassandra {version()}:\n{fetched.stdout[-2000:]}")
    partial.rename(target)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold this lock file; the kernel frees it when the process dies."""
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
