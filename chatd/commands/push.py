"""`chatd push`: hand pushes over in a process of its own, and try out what is configured."""

import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import click
import msgspec
import trio

from chatd import logs
from chatd.commands.failing import exit_on
from chatd.commands.options import config_option, config_or_exit
from chatd.config import Config
from chatd.push import Delivered, Notification
from chatd.push.build import Services, build_services, is_configured
from chatd.push.counts import PushCounts
from chatd.push.examiner import Examiner
from chatd.push.whereabouts import Nobody, Whereabouts
from chatd.push.worker import PushWorker
from chatd.stores import open_accounts, open_beside
from protocol.names import DeviceId, UserId, split_channel
from storage import StoreError
from storage.records import PushTokenRecord

_TEST_SECONDS = 300


@click.command()
@click.option(
    "--test", "target", nargs=2, metavar="USER DEVICE", help="Push to one device now, and say what came of it."
)
@click.option("--title", default="chatd", help="Title of the test.")
@click.option("--body", default="This is a test.", help="Text of the test.")
@click.option("--dry-run", is_flag=True, help="Hand nothing over, as with push.dry_run.")
@config_option
def push(target: tuple[str, str] | None, title: str, body: str, dry_run: bool, path: Path | None) -> None:
    """Hand pushes over until told to stop.

    For a deployment whose nodes have push.work = false. Any number of these processes, and of nodes, share the work.
    """
    config = config_or_exit(path)
    if dry_run:
        config = msgspec.structs.replace(config, push=msgspec.structs.replace(config.push, dry_run=True))
    if not is_configured(config.push):
        click.echo("chatd: push: no service is configured", err=True)
        sys.exit(2)
    logs.configure(config.log)
    task = partial(_test, config, *target, title, body) if target is not None else partial(_work, config)
    with exit_on(StoreError, OSError):
        ok = trio.run(task)
    sys.exit(0 if ok else 1)


async def _work(config: Config) -> bool:
    """Work until a signal."""
    services = build_services(config, os.environ, time.time)
    async with open_accounts(config) as store, open_beside(config) as beside, _whereabouts(config) as whereabouts:
        worker = PushWorker(
            config.push,
            store,
            beside.jobs,
            Examiner(config.push, store, whereabouts, partial(_pushes, config)),
            services.providers,
            services.templates,
            PushCounts(),
            services.http,
            time.time,
            random.random,
        )
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker.run)
                click.echo(f"chatd push works: {', '.join(services.providers)}")
                sys.stdout.flush()
                async for _ in signals:
                    break
                nursery.cancel_scope.cancel()
    return True


@asynccontextmanager
async def _whereabouts(config: Config) -> AsyncIterator[Whereabouts]:
    """Ask Redis who is where; without it there is nobody to ask, and who has come back is told all the same."""
    if config.broker.kind != "redis":
        yield Nobody()
        return
    from chatd.push.registry import open_registry

    async with open_registry(config) as whereabouts:
        yield whereabouts


def _pushes(config: Config, channel: str) -> bool:
    parts = split_channel(channel)
    namespace = config.namespaces.get(parts[0]) if parts is not None else None
    return namespace is not None and namespace.push


async def _test(config: Config, user: str, device: str, title: str, body: str) -> bool:
    """Push to every token of a device; return whether all were taken."""
    services = build_services(config, os.environ, time.time)
    async with open_accounts(config) as store:
        tokens = [one for one in await store.push_tokens([UserId(user)]) if one.device == DeviceId(device)]
    async with trio.open_nursery() as nursery:
        await nursery.start(services.http.run)
        ok = await _tell(services, tokens, title, body)
        nursery.cancel_scope.cancel()
    return ok


async def _tell(services: Services, tokens: list[PushTokenRecord], title: str, body: str) -> bool:
    now = time.time()
    if not tokens:
        click.echo("this device has no token", err=True)
    ok = bool(tokens)
    for token in tokens:
        provider = services.providers.get(token.provider)
        if provider is None:
            click.echo(f"{token.provider}: not configured", err=True)
            ok = False
            continue
        notification = Notification(
            id=f"test/{now}", title=title, body=body, sound="default", expires_at=int(now) + _TEST_SECONDS
        )
        outcome = await provider.send(notification, token)
        reason = getattr(outcome, "reason", "")
        click.echo(f"{token.provider}: {type(outcome).__name__.lower()} {reason}".strip())
        ok = ok and isinstance(outcome, Delivered)
    return ok
