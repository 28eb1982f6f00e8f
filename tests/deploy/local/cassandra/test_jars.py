"""Fetching Cassandra by Maven: once, whole, and with words when it fails."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.local.cassandra import jars
from deploy.local.cassandra.errors import LocalCassandraError, Missing
from tests.deploy.local.cassandra.conftest import MakeProgram

# Puts the jar where it is told to, and counts its calls.
MAVEN = f"""
for argument; do case "$argument" in -DoutputDirectory=*) folder="${{argument#*=}}";; esac; done
mkdir -p "$folder" && touch "$folder/cassandra-all-{jars.version()}.jar"
echo called >> "$(dirname "$0")/calls"
"""


def _calls(home: Path) -> int:
    return len((home / "bin" / "calls").read_text().splitlines())


def test_the_pom_names_the_release() -> None:
    assert jars.version().startswith("5.0.")


def test_jars_are_fetched_once(program: MakeProgram, home: Path) -> None:
    program("mvn", MAVEN)
    assert jars.fetch() == jars.fetch() == home / "cache" / "chatd" / f"cassandra-{jars.version()}"
    assert _calls(home) == 1


def test_those_who_ask_at_once_wait_for_one_that_fetches(program: MakeProgram, home: Path) -> None:
    program("mvn", MAVEN)
    with ThreadPoolExecutor(4) as threads:
        folders = {found.result() for found in [threads.submit(jars.fetch) for _ in range(4)]}
    assert (len(folders), _calls(home)) == (1, 1)


def test_what_maven_did_not_finish_is_not_taken_for_whole(program: MakeProgram, home: Path) -> None:
    program("mvn", f"{MAVEN}\necho 'the network is down'; exit 1")
    with pytest.raises(LocalCassandraError, match="the network is down"):
        jars.fetch()
    assert not jars.folder().exists()
    program("mvn", MAVEN)
    assert jars.fetch() == jars.folder()


def test_without_maven_it_says_what_to_install(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(home / "bin"))
    with pytest.raises(Missing, match="apt-get install maven"):
        jars.fetch()
