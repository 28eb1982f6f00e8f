"""A real node that seals bodies: nothing of them is on its disk, and without its key it does not start."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from protocol.codes import ErrorCode
from tests.system.conftest import StartNode
from tests.system.process import NodeProcess, chatd
from tests.system.wire import wire

pytestmark = pytest.mark.system

ENCRYPTION = """
[store.encryption]
active = "main"
keys = { main = "file:main.key" }
"""


def on_disk(node: NodeProcess) -> bytes:
    """Return all that the node has written of its database."""
    return b"".join(path.read_bytes() for path in sorted((node.directory / "var").glob("chatd.sqlite3*")))


async def test_bodies_are_nowhere_on_disk_and_come_back_after_a_kill(start_node: StartNode) -> None:
    node = start_node({"auth.hash_memory_kib": 8}, ENCRYPTION, start=False)
    assert chatd(node.directory, "db", "keys", "make", "main.key").returncode == 0
    node.start()
    async with wire(node) as alice:
        await alice.enter(node.token("alice"))
        sent = await alice.ask(type="send", channel="track:alice", key="one", data={"where": "at the lake"})
        assert sent["type"] == "sent", sent
    node.kill()
    assert b"track:alice" in on_disk(node)
    assert b"lake" not in on_disk(node)

    (node.directory / "config.toml").write_text("")
    refused = chatd(node.directory, "serve", settings=node.settings)
    assert (refused.returncode, refused.stdout) == (1, "")
    [line] = refused.stderr.splitlines()
    assert line.startswith("chatd: the master key main is missing, which the data key ")

    (node.directory / "config.toml").write_text(ENCRYPTION)
    node.start()
    assert chatd(node.directory, "db", "keys", "rotate").returncode == 0
    async with wire(node) as alice:
        await alice.enter(node.token("alice"))
        page = await alice.ask(type="history", channel="track:alice")
        assert [message["data"] for message in page["messages"]] == [{"where": "at the lake"}]


async def test_history_is_unavailable_while_a_data_key_is_lost(start_node: StartNode) -> None:
    node = start_node({"auth.hash_memory_kib": 8}, ENCRYPTION, start=False)
    chatd(node.directory, "db", "keys", "make", "main.key")
    node.start()
    async with wire(node) as alice:
        await alice.enter(node.token("alice"))
        await alice.ask(type="send", channel="track:alice", key="one", data={"where": "at the lake"})
    node.kill()
    with closing(sqlite3.connect(node.directory / "var" / "chatd.sqlite3")) as database, database:
        [lost] = database.execute("DELETE FROM data_keys RETURNING *").fetchall()
    node.start()
    async with wire(node) as alice:
        await alice.enter(node.token("alice"))
        answer = await alice.ask(type="history", channel="track:alice")
        assert (answer["type"], answer["code"]) == ("error", ErrorCode.UNAVAILABLE)
        with closing(sqlite3.connect(node.directory / "var" / "chatd.sqlite3")) as database, database:
            database.execute("INSERT INTO data_keys VALUES (?, ?, ?, ?)", lost)
        page = await alice.ask(type="history", channel="track:alice")
        assert [message["data"] for message in page["messages"]] == [{"where": "at the lake"}]


def test_a_key_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(ENCRYPTION)
    key = tmp_path / "main.key"
    for text, mode, words in (
        (None, 0, "store.encryption.keys.main: main.key: No such file"),
        ("ab" * 32, 0o644, "store.encryption.keys.main: main.key: others may read the key"),
        ("no key", 0o600, "store.encryption.keys.main: a key is written as hexadecimal digits"),
    ):
        if text is not None:
            key.write_text(text)
            key.chmod(mode)
        refused = chatd(tmp_path, "serve", settings={"server.port": 0})
        assert (refused.returncode, refused.stdout) == (2, "")
        assert words in refused.stderr
        assert refused.stderr.count("\n") == 1
