"""The parts of the node that the HTTP app needs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from chatd.accounts.accounts import Accounts
from chatd.accounts.tokens import Tokens
from chatd.api.realtime import Realtime
from chatd.backend.build import Backend
from chatd.backend.deliveries import Deliveries
from chatd.config import Config, Limits
from chatd.counters import Counters
from chatd.limits import Policy
from chatd.push.devices import PushDevices
from chatd.rates import Rates
from storage import Store


@dataclass(frozen=True, slots=True)
class Services:
    """What routes call. `metrics` returns the text for Prometheus and its content type."""

    config: Config
    accounts: Accounts
    tokens: Tokens
    realtime: Realtime
    store: Store
    metrics: Callable[[], Awaitable[tuple[bytes, str]]]
    counters: Counters
    backend: Backend
    user_rates: Rates
    limits: Callable[[], Limits]
    push_devices: PushDevices
    push_key: str | None
    deliveries: Deliveries

    def user_policy(self) -> Policy:
        """Return how often one user may ask, as it is in force now."""
        limits = self.limits()
        return Policy("user", limits.user_requests_per_second, limits.user_requests_burst)
