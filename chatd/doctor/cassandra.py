"""Whether the Cassandra cluster can be reached, is whole, and keeps what it acknowledges."""

import re

import trio

from chatd.cassandra import NamespaceRules, cassandra_settings
from chatd.config import Cassandra, Config
from chatd.doctor import Finding, failure, ok, warning
from chatd.doctor.clock import judge_skew
from storage import StoreError, StoreUnavailable

OLDEST = (4, 0)  # the first that shows its configuration, and keeps `now()` of a node
TESTED = (5, 0)  # what chatd's tests run on

_SUBJECT = "cassandra"
_ONE_NODE = ("one", "local_one")  # consistencies that do not reach a quorum
_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


async def check_cassandra(config: Config) -> list[Finding]:
    """Ask every node of the data centre that is used, if the store is there."""
    if config.store.kind != "cassandra":
        return []
    try:
        from storage.cassandra_inspection import inspect_cluster
    except ModuleNotFoundError as error:
        return [failure(_SUBJECT, f"{error.name} is missing", "pip install 'chatd[cassandra]'")]
    settings = cassandra_settings(config, NamespaceRules(config))
    try:
        seen = await trio.to_thread.run_sync(inspect_cluster, settings)
    except StoreUnavailable as error:
        return [failure(_SUBJECT, str(error), "start it, or set cassandra.nodes, cassandra.port and cassandra.tls")]
    except StoreError as error:
        return [failure(_SUBJECT, str(error), "see [cassandra] in the configuration")]
    found: list[Finding] = []
    for node in seen.nodes:
        subject = f"{_SUBJECT} {node.address}"
        of_node = [
            *judge_up(subject, node.is_up),
            *judge_version(subject, node.version),
            *judge_commit_log(subject, node.settings),
            *judge_batches(subject, node.settings, config.cassandra.batch_bytes),
            *judge_skew(subject, node.ahead_seconds),
        ]
        version = ".".join(str(part) for part in node.version)
        found += of_node or [ok(subject, f"Cassandra {version}, syncs its log before it answers")]
    return [*found, *judge_copies(config.cassandra, seen.copies, len(seen.nodes)), *judge_schema(seen.pending)]


def judge_up(subject: str, is_up: bool) -> list[Finding]:
    """Return a warning about a node that is down."""
    return [] if is_up else [warning(subject, "is down", "start it; quorums go on without it, and without no other")]


def judge_version(subject: str, version: tuple[int, ...]) -> list[Finding]:
    """Return what is to be said about a version that chatd is not tested with."""
    if version >= TESTED:
        return []
    seen = f"is Cassandra {'.'.join(str(part) for part in version)}"
    if version < OLDEST:
        return [failure(subject, seen, "4.0 or newer is needed, 5.0 is what chatd is tested with")]
    return [warning(subject, seen, "chatd is tested with 5.0")]


def judge_commit_log(subject: str, settings: dict[str, str]) -> list[Finding]:
    """Return a warning about a node that answers a write before it is on disk."""
    if not settings or settings.get("commitlog_sync") in ("batch", "group"):
        return []
    seen = (
        f"commitlog_sync is {settings.get('commitlog_sync')}: it answers before a row is on disk, and a crash loses up "
        f"to {settings.get('commitlog_sync_period') or 'ten seconds'} of acknowledged messages"
    )
    return [warning(subject, seen, "set commitlog_sync: batch (or group) in its cassandra.yaml")]


def judge_batches(subject: str, settings: dict[str, str], batch_bytes: int) -> list[Finding]:
    """Return a warning about a node that refuses batches as large as chatd sends."""
    most = _bytes(settings.get("batch_size_fail_threshold", ""))
    if most is None or most > batch_bytes:
        return []
    seen = f"refuses batches above {settings['batch_size_fail_threshold']}, cassandra.batch_bytes is {batch_bytes:,}"
    return [warning(subject, seen, "raise its batch_size_fail_threshold, or set cassandra.batch_bytes lower")]


def judge_copies(config: Cassandra, copies: dict[str, int], nodes: int) -> list[Finding]:
    """Say what the copies of the keyspace, by data centre, are good for."""
    subject = f"keyspace {config.keyspace}"
    if not copies:
        if nodes < config.replication_factor:
            seen = (
                f"cannot be made with cassandra.replication_factor {config.replication_factor}: there are {nodes} nodes"
            )
            return [failure(subject, seen, "add nodes, or set it lower")]
        return [ok(subject, f"is not there, and will be made with {_copies(config.replication_factor)}")]
    here = copies.get(config.datacenter) or max(copies.values())
    seen = f"keeps {_copies(here)}"
    if here < 3:
        return [warning(subject, seen, "with fewer than 3, a quorum needs every node: ALTER KEYSPACE, then repair")]
    if config.consistency in _ONE_NODE:
        seen += f", and cassandra.consistency is {config.consistency}: a read may miss what was acknowledged"
        return [warning(subject, seen, "set it to local_quorum")]
    return [ok(subject, seen)]


def judge_schema(pending: int) -> list[Finding]:
    """Return a warning about a keyspace with the schema of an older chatd."""
    if not pending:
        return []
    seen = f"{pending} migrations are not applied"
    return [warning(_SUBJECT, seen, "make a backup; the next start applies them, or `chatd db migrate`")]


def _copies(count: int) -> str:
    return "one copy of each row" if count == 1 else f"{count} copies of each row"


def _bytes(text: str) -> int | None:
    """Read a size as Cassandra writes it, such as `50KiB`; None if it is none."""
    match = re.fullmatch(r"(\d+)(B|KiB|MiB|GiB)", text)
    return int(match[1]) * _UNITS[match[2]] if match else None
