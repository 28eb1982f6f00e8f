"""What gives messages their places: the broker in this process, or the one on Redis."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from chatd.broker import NodeBroker
from chatd.broker.memory import MemoryBroker
from chatd.layers.channels import Channels
from chatd.layers.ground import Ground
from chatd.layers.reach import Reach
from chatd.layers.telling import Telling
from protocol.names import Epoch

_EPOCH_BYTES = 6  # random: long enough never to meet twice, short on the wire


@dataclass(frozen=True, slots=True)
class Numbering:
    """The broker, and the statistics that only a node among others has, by their source."""

    broker: NodeBroker
    statistics: dict[str, Callable[[], object]]


def build_numbering(ground: Ground, reach: Reach, channels: Channels, telling: Telling) -> Numbering:
    """Make it, and give it to what publishes and reads."""
    made = (
        _alone(ground, reach, channels, telling) if reach.cluster is None else _shared(ground, reach, channels, telling)
    )
    channels.router.broker = channels.groups.broker = channels.reading.broker = made.broker
    return made


def _alone(ground: Ground, reach: Reach, channels: Channels, telling: Telling) -> Numbering:
    broker = MemoryBroker(
        ground.store,
        ground.settings,
        ground.rules,
        telling.tapped(channels.router.deliver),
        reach.hub.channels.__contains__,
        ground.clock,
        lambda: Epoch(secrets.token_urlsafe(_EPOCH_BYTES)),
        ground.counters.commit,
    )
    return Numbering(broker, {})


def _shared(ground: Ground, reach: Reach, channels: Channels, telling: Telling) -> Numbering:
    from chatd.broker.joining import join_broker  # needs the packages for Redis

    cluster = reach.cluster
    assert cluster is not None
    broker = join_broker(
        cluster,
        ground.store,
        ground.settings,
        ground.directory,
        channels.members,
        reach.hub,
        ground.counters,
        channels.router.deliver,
        telling.tapped(lambda _: None),
        ground.clock,
    )
    statistics: dict[str, Callable[[], object]] = {
        "cluster": cluster.statistics,
        "redis": cluster.servers.statistics,
        "redis_broker": broker.many_nodes_statistics,
    }
    return Numbering(broker, statistics)
