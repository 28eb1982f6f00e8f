"""What goes wrong with a benchmark, and a person can do something about, in one line."""

import contextlib
from collections.abc import Iterator

import click


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
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
