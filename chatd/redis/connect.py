"""Opens connections to Redis servers: TCP, TLS, who we are, and what the server is."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import hiredis
import trio

from chatd.config import Redis
from chatd.redis import RedisError, RedisRefused, RedisUnavailable
from chatd.redis.addresses import Address
from chatd.redis.packing import Argument, pack
from chatd.redis.plain import PlainStream

if TYPE_CHECKING:
    import coredis

READ_BYTES = 65536

_MINIMUM_VERSION = (7, 0)

# The first words of errors that say "not now" or "not here" instead of "wrong": the command did not run.
_NOT_NOW = (
    "LOADING",
    "MOVED",
    "ASK",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "MASTERDOWN",
    "READONLY",
    "NOREPLICAS",
    "OOM",
    "MISCONF",
)


@dataclass(frozen=True, slots=True)
class Greeted:
    """A connection that is let in. `run_id` changes whenever the server's process does."""

    stream: trio.abc.Stream
    run_id: str


def reply_error(text: str) -> RedisError:
    """Make the exception of an error that a server answered with."""
    if text.startswith(_NOT_NOW):
        return RedisUnavailable(text, ran=False)
    return RedisRefused(text)


def new_reader() -> hiredis.Reader:
    """Return a parser of answers; errors are returned as exceptions, inside of arrays too."""
    return hiredis.Reader(replyError=reply_error)


def tls_context(config: Redis) -> ssl.SSLContext | None:
    """Return how servers are to prove themselves, and how this node does; None without TLS.

    Raises:
        OSError: A file cannot be read.
    """
    tls = config.tls
    if not tls.enabled:
        return None
    context = ssl.create_default_context(cafile=tls.authority or None)
    context.check_hostname = tls.check_hostname
    if tls.certificate:
        context.load_cert_chain(tls.certificate, tls.key or None)
    return context


class Dialer:
    """Opens connections as the configuration says."""

    def __init__(self, config: Redis, name: str) -> None:
        self._config = config
        self._name = name  # how the server lists this node among its clients
        self._tls = tls_context(config)

    async def open(self, address: Address) -> Greeted:
        """Connect, say who we are, and ask what the server is.

        Raises:
            RedisError: It cannot be reached within `redis.connect_seconds`, or does not let us in, or is too old.
        """
        with trio.move_on_after(self._config.connect_seconds):
            try:
                stream = await self._connect(address)
            except (OSError, ssl.SSLError, trio.BrokenResourceError) as error:
                raise RedisUnavailable(f"{address} cannot be reached: {error}", ran=False) from error
            try:
                return Greeted(stream, await self._greet(stream, address))
            except (ssl.SSLError, trio.BrokenResourceError) as error:
                await trio.aclose_forcefully(stream)
                raise RedisUnavailable(f"{address} ended the connection: {error}", ran=False) from error
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
        raise RedisUnavailable(f"{address} takes longer than redis.connect_seconds", ran=False)

    async def _connect(self, address: Address) -> trio.abc.Stream:
        stream = await trio.open_tcp_stream(address.host, address.port)
        if self._tls is None:
            return PlainStream(stream)
        return trio.SSLStream(stream, self._tls, server_hostname=address.host, https_compatible=True)

    async def _greet(self, stream: trio.abc.Stream, address: Address) -> str:
        config = self._config
        commands: list[tuple[Argument, ...]] = []
        if config.password:
            commands.append(
                ("AUTH", config.username, config.password) if config.username else ("AUTH", config.password)
            )
        if config.database:
            commands.append(("SELECT", config.database))
        commands += [("CLIENT", "SETNAME", self._name), ("INFO", "server")]
        await stream.send_all(b"".join(pack(command) for command in commands))
        reader = new_reader()
        answers: list[Any] = []
        while len(answers) < len(commands):
            data = await stream.receive_some(READ_BYTES)
            if not data:
                raise RedisUnavailable(f"{address} ended the connection", ran=False)
            reader.feed(bytes(data))
            while (answer := reader.gets()) is not False:
                if isinstance(answer, RedisError):
                    raise answer
                answers.append(answer)
        return _check_version(answers[-1].decode(), address)

    @asynccontextmanager
    async def client(self, address: Address, *, is_sentinel: bool = False) -> AsyncIterator["coredis.Redis[str]"]:
        """Open a client of all commands, for what is asked seldom.

        What it raises, and what is raised inside, comes out as it is, and not in a group of one.
        """
        import coredis  # only here: it takes 15 MiB, and a node that is told its servers asks nothing of it

        config = self._config
        client = coredis.Redis(
            address.host,
            address.port,
            db=0 if is_sentinel else config.database,
            username=(config.sentinel_username if is_sentinel else config.username) or None,
            password=(config.sentinel_password if is_sentinel else config.password) or None,
            ssl_context=self._tls,
            connect_timeout=config.connect_seconds,
            stream_timeout=config.reply_seconds,
            client_name=None if is_sentinel else self._name,
            decode_responses=True,
            verify_version=False,
        )
        try:
            async with client:
                yield client
        except BaseExceptionGroup as group:
            raise _only(group) from group


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one exception of a group; the group, where there are several."""
    inner = group.exceptions[0]
    if len(group.exceptions) > 1:
        return group
    return _only(inner) if isinstance(inner, BaseExceptionGroup) else inner


def _check_version(information: str, address: Address) -> str:
    fields = dict(line.split(":", 1) for line in information.splitlines() if ":" in line)
    version = tuple(int(part) for part in fields["redis_version"].split(".")[:2])
    if version < _MINIMUM_VERSION:
        raise RedisRefused(f"{address} is Redis {fields['redis_version']}; 7.0 or newer is needed")
    return fields["run_id"]
