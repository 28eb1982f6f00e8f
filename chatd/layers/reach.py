"""Who is connected, here and on other nodes, and in what state they are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chatd.config import ConfigError
from chatd.hub import Hub
from chatd.layers.ground import Ground
from chatd.layers.identity import Identity
from chatd.presence import Tracker
from chatd.presence.tracker import PresenceEvent, PresenceTracker
from storage.jobs import JobQueue

if TYPE_CHECKING:
    from chatd.cluster.cluster import ClusterNode


@dataclass(frozen=True, slots=True)
class Reach:
    """The sessions of this node, and what it has with others. `cluster` is None if there are no others."""

    hub: Hub
    tracker: Tracker
    jobs: JobQueue
    cluster: "ClusterNode | None"


def build_reach(ground: Ground, identity: Identity, jobs: JobQueue | None) -> Reach:
    """Make it. Among other nodes the jobs are those of all, which any of them can do.

    Raises:
        ConfigError: Redis is asked for, and the packages for it are missing.
    """
    config, settings = ground.config, ground.settings
    hub = Hub(settings, ground.counters, ground.clock)
    cluster = _join_cluster(ground, identity, hub)
    tracker: Tracker
    if cluster is not None:
        tracker, jobs = cluster.presence, cluster.jobs
        settings.on_replaced.append(cluster.reload)
    else:
        tracker = PresenceTracker(config.presence, config.namespaces, ground.store, _publisher(hub))
    assert jobs is not None, "a node alone has jobs of its own"
    settings.on_replaced.append(lambda new: tracker.reload(new.presence, new.namespaces))
    hub.observer = tracker
    identity.accounts.on_revoked.append(hub.revoke)
    if cluster is not None:
        identity.accounts.on_revoked.append(cluster.remote.revoke)
    return Reach(hub, tracker, jobs, cluster)


def _join_cluster(ground: Ground, identity: Identity, hub: Hub) -> "ClusterNode | None":
    """Return this node's part in a cluster, if it is in one. Only then the packages for Redis are needed."""
    if ground.config.broker.kind != "redis":
        return None
    try:
        from chatd.cluster.cluster import ClusterNode, open_servers
    except ModuleNotFoundError as error:
        raise ConfigError(f"broker.kind: {error.name} is missing: pip install 'chatd[redis]'") from error
    servers = open_servers(ground.config)
    return ClusterNode(ground.config, servers, hub, identity.tokens, ground.store, _publisher(hub))


def _publisher(hub: Hub) -> Callable[[PresenceEvent], None]:
    def publish(event: PresenceEvent) -> None:
        hub.deliver(event.channel, event)

    return publish
