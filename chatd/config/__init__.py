"""The configuration: a frozen tree with every default, and the loader that refuses what it does not know.

Order of what counts: the defaults here, then the file, then the environment. A variable `CHATD_LIMITS__OUTBOX_BYTES=1`
sets `limits.outbox_bytes`; its value is read as TOML, or as text where it is no TOML or where text is wanted.
`config.toml` at the top of the repository says every key with its default, and a test holds the two equal.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta

from chatd.networks import Networks
from chatd.outbound.urls import check_url

Port = Annotated[int, Meta(ge=0, le=65535)]
# What is larger is a mistake, and not every part could take it; infinity is no time to wait either.
_MOST = 2**31 - 1

Count = Annotated[int, Meta(ge=1, le=_MOST)]
Zero = Annotated[int, Meta(ge=0, le=_MOST)]
Seconds = Annotated[float, Meta(gt=0, le=_MOST)]
Pause = Annotated[float, Meta(ge=0, le=_MOST)]
Rate = Annotated[float, Meta(gt=0, le=_MOST)]

Algorithm = Literal["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]

EventType = Literal[
    "session.connected",
    "session.disconnected",
    "user.offline",
    "message.published",
    "channel.opened",
    "channel.emptied",
    "moderation.removed",
    "moderation.suspended",
    "moderation.revoked",
    "delivery.failed",
]
"""What webhooks tell; docs/reference/webhooks.md has each with an example."""

Who = Literal["nobody", "backend", "owner", "members", "users", "anyone"]
"""Who may: nobody · backends only · the user named in the channel · its members · all with an account · guests too.

A backend may wherever somebody may: with all of these but `nobody`, as far as its key goes.
"""


class ConfigError(Exception):
    """The configuration cannot be used. Its text is one line that names the key."""


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the configuration: an unknown key in it is an error."""


class Tls(Section, frozen=True, kw_only=True):
    """TLS of the public port; empty paths mean plain text (for loopback, or behind a proxy that ends TLS)."""

    certificate: str = ""
    key: str = ""
    handshake_seconds: Seconds = 10.0


class Server(Section, frozen=True, kw_only=True):
    """The process and its one public port."""

    host: str = "127.0.0.1"
    port: Port = 8000
    backlog: Count = 4096
    var: str = "var"
    allowed_origins: tuple[str, ...] = ("same",)
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    metrics_from: tuple[str, ...] = ("127.0.0.0/8", "::1")
    proxy_protocol: bool = False
    drain_seconds: Pause = 10.0
    shutdown_seconds: Seconds = 25.0
    io_uring: bool = True
    tls: Tls = Tls()


class WebSocket(Section, frozen=True, kw_only=True):
    """The hub's side of the port."""

    path: str = "/v1/ws"
    ping_seconds: Seconds = 25.0
    stall_seconds: Seconds = 30.0
    close_seconds: Seconds = 5.0
    deflate: bool = True
    deflate_level: Annotated[int, Meta(ge=1, le=9)] = 6
    deflate_min_bytes: Zero = 128


class Limits(Section, frozen=True, kw_only=True):
    """Every bound on what one client, user or address may use."""

    head_bytes: Count = 16384
    head_seconds: Seconds = 10.0
    hello_seconds: Seconds = 10.0
    frame_bytes: Count = 66560
    message_bytes: Count = 65536
    fragments: Count = 64
    outbox_bytes: Count = 262144
    connections: Count = 100_000
    connections_per_address: Count = 1000
    connects_per_second: Rate = 50.0
    connects_burst: Count = 200
    addresses: Count = 100_000
    sessions_per_user: Count = 20
    subscriptions: Count = 128
    cursors: Count = 256
    recover_messages: Count = 500
    recover_bytes: Count = 2_097_152
    history_messages: Count = 200
    commands_per_second: Rate = 30.0
    commands_burst: Count = 120
    messages_per_second: Rate = 10.0
    messages_burst: Count = 60
    rate_grace: Zero = 100
    http_body_bytes: Count = 1_048_576
    http_body_seconds: Seconds = 15.0
    http_idle_seconds: Seconds = 30.0
    http_requests_per_second: Rate = 50.0
    http_requests_burst: Count = 200
    user_requests_per_second: Rate = 20.0
    user_requests_burst: Count = 100


class Auth(Section, frozen=True, kw_only=True):
    """Accounts, and the tokens that sessions and requests show."""

    registration: bool = True
    guests: bool = True
    access_seconds: Count = 900
    refresh_seconds: Count = 2_592_000
    guest_seconds: Count = 86_400
    leeway_seconds: Zero = 30
    password_min_length: Count = 8
    password_max_length: Count = 1024
    hash_threads: Count = 2
    hash_waiting: Count = 64
    hash_memory_kib: Annotated[int, Meta(ge=8, le=_MOST)] = 19456
    hash_passes: Count = 2
    login_failures: Count = 5
    login_delay_seconds: Seconds = 1.0
    login_delay_max_seconds: Seconds = 300.0
    login_tracked: Count = 100_000
    devices_per_user: Count = 50
    issuer: str = ""
    audience: str = ""
    algorithms: tuple[Algorithm, ...] = ()
    key_file: str = ""
    jwks_url: str = ""
    jwks_cache_seconds: Seconds = 300.0
    jwks_refetch_seconds: Seconds = 10.0
    user_claim: str = "sub"


class Broker(Section, frozen=True, kw_only=True):
    """What numbers messages and sends them out."""

    kind: Literal["memory", "redis"] = "memory"
    open_channels: Count = 200_000
    idle_seconds: Seconds = 300.0
    recent_messages: Count = 200
    dedupe_keys: Count = 50_000
    dedupe_days: Count = 7
    save_seconds: Seconds = 0.5
    save_rows_per_second: Count = 1000
    fanout_slice: Count = 1000
    publish_seconds: Seconds = 10.0
    dedupe_seconds: Count = 600
    forget_seconds: Annotated[int, Meta(ge=60, le=_MOST)] = 86_400
    linger_seconds: Seconds = 15.0
    leftover_seconds: Seconds = 5.0
    leftover_rows: Count = 500
    settle_seconds: Pause = 2.0
    hole_seconds: Seconds = 0.1
    held_messages: Count = 10_000


class RedisTls(Section, frozen=True, kw_only=True):
    """TLS to the Redis servers."""

    enabled: bool = False
    authority: str = ""
    certificate: str = ""
    key: str = ""
    check_hostname: bool = True


class Redis(Section, frozen=True, kw_only=True):
    """The Redis servers that many nodes share."""

    kind: Literal["servers", "cluster", "sentinel"] = "servers"
    servers: tuple[str, ...] = ("127.0.0.1:6379",)
    sentinel_name: str = "chatd"
    sentinel_username: str = ""
    sentinel_password: str = ""
    username: str = ""
    password: str = ""
    database: Zero = 0
    prefix: str = "chatd:"
    shards: Annotated[int, Meta(ge=1, le=16384)] = 128
    connect_seconds: Seconds = 3.0
    reply_seconds: Seconds = 5.0
    ping_seconds: Seconds = 5.0
    waiting_calls: Count = 50_000
    tls: RedisTls = RedisTls()


class Encryption(Section, frozen=True, kw_only=True):
    """Message bodies sealed in the store; without an active key they are kept as they are."""

    active: str = ""
    keys: dict[str, str] = {}
    refresh_seconds: Seconds = 60.0


class Store(Section, frozen=True, kw_only=True):
    """What keeps history, accounts and members."""

    kind: Literal["sqlite", "cassandra"] = "sqlite"
    path: str = "chatd.sqlite3"
    queue_rows: Count = 100_000
    batch_rows: Count = 500
    read_threads: Count = 4
    cache_kib: Count = 65536
    trim_seconds: Seconds = 600.0
    trim_rows: Count = 1000
    encryption: Encryption = Encryption()


class CassandraTls(Section, frozen=True, kw_only=True):
    """TLS to the Cassandra cluster."""

    enabled: bool = False
    authority: str = ""
    certificate: str = ""
    key: str = ""
    check_hostname: bool = True


class Cassandra(Section, frozen=True, kw_only=True):
    """The Cassandra cluster that keeps history, accounts and members."""

    nodes: Annotated[tuple[str, ...], Meta(min_length=1)] = ("127.0.0.1",)
    port: Port = 9042
    keyspace: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,47}$")] = "chatd"
    datacenter: str = ""
    replication_factor: Count = 3
    consistency: Literal["local_quorum", "quorum", "each_quorum", "all", "local_one", "one"] = "local_quorum"
    username: str = ""
    password: str = ""
    connect_seconds: Seconds = 5.0
    request_seconds: Seconds = 5.0
    speculative_seconds: Seconds = 0.5
    in_flight: Count = 256
    reads_waiting: Count = 10_000
    batches_in_flight: Count = 32
    batch_partitions: Annotated[int, Meta(ge=1, le=100)] = 10
    batch_rows: Annotated[int, Meta(ge=1, le=10_000)] = 100
    batch_bytes: Count = 40_000
    tls: CassandraTls = CassandraTls()


class Jobs(Section, frozen=True, kw_only=True):
    """Work that is due later and must survive: pushes, webhooks, scheduled events."""

    path: str = "jobs.sqlite3"
    waiting: Count = 200_000
    dead: Count = 10_000


class Presence(Section, frozen=True, kw_only=True):
    """Who is there."""

    grace_seconds: Pause = 10.0
    tick_seconds: Seconds = 1.0
    list_users: Zero = 100
    last_seen_save_seconds: Seconds = 5.0
    remembered_users: Count = 200_000


class Backend(Section, frozen=True, kw_only=True):
    """The server API, for programs of yours and the people who run the deployment."""

    key_refresh_seconds: Seconds = 5.0
    requests_per_second: Rate = 2000.0
    requests_burst: Count = 4000
    messages_per_second: Rate = 100_000.0
    messages_burst: Count = 200_000
    messages_per_day: Zero = 0
    batch_messages: Annotated[int, Meta(ge=1, le=1000)] = 1000
    page_items: Annotated[int, Meta(ge=1, le=1000)] = 200
    import_users: Annotated[int, Meta(ge=1, le=1000)] = 1000
    tick_seconds: Seconds = 0.5
    jobs_at_once: Annotated[int, Meta(ge=1, le=1000)] = 200
    ahead_days: Count = 366
    subscription_token_seconds: Count = 3600


class WebhookEndpoint(Section, frozen=True, kw_only=True):
    """One receiver of webhooks."""

    url: str
    events: tuple[EventType, ...]
    namespaces: tuple[str, ...] = ()
    secret_files: tuple[str, ...] = ()
    secret_variables: tuple[str, ...] = ()
    concurrency: Annotated[int, Meta(ge=1, le=64)] = 4
    batch_events: Annotated[int, Meta(ge=1, le=1000)] = 100
    timeout_seconds: Seconds = 15.0
    allow_private: bool = False


class Webhooks(Section, frozen=True, kw_only=True):
    """What happened, told to backends."""

    gather_seconds: Pause = 0.05
    gather_events: Count = 20_000
    gather_bytes: Count = 16_777_216
    batch_bytes: Count = 262_144
    retry_seconds: Count = 86_400
    refused_seconds: Count = 3600
    backoff_seconds: Seconds = 1.0
    backoff_max_seconds: Seconds = 900.0
    poll_seconds: Seconds = 1.0
    answer_bytes: Count = 16_384
    endpoints: dict[str, WebhookEndpoint] = {}


class Hook(Section, frozen=True, kw_only=True):
    """A backend that is asked before something is done; without a URL nobody is."""

    url: str = ""
    namespaces: tuple[str, ...] = ()
    secret_files: tuple[str, ...] = ()
    secret_variables: tuple[str, ...] = ()
    deadline_seconds: Seconds = 1.0
    on_failure: Literal["allow", "deny"] = "deny"
    concurrency: Count = 32
    waiting: Count = 256
    failures: Count = 5
    rest_seconds: Seconds = 5.0
    answer_bytes: Count = 65_536
    allow_private: bool = False


class Hooks(Section, frozen=True, kw_only=True):
    """What a backend is asked about."""

    connect: Hook = Hook()
    subscribe: Hook = Hook()
    send: Hook = Hook()


class Cluster(Section, frozen=True, kw_only=True):
    """Nodes that share a Redis: leases, the registry of sessions, messages between nodes."""

    node: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{0,32}$")] = ""
    heartbeat_seconds: Seconds = 2.0
    lease_seconds: Seconds = 10.0
    claim_seconds: Seconds = 30.0
    register_seconds: Seconds = 5.0
    answer_seconds: Seconds = 2.0
    known_users: Count = 200_000
    batch_users: Count = 500
    post_bytes: Count = 16_777_216
    recheck_seconds: Seconds = 30.0


class PushFcm(Section, frozen=True, kw_only=True):
    """Firebase Cloud Messaging; without an account there is none."""

    account: str = ""
    url: str = "https://fcm.googleapis.com"


class PushApns(Section, frozen=True, kw_only=True):
    """Apple's push service; without a key there is none."""

    key: str = ""
    key_id: str = ""
    team_id: str = ""
    topic: str = ""
    url: str = "https://api.push.apple.com"
    sandbox_url: str = "https://api.sandbox.push.apple.com"


class PushWeb(Section, frozen=True, kw_only=True):
    """Web Push to browsers; without a subject there is none."""

    subject: str = ""
    key: str = "vapid.pem"
    hosts: tuple[str, ...] = (
        "fcm.googleapis.com",
        "*.push.services.mozilla.com",
        "*.push.apple.com",
        "*.notify.windows.com",
    )


class PushWebhook(Section, frozen=True, kw_only=True):
    """A program of the operator's that pushes; without a URL there is none."""

    url: str = ""
    secret_files: tuple[str, ...] = ()
    secret_variables: tuple[str, ...] = ()


class Push(Section, frozen=True, kw_only=True):
    """Telling who is away."""

    work: bool = True
    dry_run: bool = False
    after_seconds: Pause = 5.0
    ttl_seconds: Count = 86_400
    templates: str = ""
    text_field: str = "text"
    text_bytes: Count = 1000
    badges: bool = True
    badge_channels: Annotated[int, Meta(ge=1, le=1000)] = 100
    badge_most: Count = 999
    waiting_messages: Count = 10_000
    batch_users: Annotated[int, Meta(ge=1, le=1000)] = 100
    at_once: Count = 500
    connections: Count = 2
    hosts: Count = 64
    connect_seconds: Seconds = 10.0
    request_seconds: Seconds = 10.0
    lease_seconds: Seconds = 60.0
    poll_seconds: Seconds = 1.0
    retry_seconds: Seconds = 2.0
    retry_max_seconds: Seconds = 600.0
    failures: Count = 5
    rest_seconds: Seconds = 5.0
    rest_max_seconds: Seconds = 300.0
    circuits: Count = 1000
    sent_remembered: Count = 50_000
    tokens_per_device: Count = 4
    fcm: PushFcm = PushFcm()
    apns: PushApns = PushApns()
    webpush: PushWeb = PushWeb()
    webhook: PushWebhook = PushWebhook()


class Reads(Section, frozen=True, kw_only=True):
    """How far users have read."""

    save_seconds: Seconds = 1.0
    waiting: Count = 100_000


class Log(Section, frozen=True, kw_only=True):
    """What goes to standard error."""

    format: Literal["console", "json"] = "console"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Dev(Section, frozen=True, kw_only=True):
    """For developing and testing only."""

    echo: bool = False
    echo_message_bytes: Count = 67_108_864
    echo_fragments: Count = 1_000_000


class Namespace(Section, frozen=True, kw_only=True):
    """What a channel whose name starts with this namespace does, and who may do what in it."""

    delivery: Literal["subscribed", "member"] = "subscribed"
    history: Literal["none", "recent", "durable"] = "recent"
    presence: Literal["none", "list", "count"] = "none"
    conflate: bool = False
    echo: bool = False
    push: bool = False
    receipts: bool = False
    read: Who = "users"
    write: Who = "users"
    create: Who = "nobody"
    members: Count = 1000
    data_bytes: Count = 16384
    retention_days: Zero = 0
    retention_messages: Zero = 0


NAMESPACES = {
    "dm": Namespace(
        delivery="member",
        history="durable",
        push=True,
        read="members",
        write="members",
        create="users",
        members=2,
    ),
    "group": Namespace(
        delivery="member", history="durable", push=True, read="members", write="members", create="users"
    ),
    "room": Namespace(
        history="recent", presence="count", echo=True, read="anyone", write="anyone", retention_messages=1000
    ),
    "user": Namespace(
        delivery="member",
        history="durable",
        push=True,
        read="owner",
        write="backend",
        members=1,
        retention_days=90,
    ),
    "presence": Namespace(history="none", conflate=True, read="users", write="nobody"),
    "track": Namespace(history="durable", conflate=True, read="users", write="owner", retention_days=30),
    "area": Namespace(history="none", conflate=True, read="users", write="nobody"),
    "event": Namespace(history="recent", read="users", write="backend", retention_messages=1000),
}


class Config(Section, frozen=True, kw_only=True):
    """The whole configuration of one node."""

    server: Server = Server()
    websocket: WebSocket = WebSocket()
    limits: Limits = Limits()
    auth: Auth = Auth()
    broker: Broker = Broker()
    redis: Redis = Redis()
    store: Store = Store()
    cassandra: Cassandra = Cassandra()
    jobs: Jobs = Jobs()
    presence: Presence = Presence()
    cluster: Cluster = Cluster()
    backend: Backend = Backend()
    webhooks: Webhooks = Webhooks()
    hooks: Hooks = Hooks()
    push: Push = Push()
    reads: Reads = Reads()
    log: Log = Log()
    dev: Dev = Dev()
    namespaces: dict[str, Namespace] = msgspec.field(default_factory=lambda: dict(NAMESPACES))


ENVIRONMENT_PREFIX = "CHATD_"
_NAMESPACE = re.compile(r"[a-z][a-z0-9_]{0,31}")
_ENDPOINT = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_S = TypeVar("_S", bound=Section)


def load(path: Path | None, environment: Mapping[str, str]) -> Config:
    """Read the configuration from a TOML file (None: defaults only) and `CHATD_…` variables.

    Raises:
        ConfigError: The file cannot be read, or a key is unknown, of the wrong type or out of range.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        try:
            tree = tomllib.loads(path.read_text("utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror or error}") from error
        except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, a number of thousands of digits
            raise ConfigError(f"{path}: {error}") from error
    for name, text in sorted(environment.items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            _override(tree, name, text)
    namespaces = _namespaces(tree.pop("namespaces", {}))
    endpoints = _endpoints(tree.get("webhooks"))
    config = msgspec.structs.replace(_convert(tree, Config, ""), namespaces=namespaces)
    webhooks = msgspec.structs.replace(config.webhooks, endpoints=endpoints)
    config = msgspec.structs.replace(config, webhooks=webhooks)
    _check_across(config)
    return config


def _namespaces(given: Any) -> dict[str, Namespace]:
    """Lay the given namespaces over the shipped ones; a new one starts from the defaults of `Namespace`."""
    if not isinstance(given, dict):
        raise ConfigError("namespaces: expected a table")
    namespaces = dict(NAMESPACES)
    for name, table in given.items():
        if not _NAMESPACE.fullmatch(name):
            raise ConfigError(f"namespaces.{_shown(name)}: a name is a-z, then up to 31 of a-z 0-9 _")
        if not isinstance(table, dict):
            raise ConfigError(f"namespaces.{name}: expected a table")
        start = msgspec.to_builtins(NAMESPACES[name]) if name in NAMESPACES else {}
        namespaces[name] = _convert(start | table, Namespace, f"namespaces.{name}")
    return namespaces


def _endpoints(webhooks: Any) -> dict[str, WebhookEndpoint]:
    """Take the endpoints out of the table of webhooks, so that what is wrong in one is told with its name."""
    given = webhooks.pop("endpoints", {}) if isinstance(webhooks, dict) else {}
    if not isinstance(given, dict):
        raise ConfigError("webhooks.endpoints: expected a table")
    endpoints = {}
    for name, table in given.items():
        if not _ENDPOINT.fullmatch(name):
            raise ConfigError(f"webhooks.endpoints.{_shown(name)}: a name is a-z, then up to 31 of a-z 0-9 _ -")
        if not isinstance(table, dict):
            raise ConfigError(f"webhooks.endpoints.{name}: expected a table")
        endpoints[name] = _convert(table, WebhookEndpoint, f"webhooks.endpoints.{name}")
    return endpoints


def _convert(tree: dict[str, Any], section: type[_S], place: str) -> _S:
    _refuse_unknown(tree, section, place)
    try:
        return msgspec.convert(tree, section)
    except msgspec.ValidationError as error:
        raise ConfigError(_one_line(error, section, place)) from error


def _refuse_unknown(tree: dict[str, Any], section: type[Section], place: str) -> None:
    fields = _fields(section)
    for key, value in tree.items():
        name = f"{place}.{_shown(key)}".lstrip(".")
        if key not in fields:
            raise ConfigError(f"{name}: unknown key")
        kind = fields[key]
        if isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, Section):
            _refuse_unknown(value, kind, name)


def _fields(kind: object) -> dict[str, Any]:
    """Return the types of a table's keys; none if it is no table."""
    if not isinstance(kind, type) or not issubclass(kind, Section):
        return {}
    return {field.name: field.type for field in msgspec.structs.fields(kind)}


def _shown(key: str) -> str:
    """Return a key as it can stand in a line: quoted if it is more than letters, digits, `_` and `-`."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else repr(key)


def _override(tree: dict[str, Any], name: str, text: str) -> None:
    *tables, key = path = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
    if not all(path):
        raise ConfigError(f"{_shown(name)}: names no key")
    at = tree
    for table in tables:
        at = at.setdefault(table, {})
        if not isinstance(at, dict):
            raise ConfigError(f"{_shown(name)}: {_shown(table)} is not a table")
    try:
        text.encode()
        value = tomllib.loads(f"value = {text}")["value"]
        # Where text is wanted, what looks like a number or a date is text too.
        at[key] = text if _type_of(path) is str and not isinstance(value, str) else value
    except tomllib.TOMLDecodeError:
        at[key] = text
    except UnicodeEncodeError as error:
        raise ConfigError(f"{_shown(name)}: is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{_shown(name)}: {error}") from error


def _type_of(path: Sequence[str], section: type[Section] = Config) -> object:
    """Return the type of a key; None if there is no such key."""
    if section is Config and path[0] == "namespaces":
        path, section = path[2:], Namespace
    kind: object = section
    for name in path:
        kind = _fields(kind).get(name)
    return kind


_NO_CHOICE = "Invalid enum value "


def _one_line(error: msgspec.ValidationError, section: type[Section], place: str) -> str:
    """Turn msgspec's words into one line that begins with the key."""
    text, is_inside, inner = str(error).rpartition(" - at `$.")
    if not is_inside:  # the table itself is wrong
        text, inner = inner, ""
    inner = inner.rstrip("`")
    key = f"{place}.{inner}".strip(".")
    if text.startswith(_NO_CHOICE):
        kind = _type_of(inner.partition("[")[0].split("."), section)
        choices = get_args(get_args(kind)[0]) or get_args(kind)  # of a list: those of its items
        return f"{key}: {text.removeprefix(_NO_CHOICE)} is none of {', '.join(choices)}"
    return f"{key}: {text[0].lower()}{text[1:]}"


def _check_across(config: Config) -> None:
    """Check what one key says about another."""
    tls = config.server.tls
    if bool(tls.certificate) != bool(tls.key):
        raise ConfigError("server.tls: `certificate` and `key` are given together or not at all")
    _check_networks("trusted_proxies", config.server.trusted_proxies)
    _check_networks("metrics_from", [text for text in config.server.metrics_from if text != "*"])
    if not config.websocket.path.startswith("/"):
        raise ConfigError("websocket.path: begins with a slash")
    auth = config.auth
    if auth.key_file and auth.jwks_url:
        raise ConfigError("auth: give `key_file` or `jwks_url`, not both")
    if (auth.key_file or auth.jwks_url) and not auth.algorithms:
        raise ConfigError("auth.algorithms: name the algorithms that the outside issuer signs with")
    if auth.algorithms and not (auth.key_file or auth.jwks_url):
        raise ConfigError("auth.algorithms: needs `key_file` or `jwks_url`")
    if auth.jwks_url and any(name.startswith("HS") for name in auth.algorithms):
        raise ConfigError("auth.algorithms: HS algorithms cannot be used with `jwks_url`, whose keys are public")
    if config.cluster.lease_seconds < 3 * config.cluster.heartbeat_seconds:
        raise ConfigError("cluster.lease_seconds: at least three times cluster.heartbeat_seconds")
    _check_push(config.push)
    _check_encryption(config.store.encryption)
    for name, namespace in config.namespaces.items():
        if namespace.conflate and namespace.delivery == "member":
            raise ConfigError(f"namespaces.{name}.conflate: only for subscribed channels")
        if namespace.push and namespace.delivery != "member":
            raise ConfigError(f"namespaces.{name}.push: only for member channels")
        if namespace.data_bytes > config.limits.message_bytes:
            raise ConfigError(f"namespaces.{name}.data_bytes: more than limits.message_bytes")
    _check_outbound(config)


def _check_outbound(config: Config) -> None:
    """Check where webhooks and hooks go to; that their secrets can be read is found out when the node is built."""
    hooks = {"connect": config.hooks.connect, "subscribe": config.hooks.subscribe, "send": config.hooks.send}
    places: list[tuple[str, WebhookEndpoint | Hook]] = [
        *((f"webhooks.endpoints.{name}", endpoint) for name, endpoint in config.webhooks.endpoints.items()),
        *((f"hooks.{name}", hook) for name, hook in hooks.items() if hook.url),
    ]
    for place, target in places:
        wrong = check_url(target.url)
        if wrong is not None:
            raise ConfigError(f"{place}.url: {wrong}")
        if not target.secret_files and not target.secret_variables:
            raise ConfigError(f"{place}: give secret_files or secret_variables, requests are signed")
        for namespace in target.namespaces:
            if namespace not in config.namespaces:
                raise ConfigError(f"{place}.namespaces: there is no namespace {_shown(namespace)}")


def _check_push(push: Push) -> None:
    apns = push.apns
    if apns.key and not (apns.key_id and apns.team_id and apns.topic):
        raise ConfigError("push.apns: a `key` needs `key_id`, `team_id` and `topic` too")
    urls = {"fcm.url": push.fcm.url, "apns.url": apns.url, "apns.sandbox_url": apns.sandbox_url}
    for name, url in urls.items():
        if not url.startswith("https://"):
            raise ConfigError(f"push.{name}: begins with https://")
    if push.webhook.url and not push.webhook.url.startswith(("https://", "http://")):
        raise ConfigError("push.webhook.url: begins with https:// or http://")
    if push.webpush.subject and not push.webpush.subject.startswith(("mailto:", "https://")):
        raise ConfigError("push.webpush.subject: begins with mailto: or https:// (RFC 8292 section 2.1)")
    if push.lease_seconds <= 2 * push.request_seconds + push.connect_seconds:
        raise ConfigError("push.lease_seconds: more than a connection and two requests may take")


def _check_networks(key: str, texts: Iterable[str]) -> None:
    try:
        Networks(texts)
    except ValueError as error:
        raise ConfigError(f"server.{key}: {error}") from error


def _check_encryption(encryption: Encryption) -> None:
    if encryption.active and encryption.active not in encryption.keys:
        raise ConfigError(f"store.encryption.active: store.encryption.keys has no key {_shown(encryption.active)}")
    for name, place in encryption.keys.items():
        kind, _, rest = place.partition(":")
        if kind not in ("file", "env") or not rest:
            raise ConfigError(f"store.encryption.keys.{_shown(name)}: write file:PATH or env:VARIABLE")
        if kind == "env" and rest.startswith(ENVIRONMENT_PREFIX):
            raise ConfigError(
                f"store.encryption.keys.{_shown(name)}: variables that begin with CHATD_ are keys of this file"
            )
