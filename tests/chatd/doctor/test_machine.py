"""The checks of this machine, on folders, files and ports of it."""

import errno
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from chatd.config import Auth, Config, Server, Store, Tls
from chatd.doctor import Finding, Verdict
from chatd.doctor.certificate import check_certificate
from chatd.doctor.checks import OF_THIS_MACHINE
from chatd.doctor.disk import check_disk
from chatd.doctor.issuer import check_issuer
from chatd.doctor.sqlite import check_sqlite
from chatd.doctor.var import check_var
from chatd.secret import load_or_create
from storage.migrations import migrate, shipped
from storage.sqlite import prepare
from storage.sqlite_connection import connect_writer, create_file
from tests.fakes.certificate import make_certificate


@pytest.fixture
def var(tmp_path: Path) -> Path:
    folder = tmp_path / "var"
    folder.mkdir(mode=0o700)
    return folder


def _config(var: Path) -> Config:
    return Config(server=Server(var=str(var)))


def _only(findings: list[Finding]) -> Finding:
    (finding,) = findings
    return finding


# The folder.


def test_a_folder_of_chatds_own_is_good(var: Path) -> None:
    assert _only(check_var(_config(var))).verdict is Verdict.OK


def test_a_folder_that_is_not_there_yet_is_good(tmp_path: Path) -> None:
    finding = _only(check_var(_config(tmp_path / "a" / "b")))
    assert (finding.verdict, finding.seen) == (Verdict.OK, f"{tmp_path}/a/b is not there, and will be made")
    assert not (tmp_path / "a").exists()


def test_a_folder_that_others_may_enter_is_warned_of(var: Path) -> None:
    var.chmod(0o755)
    assert _only(check_var(_config(var))).advice == f"chmod 700 {var}"


def test_a_file_where_the_folder_should_be_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "var").touch()
    assert _only(check_var(_config(tmp_path / "var"))).verdict is Verdict.FAILURE


def test_a_secret_that_others_may_read_is_a_failure(var: Path) -> None:
    load_or_create(var / "secret")
    assert len(check_var(_config(var))) == 1
    (var / "secret").chmod(0o644)
    finding = check_var(_config(var))[1]
    assert finding.verdict is Verdict.FAILURE
    assert "others may read the secret" in finding.seen


def test_a_disk_that_takes_no_page_is_a_failure_and_no_crash(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("chatd.doctor.disk.os.write", write)
    failed = [finding for finding in check_disk(_config(var)) if finding.verdict is Verdict.FAILURE]
    assert [finding.seen for finding in failed] == [f"{var} cannot be written: No space left on device"]
    assert list(var.iterdir()) == []


def test_the_disk_is_timed_and_nothing_is_left_on_it(var: Path) -> None:
    findings = check_disk(_config(var))
    assert "a sync takes" in findings[-1].seen
    assert list(var.iterdir()) == []


# The database.


def test_a_database_of_this_chatd_is_good(var: Path) -> None:
    prepare(var / "chatd.sqlite3")
    assert _only(check_sqlite(_config(var))).verdict is Verdict.OK


def test_no_database_yet_is_good(var: Path) -> None:
    assert _only(check_sqlite(_config(var))).seen.endswith("is not there, and will be made")


def test_a_database_of_an_older_chatd_is_warned_of(var: Path) -> None:
    path = var / "chatd.sqlite3"
    create_file(path)
    with closing(connect_writer(path)) as connection:
        migrate(connection, shipped()[:1], lambda: int(time.time() * 1000))
    finding = _only(check_sqlite(_config(var)))
    assert finding.verdict is Verdict.WARNING
    assert "backup" in finding.advice


def test_a_database_of_another_program_is_a_failure(var: Path) -> None:
    with closing(sqlite3.connect(var / "chatd.sqlite3")) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    assert _only(check_sqlite(_config(var))).advice == "set store.path"


def test_a_file_that_is_no_database_is_a_failure(var: Path) -> None:
    (var / "chatd.sqlite3").write_text("what is this? " * 100)
    finding = _only(check_sqlite(_config(var)))
    assert (finding.verdict, "not a database" in finding.seen) == (Verdict.FAILURE, True)


def test_a_database_without_its_log_is_a_failure(var: Path) -> None:
    path = var / "other.sqlite3"
    prepare(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    config = Config(server=Server(var=str(var)), store=Store(path="other.sqlite3"))
    assert "mode delete" in _only(check_sqlite(config)).seen


# Certificates and keys.


def test_a_certificate_that_ends_soon_is_warned_of(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    config = Config(server=Server(tls=Tls(certificate=str(certificate), key=str(key))))
    finding = _only(check_certificate(config))
    assert finding.verdict is Verdict.WARNING
    assert finding.advice == "renew it, and restart chatd"


def test_a_certificate_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    tls = Tls(certificate=str(tmp_path / "none.pem"), key=str(tmp_path / "none.key"))
    assert _only(check_certificate(Config(server=Server(tls=tls)))).verdict is Verdict.FAILURE


def test_without_tls_there_is_no_certificate_to_look_at() -> None:
    assert check_certificate(Config()) == []


async def test_without_an_outside_issuer_there_are_no_keys_to_look_at() -> None:
    assert await check_issuer(Config()) == []


async def test_an_issuers_key_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    auth = Auth(key_file=str(path), algorithms=("HS256",), issuer="https://example.org")
    assert _only(await check_issuer(Config(auth=auth))).verdict is Verdict.FAILURE
    path.write_bytes(b"k" * 32)
    assert _only(await check_issuer(Config(auth=auth))).verdict is Verdict.OK


async def test_an_issuer_that_cannot_be_reached_is_a_failure() -> None:
    auth = Auth(jwks_url="http://127.0.0.1:1/keys", algorithms=("ES256",), issuer="https://example.org")
    finding = _only(await check_issuer(Config(auth=auth)))
    assert (finding.verdict, finding.seen) == (Verdict.FAILURE, "http://127.0.0.1:1/keys gives no keys")


def test_every_check_of_this_machine_finds_what_it_looks_at_or_nothing(var: Path) -> None:
    findings = [finding for check in OF_THIS_MACHINE for finding in check(_config(var))]
    assert [finding for finding in findings if finding.verdict is Verdict.FAILURE] == []
    assert {"open files", "var", "disk", "sqlite"} <= {finding.subject for finding in findings}
