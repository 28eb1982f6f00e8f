"""`chatd cluster`: look at the nodes that share a Redis."""

import sys
import time
from pathlib import Path

import click
import msgspec
import trio
from rich.console import Console
from rich.table import Table

from chatd.cluster.cluster import open_servers
from chatd.cluster.survey import ClusterSeen, NodeSeen, survey
from chatd.commands.failing import exit_on
from chatd.commands.options import config_option, config_or_exit
from chatd.config import Config
from chatd.redis import RedisError
from chatd.redis.running import running

_WIDTH = 160  # of tables that go into a file or another program


@click.group()
def cluster() -> None:
    """Look at the nodes that share a Redis."""


@cluster.command()
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def status(path: Path | None, as_json: bool) -> None:
    """Show the nodes that live, with their sessions and lags, and the Redis servers with their shards."""
    config = config_or_exit(path)
    if config.broker.kind != "redis":
        click.echo('chatd: broker.kind: is not "redis": this node has no cluster', err=True)
        sys.exit(2)
    with exit_on(RedisError):
        seen = trio.run(_look, config)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(seen), indent=2).decode())
    else:
        _print(seen)


async def _look(config: Config) -> ClusterSeen:
    servers = open_servers(config)
    async with running(servers):
        return await survey(servers)


def _print(seen: ClusterSeen) -> None:
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    nodes = Table(title=f"{len(seen.nodes)} nodes, {seen.users} users here or just gone, {seen.leaving} in grace time")
    nodes.add_column("node")
    nodes.add_column("address")
    for name in ("up", "lease", "connections", "sessions", "users", "not said yet", "loop lag ms", "redis ms"):
        nodes.add_column(name, justify="right")
    for node in seen.nodes:
        nodes.add_row(*_row(node))
    console.print(nodes)
    for name in seen.lapsed:
        console.print(f"{name} is gone and is being cleared up after")
    servers = Table(title="Redis servers")
    servers.add_column("server")
    for name in ("shards", "answer ms", "messages not in the store yet"):
        servers.add_column(name, justify="right")
    for server in seen.servers:
        servers.add_row(server.address, str(server.shards), f"{server.answer_ms:.2f}", str(server.unwritten))
    console.print(servers)


def _row(node: NodeSeen) -> list[str]:
    info = node.info
    if info is None:
        return [node.node, "?", "?", f"{node.lease_seconds:.0f} s"]
    up = time.time() - info.started_at / 1000
    return [
        node.node,
        info.address,
        _duration(up),
        f"{node.lease_seconds:.0f} s",
        *(str(number) for number in (info.connections, info.sessions, info.users, info.unsaid_users)),
        f"{info.loop_lag_ms:.1f}",
        f"{info.redis_ms:.1f}",
    ]


def _duration(seconds: float) -> str:
    """Write a duration in its largest unit."""
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
