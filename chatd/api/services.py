"""The parts of the node that the HTTP app needs."""

from collections.abc import Callable
from dataclasses import dataclass

from chatd.accounts.accounts import Accounts
from chatd.accounts.tokens import Tokens
from chatd.api.realtime import Realtime
from chatd.backend.build import Backend
from chatd.config import Config
from chatd.counters import Counters
from storage import Store


@dataclass(frozen=True, slots=True)
class Services:
    """What routes call. `metrics` returns the text for Prometheus and its content type."""

    config: Config
    accounts: Accounts
    tokens: Tokens
    realtime: Realtime
    store: Store
    metrics: Callable[[], tuple[bytes, str]]
    counters: Counters
    backend: Backend
