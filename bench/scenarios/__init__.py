"""The scenarios: each a frozen dataclass of its options that is called with a bed."""

from typing import Protocol, runtime_checkable

from bench.accounts import Population
from bench.scenarios.across import Across
from bench.scenarios.api import Api
from bench.scenarios.catchup import Catchup
from bench.scenarios.connect import Connect
from bench.scenarios.conversations import Conversations
from bench.scenarios.dm import Dm
from bench.scenarios.echo import Echo
from bench.scenarios.fanout import Fanout
from bench.scenarios.half import Half
from bench.scenarios.idle import Idle
from bench.scenarios.mixed import Mixed
from bench.scenarios.presence import Presence
from bench.scenarios.rooms import Rooms
from bench.scenarios.slow import Slow
from bench.scenarios.soak import Soak

__all__ = [
    "NEEDS_CHATD",
    "NEEDS_GROUPS",
    "SCENARIOS",
    "Across",
    "AnyScenario",
    "Api",
    "Catchup",
    "Connect",
    "Conversations",
    "Dm",
    "Echo",
    "Fanout",
    "Half",
    "Idle",
    "Mixed",
    "Peopled",
    "Presence",
    "Rooms",
    "Slow",
    "Soak",
]

AnyScenario = (
    Across
    | Api
    | Catchup
    | Connect
    | Conversations
    | Dm
    | Echo
    | Fanout
    | Half
    | Idle
    | Mixed
    | Presence
    | Rooms
    | Slow
    | Soak
)


@runtime_checkable
class Peopled(Protocol):
    """A scenario that needs accounts."""

    def population(self) -> Population:
        """Return who must exist before the server starts."""


SCENARIOS: dict[str, type[AnyScenario]] = {
    "fanout": Fanout,
    "across": Across,
    "echo": Echo,
    "dm": Dm,
    "rooms": Rooms,
    "half": Half,
    "api": Api,
    "idle": Idle,
    "connect": Connect,
    "conversations": Conversations,
    "presence": Presence,
    "slow": Slow,
    "catchup": Catchup,
    "mixed": Mixed,
    "soak": Soak,
}

NEEDS_CHATD = frozenset({"dm", "rooms", "conversations", "presence", "catchup", "mixed", "soak", "api"})
"""Scenarios of what the peers do not have as they are run here: durable chats, presence of users, cursors."""

NEEDS_GROUPS = frozenset({"rooms", "conversations", "mixed"})
"""Scenarios of groups that must exist, which a server that runs already does not have."""
