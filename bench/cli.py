"""`chatd bench` and `python -m bench`: one command for each scenario, and what is done with results.

What a scenario needs is imported when it runs, so that `chatd --help` works where the `bench` extra is not installed.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from bench.scaling_cli import redis_load, scale

_F = TypeVar("_F", bound=Callable[..., Any])

_EXTRA = ("numpy", "matplotlib")
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class _NeedsExtra(click.Group):
    """Says in one line what to install where the extra is missing."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except ModuleNotFoundError as error:
            if error.name not in _EXTRA:
                raise
            raise click.ClickException(f"{error.name} is missing: pip install 'chatd[bench]'") from error


@click.group(cls=_NeedsExtra, context_settings={"help_option_names": ["-h", "--help"]})
def bench() -> None:
    """Measure a chatd server, or one beside another.

    Without --address the bench starts the server itself, on one core, and loads it from the others. Every delivery is
    checked for loss, repeats and order. Needs the extra: pip install 'chatd[bench]'.
    """


def _common(command: _F) -> _F:
    """Add the options that every scenario has."""
    options = [
        click.option("--rounds", type=click.IntRange(1, 100), default=1, show_default=True, help="Runs per server."),
        click.option("--workers", type=click.IntRange(0, 64), default=0, help="Load generator processes; 0: by cores."),
        click.option("--body-bytes", type=click.IntRange(64, 65536), default=200, show_default=True),
        click.option(
            "--config", type=_FILE, help="What the server started here runs with; default: bench/config.toml."
        ),
        click.option("--store", type=click.Choice(["sqlite", "cassandra"]), default="sqlite", show_default=True),
        click.option("--cassandra", default="", metavar="HOST:PORT", help="One that runs already; else it is started."),
        click.option("--nodes", type=click.IntRange(0, 64), default=0, help="So many, with a Redis; 0: one without."),
        click.option("--server-workers", type=click.IntRange(0, 64), default=0, help="Behind one port, with a Redis."),
        click.option("--address", default="", metavar="HOST:PORT", help="Load a server that runs already."),
        click.option("--encoding", type=click.Choice(["json", "msgpack"]), default="json", show_default=True),
        click.option("--compress", is_flag=True, help="All clients agree on permessage-deflate."),
        click.option("--speaks", type=click.Choice(["chatd", "centrifugo"]), default="chatd", help="…its protocol."),
        click.option("--pid", type=int, default=0, help="…its process, to measure CPU and memory."),
        click.option("--secret-file", default="", help="…the file with its secret, to sign tokens."),
        click.option("--allow-remote", is_flag=True, help="…even if it is another machine: it must be yours to load."),
        click.option(
            "--peer", default="", metavar="centrifugo=BINARY|chatd", help="Alternate with it; chatd is plain JSON."
        ),
        click.option("--results", type=click.Path(path_type=Path), help="Where files go; default: bench/results."),
        click.option("--no-page", is_flag=True, help="Write no HTML page."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def _clients(count: int) -> Callable[[_F], _F]:
    return click.option("--clients", type=click.IntRange(1, 200_000), default=count, show_default=True)


def _seconds(count: float) -> Callable[[_F], _F]:
    return click.option("--seconds", type=click.FloatRange(0.5, 3600), default=count, show_default=True)


def _rate(count: float) -> Callable[[_F], _F]:
    what = "Messages a second over all writers; 0: by --in-flight."
    return click.option("--rate", type=click.FloatRange(0, 1e6), default=count, show_default=True, help=what)


def _in_flight(count: int) -> Callable[[_F], _F]:
    what = "Unanswered sends of each writer."
    return click.option("--in-flight", type=click.IntRange(0, 1000), default=count, show_default=True, help=what)


@bench.command()
@_clients(1000)
@_rate(100.0)
@_in_flight(0)
@_seconds(5.0)
@click.option("--channels", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Rooms, all together.")
@click.option("--idle", type=click.IntRange(0, 200_000), default=0, help="More clients, who say nothing.")
@_common
def fanout(**options: Any) -> None:
    """One room, many readers, one publisher: at --rate, or with --in-flight as fast as it goes."""
    if options["in_flight"]:
        options["rate"] = 0.0
    _scenario("fanout", options)


@bench.command()
@_clients(1000)
@click.option("--writers", type=click.IntRange(1, 1000), default=1, show_default=True)
@_rate(100.0)
@_in_flight(0)
@_seconds(5.0)
@_common
def across(**options: Any) -> None:
    """With --nodes: a room whose writers are at the first node, and whose readers are at the others."""
    if options["in_flight"]:
        options["rate"] = 0.0
    _scenario("across", options)


@bench.command()
@_clients(100)
@_rate(0.0)
@_in_flight(1)
@_seconds(5.0)
@_common
def echo(**options: Any) -> None:
    """Clients alone in their rooms: publish, ack and delivery."""
    _scenario("echo", options)


@bench.command()
@_clients(500)
@_rate(0.0)
@_in_flight(1)
@_seconds(5.0)
@_common
def dm(**options: Any) -> None:
    """Durable direct chats: --clients pairs, one side writes."""
    _scenario("dm", options)


@bench.command()
@_clients(2000)
@click.option("--members", type=click.IntRange(2, 1000), default=10, show_default=True, help="Of each group.")
@click.option("--channels", type=click.IntRange(0, 10_000), default=0, help="All write into so many groups; 0: below.")
@_rate(500.0)
@_in_flight(0)
@_seconds(5.0)
@_common
def rooms(**options: Any) -> None:
    """As many durable groups as clients, each client in ten: a messenger. Or --channels, each with many writers."""
    if options["in_flight"]:
        options["rate"] = 0.0
    _scenario("rooms", options)


@bench.command()
@_clients(8000)
@_seconds(30.0)
@_common
def idle(**options: Any) -> None:
    """Connections that say nothing: memory and keepalives."""
    _scenario("idle", options)


@bench.command()
@_clients(2000)
@click.option("--at-once", type=click.IntRange(1, 4000), default=100, show_default=True)
@click.option("--storm", is_flag=True, help="Then cut all, and let all come back at once with cursors.")
@_common
def connect(**options: Any) -> None:
    """Handshakes and greetings."""
    _scenario("connect", options)


@bench.command()
@_clients(10_000)
@click.option("--conversations", type=click.IntRange(1, 1000), default=500, show_default=True, help="Of each user.")
@click.option("--members", type=click.IntRange(2, 1000), default=100, show_default=True, help="Of each group.")
@_seconds(3.0)
@_common
def conversations(**options: Any) -> None:
    """Users with many conversations come and come back. Compare with few: it must cost the same."""
    _scenario("conversations", options)


@bench.command()
@_clients(1000)
@click.option("--watched", type=click.IntRange(1, 120), default=20, show_default=True, help="Users each watches.")
@click.option("--percent", type=click.FloatRange(0, 90), default=5.0, show_default=True, help="Who leave for good.")
@click.option("--grace-seconds", type=click.FloatRange(0, 600), default=10.0, show_default=True, help="Of the server.")
@_common
def presence(**options: Any) -> None:
    """Users watch each other: all reconnect at once, then some leave. Is everybody told the truth, once?"""
    _scenario("presence", options)


@bench.command()
@click.option("--profile", type=_FILE, help="Who does what; default: bench/profiles/small.toml.")
@_seconds(10.0)
@_common
def mixed(**options: Any) -> None:
    """Some idle, some chatting, some lurking: as a profile says."""
    _scenario("mixed", _with_profile(options))


@bench.command()
@click.option("--profile", type=_FILE, help="Who does what; default: bench/profiles/soak.toml.")
@click.option("--seconds", type=click.FloatRange(1, 7 * 86400), default=600.0, show_default=True, help="All in all.")
@click.option("--warm-seconds", type=click.FloatRange(0, 86400), default=120.0, show_default=True)
@click.option("--cycle-seconds", type=click.FloatRange(0.2, 3600), default=10.0, show_default=True)
@click.option("--mib-per-hour", type=click.FloatRange(0, 1e6), default=30.0, show_default=True, help="Allowed.")
@_common
def soak(**options: Any) -> None:
    """Minutes to hours of a profile, with all readers reconnecting in each cycle: does memory stay flat?"""
    _scenario("soak", _with_profile(options))


@bench.command()
@_clients(1000)
@_rate(100.0)
@click.option("--percent", type=click.FloatRange(0.1, 50), default=1.0, show_default=True, help="Who stop reading.")
@_seconds(5.0)
@_common
def slow(**options: Any) -> None:
    """A room in which some stop reading."""
    _scenario("slow", options)


@bench.command()
@_clients(1000)
@_in_flight(1)
@_seconds(5.0)
@_common
def half(**options: Any) -> None:
    """A room at half of the rate that it can take: what its readers wait."""
    _scenario("half", options)


@bench.command()
@click.option("--connections", type=click.IntRange(1, 1000), default=16, show_default=True, help="Over HTTP.")
@click.option("--batch", type=click.IntRange(1, 1000), default=100, show_default=True, help="Messages in one request.")
@click.option("--requests-to", default="", metavar="HOST:PORT", help="Another node of the cluster, for backends.")
@_in_flight(64)
@_clients(200)
@_rate(50.0)
@_seconds(5.0)
@_common
def api(**options: Any) -> None:
    """Backends: requests, batches, a server session; then a room beside half as many requests as are possible."""
    _scenario("api", options)


@bench.command()
@_clients(1000)
@click.option("--missed", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Messages.")
@_common
def catchup(**options: Any) -> None:
    """Clients return having missed messages."""
    _scenario("catchup", options)


@bench.command()
@click.option("--rounds", type=click.IntRange(1, 1000), default=20, show_default=True)
@_clients(100)
@_in_flight(4)
@click.option("--longest-seconds", type=click.FloatRange(0, 60), default=1.5, show_default=True, help="Before a kill.")
@click.option("--seed", type=int, default=0, help="Of the random moments.")
@click.option("--config", type=_FILE, help="What the server runs with; default: bench/config.toml.")
def kill(**options: Any) -> None:
    """Kill the server under load, again and again: is any acknowledged message lost, or any kept twice?"""
    import trio

    from bench.cores import share
    from bench.kill import Kill, kill_test
    from bench.servers import CONFIG, ServerFailed

    options["config"] = options["config"] or CONFIG
    try:
        report = trio.run(kill_test, Kill(**options), share(0), click.echo)
    except ServerFailed as error:
        raise click.ClickException(str(error)) from error
    click.echo(report.summary())
    if not report.verdict.is_good:
        raise SystemExit(1)


@bench.command("cassandra")
@click.option("--senders", type=click.IntRange(1, 10_000), default=500, show_default=True)
@click.option("--channels", type=click.IntRange(1, 10_000), default=100, show_default=True, help="They write into.")
@click.option("--body-bytes", type=click.IntRange(64, 65536), default=200, show_default=True)
@_seconds(5.0)
@click.option("--cassandra", "address", default="", metavar="HOST:PORT", help="One that runs; else it is started.")
def bare_cassandra(address: str, **options: Any) -> None:
    """What Cassandra takes without chatd: the driver in a bare loop, and chatd's store alone."""
    from rich.console import Console

    from bench.bare_cassandra import Load, as_table, measure

    if options["senders"] < options["channels"]:
        raise click.UsageError("--senders: at least as many as --channels")
    with _plain_errors():
        Console().print(as_table(measure(Load(**options), address)))


@bench.command()
@click.argument("before", type=_FILE)
@click.argument("after", type=_FILE)
def compare(before: Path, after: Path) -> None:
    """Lay two results (JSON files) of one scenario side by side."""
    from rich.console import Console

    from bench import results
    from bench.compare import NotComparable, compare

    try:
        Console().print(compare(results.load(before), results.load(after)))
    except (results.ResultError, NotComparable) as error:
        raise click.ClickException(str(error)) from error


@bench.command()
@click.option("--peer", default="", metavar="centrifugo=BINARY", help="The server to compare with.")
@click.option("--rounds", type=click.IntRange(1, 20), default=3, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.5, 600), default=4.0, show_default=True, help="Of each round.")
@click.option("--only", default="", help="Only rows whose names contain this.")
@click.option("--redis", is_flag=True, help="The aims of two nodes with a Redis between them; needs redis-server.")
@click.option("--results", type=click.Path(path_type=Path), help="Where files go; default: bench/results.")
def aims(peer: str, rounds: int, seconds: float, only: str, redis: bool, results: Path | None) -> None:
    """Measure every aim of the design beside a peer; print the table, as Markdown too."""
    from rich.console import Console

    from bench import aims as table
    from bench import aims_node, aims_redis
    from bench.live import LiveLine
    from bench.results import RESULTS

    console = Console()
    with LiveLine(console) as line, _plain_errors():
        works = aims_redis.works(seconds) if redis else aims_node.works(seconds)
        rows = table.measure(works, peer, rounds, only, results or RESULTS, line.show)
    console.print(table.as_table(rows))
    click.echo(table.as_markdown(rows))
    if not all(row.result.is_good for row in rows):
        raise SystemExit(1)


@bench.command()
@click.option("--save", is_flag=True, help="Make today's costs the baseline.")
def micro(save: bool) -> None:
    """Measure codec, frames, fan-out and router in isolation, beside the stored baseline."""
    from rich.console import Console

    from bench.micro import baseline
    from bench.micro.cases import cases
    from bench.micro.clock import measure
    from bench.micro.routing import route

    costs = {case.name: measure(case.function, case.calls) for case in cases()} | route()
    before = baseline.load()
    Console().print(baseline.as_table(costs, before))
    if save:
        baseline.save(costs)
    elif slower := baseline.slower(costs, before):
        raise click.ClickException("slower than before: " + ", ".join(slower))


@bench.command()
@click.argument("axes", nargs=-1, metavar="[readers|size|channels|connections]...")
@click.option("--values", default="", metavar="N,N,…", help="Other values than usual; for one axis.")
@click.option("--rounds", type=click.IntRange(1, 20), default=3, show_default=True, help="Of each point.")
@_seconds(3.0)
@click.option("--to", type=click.Path(file_okay=False, path_type=Path), help="Write plots and figures there.")
def sweep(axes: tuple[str, ...], values: str, rounds: int, seconds: float, to: Path | None) -> None:
    """Measure how the cost of a delivery grows with readers, message size, channels and connections."""
    from rich.console import Console

    from bench import sweep as sweeps
    from bench.cores import share
    from bench.live import LiveLine
    from bench.targets import Target

    if unknown := set(axes) - sweeps.AXES.keys():
        raise click.UsageError(f"unknown: {', '.join(sorted(unknown))}")
    given = _numbers(values)
    if given and len(axes) != 1:
        raise click.UsageError("--values is for one axis")
    console = Console()
    [launch] = Target().launches()
    with LiveLine(console) as line, _plain_errors():
        curves = []
        for name in axes or sweeps.AXES:
            curves.append(sweeps.measure(name, given, launch, share(0), seconds, rounds, line.show))
            console.print(sweeps.as_table(curves[-1]))
    for path in sweeps.save(curves, seconds, to) if to else ():
        click.echo(path)


bench.add_command(scale)
bench.add_command(redis_load)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError as error:
        raise click.UsageError(f"--values: {error}") from error


def _with_profile(options: dict[str, Any]) -> dict[str, Any]:
    """Leave the profile to the scenario's default where none is given."""
    path = options.pop("profile")
    return options | ({"profile": str(path)} if path else {})


def _scenario(name: str, options: dict[str, Any]) -> None:
    """Run a scenario, show its result and write its files; exit with 1 when a delivery was wrong."""
    from rich.console import Console

    from bench import results, runs
    from bench.cores import share
    from bench.live import LiveLine
    from bench.report import page, table
    from bench.scenarios import NEEDS_CHATD, NEEDS_GROUPS, SCENARIOS
    from bench.servers import CONFIG
    from bench.targets import Target

    config = options.pop("config") or CONFIG
    directory = options.pop("results") or results.RESULTS
    with_page = not options.pop("no_page")
    names = (
        "address",
        "speaks",
        "pid",
        "secret_file",
        "allow_remote",
        "peer",
        "encoding",
        "compress",
        "store",
        "cassandra",
        "nodes",
    )
    target = Target(config, workers=options.pop("server_workers"), **{key: options.pop(key) for key in names})
    if name in NEEDS_CHATD and not target.is_only_chatd:
        raise click.UsageError(f"{name} needs what only chatd has")
    if name in NEEDS_GROUPS and target.address:
        raise click.UsageError(f"{name} needs groups that the bench makes in a server of its own")
    plan = runs.Plan(
        share(options.pop("workers")), options.pop("rounds"), options.pop("body_bytes"), config, target.name
    )
    console = Console()
    with LiveLine(console) as line, _plain_errors():
        result = runs.run(name, SCENARIOS[name](**options), target.launches(), plan, line.show)
    table.show(result, console)
    path = results.save(result, directory)
    click.echo(path)
    if with_page:
        page.write(result, path.with_suffix(".html"))
        click.echo(path.with_suffix(".html"))
    if not result.is_good:
        raise SystemExit(1)


@contextlib.contextmanager
def _plain_errors() -> Iterator[None]:
    """Turn what a person can do something about into one line."""
    from bench.bed import ScenarioFailed
    from bench.fleet import WorkerFailed
    from bench.loopback import TargetRefused
    from bench.profile import ProfileError
    from bench.servers import ServerFailed
    from bench.targets import UnknownPeer
    from chatd.config import ConfigError

    known = (ConfigError, ProfileError, ScenarioFailed, ServerFailed, TargetRefused, UnknownPeer, WorkerFailed)
    try:
        yield
    except known as error:
        raise click.ClickException(str(error)) from error
