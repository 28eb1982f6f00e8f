"""`chatd bench SCENARIO`: one command for each scenario that is played by clients.

What a scenario needs is imported when it runs, so that `chatd --help` works where the `bench` extra is not installed.
"""

from typing import Any

import click

from bench.failures import plain_errors
from bench.options import FILE, clients, common, in_flight, rate, seconds


@click.command()
@clients(1000)
@rate(100.0)
@in_flight(0)
@seconds(5.0)
@click.option("--channels", type=click.IntRange(1, 10_000), default=1, show_default=True, help="Rooms, all together.")
@click.option("--idle", type=click.IntRange(0, 200_000), default=0, help="More clients, who say nothing.")
@common
def fanout(**options: Any) -> None:
    """One room, many readers, one publisher: at --rate, or with --in-flight as fast as it goes."""
    if options["in_flight"]:
        options["rate"] = 0.0
    _play("fanout", options)


@click.command()
@clients(1000)
@click.option("--writers", type=click.IntRange(1, 1000), default=1, show_default=True)
@rate(100.0)
@in_flight(0)
@seconds(5.0)
@common
def across(**options: Any) -> None:
    """With --nodes: a room whose writers are at the first node, and whose readers are at the others."""
    if options["in_flight"]:
        options["rate"] = 0.0
    _play("across", options)


@click.command()
@clients(100)
@rate(0.0)
@in_flight(1)
@seconds(5.0)
@common
def echo(**options: Any) -> None:
    """Clients alone in their rooms: publish, ack and delivery."""
    _play("echo", options)


@click.command()
@clients(500)
@rate(0.0)
@in_flight(1)
@seconds(5.0)
@common
def dm(**options: Any) -> None:
    """Durable direct chats: --clients pairs, one side writes."""
    _play("dm", options)


@click.command()
@clients(2000)
@click.option("--members", type=click.IntRange(2, 1000), default=10, show_default=True, help="Of each group.")
@click.option("--channels", type=click.IntRange(0, 10_000), default=0, help="All write into so many groups; 0: below.")
@rate(500.0)
@in_flight(0)
@seconds(5.0)
@common
def rooms(**options: Any) -> None:
    """As many durable groups as clients, each client in ten: a messenger. Or --channels, each with many writers."""
    if options["in_flight"]:
        options["rate"] = 0.0
    _play("rooms", options)


@click.command()
@clients(8000)
@seconds(30.0)
@common
def idle(**options: Any) -> None:
    """Connections that say nothing: memory and keepalives."""
    _play("idle", options)


@click.command()
@clients(2000)
@click.option("--at-once", type=click.IntRange(1, 4000), default=100, show_default=True)
@click.option("--storm", is_flag=True, help="Then cut all, and let all come back at once with cursors.")
@common
def connect(**options: Any) -> None:
    """Handshakes and greetings."""
    _play("connect", options)


@click.command()
@clients(10_000)
@click.option("--conversations", type=click.IntRange(1, 1000), default=500, show_default=True, help="Of each user.")
@click.option("--members", type=click.IntRange(2, 1000), default=100, show_default=True, help="Of each group.")
@seconds(3.0)
@common
def conversations(**options: Any) -> None:
    """Users with many conversations come and come back. Compare with few: it must cost the same."""
    _play("conversations", options)


@click.command()
@clients(1000)
@click.option("--watched", type=click.IntRange(1, 120), default=20, show_default=True, help="Users each watches.")
@click.option("--percent", type=click.FloatRange(0, 90), default=5.0, show_default=True, help="Who leave for good.")
@click.option("--grace-seconds", type=click.FloatRange(0, 600), default=10.0, show_default=True, help="Of the server.")
@common
def presence(**options: Any) -> None:
    """Users watch each other: all reconnect at once, then some leave. Is everybody told the truth, once?"""
    _play("presence", options)


@click.command()
@click.option("--profile", type=FILE, help="Who does what; default: bench/profiles/small.toml.")
@seconds(10.0)
@common
def mixed(**options: Any) -> None:
    """Some idle, some chatting, some lurking: as a profile says."""
    _play("mixed", _with_profile(options))


@click.command()
@click.option("--profile", type=FILE, help="Who does what; default: bench/profiles/soak.toml.")
@click.option("--seconds", type=click.FloatRange(1, 7 * 86400), default=600.0, show_default=True, help="All in all.")
@click.option("--warm-seconds", type=click.FloatRange(0, 86400), default=120.0, show_default=True)
@click.option("--cycle-seconds", type=click.FloatRange(0.2, 3600), default=10.0, show_default=True)
@click.option("--mib-per-hour", type=click.FloatRange(0, 1e6), default=30.0, show_default=True, help="Allowed.")
@common
def soak(**options: Any) -> None:
    """Minutes to hours of a profile, with all readers reconnecting in each cycle: does memory stay flat?"""
    _play("soak", _with_profile(options))


@click.command()
@clients(1000)
@rate(100.0)
@click.option("--percent", type=click.FloatRange(0.1, 50), default=1.0, show_default=True, help="Who stop reading.")
@seconds(5.0)
@common
def slow(**options: Any) -> None:
    """A room in which some stop reading."""
    _play("slow", options)


@click.command()
@clients(1000)
@in_flight(1)
@seconds(5.0)
@common
def half(**options: Any) -> None:
    """A room at half of the rate that it can take: what its readers wait."""
    _play("half", options)


@click.command()
@click.option("--connections", type=click.IntRange(1, 1000), default=16, show_default=True, help="Over HTTP.")
@click.option("--batch", type=click.IntRange(1, 1000), default=100, show_default=True, help="Messages in one request.")
@click.option("--requests-to", default="", metavar="HOST:PORT", help="Another node of the cluster, for backends.")
@in_flight(64)
@clients(200)
@rate(50.0)
@seconds(5.0)
@common
def api(**options: Any) -> None:
    """Backends: requests, batches, a server session; then a room beside half as many requests as are possible."""
    _play("api", options)


@click.command()
@clients(1000)
@click.option("--missed", type=click.IntRange(1, 10_000), default=100, show_default=True, help="Messages.")
@common
def catchup(**options: Any) -> None:
    """Clients return having missed messages."""
    _play("catchup", options)


def _with_profile(options: dict[str, Any]) -> dict[str, Any]:
    """Leave the profile to the scenario's default where none is given."""
    path = options.pop("profile")
    return options | ({"profile": str(path)} if path else {})


def _play(name: str, options: dict[str, Any]) -> None:
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
        "cassandra_warm_seconds",
        "nodes",
    )
    target = Target(config, workers=options.pop("server_workers"), **{key: options.pop(key) for key in names})
    if name in NEEDS_CHATD and not target.is_only_chatd:
        raise click.UsageError(f"{name} needs what only chatd has")
    if name in NEEDS_GROUPS and target.address:
        raise click.UsageError(f"{name} needs groups that the bench makes in a server of its own")
    cores = share(options.pop("workers"), beside_database=target.is_beside_database)
    plan = runs.Plan(cores, options.pop("rounds"), options.pop("body_bytes"), config, target.name)
    console = Console()
    with LiveLine(console) as line, plain_errors():
        result = runs.run(name, SCENARIOS[name](**options), target.launches(), plan, line.show)
    table.show(result, console)
    path = results.save(result, directory)
    click.echo(path)
    if with_page:
        page.write(result, path.with_suffix(".html"))
        click.echo(path.with_suffix(".html"))
    if not result.is_good:
        raise SystemExit(1)


COMMANDS = (
    fanout,
    across,
    echo,
    dm,
    rooms,
    idle,
    connect,
    conversations,
    presence,
    mixed,
    soak,
    slow,
    half,
    api,
    catchup,
)
