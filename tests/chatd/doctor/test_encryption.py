"""Doctor says before a start that a key is missing, and nothing where nobody seals."""

from pathlib import Path

import msgspec
import pytest

from chatd.config import Config, Encryption
from chatd.doctor import Verdict
from chatd.doctor.encryption import check_encryption
from chatd.master_keys import make_file
from chatd.stores import open_store
from tests.rig.node import changed


@pytest.fixture
def sealing(tmp_path: Path) -> Config:
    """A node that seals, with its key."""
    make_file(tmp_path / "main.key")
    return with_keys(changed("server", var=str(tmp_path)), "main", main=f"file:{tmp_path}/main.key")


def with_keys(config: Config, active: str, **keys: str) -> Config:
    """Return the configuration with other keys."""
    store = msgspec.structs.replace(config.store, encryption=Encryption(active=active, keys=keys))
    return msgspec.structs.replace(config, store=store)


async def test_nothing_is_said_where_nobody_seals(tmp_path: Path) -> None:
    config = changed("server", var=str(tmp_path))
    assert await check_encryption(config) == []
    async with open_store(config):
        assert await check_encryption(config) == []
    assert await check_encryption(config) == []


async def test_keys_that_open_are_well_while_a_node_serves(sealing: Config) -> None:
    [before] = await check_encryption(sealing)
    assert (before.verdict, before.seen) == (Verdict.OK, "0 data keys open; bodies are sealed")
    async with open_store(sealing):
        [found] = await check_encryption(sealing)
    assert (found.verdict, found.seen) == (Verdict.OK, "1 data keys open; bodies are sealed")
    [found] = await check_encryption(with_keys(sealing, "", **sealing.store.encryption.keys))
    assert found.seen == "1 data keys open; bodies are not sealed"


async def test_a_missing_key_is_a_failure(sealing: Config, tmp_path: Path) -> None:
    async with open_store(sealing):
        pass
    [found] = await check_encryption(with_keys(sealing, ""))
    assert found.verdict is Verdict.FAILURE
    assert "the master key main is missing" in found.seen
    (tmp_path / "main.key").unlink()
    [found] = await check_encryption(sealing)
    assert found.verdict is Verdict.FAILURE
    assert "No such file" in found.seen
