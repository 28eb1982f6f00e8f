"""Finds a Java that Cassandra 5.0 runs on."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from deploy.local.cassandra.errors import Missing

# What its release notes name. 17 is what the options in jvm.options are for, and what Debian 12 has.
VERSIONS = (17,)
PACKAGE = "openjdk-17-jre-headless"

INSTALLED = Path("/usr/lib/jvm")  # where Debian, Ubuntu and Fedora put each Java in a folder of its own


def find_java() -> str:
    """Return the path of a fitting `java`.

    Looks at JAVA_HOME, the search path, and where Linux distributions put their Javas, in this order.

    Raises:
        Missing: There is none.
    """
    found = {}
    for path in _candidates():
        found[path] = _version(path)
        if found[path] in VERSIONS:
            return path
    seen = ", ".join(f"{path} is Java {version or '?'}" for path, version in found.items()) or "there is none here"
    raise Missing(f"Cassandra 5.0 needs Java 17: {seen}. On Debian or Ubuntu: apt-get install {PACKAGE}")


def _candidates() -> Iterator[str]:
    if home := os.environ.get("JAVA_HOME"):
        yield f"{home}/bin/java"
    if path := shutil.which("java"):
        yield path
    yield from sorted(str(path) for path in INSTALLED.glob("*17*/bin/java"))


def _version(path: str) -> int | None:
    try:
        asked = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return None
    found = re.search(r'version "(\d+)', asked.stderr)
    return int(found[1]) if found else None
