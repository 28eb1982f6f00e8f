"""Programs that stand for Java and Maven, and a cache of the test's own."""

from collections.abc import Callable
from pathlib import Path

import pytest

MakeProgram = Callable[[str, str], Path]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose `bin` is first in the search path, and whose `cache` is where jars go."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr("deploy.local.cassandra.java.INSTALLED", tmp_path / "jvm")
    return tmp_path


@pytest.fixture
def program(home: Path) -> MakeProgram:
    """Return a function that puts a shell script on the search path, before what is installed."""

    def make(name: str, script: str) -> Path:
        path = home / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return make
