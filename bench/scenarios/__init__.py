"""The scenarios: each a frozen dataclass of its options that is called with a bed."""

from bench.scenarios.catchup import Catchup
from bench.scenarios.connect import Connect
from bench.scenarios.dm import Dm
from bench.scenarios.echo import Echo
from bench.scenarios.fanout import Fanout
from bench.scenarios.idle import Idle
from bench.scenarios.slow import Slow

__all__ = ["NEEDS_CHATD", "SCENARIOS", "AnyScenario", "Catchup", "Connect", "Dm", "Echo", "Fanout", "Idle", "Slow"]

AnyScenario = Catchup | Connect | Dm | Echo | Fanout | Idle | Slow

SCENARIOS: dict[str, type[AnyScenario]] = {
    "fanout": Fanout,
    "echo": Echo,
    "dm": Dm,
    "idle": Idle,
    "connect": Connect,
    "slow": Slow,
    "catchup": Catchup,
}

NEEDS_CHATD = frozenset({"dm", "catchup"})
"""Scenarios of what the peers do not have as they are run here: durable direct chats, cursors."""
