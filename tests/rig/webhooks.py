"""A node with one endpoint for webhooks, which is quick to try again."""

from typing import Any, get_args

import msgspec
import trio

from chatd.config import Config, EventType, Presence, WebhookEndpoint, Webhooks
from tests.rig.node import Rig

EVERYTHING: tuple[EventType, ...] = get_args(EventType)


def configured(url: str, *, grace_seconds: float = 0.2, **keys: Any) -> Config:
    """Return a configuration with one endpoint that wants everything, and is quick to try again."""
    endpoint = WebhookEndpoint(
        url=url, events=EVERYTHING, secret_variables=("HOOK_SECRET",), allow_private=True, concurrency=1
    )
    webhooks = Webhooks(
        gather_seconds=0.01,
        backoff_seconds=0.05,
        poll_seconds=0.05,
        endpoints={"main": msgspec.structs.replace(endpoint, **keys)},
    )
    presence = Presence(grace_seconds=grace_seconds, tick_seconds=0.05)
    return msgspec.structs.replace(Config(), webhooks=webhooks, presence=presence)


async def wait_for_outcome(rig: Rig, outcome: str) -> None:
    """Return when a request had this outcome, and the queue knows of it."""
    with trio.fail_after(10):
        while True:
            await trio.sleep(0.05)
            counts = await rig.store.jobs.counts("webhook:main")
            if rig.node.webhooks.statistics().requests.get(outcome) and not counts.claimed:
                return
