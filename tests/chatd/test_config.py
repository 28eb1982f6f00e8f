"""The configuration: the shipped file says every default, and whatever is wrong is one line that names the key."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from chatd.config import NAMESPACES, Algorithm, Config, ConfigError, Namespace, WebhookEndpoint, load

SHIPPED = Path(__file__).parents[2] / "config.toml"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def error_of(file: Path | None, text: str = "", environment: Mapping[str, str] | None = None) -> str:
    """Return the text of the error that this configuration gives."""
    if file is not None:
        file.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load(file, environment or {})
    message = str(caught.value)
    assert "\n" not in message
    return message


def keys(tree: Mapping[str, Any], place: str = "") -> set[str]:
    found: set[str] = set()
    for key, value in tree.items():
        found |= keys(value, f"{place}{key}.") if isinstance(value, dict) else {place + key}
    return found


# The shipped file.


def test_the_shipped_file_says_every_default() -> None:
    assert load(SHIPPED, {}) == Config()
    assert keys(tomllib.loads(SHIPPED.read_text("utf-8"))) == keys(msgspec.to_builtins(Config()))


def test_the_shipped_file_gives_the_reason_of_every_key() -> None:
    before_namespaces = SHIPPED.read_text("utf-8").split("[namespaces.")[0]
    lines = [line for line in before_namespaces.splitlines() if " = " in line and not line.startswith("#")]
    assert len(lines) > 80
    assert [line for line in lines if "  # " not in line and " # " not in line] == []


def test_without_a_file_the_defaults_count() -> None:
    assert load(None, {}) == Config()


def test_a_key_that_is_given_counts_and_all_others_keep_their_default(file: Path) -> None:
    file.write_text("[limits]\noutbox_bytes = 1\n[server.tls]\nhandshake_seconds = 2\n", "utf-8")
    config = load(file, {})
    assert config.limits.outbox_bytes == 1
    assert config.server.tls.handshake_seconds == 2.0
    assert config.limits.frame_bytes == Config().limits.frame_bytes
    assert config.namespaces == NAMESPACES


# What is refused.


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("prot = 1", "prot"),
        ("[sever]\nport = 1", "sever"),
        ("[server]\nprot = 1", "server.prot"),
        ("[server.tls]\ncert = 1", "server.tls.cert"),
        ("[namespaces.dm]\necko = true", "namespaces.dm.ecko"),
        ("[namespaces.mine]\necko = true", "namespaces.mine.ecko"),
        ('"a\\nb" = 1', r"'a\nb'"),
        ('[server]\n"a`b` - at `$.c" = 1', "server.'a`b` - at `$.c'"),
        ('[server.tls]\n"" = 1', "server.tls.''"),
    ],
)
def test_an_unknown_key_is_named_at_every_level(file: Path, text: str, key: str) -> None:
    assert error_of(file, text) == f"{key}: unknown key"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[server]\nport = "8000"', "server.port"),
        ("[server]\nhost = 1", "server.host"),
        ("server = 1", "server"),
        ("[server]\ntls = true", "server.tls"),
        ('[server]\nallowed_origins = "same"', "server.allowed_origins"),
        ("[server]\nallowed_origins = [1]", "server.allowed_origins"),
        ("[limits]\nfragments = true", "limits.fragments"),
        ("[limits]\nfragments = 1.5", "limits.fragments"),
        ("[auth]\nguests = 1", "auth.guests"),
        ("namespaces = 1", "namespaces"),
        ("namespaces.dm = 1", "namespaces.dm"),
        ('[namespaces.dm]\npush = "yes"', "namespaces.dm.push"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(file: Path, text: str, key: str) -> None:
    message = error_of(file, text)
    assert message.startswith((f"{key}: expected", f"{key}[0]: expected"))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[server]\nport = 65536", "server.port"),
        ("[server]\nport = -1", "server.port"),
        ("[server]\ndrain_seconds = -0.1", "server.drain_seconds"),
        ("[limits]\noutbox_bytes = 0", "limits.outbox_bytes"),
        ("[limits]\nhello_seconds = 0", "limits.hello_seconds"),
        ("[limits]\nhello_seconds = nan", "limits.hello_seconds"),
        ("[websocket]\nping_seconds = inf", "websocket.ping_seconds"),
        ("[server]\nbacklog = 1000000000000", "server.backlog"),
        ("[limits]\ncommands_per_second = 0.0", "limits.commands_per_second"),
        ("[websocket]\ndeflate_level = 10", "websocket.deflate_level"),
        ('[broker]\nkind = "carrier pigeon"', "broker.kind"),
        ('[log]\nlevel = "loud"', "log.level"),
        ('[auth]\nalgorithms = ["none"]', "auth.algorithms[0]"),
        ('[namespaces.dm]\nread = "everybody"', "namespaces.dm.read"),
        ("[namespaces.dm]\nmembers = 0", "namespaces.dm.members"),
        ("[server]\ndrain_seconds = nan", "server.drain_seconds"),
        ("[server]\nshutdown_seconds = inf", "server.shutdown_seconds"),
        ("[server]\nshutdown_seconds = -inf", "server.shutdown_seconds"),
        ("[limits]\nmessages_per_second = nan", "limits.messages_per_second"),
        ("[presence]\ngrace_seconds = inf", "presence.grace_seconds"),
        ('[server]\nhost = ""', "server.host"),
        ('[server]\nvar = ""', "server.var"),
        ('[store]\npath = ""', "store.path"),
        ('[auth]\nuser_claim = ""', "auth.user_claim"),
        ("[redis]\nservers = []", "redis.servers"),
        ('[redis]\nservers = ["127.0.0.1:6379", "127.0.0.1:redis"]', "redis.servers"),
        ('[server]\nvar = "a\\u0000b"', "server.var"),
        ('[redis]\nservers = ["a", "\\u0000"]', "redis.servers[1]"),
        ('[namespaces.mine]\nread = "\\u0000"', "namespaces.mine.read"),
        ('[server]\nallowed_origins = ["same", "app.example"]', "server.allowed_origins"),
        ('[server]\nallowed_origins = ["https://*.example"]', "server.allowed_origins"),
        ('[server]\ncors_origins = ["https://app.example/"]', "server.cors_origins"),
        ('[server]\ncors_origins = ["same"]', "server.cors_origins"),
        ('[auth]\nalgorithms = ["RS256"]\njwks_url = "ftp://issuer.example"', "auth.jwks_url"),
    ],
)
def test_a_value_out_of_range_is_named(file: Path, text: str, key: str) -> None:
    assert error_of(file, text).startswith(f"{key}: ")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[log]\nlevel = "loud"', "log.level: 'loud' is none of debug, info, warning, error"),
        ('[broker]\nkind = "a\\nb"', r"broker.kind: 'a\nb' is none of memory, redis"),
        ('[log]\nformat = "x - at `$.y`"', "log.format: 'x - at `$.y`' is none of console, json"),
        (
            '[auth]\nalgorithms = ["RS256", "none"]',
            f"auth.algorithms[1]: 'none' is none of {', '.join(get_args(Algorithm))}",
        ),
        (
            '[namespaces.dm]\nread = "everybody"',
            "namespaces.dm.read: 'everybody' is none of nobody, backend, owner, members, users, anyone",
        ),
    ],
)
def test_a_value_that_is_no_choice_is_told_the_choices(file: Path, text: str, line: str) -> None:
    assert error_of(file, text) == line


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('[server.tls]\ncertificate = "chain.pem"', "server.tls"),
        ('[server.tls]\nkey = "key.pem"', "server.tls"),
        ('[auth]\nalgorithms = ["RS256"]', "auth.algorithms"),
        ('[auth]\nkey_file = "issuer.pem"', "auth.algorithms"),
        ('[auth]\njwks_url = "https://issuer.example"', "auth.algorithms"),
        ('[auth]\njwks_url = "https://issuer.example"\nalgorithms = ["RS256", "HS256"]', "auth.algorithms"),
        ('[auth]\njwks_url = "https://issuer.example"\nkey_file = "k"\nalgorithms = ["RS256"]', "auth"),
        ('[websocket]\npath = "v1/ws"', "websocket.path"),
        ("[namespaces.dm]\nconflate = true", "namespaces.dm.conflate"),
        ('[server]\ntrusted_proxies = ["10.0.0.0/8", "proxy.example"]', "server.trusted_proxies: 'proxy.example'"),
        ('[server]\nmetrics_from = ["10.0.0.1/8"]', "server.metrics_from: '10.0.0.1/8'"),
        ("[namespaces.room]\ndata_bytes = 65537", "namespaces.room.data_bytes"),
        ("[limits]\nmessage_bytes = 16383", "namespaces."),
    ],
)
def test_keys_that_contradict_each_other_are_named(file: Path, text: str, key: str) -> None:
    assert error_of(file, text).startswith(key)


@pytest.mark.parametrize("name", ["DM", "1st", "_x", "a-b", "é", "x" * 33, '""', r"a\nb", "`"])
def test_a_namespace_with_a_bad_name_is_refused(file: Path, name: str) -> None:
    quoted = name if name == '""' else f'"{name}"'
    assert error_of(file, f"[namespaces.{quoted}]\necho = true").startswith("namespaces.")


def test_a_file_that_is_no_toml_or_cannot_be_read_is_named(file: Path, tmp_path: Path) -> None:
    assert error_of(file, "port =").startswith(f"{file}: ")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"config\.toml: ") as caught:
        load(file, {})
    assert "\n" not in str(caught.value)
    missing = tmp_path / "missing.toml"
    with pytest.raises(ConfigError, match=r"missing\.toml: No such file"):
        load(missing, {})
    with pytest.raises(ConfigError, match="directory"):
        load(tmp_path, {})


@pytest.mark.parametrize("origin", ["https://app.example", "http://localhost:3000", "http://[::1]:80", "null", "*"])
def test_origins_as_browsers_send_them_may_be_allowed(file: Path, origin: str) -> None:
    file.write_text(f'[server]\nallowed_origins = ["same", "{origin}"]\ncors_origins = ["{origin}"]', "utf-8")
    assert load(file, {}).server.allowed_origins == ("same", origin)


def test_a_star_lets_everybody_read_the_metrics(file: Path) -> None:
    file.write_text('[server]\nmetrics_from = ["*"]', "utf-8")
    assert load(file, {}).server.metrics_from == ("*",)


# Namespaces.


def test_a_shipped_namespace_keeps_what_is_not_changed(file: Path) -> None:
    file.write_text("[namespaces.room]\nretention_messages = 5\n", "utf-8")
    namespaces = load(file, {}).namespaces
    assert namespaces["room"] == msgspec.structs.replace(NAMESPACES["room"], retention_messages=5)
    assert namespaces["dm"] == NAMESPACES["dm"]


def test_a_new_namespace_starts_from_the_defaults(file: Path) -> None:
    file.write_text('[namespaces.mine]\npresence = "list"\n', "utf-8")
    namespaces = load(file, {}).namespaces
    assert namespaces["mine"] == Namespace(presence="list")
    assert namespaces.keys() == NAMESPACES.keys() | {"mine"}


def test_one_configuration_does_not_change_another(file: Path) -> None:
    file.write_text("[namespaces.mine]\necho = true\n", "utf-8")
    load(file, {})
    assert "mine" not in Config().namespaces


# The environment.


def test_the_environment_counts_over_the_file(file: Path) -> None:
    file.write_text('[limits]\noutbox_bytes = 1\n[server]\nhost = "::1"\n', "utf-8")
    environment = {
        "CHATD_LIMITS__OUTBOX_BYTES": "2",
        "CHATD_SERVER__TLS__HANDSHAKE_SECONDS": "1.5",
        "CHATD_SERVER__TRUSTED_PROXIES": '["10.0.0.0/8"]',
        "CHATD_AUTH__GUESTS": "false",
        "CHATD_NAMESPACES__ROOM__ECHO": "false",
        "CHATD_NAMESPACES__MINE__PRESENCE": '"list"',
        "PATH": "/bin",
    }
    config = load(file, environment)
    assert config.limits.outbox_bytes == 2
    assert config.server.host == "::1"
    assert config.server.tls.handshake_seconds == 1.5
    assert config.server.trusted_proxies == ("10.0.0.0/8",)
    assert config.auth.guests is False
    assert config.namespaces["room"].echo is False
    assert config.namespaces["mine"] == Namespace(presence="list")


@pytest.mark.parametrize("text", ["0.0.0.0", "::", "/srv/chat d", '"quoted"', "chat.example"])
def test_a_value_that_is_no_toml_is_text(text: str) -> None:
    assert load(None, {"CHATD_SERVER__HOST": text}).server.host == text.strip('"')


@pytest.mark.parametrize("text", ["1", "1.50", "true", "2026-01-01", "[1]", "inf"])
def test_a_key_that_wants_text_takes_what_looks_like_something_else(text: str) -> None:
    environment = {"CHATD_AUTH__ISSUER": text, "CHATD_SERVER__TLS__CERTIFICATE": text, "CHATD_SERVER__TLS__KEY": text}
    config = load(None, environment)
    assert (config.auth.issuer, config.server.tls.key) == (text, text)
    assert load(None, {"CHATD_SERVER__VAR": text}).server.var == text


@pytest.mark.parametrize("name", ["CHATD_", "CHATD___", "CHATD_LIMITS__", "CHATD___PORT", "CHATD_A____B"])
def test_a_variable_without_a_key_is_named(name: str) -> None:
    assert error_of(None, environment={name: "x"}) == f"{name}: names no key"


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("CHATD_LIMITS__OUTBOX_BITES", "1", "limits.outbox_bites"),
        ("CHATD_NOWHERE", "1", "nowhere"),
        ("CHATD_LIMITS__OUTBOX_BYTES", "many", "limits.outbox_bytes"),
        ("CHATD_LIMITS__OUTBOX_BYTES", "0", "limits.outbox_bytes"),
        ("CHATD_SERVER", "1", "server"),
        ("CHATD_NAMESPACES__ROOM__READ", "everybody", "namespaces.room.read"),
    ],
)
def test_the_environment_is_checked_like_the_file(name: str, value: str, key: str) -> None:
    assert error_of(None, environment={name: value}).startswith(f"{key}: ")


def test_a_variable_below_a_value_is_named(file: Path) -> None:
    message = error_of(file, "[server]\nport = 1", {"CHATD_SERVER__PORT__X": "1"})
    assert message == "CHATD_SERVER__PORT__X: port is not a table"


@pytest.mark.parametrize("text", ["\udcff", "[" * 3000, "1" * 5000], ids=["no UTF-8", "nested", "long"])
def test_a_value_that_cannot_be_read_is_named(file: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"CHATD_SERVER__HOST: .+"):
        load(None, {"CHATD_SERVER__HOST": text})
    if text.isascii():
        assert error_of(file, f"[server]\nhost = {text}").startswith(f"{file}: ")


# Webhooks and hooks.

ENDPOINT = """
[webhooks.endpoints.main]
url = "https://a.example/"
events = ["user.offline"]
secret_files = ["hook.secret"]
"""


def test_endpoints_are_tables_of_their_own(file: Path) -> None:
    file.write_text(ENDPOINT + ENDPOINT.replace("main", "second-one"), "utf-8")
    config = load(file, {"CHATD_WEBHOOKS__ENDPOINTS__MAIN__CONCURRENCY": "1"})
    assert list(config.webhooks.endpoints) == ["main", "second-one"]
    assert config.webhooks.endpoints["main"].concurrency == 1
    assert config.webhooks.endpoints["second-one"] == WebhookEndpoint(
        url="https://a.example/", events=("user.offline",), secret_files=("hook.secret",)
    )


@pytest.mark.parametrize(
    ("change", "begins"),
    [
        (
            ("user.offline", "user.gone"),
            "webhooks.endpoints.main.events[0]: 'user.gone' is none of session.connected, ",
        ),
        (("url", "adress"), "webhooks.endpoints.main.adress: unknown key"),
        (('events = ["user.offline"]', ""), "webhooks.endpoints.main: object missing required field `events`"),
        (("https://a.example/", "ftp://a.example/"), "webhooks.endpoints.main.url: is no http"),
        (('secret_files = ["hook.secret"]', ""), "webhooks.endpoints.main: give secret_files or secret_variables"),
        (
            ("events =", 'namespaces = ["nope"]\nevents ='),
            "webhooks.endpoints.main.namespaces: there is no namespace nope",
        ),
        (("events =", "concurrency = 65\nevents ="), "webhooks.endpoints.main.concurrency: "),
        ((".main]", ".Main]"), "webhooks.endpoints.Main: a name is a-z"),
        (("[webhooks.endpoints.main]", "[webhooks]\nendpoints = 1\n[dev]"), "webhooks.endpoints: expected a table"),
        (("[webhooks.endpoints.main]", "[webhooks.endpoints]\nmain = 1\n[dev]"), "webhooks.endpoints.main: expected"),
    ],
)
def test_what_is_wrong_with_an_endpoint_is_told_with_its_name(file: Path, change: tuple[str, str], begins: str) -> None:
    assert error_of(file, ENDPOINT.replace(*change)).startswith(begins)


def test_a_hook_that_is_used_needs_a_url_that_is_one_and_a_secret(file: Path) -> None:
    assert error_of(file, '[hooks.send]\nurl = "x"').startswith("hooks.send.url: ")
    message = error_of(file, '[hooks.send]\nurl = "https://a.example/"')
    assert message == "hooks.send: give secret_files or secret_variables, requests are signed"
