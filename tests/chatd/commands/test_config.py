"""`chatd config check` finds secrets that cannot be used, before anything is started."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from chatd.commands.config import config as config_commands

SECRET = "whsec_" + "b25l" * 10
ENDPOINT = "[webhooks.endpoints.orders]\nurl = 'https://example.org/'\nevents = ['session.connected']\n"
PLACES = {
    "webhooks.endpoints.orders": ENDPOINT,
    "hooks.send": "[hooks.send]\nurl = 'https://example.org/'\n",
    "push.webhook": "[push.webhook]\nurl = 'https://example.org/'\n",
}
APNS = "[push.apns]\nkey = 'apns.p8'\nkey_id = 'ABCDEFGHIJ'\nteam_id = 'ABCDEFGHIJ'\ntopic = 'org.example'\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)


def check(text: str) -> Result:
    Path("config.toml").write_text(text)
    return CliRunner().invoke(config_commands, ["check"])


def fault(text: str) -> str:
    """Return the one line that says what is wrong."""
    result = check(text)
    assert result.exit_code == 2
    [line] = result.output.splitlines()
    return line


def write(name: str, content: str | bytes, mode: int = 0o600) -> None:
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    Path(name).chmod(mode)


def key_of(curve: ec.EllipticCurve) -> bytes:
    return ec.generate_private_key(curve).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("place", PLACES)
def test_files_of_secrets_are_read(place: str) -> None:
    text = PLACES[place] + "secret_files = ['secret']\n"
    assert fault(text) == f"chatd: {place}.secret_files: secret: No such file or directory"
    write("secret", "no secret")
    assert fault(text).startswith(f"chatd: {place}.secret_files: secret: ")
    write("secret", SECRET, 0o644)
    assert "others may read the secret" in fault(text)
    write("secret", SECRET)
    assert check(text).exit_code == 0


def test_a_variable_may_be_set_only_where_chatd_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    text = ENDPOINT + "secret_variables = ['SECRET_OF_ORDERS']\n"
    assert check(text).exit_code == 0
    monkeypatch.setenv("SECRET_OF_ORDERS", "no secret")
    assert fault(text).startswith("chatd: webhooks.endpoints.orders.secret_variables: SECRET_OF_ORDERS: ")
    monkeypatch.setenv("SECRET_OF_ORDERS", SECRET)
    assert check(text).exit_code == 0


def test_keys_of_push_services_are_read() -> None:
    assert fault(APNS).startswith("chatd: push.apns.key: apns.p8: ")
    write("apns.p8", key_of(ec.SECP384R1()))
    assert fault(APNS) == "chatd: push.apns.key: apns.p8 is no private key of P-256"
    write("apns.p8", key_of(ec.SECP256R1()))
    assert check(APNS).exit_code == 0
    account = "[push.fcm]\naccount = 'account.json'\n"
    assert fault(account) == "chatd: push.fcm.account: [Errno 2] No such file or directory: 'account.json'"
    write("account.json", "{}")
    assert "is no service account's file" in fault(account)


def test_a_key_that_chatd_makes_itself_may_be_missing_but_not_broken() -> None:
    text = "[server]\nvar = '.'\n[push.webpush]\nsubject = 'mailto:ops@example.org'\nkey = 'vapid.pem'\n"
    assert check(text).exit_code == 0
    assert not Path("vapid.pem").exists()
    write("vapid.pem", "x")
    assert fault(text).startswith("chatd: push.webpush.key: vapid.pem: ")


def test_templates_of_pushes_are_read() -> None:
    assert fault("[push]\ntemplates = 'texts.toml'\n").startswith("chatd: push.templates: texts.toml: ")
