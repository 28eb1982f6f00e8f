"""Opens and closes the driver's connection to a Cassandra cluster. All of it blocks: call it off the trio thread."""

import contextlib
import logging
import re
import ssl
import time
from collections.abc import Callable
from typing import Any

from cassandra import (
    AuthenticationFailed,
    ConsistencyLevel,
    DriverException,
    InvalidRequest,
    Unauthorized,
    UnresolvableContactPoints,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.cluster import Session as DriverSession
from cassandra.connection import ConnectionException
from cassandra.io.libevreactor import LibevConnection
from cassandra.policies import (
    ConstantReconnectionPolicy,
    ConstantSpeculativeExecutionPolicy,
    DCAwareRoundRobinPolicy,
    FallthroughRetryPolicy,
    RetryPolicy,
    TokenAwarePolicy,
)
from cassandra.query import tuple_factory

from storage import StoreError, StoreUnavailable
from storage.cassandra_settings import CassandraSettings

WRITE = EXEC_PROFILE_DEFAULT
READ = "read"
CONDITIONAL = "conditional"

# Version 5 frames every message in checksummed segments, which the driver computes in Python: 15 µs a request.
_PROTOCOL_VERSION = 4
_RETRIES = 2
_RECONNECT_SECONDS = 1.0
_HEARTBEAT_SECONDS = 5
_SPECULATIVE_ATTEMPTS = 1
# The driver says in words only what is wrong: it makes an OSError of an error of TLS.
_NO_PASSWORD = "requires authentication"
_CANNOT_LOOK = "Unable to perform authentication"  # a node does not reach those that have the passwords
_DISTRUST = re.compile(r"CERTIFICATE_VERIFY_FAILED\] certificate verify failed: (.*?)\.?(?: \(_ssl|$)")

_KEYSPACE = re.compile(r"[a-z][a-z0-9_]{0,47}")


# An error of `prepare` is raised too, and asking a keyspace that has no tables yet for its version is no fault.
_SAID_BY_THE_STORE = (
    *("[control connection] error", "control connection failed", "failed to authenticate to"),
    "error preparing query:",
)
# The driver says so of each node that is down whenever it tries again, which is every second.
_STILL_DOWN = "error attempting to reconnect to"
_STILL_DOWN_SECONDS = 30.0


class OneLine(logging.Filter):
    """Keeps the driver's warnings to a line each, and leaves out what the store says itself or the driver said lately.

    It is called on the driver's threads; two that come at the same moment may both be logged, which does no harm.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said_at: dict[str, float] = {}  # of each node that is down, by its address

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is to be logged."""
        record.exc_info = None
        text = record.getMessage().lower()
        if text.startswith(_STILL_DOWN):
            return self._is_time_to_say(text.removeprefix(_STILL_DOWN).partition(",")[0])
        return not text.startswith(_SAID_BY_THE_STORE)

    def _is_time_to_say(self, node: str) -> bool:
        now = self._clock()
        said_at = self._said_at.get(node)
        if said_at is not None and now < said_at + _STILL_DOWN_SECONDS:
            return False
        self._said_at[node] = now
        return True


_one_line = OneLine()  # adding it twice is adding it once
_LOGGERS = ("cassandra.cluster", "cassandra.connection", "cassandra.pool", "cassandra.io.libevreactor")


class IdempotentRetry(RetryPolicy):  # type: ignore[misc]  # the driver has no types
    """Asks another node when one fails to answer: everything that is asked with this policy may be done twice."""

    def on_read_timeout(self, query: Any, consistency: Any, *_: Any, retry_num: int, **__: Any) -> tuple[Any, Any]:
        """Go on with the next node, a few times."""
        return self._next(consistency, retry_num)

    def on_write_timeout(self, query: Any, consistency: Any, *_: Any, retry_num: int, **__: Any) -> tuple[Any, Any]:
        """Go on with the next node, a few times."""
        return self._next(consistency, retry_num)

    def on_unavailable(self, query: Any, consistency: Any, *_: Any, retry_num: int, **__: Any) -> tuple[Any, Any]:
        """Go on with the next node, which may see more of the others."""
        return self._next(consistency, retry_num)

    def _next(self, consistency: Any, retry_num: int) -> tuple[Any, Any]:
        if retry_num >= _RETRIES:
            return self.RETHROW, None
        return self.RETRY_NEXT_HOST, consistency


def connect(settings: CassandraSettings, *, makes_keyspace: bool = True) -> tuple[Cluster, DriverSession]:
    """Connect to the cluster, and make the keyspace if there is none, or (`makes_keyspace` false) say so.

    Raises:
        StoreUnavailable: No node answers.
        StoreError: A node answers, and refuses: wrong password, no right to make the keyspace, a name that is none.
    """
    cluster = open_cluster(settings)
    try:
        session = cluster.connect()
        if makes_keyspace:
            _make_keyspace(session, settings)
        elif settings.keyspace not in cluster.metadata.keyspaces:
            raise StoreError(f"there is no keyspace {settings.keyspace}: run `chatd db migrate` first")
        session.set_keyspace(settings.keyspace)
    except Exception as error:
        cluster.shutdown()
        raise refusal_of(cluster, settings, error) from error
    return cluster, session


def open_cluster(settings: CassandraSettings) -> Cluster:
    """Return the driver's side of the cluster, which connects at the first `connect`; `shutdown` closes it.

    Raises:
        StoreUnavailable: No node's name is known to anybody, now.
        StoreError: The settings cannot be used.
    """
    if not _KEYSPACE.fullmatch(settings.keyspace):
        raise StoreError(f"{settings.keyspace!r} cannot be a keyspace: a-z, then up to 47 of a-z 0-9 _")
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_one_line)
    try:
        return _cluster(settings)
    except UnresolvableContactPoints as error:
        raise StoreUnavailable(f"nobody knows where {', '.join(settings.contact_points)} is") from error


def _cluster(settings: CassandraSettings) -> Cluster:
    return Cluster(
        list(settings.contact_points),
        port=settings.port,
        protocol_version=_PROTOCOL_VERSION,
        compression=False,
        connection_class=LibevConnection,
        connect_timeout=settings.connect_seconds,
        control_connection_timeout=settings.connect_seconds,
        reconnection_policy=ConstantReconnectionPolicy(_RECONNECT_SECONDS, max_attempts=None),
        idle_heartbeat_interval=_HEARTBEAT_SECONDS,
        idle_heartbeat_timeout=_HEARTBEAT_SECONDS,
        execution_profiles=_profiles(settings),
        auth_provider=PlainTextAuthProvider(settings.user, settings.password) if settings.user else None,
        **_tls(settings),
    )


def _profiles(settings: CassandraSettings) -> dict[Any, ExecutionProfile]:
    consistency = ConsistencyLevel.name_to_value[settings.consistency.upper()]
    nodes = TokenAwarePolicy(DCAwareRoundRobinPolicy(settings.datacenter))
    common = {
        "load_balancing_policy": nodes,
        "consistency_level": consistency,
        "request_timeout": settings.request_seconds,
        "row_factory": tuple_factory,
    }
    again = ConstantSpeculativeExecutionPolicy(settings.speculative_seconds, _SPECULATIVE_ATTEMPTS)
    is_local = settings.consistency.startswith("local")
    return {
        WRITE: ExecutionProfile(retry_policy=IdempotentRetry(), speculative_execution_policy=again, **common),
        READ: ExecutionProfile(retry_policy=IdempotentRetry(), speculative_execution_policy=again, **common),
        # What depends on the state before it cannot be asked twice: the second answer would be about the first.
        CONDITIONAL: ExecutionProfile(
            retry_policy=FallthroughRetryPolicy(),
            serial_consistency_level=ConsistencyLevel.LOCAL_SERIAL if is_local else ConsistencyLevel.SERIAL,
            **common,
        ),
    }


def _tls(settings: CassandraSettings) -> dict[str, Any]:
    if not settings.tls:
        return {}
    try:
        context = ssl.create_default_context(cafile=settings.tls_authority or None)
        if settings.tls_certificate:
            context.load_cert_chain(settings.tls_certificate, settings.tls_key or None)
    except OSError as error:
        raise StoreError(f"the TLS files of [cassandra] cannot be used: {error}") from error
    context.check_hostname = settings.tls_check_hostname
    return {"ssl_context": context}


def _make_keyspace(session: DriverSession, settings: CassandraSettings) -> None:
    metadata = session.cluster.metadata
    if settings.keyspace in metadata.keyspaces:
        return
    centres = {host.datacenter for host in metadata.all_hosts()}
    centre = settings.datacenter or sorted(centres)[0]
    nodes = sum(host.datacenter == centre for host in metadata.all_hosts())
    if nodes < settings.replication_factor:
        raise StoreError(
            f"the keyspace {settings.keyspace} cannot be made with cassandra.replication_factor "
            f"{settings.replication_factor}: the data centre {centre} has {nodes} nodes"
        )
    session.execute(
        f"CREATE KEYSPACE IF NOT EXISTS {settings.keyspace} WITH replication = "
        f"{{'class': 'NetworkTopologyStrategy', '{centre}': {settings.replication_factor}}}"
    )


def refusal_of(cluster: Cluster, settings: CassandraSettings, error: Exception) -> StoreError:
    """Say in the store's terms why connecting to a cluster failed."""
    centres = {host.datacenter for host in cluster.metadata.all_hosts() if host.datacenter}
    if settings.datacenter and centres and settings.datacenter not in centres:
        known = ", ".join(sorted(centres))
        return StoreError(f"cassandra.datacenter: there is no data centre {settings.datacenter!r}, but {known}")
    return refusal(error)


def refusal(error: Exception) -> StoreError:
    """Say in the store's terms what the driver raised."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, NoHostAvailable):
        causes = list(error.errors.values()) if isinstance(error.errors, dict) else []
        for cause in causes:
            if (refused := _entry_refusal(cause)) is not None:
                return refused
        return StoreUnavailable(f"no node of the Cassandra cluster answers ({_first(causes) or error.args[0]})")
    if isinstance(error, AuthenticationFailed | Unauthorized):
        return StoreError(f"the Cassandra cluster refuses: {error}")
    if isinstance(error, InvalidRequest):
        return StoreError(f"the Cassandra cluster refuses: {error}")
    if isinstance(error, DriverException | ConnectionException | OSError):
        return StoreUnavailable(f"the Cassandra cluster does not answer as it should: {error}")
    return StoreUnavailable(f"the Cassandra cluster cannot be used: {error!r}")


def _entry_refusal(cause: Exception) -> StoreError | None:
    """Say what to set so that a node lets us in, or we trust it; None where that is not what is wrong."""
    text = str(cause)
    if isinstance(cause, AuthenticationFailed) and _NO_PASSWORD in text:
        return StoreError("the Cassandra cluster asks for a password: set cassandra.username and cassandra.password")
    if isinstance(cause, AuthenticationFailed) and _CANNOT_LOOK not in text:
        return StoreError(f"the Cassandra cluster refuses the password: {text}")
    if (distrust := _DISTRUST.search(text)) is not None:
        return StoreError(f"the certificate of a Cassandra node is not trusted: {distrust[1]}: see [cassandra.tls]")
    return None


def _first(causes: list[Exception]) -> str:
    return str(causes[0]) if causes else ""


def shutdown(cluster: Cluster) -> None:
    """Close all connections. An error of the driver's while closing is nobody's."""
    with contextlib.suppress(Exception):
        cluster.shutdown()
