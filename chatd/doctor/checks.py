"""The list of checks, in the order in which they are shown."""

from collections.abc import AsyncIterator

from chatd.config import Config
from chatd.doctor import Check, Finding, ServiceCheck, failure, warning
from chatd.doctor.cassandra import check_cassandra
from chatd.doctor.certificate import check_certificate
from chatd.doctor.clock import check_clock
from chatd.doctor.disk import check_disk
from chatd.doctor.encryption import check_encryption
from chatd.doctor.issuer import check_issuer
from chatd.doctor.kernel import check_backlog, check_open_files
from chatd.doctor.port import check_port
from chatd.doctor.sqlite import check_sqlite
from chatd.doctor.var import check_var

_ALONE = "the store is a file of this node: a second node on this Redis would not see what the first one keeps"


async def check_redis(config: Config) -> list[Finding]:
    """Look at Redis, if nodes share their channels by it; only then the packages for it are needed."""
    if config.broker.kind != "redis":
        return []
    try:
        from chatd.doctor.redis import examine_redis
    except ModuleNotFoundError as error:
        return [failure("redis", f"{error.name} is missing", "pip install 'chatd[redis]'")]
    alone = [] if config.store.kind == "cassandra" else [warning("redis", _ALONE, 'set store.kind to "cassandra"')]
    return [*alone, *await examine_redis(config.redis)]


OF_THIS_MACHINE: tuple[Check, ...] = (
    check_open_files,
    check_backlog,
    check_clock,
    check_var,
    check_disk,
    check_sqlite,
    check_certificate,
)
OF_SERVICES: tuple[ServiceCheck, ...] = (check_port, check_issuer, check_encryption, check_redis, check_cassandra)


async def examine(config: Config) -> AsyncIterator[Finding]:
    """Run all checks, one after the other."""
    for check in OF_THIS_MACHINE:
        for finding in check(config):
            yield finding
    for ask in OF_SERVICES:
        for finding in await ask(config):
            yield finding
