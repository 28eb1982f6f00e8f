"""How much each key has used of what it may: requests and messages a second, and messages a day."""

from chatd.backend.caller import Caller
from chatd.backend.keys import ApiKeys
from chatd.config import Backend
from chatd.limits import Policy, Standing, TokenBucket
from chatd.rates import MemoryRates


class Usage:
    """Counts requests and messages of keys. People with a role are bounded as users are."""

    def __init__(self, keys: ApiKeys, rates: MemoryRates, config: Backend) -> None:
        self._rates = rates
        self.known_caller = keys.known_caller
        self._requests = Policy("key", config.requests_per_second, config.requests_burst)
        self._messages = Policy("key-messages", config.messages_per_second, config.messages_burst)
        self._day = Policy("key-messages-day", 0.0, config.messages_per_day) if config.messages_per_day else None

    def request(self, caller: Caller) -> Standing:
        """Count one HTTP request of a key."""
        return self._rates.take_nowait(self._requests, caller.key_id)

    def messages(self, caller: Caller, count: int) -> float:
        """Count messages; return 0.0, or count nothing and return the seconds to wait."""
        subject = caller.key_id or caller.actor
        return self._rates.take_nowait(self._messages, subject, count).wait or self.of_day(caller, count)

    def of_day(self, caller: Caller, count: int) -> float:
        """Count messages against the quota of the day alone, as `messages` does."""
        if self._day is None:
            return 0.0
        return self._rates.take_nowait(self._day, caller.key_id or caller.actor, count).wait

    def message_standings(self, caller: Caller) -> list[Standing]:
        """Return where a key stands with its messages."""
        subject = caller.key_id or caller.actor
        policies = [self._messages] if self._day is None else [self._messages, self._day]
        return [self._rates.take_nowait(policy, subject, 0) for policy in policies]

    def session_bucket(self, caller: Caller) -> TokenBucket:
        """Return what all server sessions of a key take their commands from; publishing over HTTP counts in it too."""
        return self._rates.bucket(self._messages, caller.key_id)
