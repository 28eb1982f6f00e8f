"""`python -m deploy.local.cassandra`: Cassandra for trying chatd on this machine.

It needs nothing but the standard library, Java and Maven, so any Python from 3.11 on can run it.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

from deploy.local.cassandra import jars
from deploy.local.cassandra.cluster import LocalCluster
from deploy.local.cassandra.errors import LocalCassandraError
from deploy.local.cassandra.node import COMMITLOG_SYNC, START_SECONDS, CassandraNode, NodeOptions

_ROOT = Path(__file__).parent.parent.parent.parent
_SIZES = (1, 3)


def main() -> None:
    """Run one command; exit code 1 and a line when it fails."""
    arguments = _parser().parse_args()
    try:
        arguments.command(arguments)
    except LocalCassandraError as error:
        sys.exit(f"cassandra: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.local.cassandra", description="Cassandra on loopback.")
    directory = argparse.ArgumentParser(add_help=False)
    directory.add_argument("--directory", type=Path, default=_ROOT / "var" / "cassandra", help="where the nodes write")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    fetch = commands.add_parser("fetch", help="fetch Cassandra (67 MB, once)")
    fetch.set_defaults(command=_fetch)

    start = commands.add_parser("start", parents=[directory], help="start it; returns when it serves")
    start.add_argument("--nodes", type=int, choices=_SIZES, default=1, help="one, or three that each have all rows")
    start.add_argument("--commitlog-sync", choices=COMMITLOG_SYNC, default="batch", help="when a row counts as kept")
    start.add_argument("--heap", default="512m", help="of each node's Java")
    start.add_argument("--optimize", action="store_true", help="let Java compile for a long run, as for measuring")
    start.add_argument("--wait-seconds", type=float, default=START_SECONDS, help="how long each may take")
    start.set_defaults(command=_start)

    stop = commands.add_parser("stop", parents=[directory], help="stop it; its rows stay")
    stop.add_argument("nodes", nargs="*", metavar="NODE", help="n1, n2 or n3; all, if none is named")
    stop.add_argument("--kill", action="store_true", help="as a crash would, by SIGKILL")
    stop.set_defaults(command=_stop)

    status = commands.add_parser("status", parents=[directory], help="show the nodes; exit code 1 if one is down")
    status.set_defaults(command=_status)

    wipe = commands.add_parser("wipe", parents=[directory], help="remove all rows; it must be stopped")
    wipe.set_defaults(command=_wipe)
    return parser


def _fetch(_: argparse.Namespace) -> None:
    _say(f"Cassandra {jars.version()} is in {jars.fetch()}")


def _start(arguments: argparse.Namespace) -> None:
    began = time.monotonic()
    if not jars.folder().exists():
        _say(f"fetching Cassandra {jars.version()}, 67 MB, once …")
    options = NodeOptions(commitlog_sync=arguments.commitlog_sync, heap=arguments.heap, optimizes=arguments.optimize)
    cluster = _cluster(arguments.directory, arguments.nodes, options)
    cluster.start(arguments.wait_seconds)
    for node in cluster.nodes:
        _say(_line(node))
    _say(f"ready after {time.monotonic() - began:.1f} s")


def _stop(arguments: argparse.Namespace) -> None:
    nodes = _made(arguments.directory)
    unknown = set(arguments.nodes) - {node.name for node in nodes}
    if unknown:
        raise LocalCassandraError(f"there is no node {', '.join(sorted(unknown))}")
    for node in nodes:
        if node.pid is not None and node.name in (arguments.nodes or [node.name]):
            if arguments.kill:
                node.kill()
            else:
                node.stop()
            _say(f"{node.name} is stopped")


def _status(arguments: argparse.Namespace) -> None:
    nodes = _made(arguments.directory)
    for node in nodes:
        _say(_line(node))
    if not nodes:
        _say("there is no node: `start` makes one, or three")
    if not nodes or not all(node.pid is not None and node.answers() for node in nodes):
        sys.exit(1)


def _wipe(arguments: argparse.Namespace) -> None:
    running = [node.name for node in _made(arguments.directory) if node.pid is not None]
    if running:
        raise LocalCassandraError(f"{', '.join(running)} runs: stop it first")
    for size in _SIZES:
        shutil.rmtree(_folder(arguments.directory, size), ignore_errors=True)


def _cluster(directory: Path, nodes: int, options: NodeOptions | None = None) -> LocalCluster:
    return LocalCluster(_folder(directory, nodes), nodes, options)


def _folder(directory: Path, nodes: int) -> Path:
    """Return where a cluster of this size is: a node cannot go from one cluster to another."""
    return directory / f"of-{nodes}"


def _made(directory: Path) -> list[CassandraNode]:
    """Return the nodes that were started once and not wiped since; of both clusters, if there are two."""
    return [node for size in _SIZES for node in _cluster(directory, size).nodes if node.directory.exists()]


def _line(node: CassandraNode) -> str:
    if node.pid is None:
        state = "down"
    else:
        state = f"{'serves' if node.answers() else 'does not answer'}, process {node.pid}, {_memory(node.pid)} MiB"
    return f"{node.name}  {node.options.address}:{node.options.port}  {state}  {node.directory}"


def _memory(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    kib = next((line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")), "0")
    return int(kib) // 1024


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
