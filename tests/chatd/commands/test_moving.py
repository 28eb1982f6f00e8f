"""`chatd db export|import|copy|checksum` move everything, and say in one line why they cannot."""

from functools import partial
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result

from chatd.commands.db import db
from chatd.config import Config, load
from chatd.server import serve
from storage.sqlite import open_sqlite
from storage.transfer import MARK, StoreInUse
from tests.contracts.moving import everything, fill
from tests.rig.cassandra import CassandraServer, Keyspace

RECORDS = sum(map(len, everything().values()))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration of a node with something in every table."""
    return make(tmp_path, "full", filled=True)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The configuration of another one, which has nothing yet."""
    return make(tmp_path, "empty")


def make(folder: Path, name: str, *, filled: bool = False) -> Path:
    var = folder / name
    (folder / f"{name}.toml").write_text(f"[server]\nvar = '{var}'\nport = 0\n")

    async def fill_it() -> None:
        var.mkdir()
        async with open_sqlite(var / "chatd.sqlite3") as store:
            await fill(store)

    if filled:
        trio.run(fill_it)
    return folder / f"{name}.toml"


def run(config: Path, *arguments: str, input: bytes | None = None) -> Result:
    return CliRunner().invoke(db, [*arguments, "--config", str(config)], input=input)


def last_line(result: Result) -> str:
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.splitlines()[-1]


def failure(result: Result) -> str:
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_everything_is_exported_and_imported_with_one_checksum(config: Path, other: Path, tmp_path: Path) -> None:
    archive = str(tmp_path / "archive")
    checksum = last_line(run(config, "export", archive))
    assert checksum.startswith("sha256 ")
    assert last_line(run(other, "import", "--check", archive)) == checksum
    assert not (tmp_path / "empty").exists()
    assert last_line(run(other, "import", archive)) == checksum
    for each in (config, other):
        shown = run(each, "checksum")
        assert last_line(shown) == checksum
        counts = [line.split(":") for line in shown.stdout.splitlines()[:-1]]
        assert {name: int(count) for name, count in counts} == {
            table: len(records) for table, records in everything().items()
        }


def test_everything_is_copied_to_another_store(config: Path, other: Path) -> None:
    checksum = last_line(run(config, "copy", "--to", str(other)))
    assert last_line(run(other, "checksum")) == last_line(run(config, "checksum")) == checksum


def test_everything_goes_through_a_pipe(config: Path, other: Path) -> None:
    written = run(config, "export", "-")
    assert written.exit_code == 0
    read = run(other, "import", "-", input=written.stdout_bytes)
    assert [last_line(read)] == written.stderr.splitlines()


def test_an_export_overwrites_nothing(config: Path, tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("precious")
    assert "exists already" in failure(run(config, "export", str(tmp_path / "archive")))
    assert (tmp_path / "archive").read_text() == "precious"


def test_a_damaged_archive_touches_no_store(config: Path, other: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    run(config, "export", str(archive))
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 1
    archive.write_bytes(data)
    for arguments in (["--check", str(archive)], [str(archive)]):
        assert f"{archive} is damaged behind byte" in failure(run(other, "import", *arguments))
    archive.write_bytes(data[: len(data) // 3])
    assert "is not whole" in failure(run(other, "import", str(archive)))
    assert not (tmp_path / "empty").exists()


def test_a_store_that_is_used_is_not_filled(config: Path, tmp_path: Path) -> None:
    run(config, "export", str(tmp_path / "archive"))
    assert "only an empty one can be filled" in failure(run(config, "import", str(tmp_path / "archive")))


def test_a_store_that_does_not_exist_is_not_exported(other: Path, tmp_path: Path) -> None:
    for arguments in (["export", str(tmp_path / "archive")], ["checksum"], ["copy", "--to", str(other)]):
        assert f"{tmp_path / 'empty' / 'chatd.sqlite3'}: unable to open" in failure(run(other, *arguments))
    assert {path.name for path in tmp_path.iterdir()} == {"empty.toml"}


def test_an_archive_that_does_not_exist_is_named(other: Path) -> None:
    assert "nowhere" in failure(run(other, "import", "nowhere"))


def test_no_node_serves_from_a_store_that_is_half_filled(config: Path, other: Path, tmp_path: Path) -> None:
    run(config, "copy", "--to", str(other))

    async def mark() -> None:
        async with open_sqlite(tmp_path / "empty" / "chatd.sqlite3") as store:
            await store.put_meta(MARK, '{"origin": "the database of a friend"}')

    trio.run(mark)
    with pytest.raises(StoreInUse, match="being filled from the database of a friend"):
        trio.run(partial(serve, load(other, {}), Config, lambda _: None))


@pytest.fixture
def cluster(tmp_path: Path, cassandra: Keyspace) -> Path:
    """The configuration of a node whose store is a keyspace that has the schema and nothing else."""
    path = tmp_path / "cluster.toml"
    path.write_text(
        f"[server]\nvar = '{tmp_path / 'cluster'}'\n[store]\nkind = 'cassandra'\n[cassandra]\n"
        f"nodes = ['{cassandra.host}']\nport = {cassandra.port}\nkeyspace = '{cassandra.name}'\n"
        "replication_factor = 1\n"
    )
    run(path, "migrate")
    return path


@pytest.mark.system
def test_everything_goes_to_cassandra_and_back_directly_and_through_files(
    config: Path, other: Path, cluster: Path, tmp_path: Path, cassandra: Keyspace, cassandra_server: CassandraServer
) -> None:
    checksum = last_line(run(config, "copy", "--to", str(cluster)))
    assert last_line(run(cluster, "checksum")) == checksum
    assert "only an empty one can be filled" in failure(run(config, "copy", "--to", str(cluster)))
    assert last_line(run(cluster, "copy", "--to", str(other))) == checksum

    archive = str(tmp_path / "archive")
    assert last_line(run(cluster, "export", archive)) == checksum
    assert "only an empty one can be filled" in failure(run(cluster, "import", archive))
    cassandra_server.empty(cassandra)
    assert last_line(run(cluster, "checksum")) != checksum
    assert last_line(run(cluster, "import", archive)) == checksum
    assert last_line(run(cluster, "checksum")) == checksum
    third = make(tmp_path, "third")
    assert last_line(run(third, "import", archive)) == last_line(run(third, "checksum")) == checksum
