"""How much each key has used of what it may: requests and messages a second, and messages a day."""

from chatd.backend.caller import Caller
from chatd.backend.keys import ApiKeys
from chatd.config import Backend
from chatd.limits import Policy, Standing, TokenBucket
from chatd.rates import MemoryRates, Rates


class Usage:
    """Counts requests and messages of keys. People with a role are bounded as users are.

    `rates` are what all nodes count together, `here` what this one counts: they are the same where there is only one.
    """

    def __init__(self, keys: ApiKeys, rates: Rates, here: MemoryRates, config: Backend) -> None:
        self._rates = rates
        self._here = here
        self.known_caller = keys.known_caller
        self._requests = Policy("key", config.requests_per_second, config.requests_burst)
        self._messages = Policy("key-messages", config.messages_per_second, config.messages_burst)
        self._day = Policy("key-messages-day", 0.0, config.messages_per_day) if config.messages_per_day else None
        self._policies = [self._messages] if self._day is None else [self._messages, self._day]

    async def request(self, caller: Caller) -> Standing:
        """Count one HTTP request of a key."""
        return await self._rates.take(self._requests, caller.key_id)

    async def messages(self, caller: Caller, count: int) -> float:
        """Count messages; return 0.0, or count nothing and return the seconds to wait."""
        standings = await self._rates.take_all(self._policies, caller.key_id or caller.actor, count)
        return max(one.wait for one in standings)

    async def of_day(self, caller: Caller, count: int) -> float:
        """Count messages against the quota of the day alone, as `messages` does."""
        if self._day is None:
            return 0.0
        return (await self._rates.take(self._day, caller.key_id or caller.actor, count)).wait

    def session_bucket(self, caller: Caller) -> TokenBucket:
        """Return what all server sessions of a key on this node take their commands from.

        On a node alone, publishing over HTTP counts in it too. Among several nodes each has one: a command must not
        wait for Redis before it is read.
        """
        return self._here.bucket(self._messages, caller.key_id)
