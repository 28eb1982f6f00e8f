"""The list of checks, in the order in which they are shown."""

from collections.abc import AsyncIterator

from chatd.config import Config
from chatd.doctor import Check, Finding, ServiceCheck
from chatd.doctor.cassandra import check_cassandra
from chatd.doctor.certificate import check_certificate
from chatd.doctor.clock import check_clock
from chatd.doctor.disk import check_disk
from chatd.doctor.encryption import check_encryption
from chatd.doctor.issuer import check_issuer
from chatd.doctor.kernel import check_backlog, check_open_files
from chatd.doctor.port import check_port
from chatd.doctor.redis import check_redis
from chatd.doctor.sqlite import check_sqlite
from chatd.doctor.var import check_var

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
