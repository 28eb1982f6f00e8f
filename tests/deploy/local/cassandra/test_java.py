"""Finding a Java that Cassandra runs on."""

from pathlib import Path

import pytest

from deploy.local.cassandra.errors import Missing
from deploy.local.cassandra.java import find_java
from tests.deploy.local.cassandra.conftest import MakeProgram


def _says(version: str) -> str:
    return f"echo 'openjdk version \"{version}\" 2025-04-15' >&2"


def test_a_fitting_java_on_the_search_path_is_taken(program: MakeProgram) -> None:
    java = program("java", _says("17.0.15"))
    assert find_java() == str(java)


def test_java_home_comes_first(program: MakeProgram, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program("java", _says("17.0.15"))
    (home / "jdk" / "bin").mkdir(parents=True)
    chosen = program("java17", _says("17.0.1")).rename(home / "jdk" / "bin" / "java")
    monkeypatch.setenv("JAVA_HOME", str(home / "jdk"))
    assert find_java() == str(chosen)


def test_one_that_is_installed_beside_a_newer_one_is_found(program: MakeProgram, home: Path) -> None:
    program("java", _says("21.0.2"))
    (home / "jvm" / "java-17-openjdk-amd64" / "bin").mkdir(parents=True)
    older = program("other", _says("17.0.9")).rename(home / "jvm" / "java-17-openjdk-amd64" / "bin" / "java")
    assert find_java() == str(older)


@pytest.mark.parametrize("script", [_says("21.0.2"), "echo 'no java' >&2", "exit 1"])
def test_without_a_fitting_one_it_says_what_to_install(program: MakeProgram, script: str) -> None:
    program("java", script)
    with pytest.raises(Missing, match="apt-get install openjdk-17-jre-headless"):
        find_java()
