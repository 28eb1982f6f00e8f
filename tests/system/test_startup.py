"""Starting where something is wrong: one line that says what, an exit code, and never a traceback."""

import os
import shutil
import socket
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from tests.fakes.certificate import make_certificate
from tests.system.conftest import StartNode
from tests.system.process import Settings, chatd
from tests.system.wire import wire

pytestmark = pytest.mark.system


def _refusal(folder: Path, code: int, settings: Settings) -> str:
    """Start a node that must end at once with this code; return its one line."""
    done = chatd(folder, "serve", settings={"server.port": 0, "server.var": folder / "var"} | settings)
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert done.returncode == code, line
    assert line.startswith("chatd: ")
    return line


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    _, other_key = make_certificate(other)
    tls = "server.tls"
    wrong: list[tuple[Settings, str]] = [
        ({"limits.prot": 1}, "limits.prot: unknown key"),
        ({"websocket.ping_seconds": "inf"}, "websocket.ping_seconds: "),
        ({"server.trusted_proxies": ["nonsense"]}, "server.trusted_proxies: "),
        ({"auth.key_file": "missing.pem", "auth.algorithms": ["RS256"]}, "missing.pem"),
        ({f"{tls}.certificate": "missing.pem", f"{tls}.key": key}, f"{tls}.certificate: missing.pem: No such file"),
        ({f"{tls}.certificate": certificate, f"{tls}.key": "missing.pem"}, f"{tls}.key: missing.pem: No such file"),
        ({f"{tls}.certificate": certificate, f"{tls}.key": other_key}, f"{tls}: "),
    ]
    for settings, words in wrong:
        assert words in _refusal(tmp_path, 2, settings)


def test_a_secret_that_others_may_read_is_named(tmp_path: Path) -> None:
    secret = tmp_path / "var" / "secret"
    secret.parent.mkdir()
    secret.write_text("ab" * 32)
    secret.chmod(0o644)
    assert "chmod 600" in _refusal(tmp_path, 2, {})
    assert secret.read_text() == "ab" * 32


def test_a_port_or_host_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = _refusal(tmp_path, 1, {"server.port": port})
    assert line == f"chatd: cannot listen on '127.0.0.1' port {port}: Address already in use"
    assert "'192.0.2.1'" in _refusal(tmp_path, 1, {"server.host": "192.0.2.1"})
    for host in ("..", "x" * 70):
        assert f"cannot listen on '{host}'" in _refusal(tmp_path, 1, {"server.host": host})


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for var in (file, file / "var", Path("/proc/chatd")):
        assert str(var) in _refusal(tmp_path, 1, {"server.var": var})


def test_databases_that_cannot_be_used_are_named(tmp_path: Path, start_node: StartNode) -> None:
    node = start_node()
    line = _refusal(tmp_path, 1, {"server.var": node.directory / "var"})
    assert "in use by another chatd" in line
    assert str(node.pid) in line
    node.stop()

    newer = tmp_path / "newer"
    shutil.copytree(node.directory / "var", newer)
    with closing(sqlite3.connect(newer / "chatd.sqlite3")) as db, db:
        db.execute("INSERT INTO schema_migrations (number, name, checksum, at) VALUES (9999, 'later', 'x', 0)")
    assert "use a newer chatd" in _refusal(tmp_path, 1, {"server.var": newer})

    junk = tmp_path / "junk"
    junk.mkdir()
    (junk / "chatd.sqlite3").write_bytes(b"no database" * 1000)
    assert "not a database" in _refusal(tmp_path, 1, {"server.var": junk})
    assert "/dev/null" in _refusal(tmp_path, 1, {"store.path": "/dev/null"})


def test_what_a_first_start_makes_is_its_owners_alone(start_node: StartNode) -> None:
    var = start_node().directory / "var"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (var, *var.iterdir())}
    assert modes["var"] == 0o700
    assert modes["secret"] == 0o600
    assert modes["chatd.sqlite3"] & 0o077 == 0
    assert os.path.getsize(var / "secret") == 65


async def test_a_printed_token_opens_a_session(start_node: StartNode) -> None:
    node = start_node()
    printed = chatd(node.directory, "token", "alice", settings={"server.var": node.directory / "var"})
    async with wire(node) as device:
        assert (await device.enter(printed.stdout.strip()))["user"] == "alice"
