"""The parts of the server API, made from those of the node that they act on."""

from collections.abc import Callable
from dataclasses import dataclass

import trio

from chatd.accounts.accounts import Accounts
from chatd.accounts.subscription_tokens import SubscriptionTokens
from chatd.accounts.tokens import Tokens
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
from chatd.config import Config
from chatd.groups import Groups
from chatd.hub import Hub
from chatd.rates import MemoryRates, Rates
from chatd.reading import Reading
from chatd.rights import Directory
from chatd.settings import Settings
from storage import Store
from storage.jobs import JobQueue


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


def build_backend(
    config: Config,
    secret: bytes,
    store: Store,
    jobs: JobQueue,
    clock: Callable[[], float],
    settings: Settings,
    hub: Hub,
    directory: Directory,
    groups: Groups,
    reading: Reading,
    accounts: Accounts,
    tokens: Tokens,
    leaves: SubscriptionTokens,
    broker: Broker,
    share: Callable[[MemoryRates], Rates],
) -> Backend:
    """Make the parts; nothing runs yet. `share` returns the rates that are counted together with other nodes."""
    key_hash = KeyHash(secret)
    keys = ApiKeys(store, key_hash, config.backend, clock)
    audit = Audit(store, clock)
    here = MemoryRates(config.limits.addresses, hub.monotonic, clock)
    rates = share(here)
    usage = Usage(keys, rates, here, config.backend)
    endings = Endings(jobs, config.backend, clock)
    publishing = Publishing(directory, groups, store, usage, hub.counters, endings)
    seeing = Seeing(hub, reading, groups, directory, settings)
    publishing.broker = seeing.broker = endings.broker = broker
    fanout = Fanout(publishing, config.backend, clock)
    membership = Membership(groups, directory, audit)
    sessions = Sessions(hub, reading, directory, accounts, audit)
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
        people=People(store, accounts, groups, directory, audit, sessions, clock),
        sessions=sessions,
        leaves=Leaves(leaves, directory, config.backend),
        schedule=Schedule(jobs, publishing, directory, usage, config.backend, clock),
        endings=endings,
        revocations=Revocations(store, tokens, hub.revoke, config.backend.key_refresh_seconds, clock),
        server_sessions=ServerSessions(
            hub, keys, usage, publishing, fanout, seeing, membership, sessions, reading, clock
        ),
    )
