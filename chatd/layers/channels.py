"""What is done in channels: sending and reading, members, and how far one has read."""

import secrets
from dataclasses import dataclass

from chatd.conversations import Conversations
from chatd.drafting import Drafting
from chatd.groups import Groups
from chatd.layers.ground import Ground
from chatd.layers.reach import Reach
from chatd.members import Members
from chatd.reading import Reading
from chatd.reads import ReadMarks
from chatd.router import Router

# Random bytes of a key of chatd's own: long enough never to meet twice, short on the wire.
_KEY_BYTES = 12


@dataclass(frozen=True, slots=True)
class Channels:
    """What commands are about. Router, groups and reading are given the broker when that is made."""

    members: Members
    groups: Groups
    router: Router
    reading: Reading
    reads: ReadMarks
    conversations: Conversations


def build_channels(ground: Ground, reach: Reach) -> Channels:
    """Make it."""
    config, store = ground.config, ground.store
    members = Members(store, config.broker.open_channels)
    groups = Groups(
        store,
        members,
        ground.directory,
        ground.clock,
        lambda: secrets.token_urlsafe(_KEY_BYTES),
        users_are_here=not (config.auth.key_file or config.auth.jwks_url),
    )
    reads = ReadMarks(store, groups, config.reads, ground.clock, reach.hub.deliver_to)
    if reach.cluster is not None:
        reads.tell_elsewhere(reach.cluster.read_telling(config.reads.waiting))
    return Channels(
        members,
        groups,
        Router(reach.hub, Drafting(ground.directory, groups), ground.counters),
        Reading(reach.hub, groups, reach.tracker),
        reads,
        Conversations(store, reads, lambda: ground.settings.limits),
    )
