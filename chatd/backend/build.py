"""The parts of the server API, made from those of the node that they act on."""

from dataclasses import dataclass

import trio

from chatd.backend.audit import Audit
from chatd.backend.endings import Endings
from chatd.backend.fanout import Fanout
from chatd.backend.handlers import ServerSessions
from chatd.backend.key_text import KeyHash
from chatd.backend.keyring import Keyring
from chatd.backend.keys import ApiKeys
from chatd.backend.leaves import Leaves
from chatd.backend.membership import Membership
from chatd.backend.people import People
from chatd.backend.publishing import Publishing
from chatd.backend.revocations import Revocations
from chatd.backend.schedule import Schedule
from chatd.backend.seeing import Seeing
from chatd.backend.sessions import Sessions
from chatd.backend.usage import Usage
from chatd.broker import Broker
from chatd.layers.channels import Channels
from chatd.layers.ground import Ground
from chatd.layers.identity import Identity
from chatd.layers.reach import Reach
from chatd.rates import MemoryRates, Rates


@dataclass(frozen=True, slots=True)
class Backend:
    """Every operation of the server API, for HTTP and server sessions."""

    keys: ApiKeys
    keyring: Keyring
    usage: Usage
    rates: Rates
    audit: Audit
    publishing: Publishing
    fanout: Fanout
    seeing: Seeing
    membership: Membership
    people: People
    sessions: Sessions
    leaves: Leaves
    schedule: Schedule
    endings: Endings
    revocations: Revocations
    server_sessions: ServerSessions

    async def run(self) -> None:
        """Do what is done without being asked for, until cancelled."""
        async with trio.open_nursery() as nursery:
            for service in (self.keys.run, self.schedule.run, self.endings.run, self.revocations.run):
                nursery.start_soon(service)


def build_backend(ground: Ground, identity: Identity, reach: Reach, channels: Channels, broker: Broker) -> Backend:
    """Make the parts; nothing runs yet. Rates are counted together with other nodes, if there are any."""
    config, store, clock, directory = ground.config, ground.store, ground.clock, ground.directory
    hub, groups, reading = reach.hub, channels.groups, channels.reading
    key_hash = KeyHash(ground.secret)
    keys = ApiKeys(store, key_hash, config.backend, clock)
    audit = Audit(store, clock)
    here = MemoryRates(config.limits.addresses, hub.monotonic, clock)
    rates = here if reach.cluster is None else reach.cluster.share_rates(here)
    usage = Usage(keys, rates, here, config.backend)
    endings = Endings(reach.jobs, config.backend, clock)
    publishing = Publishing(directory, groups, store, usage, hub.counters, endings)
    seeing = Seeing(hub, reading, groups, directory, ground.settings)
    publishing.broker = seeing.broker = endings.broker = broker
    fanout = Fanout(publishing, config.backend, clock)
    membership = Membership(groups, directory, audit)
    sessions = Sessions(hub, reading, directory, identity.accounts, audit)
    server_sessions = ServerSessions(hub, keys, usage, publishing, fanout, seeing, membership, sessions, reading, clock)
    channels.router.admission = server_sessions
    if reach.cluster is not None:
        sessions.remote = seeing.remote = reach.cluster.remote
        reach.cluster.remote.join = sessions.subscribe_here
    return Backend(
        keys=keys,
        keyring=Keyring(store, key_hash, clock),
        usage=usage,
        rates=rates,
        audit=audit,
        publishing=publishing,
        fanout=fanout,
        seeing=seeing,
        membership=membership,
        people=People(store, identity.accounts, groups, directory, audit, sessions, clock),
        sessions=sessions,
        leaves=Leaves(identity.leaves, directory, config.backend),
        schedule=Schedule(reach.jobs, publishing, directory, usage, config.backend, clock),
        endings=endings,
        revocations=Revocations(store, identity.tokens, hub.revoke, config.backend.key_refresh_seconds, clock),
        server_sessions=server_sessions,
    )
