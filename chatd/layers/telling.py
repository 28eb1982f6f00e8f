"""Who is told of what happens without a session: backends by webhooks, people who are away by pushes."""

import os
from dataclasses import dataclass

from chatd.broker import Deliver
from chatd.hooks.hooks import Hooks
from chatd.layers.ground import Ground
from chatd.layers.identity import Identity
from chatd.layers.reach import Reach
from chatd.push.pushing import Pushing
from chatd.push.whereabouts import NodeWhereabouts
from chatd.webhooks.service import Webhooks


@dataclass(frozen=True, slots=True)
class Telling:
    """What tells them, and what asks backends first."""

    webhooks: Webhooks
    pushing: Pushing
    hooks: Hooks

    def tapped(self, deliver: Deliver) -> Deliver:
        """Return a delivery that also tells them of each message."""
        return self.webhooks.telling.tapped(self.pushing.tapped(deliver))


def build_telling(ground: Ground, identity: Identity, reach: Reach) -> Telling:
    """Make it.

    Raises:
        ConfigError: A secret or a key of a service cannot be read.
    """
    config, store, clock = ground.config, ground.store, ground.clock
    seen = store if reach.cluster is None else None
    webhooks = Webhooks(config, reach.jobs, store, os.environ, seen=seen, clock=clock)
    elsewhere = reach.cluster.elsewhere if reach.cluster is not None else None
    whereabouts = NodeWhereabouts(reach.hub, reach.tracker, elsewhere)
    pushing = Pushing(config, store, reach.jobs, ground.rules, whereabouts, os.environ, clock)
    webhooks.join(ground.settings, reach.hub, reach.tracker, identity.accounts)
    pushing.tell_failures(webhooks.telling.push_given_up)
    return Telling(webhooks, pushing, Hooks(config, ground.settings, os.environ, clock=clock))
